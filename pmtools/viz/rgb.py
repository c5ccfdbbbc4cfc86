"""An image of any kind as 8-bit RGB, on which all figures are drawn.

This file knows image kinds, dtypes and alpha; nothing about what is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pmtools import _array, _checks, _images
from pmtools._eight_bits import eight_bits, is_deep, value_range
from pmtools.typing import Image, Ndarray

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


def as_rgb(image: Image, name: str = "image") -> PILImage:
    """One image of any kind as a new RGB PIL image, alpha laid on white."""
    from PIL import Image as PIL

    picture: PILImage
    if _array.is_pil(image) and not is_deep(image):
        picture = _images.straight(image).convert("RGBA" if image.has_transparency_data else "RGB")
    else:
        values = _array.to_numpy(_images.unpack(image, name=name, any_channels=True).values)  # (n, H, W, C)
        channels = values.shape[-1]
        if values.shape[0] != 1 or channels > 4:
            raise ValueError(
                f"`{name}` must be one image with at most 4 channels, got {_checks.describe(image)}; take one of a batch; "
                "NumPy images are (H, W, C), PyTorch's (C, H, W)"
            )
        pixels = values[0, :, :, 0] if channels == 1 else values[0]
        eight_bit = np.ascontiguousarray(_stretched(pixels, name))
        picture = PIL.fromarray(eight_bit).convert("RGBA" if channels in (2, 4) else "RGB")
    if picture.mode == "RGBA":
        picture = PIL.alpha_composite(PIL.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture


def _stretched(values: Ndarray, name: str) -> Ndarray:
    """Values as uint8: by their range, or from smallest to largest if it is unknown."""
    black, white = value_range(values, name) or (float(values.min()), float(values.max()))
    return eight_bits(values, black, white)
