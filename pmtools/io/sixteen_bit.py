"""Colour with 16 bits a channel, which PIL has no mode for: read from PNG and TIFF, written to PNG and TIFF.

Knows the two formats' pixel layout and nothing else.
"""

from __future__ import annotations

import struct
import sys
import zlib
from typing import Any, BinaryIO

import numpy as np

from pmtools.typing import Ndarray

_NATIVE = "L" if sys.byteorder == "little" else "B"
_OTHER = {"B": "L", "L": "B"}


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
    if len(raw_modes) != 1:  # a plane per channel
        bits = getattr(image, "tag_v2", {}).get(0x0102, (8,))
        if max(bits, default=8) > 8:
            raise ValueError("it has 16-bit colour in separate planes; save it with interleaved channels")
        return ()
    layout, _, depth = raw_modes.pop().partition(";")
    if not depth.startswith("16"):
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


def joined(readings: list[Ndarray]) -> Ndarray:
    """uint16 (H, W, C) from the decoded `byte_readings`, as uint8 (H, W, C) each."""
    if len(readings) == 1:  # (H, W, 4): grey high, grey low, alpha high, alpha low
        high, low = readings[0][..., 0::2], readings[0][..., 1::2]
    else:
        high, low = readings
    return high.astype(np.uint16) << 8 | low


def write_png(stream: BinaryIO, pixels: Ndarray, *, compress_level: int) -> None:
    """PNG (W3C recommendation, third edition) of uint16 (H, W, C), C = 2, 3 or 4, every row filtered with "up"."""
    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").reshape(height, width * channels).view(np.uint8)  # (H, 2 W C) bytes
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.hstack([np.full((height, 1), 2, dtype=np.uint8), rows - above])  # modulo 256, as the format wants
    colour_type = {2: 4, 3: 2, 4: 6}[channels]
    stream.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    content = zlib.compress(filtered.tobytes(), compress_level)
    for kind, data in ((b"IHDR", header), (b"IDAT", content), (b"IEND", b"")):
        stream.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def write_tiff(stream: BinaryIO, pixels: Ndarray) -> None:
    """Baseline TIFF 6.0 of uint16 (H, W, C), C = 3 or 4, uncompressed in one strip."""
    height, width, channels = pixels.shape
    data = pixels.astype("<u2").tobytes()
    fields: list[tuple[int, str, tuple[int, ...]]] = [
        (256, "I", (width,)),
        (257, "I", (height,)),
        (258, "H", (16,) * channels),  # bits per sample
        (259, "H", (1,)),  # no compression
        (262, "H", (2,)),  # RGB
        (273, "I", (8,)),  # the strip follows the 8 bytes of the header
        (277, "H", (channels,)),
        (278, "I", (height,)),  # rows in the strip
        (279, "I", (len(data),)),
        (284, "H", (1,)),  # channels interleaved
    ]
    if channels == 4:
        fields.append((338, "H", (2,)))  # the extra channel is alpha, not premultiplied
    directory_at = 8 + len(data)
    extra_at = directory_at + 2 + 12 * len(fields) + 4
    entries, extra = b"", b""
    for tag, kind, values in fields:
        packed = struct.pack(f"<{len(values)}{kind}", *values)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", extra_at + len(extra)), extra + packed
        entries += struct.pack("<HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + packed.ljust(4, b"\0")
    stream.write(struct.pack("<2sHI", b"II", 42, directory_at) + data)
    stream.write(struct.pack("<H", len(fields)) + entries + struct.pack("<I", 0) + extra)


def _raw_mode(args: Any) -> str:
    return str(args if isinstance(args, str) else args[0])


def _with_raw_mode(args: Any, raw_mode: str) -> Any:
    return raw_mode if isinstance(args, str) else (raw_mode, *args[1:])
