"""Image formats: which suffix names them, what they hold, and the mode that an image takes in them.

Knows suffixes and PIL's modes; opens no file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pmtools import _checks, _images
from pmtools.io.arrays import from_array, to_array
from pmtools.io.files import ImageFileError, Target, name_of

#: Image suffixes and Pillow's name of their format. Written by suffix, read by content.
FORMATS = {
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jp2": "JPEG2000",
    ".jfif": "JPEG",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".mpo": "JPEG",
    ".pbm": "PPM",
    ".pgm": "PPM",
    ".png": "PNG",
    ".pnm": "PPM",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}

# What each format stores without loss of bits or channels (JPEG's own loss aside). Pillow itself would drop alpha from a
# BMP and half the bits from a 16-bit WebP without a word. GIF picks its own 256 colours: that is its nature.
_HOLDS = {
    "AVIF": {"L", "RGB", "RGBA"},
    "BMP": {"1", "L", "P", "RGB"},
    "GIF": {"1", "L", "P", "RGB", "RGBA"},
    "JPEG": {"L", "RGB", "CMYK"},
    "MPO": {"L", "RGB"},  # Pillow puts the index of views in CMYK where no reader finds it
    "JPEG2000": {"L", "LA", "RGB", "RGBA", "I;16"},
    "PNG": {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"},
    "PPM": {"1", "L", "RGB", "I;16"},
    "TIFF": {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"},
    "WEBP": {"RGB", "RGBA"},
}

_HOLD_TRANSPARENT_PALETTES = {"GIF", "PNG"}  # the palettes of BMP and TIFF are opaque

# Modes that hold the same picture, for formats that lack the first one.
_SAME_PICTURE = {
    "1": ("L", "RGB"),
    "L": ("RGB",),
    "LA": ("RGBA",),
    "PA": ("RGBA",),
    "RGBX": ("RGB",),
    "CMYK": ("RGB",),
    "YCbCr": ("RGB",),
    "HSV": ("RGB",),
}


#: Formats of several images. In a JPEG they make the kind that cameras call MPO.
HOLD_FRAMES = ("AVIF", "GIF", "JPEG", "PNG", "TIFF", "WEBP")


#: How other files start, and what they are: a start, or a place and what stands there.
_OTHER_STARTS = (
    (4, b"ftyphei", "HEIC, as phones write it; save it as PNG or JPEG"),
    (4, b"ftyphev", "HEIC, as phones write it; save it as PNG or JPEG"),
    (4, b"ftypmif1", "HEIF of a kind that is not read, or damaged; save it as PNG or JPEG"),
    (4, b"ftypcrx", "a camera's raw file; develop it to TIFF or PNG"),
    (4, b"ftyp", "a video; save a frame of it as PNG"),
    (0, b"\xff\xd8\xff\xf7", "JPEG-LS; save it as PNG"),
    (6, b"SPIFF\0", "JPEG-LS; save it as PNG"),
    (0, b"\xff\n", "JPEG XL; save it as PNG"),
    (4, b"JXL ", "JPEG XL; save it as PNG"),
    (128, b"DICM", "DICOM; save what is to be seen of it as PNG or TIFF"),
    (0, b"v/1\x01", "OpenEXR; save it as TIFF in floats"),
    (0, b"#?R", "Radiance HDR; save it as TIFF in floats"),
    (0, b"PF", "PFM in colour; save it as TIFF in floats"),
    (0, b"P7", "PAM; save it as PNG"),
    (0, b"8BPS", "Photoshop's; save it as PNG or TIFF"),
    (0, b"\x00\x00\x01\x00", "ICO; save it as PNG"),
    (0, b"%PDF", "PDF; save its page as PNG"),
    (0, b"%!PS", "PostScript, a program; save its picture as PNG"),
    (0, b"<svg", "SVG; save it as PNG"),
    (0, b"<?xml", "XML, SVG perhaps; save the picture as PNG"),
    (0, b"<!DOCTYPE", "a web page; the download may have failed"),
    (0, b"<html", "a web page; the download may have failed"),
    (0, b"version https://git-lfs", "a pointer of Git LFS; `git lfs pull` brings the picture"),
    (0, b"\x93NUMPY", "an array of NumPy; `numpy.load` reads it"),
)


def other_kind(start: bytes) -> str | None:
    """What a file is that starts like this and is no image of the `FORMATS`, with the way out; None where nobody knows."""
    return next((words for at, known, words in _OTHER_STARTS if start.startswith(known, at)), None)


def format_of(path: Target, format: str | None = None) -> str:
    """Pillow's name of the format that the suffix or `format` asks for, which it can write."""
    from PIL import Image as PIL

    name = name_of(path)
    if format is None:
        suffix = Path(name).suffix.lower()
        if suffix not in FORMATS:
            stream = "" if isinstance(path, (str, os.PathLike)) else ", or a `format`"
            problem = f"needs an image suffix, one of {', '.join(FORMATS)}{stream}; got {suffix or 'none'!r}"
            raise ImageFileError(name, problem)
        kind = FORMATS[suffix]
    else:
        known = {suffix[1:]: kind for suffix, kind in FORMATS.items()}
        kind = known[_checks.choice(format.lower() if isinstance(format, str) else format, "format", known)]
    PIL.init()
    if kind not in PIL.SAVE:
        raise ImageFileError(name, f"cannot be written: this Pillow was built without {kind}; use .png")
    return kind


def fitting(image: Any, path: str, kind: str) -> Any:
    """`image` in a mode that `kind` stores, with the same picture; an error where bits or alpha would be lost."""
    image = _images.straight(_images.with_alpha(image))
    if image.mode in ("I;16B", "I;16L", "I;16N"):  # of a byte order by name
        image = from_array(to_array(image))
    if image.mode == "P":
        if image.has_transparency_data and kind not in _HOLD_TRANSPARENT_PALETTES:
            image = image.convert("RGBA")
        same: tuple[str, ...] = ("RGBA",) if image.has_transparency_data else ("RGB",)
    else:
        same = _SAME_PICTURE.get(image.mode, ())
    if image.mode in ("LA", "RGBA") and image.getchannel("A").getextrema() == (255, 255):  # opaque: nothing to lose
        same = (*same, "L", "RGB") if image.mode == "LA" else ("RGB",)
    for mode in (image.mode, *same):
        if mode in _HOLDS[kind]:
            return image if mode == image.mode else image.convert(mode)
    suffixes = [suffix for suffix, other in FORMATS.items() if _HOLDS[other] & {image.mode, *same}]
    raise ImageFileError(
        path,
        f"cannot be written: {kind} holds no image of mode {image.mode} without losing bits or alpha; "
        f"use {', '.join(suffixes) or '.png'}, or convert the image first",
    )
