"""What of a PIL image's metadata stays true when its pixels change: colour profile, resolution, texts, camera, place.

Knows PIL images and which format has a place for what; no files.
"""

from __future__ import annotations

import re
import struct
from typing import Any

_ORIENTATION = 0x0112
# What turns the stored picture upright (EXIF 2.32, 4.6.4 A): PIL's name of the transposition.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
# EXIF tags of the first directory that still hold after the pixels changed: description, make, model, software, date,
# artist, copyright. The rest is about how the old file stored its pixels.
_DESCRIPTION = 0x010E
DESCRIPTIVE_TAGS = (_DESCRIPTION, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
_EXIF_DIRECTORY, _GPS_DIRECTORY, _XMP_TAG = 0x8769, 0x8825, 0x02BC
_STALE_EXIF_TAGS = (0xA002, 0xA003, 0xA005)  # pixel width and height, interoperability directory
# What programs write in place of a description: how pages make up a stack. It is true of no other file.
_STACK = ("<?xml", "ImageJ=", '{"shape"', "<OME")
# XMP of a picture with a gain map beside it, which the new file has not.
_OF_COMPANIONS = (b"hdrgm:", b"Container:Directory")
_SIZES = rb"(?:tiff:ImageWidth|tiff:ImageLength|exif:PixelXDimension|exif:PixelYDimension)"

#: What is kept, and the formats that have a place for it.
PLACES = {
    "icc_profile": ("AVIF", "JPEG", "PNG", "TIFF", "WEBP"),
    "exif": ("AVIF", "JPEG", "PNG", "TIFF", "WEBP"),
    "xmp": ("AVIF", "JPEG", "PNG", "TIFF", "WEBP"),
    "dpi": ("BMP", "JPEG", "PNG", "TIFF"),
    "gamma": ("PNG",),
    "chromaticity": ("PNG",),
    "srgb": ("PNG",),
    "cicp": ("PNG",),
}
_WORDS = {"icc_profile": "the ICC profile", "exif": "EXIF", "xmp": "XMP", "dpi": "the resolution", "gamma": "gAMA"}
_SRGB_GAMMA = 0.45455
_LONGEST_IN_JPEG = 65_000  # a segment holds 65533 bytes, its own header included


def upright(image: Any) -> Any:
    """`image` turned upright where its EXIF asks for it, and without that EXIF; otherwise `image` itself."""
    from PIL import Image as PIL

    turn = _TURNS.get(_exif(image).get(_ORIENTATION, 1))
    if turn is None:
        return image
    turned = image.transpose(PIL.Transpose[turn])
    for key in ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"):  # all that may ask for a turn
        turned.info.pop(key, None)
    return turned


def lasting(image: Any, *, of_stack: bool = False) -> dict[str, Any]:
    """What of `image.info` outlives a change of pixels.

    Parameters
    ----------
    image : PIL image
    of_stack : bool, optional
        Whether it is one of several pages, whose common description is not its own.

    Returns
    -------
    dict
        `icc_profile`, `dpi`, `exif`, `xmp`, `lossless`, and how a PNG says what its numbers look like.
    """
    kept: dict[str, Any] = {}
    if isinstance(image.info.get("icc_profile"), bytes) and image.info["icc_profile"]:
        kept["icc_profile"] = image.info["icc_profile"]
    try:
        dpi = tuple(float(value) for value in image.info["dpi"])
        if len(dpi) == 2 and all(0 < value < 1e6 for value in dpi):
            kept["dpi"] = dpi
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        pass
    if exif := _descriptive_exif(image, of_stack):
        kept["exif"] = exif
    if xmp := _lasting_xmp(image.info.get("xmp")):
        kept["xmp"] = xmp
    if image.info.get("lossless") is True:
        kept["lossless"] = True
    for key, kind in (("gamma", float), ("srgb", int), ("cicp", bytes), ("chromaticity", tuple)):
        if isinstance(image.info.get(key), kind):
            kept[key] = image.info[key]
    return kept


def applicable(metadata: dict[str, Any], mode: str) -> dict[str, Any]:
    """`metadata` without a colour profile made for other channels than `mode` has."""
    space = metadata.get("icc_profile", b"")[16:20]  # ICC.1:2022, 7.2.6: data colour space
    wanted = {"CMYK": b"CMYK", "LAB": b"Lab ", "YCbCr": b"YCbr"}.get(mode, b"GRAY" if mode[:1] in "1LIF" else b"RGB ")
    return {key: value for key, value in metadata.items() if key != "icc_profile" or space == wanted}


def placed(metadata: dict[str, Any], kind: str) -> tuple[dict[str, Any], list[str]]:
    """What of `metadata` the format `kind` has a place for, and in words what is left out."""
    there = {key: value for key, value in metadata.items() if kind in PLACES.get(key, ())}
    if kind == "JPEG":
        there = {k: v for k, v in there.items() if k not in ("exif", "xmp") or len(v) <= _LONGEST_IN_JPEG}
    lost = [_WORDS[key] for key in metadata if key in _WORDS and key not in there]
    looks_srgb = "srgb" in metadata or "icc_profile" in there or abs(metadata.get("gamma", 0) - _SRGB_GAMMA) < 1e-3
    return there, [word for word in lost if word != _WORDS["gamma"] or not looks_srgb]


def png_chunks(metadata: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """Chunks (W3C PNG, third edition, 11.3.2) that say what numbers look like; a colour profile says it better."""
    chunks = []
    if "cicp" in metadata:
        chunks.append((b"cICP", metadata["cicp"]))
    if "icc_profile" in metadata:
        return chunks
    if "srgb" in metadata:
        chunks.append((b"sRGB", bytes([metadata["srgb"] & 3])))
    if "gamma" in metadata:
        chunks.append((b"gAMA", struct.pack(">I", round(metadata["gamma"] * 100_000))))
    if len(metadata.get("chromaticity", ())) == 8:
        chunks.append((b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in metadata["chromaticity"]))))
    return chunks


def without_description(exif: bytes) -> bytes:
    """EXIF without its description."""
    from PIL import Image as PIL

    kept = PIL.Exif()
    kept.load(exif)
    kept.pop(_DESCRIPTION, None)
    return bytes(kept.tobytes()) if len(kept) else b""


def has_directories(exif: bytes) -> bool:
    """Whether EXIF describes camera or place, which TIFFs that tifffile writes have no directories for."""
    from PIL import Image as PIL

    loaded = PIL.Exif()
    loaded.load(exif)
    return any(loaded.get_ifd(directory) for directory in (_EXIF_DIRECTORY, _GPS_DIRECTORY))


def with_xmp(exif: bytes, xmp: bytes) -> Any:
    """PIL's EXIF with XMP among its tags, which is where a TIFF has it."""
    from PIL import Image as PIL

    both = PIL.Exif()
    both.load(exif)
    both[_XMP_TAG] = xmp
    return both


def _lasting_xmp(xmp: object) -> bytes:
    """XMP without a turn and without the old size; nothing where it is about other pictures in the old file."""
    content = xmp.encode() if isinstance(xmp, str) else xmp
    if not isinstance(content, bytes) or any(mark in content for mark in _OF_COMPANIONS):
        return b""
    content = re.sub(rb"(tiff:Orientation(?:=\"|>))[2-8]", rb"\g<1>1", content)
    content = re.sub(rb"\s" + _SIZES + rb"=[\"'][^\"']*[\"']", b"", content)
    return re.sub(rb"<(" + _SIZES + rb")>[^<]*</\1>", b"", content)


def _descriptive_exif(image: Any, of_stack: bool) -> bytes:
    """EXIF of `image` without orientation, thumbnail and all that describes how the old file stored its pixels."""
    from PIL import Image as PIL

    source, kept = _exif(image), PIL.Exif()
    try:
        for tag in DESCRIPTIVE_TAGS:
            if tag in source and not (tag == _DESCRIPTION and (of_stack or str(source[tag]).startswith(_STACK))):
                kept[tag] = source[tag]
        for directory in (_EXIF_DIRECTORY, _GPS_DIRECTORY):
            entries = {tag: value for tag, value in source.get_ifd(directory).items() if tag not in _STALE_EXIF_TAGS}
            if entries:
                kept[directory] = entries
        return bytes(kept.tobytes()) if len(kept) else b""
    except Exception:  # damaged EXIF must not cost the picture
        return b""


def _exif(image: Any) -> Any:
    from PIL import Image as PIL

    try:
        return image.getexif()
    except Exception:  # damaged EXIF must not cost the picture
        return PIL.Exif()
