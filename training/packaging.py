"""The demo model's folder: tokenizer, image processor, chat template, weights in float16, settings.

Everything is a standard file that `from_pretrained` reads; this module writes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pmtools.zoo.vocabulary import DROPPED, IGNORED, SINGULAR, SPECIAL, TOKEN_IDS

__all__ = ["build_processor", "build_tokenizer", "save_demo_model"]

MEAN, STD, INPUT, PATCH = 0.45, 0.25, 96, 8
_CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}"
)


def build_tokenizer() -> Any:
    """The tokenizer: whole words, lower case, the words of `DROPPED` left out, plurals folded; pads on the left.

    Returns
    -------
    transformers.PreTrainedTokenizerFast
    """
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(vocab=dict(TOKEN_IDS), unk_token="<unk>"))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    steps: list[Any] = [normalizers.Lowercase()]
    dropped = rf"{IGNORED}\.?|\b(?:{'|'.join(DROPPED)})\b|,|\."
    steps.append(normalizers.Replace(Regex(dropped), " "))
    steps += [normalizers.Replace(Regex(rf"\b{plural}\b"), single) for plural, single in SINGULAR.items()]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", TOKEN_IDS["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=1024,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": "<image>"},
    )


def build_processor() -> Any:
    """The processor: resize the shorter side to the model's input, cut the centre, normalise; expand `<image>`.

    Returns
    -------
    transformers.LlavaProcessor
    """
    from transformers import CLIPImageProcessor, LlavaProcessor

    images = CLIPImageProcessor(
        size={"shortest_edge": INPUT},
        crop_size={"height": INPUT, "width": INPUT},
        resample=2,  # bilinear with support over the source pixels, on which PIL and torchvision agree
        image_mean=[MEAN] * 3,
        image_std=[STD] * 3,
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=build_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the tower's class token, which the strategy drops again
        chat_template=_CHAT_TEMPLATE,
    )


def save_demo_model(model: Any, folder: str | Path, /, *, settings: dict[str, Any] | None = None) -> Path:
    """Write a trained model as the package ships it: float16 safetensors, processor, settings.

    Parameters
    ----------
    model : transformers.LlavaForConditionalGeneration
        Not changed.
    folder : str or Path
    settings : dict, optional
        Arguments of `PerceptionMagnifier` chosen for this model; stored as `settings.json`.

    Returns
    -------
    Path
    """
    import torch
    from transformers import GenerationConfig, LlavaForConditionalGeneration

    folder = Path(folder)
    half = LlavaForConditionalGeneration(model.config)
    half.load_state_dict(model.state_dict())
    half.generation_config = GenerationConfig(
        bos_token_id=TOKEN_IDS["<bos>"],
        eos_token_id=TOKEN_IDS["<eos>"],
        pad_token_id=TOKEN_IDS["<pad>"],
        max_new_tokens=4,
    )
    half.to(torch.float16).save_pretrained(folder)
    build_processor().save_pretrained(folder)
    if settings is not None:
        (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    return folder
