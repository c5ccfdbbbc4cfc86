"""The index of a JPEG of several views, which Pillow (13.0 and before) gets wrong from the third view on.

Knows the format (CIPA DC-007, Multi-Picture Format) and nothing else.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import BinaryIO

_START = b"MPF\0"
_LIST_OF_VIEWS, _ENTRY = 0xB002, 16


def mend_index(stream: BinaryIO) -> None:
    """Write the true places of the views into the index that Pillow wrote."""
    length = stream.seek(0, 2)
    stream.seek(0)
    head = stream.read(1 << 18)
    base = head.index(_START + b"II*\0") + len(_START)  # places are counted from here
    (fields,) = struct.unpack_from("<H", head, base + 8)
    for k in range(fields):
        tag, _, size, place = struct.unpack_from("<HHII", head, base + 10 + 12 * k)
        if tag == _LIST_OF_VIEWS:
            break
    entries = [base + place + _ENTRY * k for k in range(size // _ENTRY)]
    written = [struct.unpack_from("<I", head, entry + 4)[0] for entry in entries]
    ends = [written[0], *(before + each for before, each in pairwise(written))]  # it took the size before for the end
    if ends[-1] != length:  # a Pillow that has it right
        return
    for entry, (start, end) in zip(entries[1:], pairwise(ends), strict=True):
        stream.seek(entry + 4)
        stream.write(struct.pack("<II", end - start, start - base))
    stream.seek(0, 2)
