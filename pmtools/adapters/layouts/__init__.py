"""Where the tokens of an image are, and which part of the image each of them covers, for any family.

A layout turns the size of an image into one or more grids of tokens. What a processor does to a picture of colour ramps
shows how (`inferred.py`), and a probe of the vision tower checks it (`probe.py`); `LAYOUTS` holds what no processor
shows.

Convention: boxes are fractions of the source image, `(x0, y0, x1, y1)`; beyond [0, 1] lies padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pmtools.adapters.layouts import facts, tiles
from pmtools.adapters.layouts._asking import own_processor, question
from pmtools.adapters.layouts._layout import WHOLE_IMAGE, ImageTokenLayout, TokenGrid
from pmtools.adapters.layouts.facts import pads_to_square
from pmtools.adapters.layouts.inferred import inferred
from pmtools.adapters.layouts.probe import probe_layout

#: Families whose tokens do not follow from what their vision tower is shown, by `config.model_type`: `grids` of their own.
LAYOUTS: dict[str, Callable[[Any, Any], ImageTokenLayout]] = {
    "llava_next": tiles.llava_next,
    "llava_onevision": tiles.llava_onevision,
}
#: Families that tests have probed with transformers' own processors: their tokens follow the order of the tower's
#: input.
PROVEN = frozenset(
    [
        *(
            "aya_vision",
            "cohere2_vision",
            "deepseek_vl",
            "deepseek_vl_hybrid",
            "ernie4_5_vl_moe",
            "exaone4_5",
            "gemma3",
        ),
        *(
            "gemma3n",
            "gemma4",
            "glm46v",
            "glm4v",
            "glm4v_moe",
            "glm_ocr",
            "hyperclovax_vision_v2",
            "idefics3",
            "internvl",
        ),
        *("janus", "kimi_k25", "lfm2_vl", "lighton_ocr", "llama4", "llava", "minicpmv4_6", "mistral3", "ovis2"),
        *(
            "paddleocr_vl",
            "paligemma",
            "perception_lm",
            "qianfan_ocr",
            "qwen2_5_omni_thinker",
            "qwen2_5_vl",
            "qwen2_vl",
        ),
        *("qwen3_5", "qwen3_5_moe", "qwen3_omni_moe_thinker", "qwen3_vl", "qwen3_vl_moe", "smolvlm", "video_llama_3"),
        "vipllava",
    ]
)
#: Facts that only the modelling code of a family shows.
FACTS: dict[str, dict[str, Any]] = {
    "paligemma": {"suffix_token_type": 1},  # attention is bidirectional in its prompt, not in its answer
}


def image_token_layout(model: Any, processor: Any, /, *, options: Mapping[str, Any] | None = None) -> ImageTokenLayout:
    """The layout of a model and its processor, found by running them.

    Each new size costs one call of the processor. A family that is not in `PROVEN` is probed at the first picture of a
    kind, shown whole or in several views: 17 runs of the vision tower, at most 51, check what was inferred. Both are
    cached for the lifetime of model and processor.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A vision-language model.
    processor : transformers processor
        The whole one that makes its inputs, or that of a decoding method.
    options : mapping, optional
        Of the processor's call, where they change sizes or tiles.

    Returns
    -------
    ImageTokenLayout
        Its `grids` raises ValueError for images whose tokens cannot be placed.

    Raises
    ------
    TypeError
        If an image processor is given alone.
    ValueError
        If the processor writes no image tokens into any prompt.

    Examples
    --------
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> model = tiny_model("llava")
    >>> layout = image_token_layout(model, tiny_processor(model))
    >>> layout.grids((480, 960), 1)  # padded above and below
    (16, [TokenGrid(start=0, shape_hw=(4, 4), box_xyxy=(0.0, -0.5, 1.0, 1.5), row_gap=0)])
    """
    processor, options = own_processor(processor, options)
    family = model.config.model_type
    if family in LAYOUTS:
        return LAYOUTS[family](model.config, getattr(processor, "image_processor", processor))
    if not hasattr(processor, "image_processor"):
        raise TypeError(
            f"`processor` must be the model's whole processor, since it writes the image tokens, got "
            f"{type(processor).__name__}; load it with AutoProcessor.from_pretrained"
        )
    found: dict[str, Any] = {
        "square": pads_to_square(processor.image_processor),
        "prefix_reuse": facts.keeps_prefix(model),
        "heat_layers": facts.heat_layers(model),
        **FACTS.get(family, {}),
    }
    layout = inferred(model, processor, options, proven=family in PROVEN, **found)
    if layout.opening or layout.closing:
        return layout
    opening, closing = facts.wrapping_tokens(model, processor)  # a chat template writes them
    return replace(layout, opening=opening, closing=closing)


def image_mark(model: Any, processor: Any, /) -> str:
    """The text for an image in this processor's prompts, or a whole chat turn with one.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    processor : transformers processor

    Raises
    ------
    ValueError
        If no text makes the processor write image tokens.
    """
    return question(model, *own_processor(processor, None)).mark


__all__ = [
    "LAYOUTS",
    "PROVEN",
    "WHOLE_IMAGE",
    "ImageTokenLayout",
    "TokenGrid",
    "image_mark",
    "image_token_layout",
    "pads_to_square",
    "probe_layout",
]
