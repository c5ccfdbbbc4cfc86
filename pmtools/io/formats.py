"""Image formats: which suffix names them, what they hold, and the mode that an image takes in them.

Knows suffixes and PIL's modes; opens no file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pmtools.io.files import ImageFileError, PathLike, checked_path

#: Image suffixes and Pillow's name of their format. Written by suffix, read by content.
FORMATS = {
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jp2": "JPEG2000",
    ".jfif": "JPEG",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
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
    "JPEG2000": {"L", "LA", "RGB", "RGBA", "I;16"},
    "PNG": {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"},
    "PPM": {"1", "L", "RGB", "I;16"},
    "TIFF": {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"},
    "WEBP": {"RGB", "RGBA"},
}

# Modes that hold the same picture, for formats that lack the first one.
_SAME_PICTURE = {
    "1": ("L", "RGB"),
    "L": ("RGB",),
    "LA": ("RGBA",),
    "La": ("LA", "RGBA"),
    "PA": ("RGBA",),
    "RGBa": ("RGBA",),
    "RGBX": ("RGB",),
    "CMYK": ("RGB",),
    "YCbCr": ("RGB",),
    "HSV": ("RGB",),
}


def format_of(path: PathLike) -> str:
    """Pillow's name of the format that the suffix asks for, which it can write."""
    from PIL import Image as PIL

    suffix = Path(checked_path(path)).suffix.lower()
    if suffix not in FORMATS:
        raise ImageFileError(path, f"needs an image suffix, one of {', '.join(FORMATS)}; got {suffix or 'none'!r}")
    PIL.init()
    if FORMATS[suffix] not in PIL.SAVE:
        raise ImageFileError(path, f"cannot be written: this Pillow was built without {FORMATS[suffix]}; use .png")
    return FORMATS[suffix]


def fitting(image: Any, path: PathLike, kind: str) -> Any:
    """`image` in a mode that `kind` stores, with the same picture; an error where bits or alpha would be lost."""
    if image.mode == "P":
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
