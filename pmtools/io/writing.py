"""Image files out: the format of the suffix, nothing lost without a word, the metadata that still hold.

Knows PIL images, arrays and formats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools import _array, _checks
from pmtools.io import metadata, sixteen_bit
from pmtools.io.arrays import from_array
from pmtools.io.files import ImageFileError, PathLike, replacing, reporting
from pmtools.io.formats import fitting, format_of
from pmtools.typing import Image, Ndarray

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


def write_image(
    image: Image,
    path: PathLike,
    /,
    *,
    like: PILImage | None = None,
    quality: int = 95,
    compress_level: int = 6,
) -> None:
    """Write an image file, whole or not at all; folders above it are made.

    The format follows the suffix. PNG, TIFF (uncompressed), BMP, PPM and JPEG 2000 are lossless; JPEG is written at full colour
    resolution (4:4:4). ICC profile, resolution and EXIF of `like`, or else of `image`, are kept where the format has a
    place for them (16-bit colour is written without); a pending EXIF orientation is applied first. An existing file is
    replaced.

    Parameters
    ----------
    image : PIL image or array of shape (H, W) or (H, W, C)
        Any mode; as an array: bool, uint8, uint16, or int32 and floating-point grey levels. See `from_array`.
    path : path
        Its suffix is one of the `FORMATS`.
    like : PIL image, optional
        Where metadata come from, usually the image that was read.
    quality : int, optional
        1 to 100, for JPEG, WebP and AVIF.
    compress_level : int, optional
        0 (none) to 9 (smallest, slowest), for PNG, without loss. With 8-bit photographs, 4 takes a third of the time of 6 and
        makes files a few per cent larger.

    Raises
    ------
    ImageFileError
        If the suffix is unknown, the format cannot hold the image (alpha in a JPEG, 16 bits in a WebP), or the file
        cannot be written.
    TypeError, ValueError
        If `image` is not an image.

    Examples
    --------
    >>> from pmtools.io import read_image
    >>> write_image(np.full((4, 4), 1000, dtype=np.uint16), "depth/map.png")
    >>> read_image("depth/map.png").mode
    'I;16'
    """
    quality = _checks.whole_number(quality, "quality", minimum=1, maximum=100)
    compress_level = _checks.whole_number(compress_level, "compress_level", minimum=0, maximum=9)
    kind = format_of(path)
    if not _array.is_pil(image):
        pixels = _array.to_numpy(_array.asarray(image, "image"))
        if pixels.ndim == 3 and pixels.dtype == np.uint16 and pixels.shape[2] in (2, 3, 4):
            _write_sixteen_bit_colour(pixels, path, kind, compress_level)
            return
        image = from_array(pixels)
    lasting = metadata.lasting(image if like is None else like)
    image = fitting(metadata.upright(image), path, kind)
    options = _encoder_options(kind, quality, compress_level) | metadata.applicable(lasting, image.mode)
    with replacing(path) as stream, reporting(path, "could not be encoded"):
        image.save(stream, format=kind, **options)


def _encoder_options(kind: str, quality: int, compress_level: int) -> dict[str, Any]:
    if kind == "JPEG":  # 4:4:4: magnified colour edges are what one looks at
        return {"quality": quality, "subsampling": 0}
    if kind in ("WEBP", "AVIF"):
        return {"quality": quality}
    if kind == "PNG":
        return {"compress_level": compress_level}
    return {}  # TIFF stays uncompressed: Pillow writes no camera and GPS directories into a compressed one


def _write_sixteen_bit_colour(pixels: Ndarray, path: PathLike, kind: str, compress_level: int) -> None:
    channels = pixels.shape[2]
    if kind not in ("PNG", "TIFF") or (kind == "TIFF" and channels == 2):
        words = {2: "grey and alpha", 3: "RGB", 4: "RGBA"}[channels]
        raise ImageFileError(path, f"cannot be written: 16-bit {words} does not go into {kind} here; use .png")
    if pixels.size == 0:
        raise ValueError(f"`image` must not be empty, got shape {pixels.shape}")
    with replacing(path) as stream, reporting(path, "could not be encoded"):
        if kind == "PNG":
            sixteen_bit.write_png(stream, pixels, compress_level=compress_level)
        else:
            sixteen_bit.write_tiff(stream, pixels)
