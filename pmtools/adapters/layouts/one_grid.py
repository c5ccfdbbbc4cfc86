"""Families that show each image on one grid of tokens, in raster order.

Every function is given the model's configuration and its image processor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pmtools.adapters.layouts._layout import WHOLE_IMAGE, ImageTokenLayout, TokenGrid
from pmtools.typing import SizeHW


def _one_grid(
    side: int, *, start: int = 0, square: bool = False
) -> Callable[[SizeHW, int], tuple[int, list[TokenGrid]]]:
    def grids(size_hw: SizeHW, images: int) -> tuple[int, list[TokenGrid]]:
        box = _padded_square(size_hw) if square else WHOLE_IMAGE
        return start + side * side, [TokenGrid(start, (side, side), box)]

    return grids


def _padded_square(size_hw: SizeHW) -> tuple[float, float, float, float]:
    """The square canvas around an image, in fractions of the image."""
    height, width = size_hw
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return -left / width, -top / height, (side - left) / width, (side - top) / height


def pads_to_square(image_processor: Any, /) -> bool:
    """Whether images are padded to a square first: the processor would crop their centre, or pads itself."""
    if getattr(image_processor, "image_grid_pinpoints", None) or not hasattr(image_processor, "do_center_crop"):
        return False
    # tiles that a batch fills up with black set `do_pad` too; only some processors can pad to a square
    squares = getattr(image_processor, "do_pad", False) and hasattr(image_processor, "pad_to_square")
    return bool(image_processor.do_center_crop or squares)


def llava(config: Any, image_processor: Any) -> ImageTokenLayout:
    """One grid in raster order; processors that crop the centre get a padded square, so that nothing is lost."""
    vision = config.vision_config
    if vision.model_type == "pixtral":
        raise ValueError(
            "LLaVA models with a Pixtral vision tower have no fixed grid; write a layout of their own and put it into "
            "pmtools.adapters.layouts.LAYOUTS['llava']"
        )
    side = vision.image_size // vision.patch_size
    # "full" keeps the class token in front, where the vision tower has one
    class_token = config.vision_feature_select_strategy == "full" and not vision.model_type.startswith("siglip")
    square = pads_to_square(image_processor)
    return ImageTokenLayout(
        config.image_token_id, _one_grid(side, start=int(class_token), square=square), square=square
    )


def paligemma(config: Any, image_processor: Any) -> ImageTokenLayout:
    """One grid, first in the prompt; the whole prompt sees itself both ways, so nothing of it can be kept."""
    side = config.vision_config.image_size // config.vision_config.patch_size
    return ImageTokenLayout(config.image_token_id, _one_grid(side), prefix_reuse=False, suffix_token_type=1)


def gemma3(config: Any, image_processor: Any) -> ImageTokenLayout:
    """One pooled grid; sliding-window layers forget the image, so only the others tell where the model looks."""
    if getattr(image_processor, "do_pan_and_scan", False):
        raise ValueError(
            "`do_pan_and_scan` must be off for Gemma 3 here; its extra crops have no known place in the image"
        )
    full = tuple(i for i, kind in enumerate(config.text_config.layer_types) if kind == "full_attention")
    grids = _one_grid(math.isqrt(config.mm_tokens_per_image))
    return ImageTokenLayout(config.image_token_id, grids, prefix_reuse=False, heat_layers=full)


def qwen_vl(config: Any, image_processor: Any) -> ImageTokenLayout:
    """Patches merged in squares; the grid follows the image's own shape."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    factor = image_processor.patch_size * image_processor.merge_size
    limits = image_processor.size["shortest_edge"], image_processor.size["longest_edge"]

    def grids(size_hw: SizeHW, images: int) -> tuple[int, list[TokenGrid]]:
        height, width = smart_resize(*size_hw, factor, *limits)
        shape = height // factor, width // factor
        return shape[0] * shape[1], [TokenGrid(0, shape)]

    return ImageTokenLayout(config.image_token_id, grids)
