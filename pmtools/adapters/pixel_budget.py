"""At most so many pixels of each image for the model: options of its processor, for every call.

Convention: pixels are those of the processor's output, after its resizing, all tiles and the overview counted.
"""

from __future__ import annotations

import math
from typing import Any

from pmtools import _checks

__all__ = ["pixel_budget"]


def pixel_budget(processor: Any, max_pixels: int, /) -> dict[str, Any]:
    """Options with which a processor gives the model at most that many pixels of each image.

    It takes the place of the processor's own limit, whether that is lower or higher. Families that resize to any size (Qwen2-VL,
    2.5, 3) get it as their largest size; those that count a still image as two frames (GLM) fill half of it. Families that
    bound the longer side (Pixtral, Mistral 3) get the side of a square. Families that cut images into tiles (InternVL, Idefics3,
    SmolVLM) get the number of tiles that fit, one of them the overview. Only a square image may fill the last two kinds.

    Parameters
    ----------
    processor : transformers processor
        With an `image_processor`.
    max_pixels : int
        Height times width.

    Returns
    -------
    dict
        For `SourceProcessor.made_with`.

    Raises
    ------
    TypeError, ValueError
        If it is not a positive integer, or too few for this processor; or the processor makes one size of every image, or
        one that its model has to know.

    Examples
    --------
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> processor = tiny_processor(tiny_model("qwen2_5_vl"))
    >>> pixel_budget(processor, 10_000)
    {'size': {'shortest_edge': 2500, 'longest_edge': 10000}}
    """
    max_pixels = _checks.whole_number(max_pixels, "max_pixels")
    image_processor = processor.image_processor
    name, size = type(image_processor).__name__, dict(getattr(image_processor, "size", None) or {})
    if hasattr(image_processor, "merge_size") and size.get("longest_edge"):
        _check_least(max_pixels, (image_processor.patch_size * image_processor.merge_size) ** 2, name)
        # far enough below the largest size for what grows by rounding to stay within it
        return {"size": {"shortest_edge": min(size["shortest_edge"], max_pixels // 4), "longest_edge": max_pixels}}
    if hasattr(image_processor, "max_patches") and {"height", "width"} <= set(size):
        tiles = max_pixels // (size["height"] * size["width"])
        _check_least(max_pixels, size["height"] * size["width"], name)
        return {"min_patches": 1, "max_patches": max(1, tiles - 1)}  # more than one tile come with an overview
    tile = dict(getattr(image_processor, "max_image_size", None) or {}).get("longest_edge")
    if tile and size.get("longest_edge"):
        _check_least(max_pixels, tile**2, name)
        across = math.isqrt(max(1, max_pixels // tile**2 - 1))  # more than one tile come with an overview
        return {"size": {"longest_edge": across * tile}}
    if size.get("longest_edge") and hasattr(processor, "spatial_merge_size"):
        token = processor.patch_size * processor.spatial_merge_size  # sides grow to whole tokens
        _check_least(max_pixels, token**2, name)
        return {"size": {"longest_edge": math.isqrt(max_pixels) // token * token}}
    raise ValueError(f"`max_pixels` must be left out for this model: {_reason(image_processor, name, size)}")


def _check_least(max_pixels: int, least: int, name: str) -> None:
    if max_pixels < least:
        raise ValueError(f"`max_pixels` must be at least {least} for {name}, one token or tile, got {max_pixels}")


def _reason(image_processor: Any, name: str, size: dict[str, Any]) -> str:
    """Why there is nothing to choose."""
    if getattr(image_processor, "image_grid_pinpoints", None):
        return f"{name} cuts images by a list of sizes that the model's configuration must share; use a checkpoint with another"
    shown = dict(getattr(image_processor, "crop_size", None) or {}) or size
    if {"height", "width"} <= set(shown):
        return f"{name} makes {shown['height']} x {shown['width']} pixels of every image, whatever its size"
    return f"how {name} bounds its images is not known here; set its own options on the processor"
