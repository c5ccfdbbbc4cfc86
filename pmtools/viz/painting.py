"""Boxes painted by the share of each pixel that they cover, so that lines are exact between pixels too.

This file knows 8-bit pictures and pixel-edge coordinates, not the meaning of the boxes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pmtools.typing import Ndarray

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


def paint(picture: PILImage, bars: Ndarray, ink: tuple[int, ...], opacity: float = 1.0) -> None:
    """Fill boxes (n, 4) of `picture` with a colour, each pixel by the greatest share of it that a box covers."""
    from PIL import Image as PIL

    low, high = np.clip(bars[:, :2].min(axis=0), 0, picture.size), np.clip(bars[:, 2:].max(axis=0), 0, picture.size)
    left, top = (math.floor(side) for side in low)
    width, height = math.ceil(high[0]) - left, math.ceil(high[1]) - top
    if width <= 0 or height <= 0:
        return
    coverage = np.zeros((height, width), dtype=np.float32)
    for x0, y0, x1, y1 in bars - np.array([left, top, left, top]):
        rows, down = _covered(y0, y1, height)
        columns, across = _covered(x0, x1, width)
        part = coverage[rows, columns]
        np.maximum(part, np.outer(down, across), out=part)
    mask = np.rint(np.float32(255 * opacity) * coverage).astype(np.uint8)
    picture.paste(ink, (left, top), PIL.fromarray(mask))


def _covered(low: float, high: float, size: int) -> tuple[slice, Ndarray]:
    """Pixels of [0, size] that [low, high] touches, and the share of each that it covers."""
    first, last = max(0, math.floor(min(low, size))), min(size, math.ceil(max(high, 0.0)))
    pixels = np.arange(first, max(first, last))
    return slice(first, max(first, last)), np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, 1)
