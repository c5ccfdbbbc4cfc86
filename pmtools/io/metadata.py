"""What of a PIL image's metadata stays true when its pixels change: colour profile, resolution, descriptive EXIF.

Knows PIL images; no files.
"""

from __future__ import annotations

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
_DESCRIPTIVE_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
_EXIF_DIRECTORY, _GPS_DIRECTORY = 0x8769, 0x8825
_STALE_EXIF_TAGS = (0xA002, 0xA003, 0xA005)  # pixel width and height, interoperability directory


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


def lasting(image: Any) -> dict[str, Any]:
    """What of `image.info` outlives a change of pixels: colour profile, resolution, descriptive EXIF."""
    kept: dict[str, Any] = {}
    if isinstance(image.info.get("icc_profile"), bytes) and image.info["icc_profile"]:
        kept["icc_profile"] = image.info["icc_profile"]
    try:
        dpi = tuple(float(value) for value in image.info["dpi"])
        if len(dpi) == 2 and all(0 < value < 1e6 for value in dpi):
            kept["dpi"] = dpi
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        pass
    exif = _descriptive_exif(image)
    return kept | ({"exif": exif} if exif else {})


def applicable(metadata: dict[str, Any], mode: str) -> dict[str, Any]:
    """`metadata` without a colour profile made for other channels than `mode` has."""
    space = metadata.get("icc_profile", b"")[16:20]  # ICC.1:2022, 7.2.6: data colour space
    wanted = {"CMYK": b"CMYK", "LAB": b"Lab ", "YCbCr": b"YCbr"}.get(mode, b"GRAY" if mode[:1] in "1LIF" else b"RGB ")
    return {key: value for key, value in metadata.items() if key != "icc_profile" or space == wanted}


def _descriptive_exif(image: Any) -> bytes:
    """EXIF of `image` without orientation, thumbnail and all that describes how the old file stored its pixels."""
    from PIL import Image as PIL

    source, kept = _exif(image), PIL.Exif()
    try:
        for tag in _DESCRIPTIVE_TAGS:
            if tag in source:
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
