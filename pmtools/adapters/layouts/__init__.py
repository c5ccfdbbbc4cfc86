"""Where the tokens of an image are, and which part of the image each of them covers, per model family.

A layout turns the size of an image into one or more grids of tokens. Nothing here runs a model or touches pixels.

Convention: boxes are fractions of the source image, `(x0, y0, x1, y1)`; beyond [0, 1] lies padding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pmtools.adapters.layouts import one_grid, tiles
from pmtools.adapters.layouts._layout import WHOLE_IMAGE, ImageTokenLayout, TokenGrid
from pmtools.adapters.layouts.one_grid import pads_to_square

#: Every family by its `config.model_type`; a row more is a family more.
LAYOUTS: dict[str, Callable[[Any, Any], ImageTokenLayout]] = {
    "llava": one_grid.llava,
    "vipllava": one_grid.llava,
    "paligemma": one_grid.paligemma,
    "gemma3": one_grid.gemma3,
    "qwen2_vl": one_grid.qwen_vl,
    "qwen2_5_vl": one_grid.qwen_vl,
    "qwen3_vl": one_grid.qwen_vl,
    "llava_next": tiles.llava_next,
    "llava_onevision": tiles.llava_onevision,
    "internvl": tiles.internvl,
    "idefics3": tiles.idefics3,
    "smolvlm": tiles.idefics3,
}


def image_token_layout(model: Any, image_processor: Any, /) -> ImageTokenLayout:
    """The layout of a model's family, by its `config.model_type`.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A vision-language model.
    image_processor : transformers image processor
        The one that prepares its pixels: tile sizes and limits come from it.

    Returns
    -------
    ImageTokenLayout

    Raises
    ------
    ValueError
        If the family is not in `LAYOUTS`, or the image processor is of another one.

    Examples
    --------
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> model = tiny_model("llava")
    >>> layout = image_token_layout(model, tiny_processor(model).image_processor)
    >>> layout.grids((480, 960), 1)  # padded above and below
    (16, [TokenGrid(start=0, shape_hw=(4, 4), box_xyxy=(0.0, -0.5, 1.0, 1.5), row_gap=0)])
    """
    family = model.config.model_type
    if family not in LAYOUTS:
        raise ValueError(
            f"`model` must be of a family with a known image-token layout ({', '.join(sorted(LAYOUTS))}), "
            f"got {family!r}; write a function (config, image_processor) -> ImageTokenLayout that says how many tokens "
            "an image of a given size has and which part of it each covers, and put it into "
            f"pmtools.adapters.layouts.LAYOUTS[{family!r}]"
        )
    try:
        return LAYOUTS[family](model.config, image_processor)
    except AttributeError as missing:
        if missing.obj is not image_processor:
            raise
        raise ValueError(
            f"`processor` must be one that was made for {family} models, got one whose {missing}; load both from the same place"
        ) from missing


__all__ = ["LAYOUTS", "WHOLE_IMAGE", "ImageTokenLayout", "TokenGrid", "image_token_layout", "pads_to_square"]
