"""An image of any kind as 8-bit RGB: what all figures are drawn on.

Knows image kinds, dtypes and alpha; nothing of what is drawn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pmtools import _array, _checks, _images
from pmtools.typing import Image, Ndarray

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


def as_rgb(image: Image, name: str = "image") -> PILImage:
    """One image of any kind as a new RGB PIL image, alpha laid on white."""
    from PIL import Image as PIL

    picture: PILImage
    if _array.is_pil(image) and image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        picture = image.convert("RGBA" if image.has_transparency_data else "RGB")
    else:
        values = _array.to_numpy(_images.unpack(image, name=name).values)  # (n, H, W, C)
        channels = values.shape[-1]
        if values.shape[0] != 1 or channels > 4:
            raise ValueError(
                f"`{name}` must be one image with at most 4 channels, got {_checks.describe(image)}; take one of a batch; "
                "NumPy images are (H, W, C), PyTorch's (C, H, W)"
            )
        picture = PIL.fromarray(_eight_bits(values[0], name)).convert("RGBA" if channels in (2, 4) else "RGB")
    if picture.mode == "RGBA":
        picture = PIL.alpha_composite(PIL.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture


def _eight_bits(values: Ndarray, name: str) -> Ndarray:
    """(H, W, C) of any real dtype as contiguous uint8 (H, W) or (H, W, C)."""
    if values.shape[2] == 1:
        values = values[..., 0]
    if values.dtype == np.bool_:
        scaled: Ndarray = values * np.uint8(255)
    elif values.dtype == np.uint8:
        scaled = values
    elif values.dtype == np.uint16:
        scaled = np.rint(values / 257.0)
    else:
        scaled = values.astype(np.float64)
        low, high = float(scaled.min()), float(scaled.max())
        if not math.isfinite(low) or not math.isfinite(high):
            raise ValueError(f"`{name}` must be finite, got NaN or infinity somewhere; replace those pixels, by 0 say")
        if values.dtype.kind == "f" and low >= 0 and high <= 1:
            scaled = scaled * 255
        elif low < 0 or high > 255:
            scaled = (scaled - low) * (255 / (high - low))
    return np.ascontiguousarray(np.rint(scaled).astype(np.uint8))
