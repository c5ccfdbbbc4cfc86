"""Colour with more than 8 bits a channel, which PIL has no mode for: out of PIL's own decoders of PNG, TIFF and PPM, and
where its decoders of JPEG 2000 and AVIF keep 8 of them.

Knows PIL's raw modes, and where those two formats say their bits.
"""

from __future__ import annotations

import re
import sys
from typing import Any, BinaryIO

import numpy as np

from pmtools.typing import Ndarray

_NATIVE = "L" if sys.byteorder == "little" else "B"
_OTHER = {"B": "L", "L": "B"}
#: JPEG 2000's marker SIZ up to the number of channels (ISO/IEC 15444-1, A.5.1).
_SIZ = re.compile(rb"\xff\x4f\xff\x51.{36}(..)", re.DOTALL)
#: AV1's configuration up to the byte whose second bit says that there are 10 or 12 bits (AV1 in ISO files, 2.3.3).
_AV1C = re.compile(rb"av1C\x81.(.)", re.DOTALL)
_HIGH_BITDEPTH = 0x40


def byte_readings(image: Any) -> tuple[str, ...]:
    """How to decode a lazily opened PIL image for both bytes of its 16-bit colour; empty where 8 bits are all it has.

    Pillow decodes such files with a raw mode like "RGB;16B" (big-endian) that keeps the high byte of every value. The
    same bytes read with the other byte order give the low ones.

    Raises
    ------
    ValueError
        If the file has 16-bit colour in a layout that cannot be read this way.
    """
    if image.mode not in ("LA", "RGB", "RGBA", "RGBX", "RGBa"):
        return ()
    raw_modes = {_raw_mode(tile.args) for tile in image.tile}
    if len(raw_modes) != 1:  # a plane per channel, of 8 bits
        return ()
    layout, _, depth = raw_modes.pop().partition(";")
    if not depth.startswith("16") or layout == "BGR":  # of BMP: 16 bits a pixel
        return ()
    if layout == "LA":  # 4 bytes a pixel, as RGBA has: one reading gives all of them
        return ("RGBA",)
    order = depth[2:].replace("N", _NATIVE)
    if layout not in ("RGB", "RGBA") or order not in _OTHER:
        raise ValueError(f"it has 16-bit colour of a kind that cannot be kept ({layout}); save it as RGB or RGBA")
    return f"{layout};16{order}", f"{layout};16{_OTHER[order]}"


def reread(image: Any, raw_mode: str) -> None:
    """Make a lazily opened PIL image decode with `raw_mode` in place of its own."""
    image.tile = [tile._replace(args=_with_raw_mode(tile.args, raw_mode)) for tile in image.tile]


def as_wide_grey(image: Any) -> bool:
    """Make a lazily opened PPM in more than 8 bits decode as grey of three times its width, of which PIL keeps all bits.

    Returns
    -------
    bool
        Whether it is such a file; if not, it is left as it was.
    """
    tile = image.tile[0] if image.format == "PPM" and image.mode == "RGB" and image.tile else None
    if tile is None or isinstance(tile.args, str) or tile.args[-1] < 256:
        return False
    image._mode, image._size = "I", (3 * image.width, image.height)
    name, args = ("raw", "I;16B") if tile[0] == "ppm" and tile.args[-1] == 65535 else (tile[0], tile.args)
    image.tile = [type(tile)(name, (0, 0, *image.size), tile.offset, args)]
    return True


def loses_bits(image: Any, stream: BinaryIO) -> bool:
    """Whether PIL keeps 8 bits of more that a JPEG 2000 or AVIF has in a channel."""
    pattern = {"JPEG2000": _SIZ, "AVIF": _AV1C}.get(image.format)
    if pattern is None or image.mode == "I;16":
        return False
    stream.seek(0)
    content = stream.read()
    found = pattern.search(content)
    if found is None:
        return False
    if pattern is _AV1C:
        return bool(found[1][0] & _HIGH_BITDEPTH)
    end = found.end() + 3 * int.from_bytes(found[1], "big")
    return any(depth & 0x7F > 7 for depth in content[found.end() : end : 3])  # less 1; the first bit is of the sign


def joined(readings: list[Ndarray]) -> Ndarray:
    """uint16 (H, W, C) from the decoded `byte_readings`, as uint8 (H, W, C) each."""
    if len(readings) == 1:  # (H, W, 4): grey high, grey low, alpha high, alpha low
        high, low = readings[0][..., 0::2], readings[0][..., 1::2]
    else:
        high, low = readings
    return high.astype(np.uint16) << 8 | low


def _raw_mode(args: Any) -> str:
    return str(args if isinstance(args, str) else args[0])


def _with_raw_mode(args: Any, raw_mode: str) -> Any:
    return raw_mode if isinstance(args, str) else (raw_mode, *args[1:])
