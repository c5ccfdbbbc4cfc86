"""Image files in: found by their content, checked before they are decoded, turned upright.

Knows files and PIL images, and the two readings that 16-bit colour takes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pmtools import _checks
from pmtools.io import metadata, sixteen_bit
from pmtools.io.arrays import from_array
from pmtools.io.files import ImageFileError, PathLike, open_file, reporting
from pmtools.io.formats import FORMATS
from pmtools.typing import Image

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: Most pixels a file may claim before it is decoded; Pillow's own threshold for an error.
MAX_PIXELS = 178_956_970


def read_image(path: PathLike, /, *, max_pixels: int | None = MAX_PIXELS) -> Image:
    """Image of a file, upright, with what came with it.

    The format is found from the content, not from the suffix. Of animated and multi-page files the first frame is read. The
    EXIF orientation is applied and removed. `image.info` keeps `icc_profile`, `dpi` and `exif` (descriptive tags, camera
    and GPS data). A transparent colour key (PNG, mode L or RGB) becomes a real alpha channel.

    Parameters
    ----------
    path : path
        File in one of the `FORMATS`.
    max_pixels : int or None, optional
        Largest width times height to decode; None for no limit.

    Returns
    -------
    PIL image, or uint16 array of shape (H, W, C)
        Modes 1, L, LA, P, RGB, RGBA, CMYK, I;16, I and F stay what they are. PIL has no mode for 16-bit *colour* (PNG and
        TIFF): that comes as a NumPy array with C = 2, 3 or 4, which all of the toolkit takes too, `write_image` included.

    Raises
    ------
    ImageFileError
        If the file is missing, empty, no image, truncated, damaged or larger than `max_pixels`.

    Examples
    --------
    >>> from pmtools.io import write_image
    >>> write_image(np.zeros((2, 3, 3), dtype=np.uint8), "black.png")
    >>> read_image("black.png").size
    (3, 2)
    """
    if max_pixels is not None:
        max_pixels = _checks.whole_number(max_pixels, "max_pixels")
    with open_file(path) as stream:
        image = _header(stream, path, max_pixels)
        with reporting(path, "cannot be read without loss"):
            readings = sixteen_bit.byte_readings(image)
        if not readings:
            return _upright(_decoded(image, path))
        halves = []
        for raw_mode in readings:
            image = _header(stream, path, max_pixels)
            sixteen_bit.reread(image, raw_mode)
            halves.append(np.asarray(metadata.upright(_decoded(image, path))))
        return sixteen_bit.joined(halves)


def _header(stream: BinaryIO, path: PathLike, max_pixels: int | None) -> Any:
    """Pillow's lazy image of the file: header read, size checked, nothing decoded.

    `PIL.Image.open` keeps its size limit in a global, which no thread may change for another. Asking the formats one by
    one does the same without it, and leaves out formats that run programs (EPS) or hold no photographs.
    """
    from PIL import Image as PIL

    PIL.init()
    stream.seek(0)
    prefix = stream.read(16)
    reason = "it does not start like " + ", ".join(sorted(set(FORMATS.values())))
    for kind in sorted(set(FORMATS.values()) & PIL.OPEN.keys()):  # AVIF, JPEG 2000 and WebP are optional in Pillow
        factory, accepts = PIL.OPEN[kind]
        if accepts is None or accepts(prefix) is not True:
            continue
        try:
            stream.seek(0)
            image = factory(stream, os.fspath(path))
        except Exception as error:  # plugins raise anything on bad bytes
            reason = f"it starts like {kind}, but its header is damaged or cut off ({error or type(error).__name__})"
            continue
        _check_size(image.size, path, max_pixels)
        return image
    raise ImageFileError(path, f"is no image that can be read: {reason}")


def _check_size(size: tuple[int, int], path: PathLike, max_pixels: int | None) -> None:
    width, height = size
    if max_pixels is not None and width * height > max_pixels:
        raise ImageFileError(
            path,
            f"claims {width} x {height} pixels, {width * height} in all and more than `max_pixels` = {max_pixels}; "
            "if you trust it, pass a larger `max_pixels=`, or None",
        )


def _decoded(image: Any, path: PathLike) -> Any:
    with reporting(path, "is damaged or truncated"):
        image.load()
    return image


def _upright(image: Any) -> PILImage:
    """A plain image, free of its file: orientation applied, alpha made real, only metadata that still hold."""
    lasting = metadata.lasting(image)
    upright: PILImage = metadata.upright(image).copy()
    if upright.mode in ("L", "RGB") and "transparency" in upright.info:
        upright = upright.convert(upright.mode + "A")  # a colour key would match nothing after resampling
    elif upright.mode == "I;16B" or (upright.mode == "I" and image.format == "PPM"):  # 16-bit grey under other names
        upright = from_array(np.asarray(upright).astype(np.uint16))
    transparency = upright.info.get("transparency")  # of a palette
    upright.info.clear()
    upright.info.update(lasting if transparency is None else lasting | {"transparency": transparency})
    return upright
