"""PIL images as NumPy arrays and back: which mode is which shape and dtype.

Knows no files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools import _array, _checks, _images
from pmtools.typing import Ndarray

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


def to_array(image: PILImage, /) -> Ndarray:
    """Pixels of a PIL image as a NumPy array, palette colours looked up.

    Parameters
    ----------
    image : PIL image
        Any mode.

    Returns
    -------
    array of shape (H, W) or (H, W, C)
        Mode 1 gives bool, I;16 uint16, I int32, F float32, all else uint8. P gives RGB, or RGBA where it has transparency.

    Raises
    ------
    TypeError
        If `image` is not a PIL image.

    Examples
    --------
    >>> from PIL import Image
    >>> to_array(Image.new("LA", (3, 2))).shape
    (2, 3, 2)
    """
    if not _array.is_pil(image):
        raise TypeError(f"`image` must be a PIL image, got {_checks.describe(image)}")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return _images.native(np.array(image))


def from_array(array: Any, /, *, mode: str | None = None) -> PILImage:
    """PIL image of an array.

    Parameters
    ----------
    array : array of shape (H, W) or (H, W, C)
        bool and (H, W) gives mode 1; uint8 gives L, LA, RGB or RGBA by C = 1, 2, 3, 4; uint16 and (H, W) gives I;16;
        other integers and (H, W) give I where they fit into 32 bits; floats and (H, W) give F, unscaled.
    mode : str, optional
        Another 8-bit PIL mode with C bands, such as "CMYK" or "HSV"; the values are not converted.

    Returns
    -------
    PIL image

    Raises
    ------
    TypeError, ValueError
        If PIL has no mode for the shape and dtype: floating-point colour, 16-bit colour, batches.

    Examples
    --------
    >>> from_array(np.zeros((2, 3, 3), dtype=np.uint8)).mode
    'RGB'
    >>> from_array(np.zeros((2, 3)) + 0.5).mode
    'F'
    """
    from PIL import Image as PIL

    pixels = _images.native(_array.to_numpy(_array.asarray(array, "array")))
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.size == 0 or pixels.ndim not in (2, 3):
        raise ValueError(f"`array` must have shape (H, W) or (H, W, C) and not be empty, got shape {pixels.shape}")
    if pixels.ndim == 3:
        _check_colour(pixels)
    else:
        pixels = _grey_pixels(pixels)
    image = PIL.fromarray(np.ascontiguousarray(pixels))
    if mode is None or mode == image.mode:
        return image
    try:
        bands = PIL.getmodebands(mode)
    except (KeyError, TypeError):
        bands = 0
    if bands != len(image.getbands()) or pixels.dtype != np.uint8:
        raise ValueError(
            f"`mode` must be an 8-bit PIL mode with as many bands as `array` has, got {mode!r} for "
            f"{_checks.describe(pixels)}; leave it out to get {image.mode}"
        )
    return PIL.merge(mode, image.split())


def _check_colour(pixels: Ndarray) -> None:
    if pixels.dtype == np.uint8 and pixels.shape[2] in (2, 3, 4):
        return
    if pixels.dtype == np.uint16:
        raise TypeError("`array` has 16-bit colour, which PIL has no mode for; keep the array, or scale it to uint8")
    if pixels.shape[2] in (2, 3, 4):
        raise TypeError(
            f"`array` must be uint8 for colour, got dtype {pixels.dtype}; for values in [0, 1] pass "
            "`(array * 255).round().astype('uint8')`"
        )
    raise ValueError(
        f"`array` must have shape (H, W) or (H, W, C) with C = 1, 2, 3 or 4, got {pixels.shape}; "
        "PyTorch's (C, H, W) needs `.permute(1, 2, 0)`"
    )


def _grey_pixels(pixels: Ndarray) -> Ndarray:
    """2-D `pixels` in a dtype that PIL has a grey mode for."""
    if pixels.dtype in (np.bool_, np.uint8):
        return pixels
    if pixels.dtype == np.uint16:
        return pixels.astype("<u2")  # I;16 is little-endian
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)
    if pixels.dtype.kind not in "iu":
        raise TypeError(f"`array` must hold real numbers or booleans, got dtype {pixels.dtype}")
    if pixels.min() < -(2**31) or pixels.max() >= 2**31:
        raise ValueError("`array` must fit into 32 bits (mode I), got values beyond; scale it, or make it float")
    return pixels.astype(np.int32)
