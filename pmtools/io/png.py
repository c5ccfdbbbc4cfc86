"""PNG chunks that Pillow leaves out, and colour of 16 bits a channel, which it cannot write.

Knows the format (W3C recommendation, third edition) and nothing else.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from pmtools.typing import Ndarray

START = b"\x89PNG\r\n\x1a\n"
_LONGEST = 1 << 16  # of the chunks that are looked into


@dataclass(frozen=True)
class Header:
    """What a file says before its pixels.

    Attributes
    ----------
    depth : int
        Bits of a sample.
    key : tuple of int, or None
        The transparent colour of a grey or RGB image, in samples of that depth.
    cicp : bytes or None
        Code points of its colours.
    of_apple : bool
        Whether it is of Apple's own kind (CgBI): another compression, blue first, alpha multiplied in.
    """

    depth: int
    key: tuple[int, ...] | None
    cicp: bytes | None
    of_apple: bool = False


def read_header(stream: BinaryIO) -> Header:
    """The header of a file that Pillow has opened."""
    stream.seek(len(START))
    depth, colour, key, cicp, of_apple = 8, -1, None, None, False
    while len(start := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind in (b"IDAT", b"IEND"):
            break
        content = stream.read(length) if length <= _LONGEST else b""
        if kind == b"IHDR" and length == 13:
            depth, colour, key = content[8], content[9], None  # what came before it is of no image
        elif kind == b"tRNS" and length == {0: 2, 2: 6}.get(colour):
            key = tuple(value & (1 << depth) - 1 for value in struct.unpack(f">{length // 2}H", content))
        elif kind == b"cICP" and length == 4:
            cicp = content
        of_apple = of_apple or kind == b"CgBI"
        stream.seek(4 if content or not length else length + 4, 1)
    return Header(depth, key, cicp, of_apple)


def write(
    stream: BinaryIO, pixels: Ndarray, *, compress_level: int, chunks: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """PNG of uint16 (H, W, C), C = 2, 3 or 4, every row filtered with "up", with `chunks` before the pixels."""
    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").reshape(height, width * channels).view(np.uint8)  # (H, 2 W C) bytes
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.hstack([np.full((height, 1), 2, dtype=np.uint8), rows - above])  # modulo 256, as the format wants
    colour_type = {2: 4, 3: 2, 4: 6}[channels]
    stream.write(START)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    content = zlib.compress(filtered.tobytes(), compress_level)
    for kind, data in ((b"IHDR", header), *chunks, (b"IDAT", content), (b"IEND", b"")):
        stream.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def text_chunks(metadata: dict[str, object]) -> list[tuple[bytes, bytes]]:
    """Chunks of a colour profile, resolution, EXIF and XMP."""
    chunks = []
    profile, dpi, exif, xmp = (metadata.get(key) for key in ("icc_profile", "dpi", "exif", "xmp"))
    if isinstance(profile, bytes):
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile)))
    if isinstance(dpi, tuple):
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in dpi), 1)))
    if isinstance(xmp, bytes):
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    if isinstance(exif, bytes):
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    return chunks
