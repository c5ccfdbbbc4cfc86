"""Tiny models: a configuration for each family, weights at random."""

from __future__ import annotations

from typing import Any

from pmtools import _checks
from pmtools.testing.models.tokenizer import SPECIALS

#: Families that `tiny_model` and `tiny_processor` build, by their `config.model_type`.
FAMILIES = (
    "llava",
    "llava_next",
    "llava_onevision",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "internvl",
    "idefics3",
    "smolvlm",
    "gemma3",
    "paligemma",
)
TILE = 56  # pixels a side of one vision input
PINPOINTS = [[TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]]


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
        In evaluation mode, float32, on the CPU.

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
    special = SPECIALS.index
    shape = {
        "vocab_size": len(SPECIALS) + 256,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "pad_token_id": special("<pad>"),
        "bos_token_id": special("<s>"),
        "eos_token_id": special("</s>"),
        **text,
    }
    config = _configuration(family, shape)
    config.tie_word_embeddings = False
    config._attn_implementation = attn_implementation
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForImageTextToText.from_config(config, attn_implementation=attn_implementation)
        _sharpen(model)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(model.generation_config, name, shape[name])
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


def _configuration(family: str, text: dict[str, Any]) -> Any:
    import transformers as hf

    special = SPECIALS.index
    image, video = special("<image>"), special("<video>")
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": TILE,
    }
    coarse, fine = {**vision, "patch_size": TILE // 4}, {**vision, "patch_size": TILE // 8}
    if family == "llava":
        return hf.LlavaConfig(
            vision_config=hf.CLIPVisionConfig(**{**coarse, "num_hidden_layers": 3}),
            text_config=hf.LlamaConfig(**text),
            image_token_index=image,
        )
    if family == "llava_next":
        return hf.LlavaNextConfig(
            vision_config=hf.CLIPVisionConfig(**{**coarse, "num_hidden_layers": 3}),
            text_config=hf.LlamaConfig(**text),
            image_token_index=image,
            image_grid_pinpoints=PINPOINTS,
        )
    if family == "llava_onevision":
        return hf.LlavaOnevisionConfig(
            vision_config=hf.SiglipVisionConfig(**coarse),
            text_config=hf.Qwen2Config(**text),
            image_token_index=image,
            video_token_index=video,
            image_grid_pinpoints=PINPOINTS,
            vision_aspect_ratio="anyres_max_2",
        )
    if family.startswith("qwen"):
        return _qwen_configuration(family, text)
    if family == "internvl":
        return hf.InternVLConfig(
            vision_config=hf.InternVLVisionConfig(**fine),
            text_config=hf.Qwen2Config(**text),
            image_token_id=image,
            image_seq_length=16,
            downsample_ratio=0.5,
        )
    if family in ("idefics3", "smolvlm"):
        kind = hf.Idefics3Config if family == "idefics3" else hf.SmolVLMConfig
        return kind(
            vision_config={**fine, "model_type": f"{family}_vision"},
            text_config=hf.LlamaConfig(**text),
            image_token_id=image,
            scale_factor=2,
        )
    if family == "gemma3":
        return hf.Gemma3Config(
            vision_config=hf.SiglipVisionConfig(**fine),
            text_config=hf.Gemma3TextConfig(
                **{"head_dim": 16, "sliding_window": 64, "query_pre_attn_scalar": 16, **text},
                layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
            ),
            image_token_index=image,
            mm_tokens_per_image=16,
            boi_token_index=special("<start>"),
            eoi_token_index=special("<end>"),
        )
    return hf.PaliGemmaConfig(
        vision_config=hf.SiglipVisionConfig(**coarse, projection_dim=text["hidden_size"]),
        text_config=hf.GemmaConfig(**{"head_dim": 16, **text}),
        image_token_index=image,
        projection_dim=text["hidden_size"],
    )


def _qwen_configuration(family: str, text: dict[str, Any]) -> Any:
    import transformers as hf

    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    tokens = dict(
        zip(
            ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"),
            map(SPECIALS.index, ("<image>", "<video>", "<start>", "<end>")),
            strict=True,
        )
    )
    vision = {"depth": 2, "num_heads": 2, "patch_size": TILE // 4, "spatial_merge_size": 2}
    if family == "qwen2_vl":
        return hf.Qwen2VLConfig(
            text_config={**text, "rope_parameters": rope},
            vision_config={**vision, "embed_dim": 32, "hidden_size": text["hidden_size"]},
            **tokens,
        )
    vision = {**vision, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": text["hidden_size"]}
    if family == "qwen2_5_vl":
        return hf.Qwen2_5_VLConfig(
            text_config={**text, "rope_parameters": rope},
            vision_config={**vision, "window_size": TILE, "fullatt_block_indexes": [1]},
            **tokens,
        )
    return hf.Qwen3VLConfig(
        text_config={**text, "head_dim": 16, "rope_parameters": {**rope, "mrope_interleaved": True}},
        vision_config={**vision, "depth": 3, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]},
        **tokens,
    )
