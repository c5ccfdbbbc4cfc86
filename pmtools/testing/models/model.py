"""Tiny models: a family's configuration, weights at random."""

from __future__ import annotations

from typing import Any

from pmtools import _checks
from pmtools.testing.models.table import FAMILIES, TABLE
from pmtools.testing.models.tokenizer import SPECIALS, VOCABULARY


def tiny_model(family: str = "llava", *, seed: int = 0, attn_implementation: str = "sdpa", **text: Any) -> Any:
    """A random model of one family: four text layers of width 64, four heads in two key-value groups.

    Query and key weights are enlarged, so that attention is far from uniform, and the output layer, so that
    logits differ by more than rounding.

    Parameters
    ----------
    family : str, optional
        One of `FAMILIES`.
    seed : int, optional
        Of the weights.
    attn_implementation : str, optional
        "sdpa" or "eager".
    **text
        Overrides of the text model's configuration: `num_key_value_heads=4` for plain multi-head attention.

    Returns
    -------
    transformers.PreTrainedModel
        In evaluation mode, float32, on the CPU; `tiny_family` is its family.

    Raises
    ------
    ValueError
        If the family is not one of `FAMILIES`.

    Examples
    --------
    >>> from pmtools.testing.models import tiny_processor
    >>> model = tiny_model("qwen2_vl")
    >>> processor = tiny_processor(model)
    """
    import torch
    import transformers

    _checks.choice(family, "family", FAMILIES)
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "pad_token_id": SPECIALS.index("<pad>"),
        "bos_token_id": SPECIALS.index("<s>"),
        "eos_token_id": SPECIALS.index("</s>"),
        **TABLE[family].text,
        **text,
    }
    config = TABLE[family].configuration(shape)
    config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = False
    config._attn_implementation = attn_implementation
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForImageTextToText.from_config(config, attn_implementation=attn_implementation)
        _sharpen(model)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(model.generation_config, name, shape[name])
    model.tiny_family = family
    return model.eval()


def _sharpen(model: Any) -> None:
    import torch

    with torch.no_grad():
        for name, weight in model.get_decoder().named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                weight.mul_(6.0)
        for name, weight in model.named_parameters():
            if name.endswith("mm_input_projection_weight"):  # Gemma 3 starts it at zero: blind
                weight.normal_(std=0.1)
            if "newline" not in name and weight.ndim > 1 and ("project" in name or "merger" in name):
                weight.mul_(4.0)  # image features as large as word embeddings
        model.get_output_embeddings().weight.mul_(10.0)
