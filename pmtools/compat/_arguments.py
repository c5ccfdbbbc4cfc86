"""What the official functions take and give: heatmaps, 8-bit maps, 8-bit RGB images."""

from __future__ import annotations

import numpy as np

from pmtools import _array, _checks
from pmtools._eight_bits import is_deep
from pmtools.typing import Heatmap, Image, Ndarray


def heatmap_2d(heatmap: Heatmap) -> Ndarray:
    values = _array.to_numpy(_checks.weights(heatmap, "heatmap"))
    if values.ndim != 2:
        raise ValueError(f"`heatmap` must be 2-D (h, w), got shape {values.shape}; the official code knows no batches")
    return values


def map_u8(perception_map_u8: Heatmap) -> Ndarray:
    values = _array.to_numpy(_array.asarray(perception_map_u8, "perception_map_u8"))
    if values.dtype != np.uint8:
        raise TypeError(
            f"`perception_map_u8` must be uint8, got {_checks.describe(values)}; `official_perception_map` makes one"
        )
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"`perception_map_u8` must be 2-D (H, W) and not empty, got shape {values.shape}")
    return values


def image_and_map(image: Image, perception_map_u8: Heatmap) -> tuple[Ndarray, Ndarray]:
    """The image as uint8 (H, W, 3) and the map as uint8 (H, W), of one size."""
    image = image.convert("RGB") if _array.is_pil(image) and not is_deep(image) else image
    pixels = _array.to_numpy(_array.asarray(image, "image"))
    if pixels.dtype != np.uint8:
        raise TypeError(
            f"`image` must be a PIL image or uint8, got {_checks.describe(pixels)}; the official code is 8-bit only"
        )
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ValueError(
            f"`image` must have shape (H, W, 3), got {pixels.shape}; stack a grey image three times along the last axis"
        )
    weights = map_u8(perception_map_u8)
    if weights.shape != pixels.shape[:2]:
        raise ValueError(
            f"`perception_map_u8` must have the size of the image, {pixels.shape[:2]}, got {weights.shape}; "
            "pass `size_hw=` to `official_perception_map`"
        )
    return pixels, weights


def like(pixels: Ndarray, image: Image) -> Image:
    """`pixels` as a PIL image where `image` is one."""
    if not _array.is_pil(image):
        return pixels
    from PIL import Image as PILImage

    return PILImage.fromarray(pixels)
