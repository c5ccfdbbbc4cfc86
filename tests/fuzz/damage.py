"""Damage to files that gets past checksums, lengths and syntax: to chunks, segments, tags, members and values.

`damaged(content, rng)` gives what a file becomes; half of the cases are damaged as bytes, the others by their structure.
"""

from __future__ import annotations

import ast
import io as stdio
import json
import struct
import zipfile
import zlib

PNG, RIFF, NPY, ZIP = b"\x89PNG\r\n\x1a\n", b"RIFF", b"\x93NUMPY", b"PK\3\4"
#: What parsing raises once an earlier change has broken the structure.
NOT_ITS_STRUCTURE = (
    ValueError, IndexError, OverflowError, SyntaxError, NotImplementedError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\1\0\0\0", b"\x80\0\0\0")
NUMBERS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 64, 128, 255, 256, 32768, 65535)
LARGE = (65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
CONTAINERS = {b"jp2h": 0, b"meta": 4, b"iprp": 0, b"ipco": 0, b"iinf": 6}  # bytes before the boxes in them
VALUES = (
    None, True, False, 0, 1, -1, 2, 3, 0.5, -0.5, 1e-300, 1e300, 2**31, 2**63, 2**70, 10**400, float("nan"), float("inf"),
    "", "1", "nan", "x" * 99, [], {}, [[]], [0], [1, 2], [1, 2, 3, 4], [None], {"x": 1}, [[1, 2], [3]], "\ud800",
)  # fmt: skip
WORDS = (
    "",
    "0",
    "-1",
    "1e999",
    "nan",
    "inf",
    "0x10",
    "1,2",
    '"',
    "\0",
    "9" * 400,
    "1_000",
    "½",
    "true",
    "[]",
    ";",
    "\t",
)
SHAPES = (
    (),
    (0,),
    (0, 3),
    (72,),
    (1, 8, 9),
    (8, 9, 1),
    (8, 9, 3),
    (1, 1, 8, 9),
    (-8, -9),
    (2**31, 2**31),
    (8, 9.0),
    (True, 9),
)
TYPES = (
    "<f4",
    ">f8",
    "<f2",
    "|b1",
    "<c8",
    "|O",
    "<U4",
    "<M8[s]",
    "|V8",
    "<i8",
    ">u2",
    "<f16",
    "x",
    3,
    [("a", "<f4")],
    "",
)


def damaged(content, rng):
    """A file with one to five things wrong."""
    structured = structure_of(content) if rng.random() < 0.7 else None
    for _ in range(min(int(rng.geometric(0.5)), 5)):
        if not content:
            break
        try:
            content = (structured or bytes_changed)(content, rng)
        except (
            ValueError,
            IndexError,
            struct.error,
            zlib.error,
            SyntaxError,
            OverflowError,
            zipfile.BadZipFile,
            NotImplementedError,
        ):
            structured = None  # nothing of it is left
            content = bytes_changed(content, rng)
        if rng.random() < 0.1:
            structured = None
    return content


def structure_of(content):
    """What damages files that start like this one by their structure."""
    if content[4:8] in (b"jP  ", b"ftyp"):
        return boxes_changed
    for start, change in {
        PNG: png_changed, RIFF: riff_changed, b"\xff\xd8": jpeg_changed, b"GIF8": gif_changed, b"II": tiff_changed,
        b"MM": tiff_changed, b"BM": bmp_changed, b"P6": words_changed, NPY: npy_changed, ZIP: npz_changed,
        b"{": json_changed, b"[": json_changed,
    }.items():  # fmt: skip
        if content.startswith(start):
            return change
    return words_changed


def bytes_changed(content, rng, first=200):
    """Bytes changed, cut out, doubled or put to their extremes, half of the time among the `first`."""
    data = bytearray(content)
    if not data:
        return rng.bytes(int(rng.integers(9)))
    at = int(rng.integers(len(data) if rng.random() < 0.5 else min(len(data), first)))
    match rng.integers(6):
        case 0:
            data[at] = rng.integers(256)
        case 1:
            data[at] ^= 1 << int(rng.integers(8))
        case 2:
            del data[at : at + int(rng.integers(1, 40))]
        case 3:
            data[at:at] = data[at : at + int(rng.integers(1, 40))]
        case 4:
            data[at : at + 4] = EXTREMES[rng.integers(len(EXTREMES))]
        case 5:
            del data[at:]
    return bytes(data)


def parts_changed(parts, rng, change):
    """Parts of a file, one of them dropped, doubled, moved or changed."""
    parts = list(parts)
    at, other = (int(rng.integers(len(parts))) for _ in range(2))
    match rng.integers(8):
        case 0:
            del parts[at]
        case 1:
            parts.insert(other, parts[at])
        case 2:
            parts.insert(other, parts.pop(at))
        case _:
            parts[at] = change(parts[at], rng)
    return parts


# --------------------------------------------------------------------------------------------------------- images


def png_changed(content, rng):
    parts, at = [], len(PNG)
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4])
        parts.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length

    def change(part, rng):
        kind, data = part
        packed = 4 * (kind == b"fdAT")
        if kind in (b"IDAT", b"fdAT") and rng.random() < 0.5:
            pixels = bytes_changed(zlib.decompress(data[packed:]), rng)
            return kind, data[:packed] + zlib.compress(pixels)
        if kind == b"IHDR" and rng.random() < 0.7:
            width, height, *rest = struct.unpack(">IIBBBBB", data)
            rest[rng.integers(5)] = int(rng.integers(17))
            return kind, struct.pack(">IIBBBBB", width, height, *rest)
        return kind, bytes_changed(data, rng, first=26)

    parts = parts_changed(parts, rng, change)
    return PNG + b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)


def riff_changed(content, rng):
    def change(part, rng):
        kind, data = part
        if kind == b"ANMF" and rng.random() < 0.5:
            return kind, data[:16] + riff_joined(parts_changed(riff_parts(data[16:]), rng, change))
        return kind, bytes_changed(data, rng, first=16)

    body = riff_joined(parts_changed(riff_parts(content[12:]), rng, change))
    return RIFF + struct.pack("<I", len(body) + 4) + content[8:12] + body


def riff_parts(content):
    parts, at = [], 0
    while at + 8 <= len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        parts.append((content[at : at + 4], content[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return parts


def riff_joined(parts):
    return b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in parts)


def boxes_changed(content, rng):
    """Boxes of JPEG 2000 and AVIF."""
    parts, at = [], 0
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4]) or len(content) - at
        if length < 8:
            break
        parts.append((content[at + 4 : at + 8], content[at + 8 : at + length]))
        at += length

    def change(part, rng):
        kind, data = part
        before = CONTAINERS.get(kind)
        if before is not None and rng.random() < 0.8:
            return kind, data[:before] + boxes_changed(data[before:], rng)
        return kind, bytes_changed(data, rng, first=60)

    return b"".join(struct.pack(">I", len(data) + 8) + kind + data for kind, data in parts_changed(parts, rng, change))


def jpeg_changed(content, rng):
    """Segments up to the first scan; the rest is one part."""
    parts, at = [], 2
    while content[at] == 0xFF and content[at + 1] != 0xDA:
        length = int.from_bytes(content[at + 2 : at + 4])
        parts.append((content[at : at + 2], content[at + 4 : at + 2 + length]))
        at += 2 + length
    rest = content[at:]
    if rng.random() < 0.2:
        return content[:at] + bytes_changed(rest, rng)
    parts = parts_changed(parts, rng, lambda part, rng: (part[0], bytes_changed(part[1], rng, first=30)))
    return b"\xff\xd8" + b"".join(k + struct.pack(">H", (len(d) + 2) % 65536) + d for k, d in parts) + rest


def gif_changed(content, rng):
    """Blocks; changed are the first bytes of one, where its fields are."""
    at = 13 + (3 << (content[10] & 7) + 1 if content[10] & 128 else 0)
    parts = [content[:at]]
    while at < len(content) and content[at] != 0x3B:
        start = at
        if content[at] == 0x2C:
            at += 11 + (3 << (content[at + 9] & 7) + 1 if content[at + 9] & 128 else 0)
        else:
            at += 2
        while content[at]:
            at += 1 + content[at]
        at += 1
        parts.append(content[start:at])

    def change(part, rng):
        data = bytearray(part)
        data[rng.integers(min(len(data), 13))] = NUMBERS[rng.integers(len(NUMBERS))] % 256
        return bytes(data)

    return b"".join(parts_changed(parts, rng, change)) + content[at:]


def tiff_changed(content, rng):
    """A tag, type, count or value of an entry of a directory, or the numbers that it points to."""
    data, order = bytearray(content), "<" if content[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    where, many, size = (order + "Q", order + "Q", 20) if big else (order + "I", order + "H", 12)
    at, entries = struct.unpack_from(where, data, 8 if big else 4)[0], []
    while 0 < at < len(data) and len(entries) < 200:
        count = struct.unpack_from(many, data, at)[0]
        entries += [at + struct.calcsize(many) + size * k for k in range(min(count, 50))]
        at = struct.unpack_from(where, data, at + struct.calcsize(many) + size * count)[0]
    at = entries[rng.integers(len(entries))]
    number = (NUMBERS + LARGE)[rng.integers(len(NUMBERS) + len(LARGE))]
    kind, place = struct.unpack_from(order + "H", data, at + 2)[0], at + (12 if big else 8)
    match rng.integers(7):
        case 0:
            tags = (
                254,
                256,
                257,
                258,
                259,
                262,
                266,
                273,
                274,
                277,
                278,
                279,
                284,
                317,
                320,
                322,
                323,
                330,
                338,
                339,
                34665,
            )
            struct.pack_into(order + "H", data, at, tags[rng.integers(len(tags))])
        case 1:
            struct.pack_into(order + "H", data, at + 2, int(rng.integers(19)))
        case 2:
            struct.pack_into(where, data, at + 4, number)
        case 3:  # what it points to
            target = struct.unpack_from(where, data, place)[0]
            struct.pack_into(order + "H", data, target + 2 * int(rng.integers(4)), number % 65536)
        case _:
            struct.pack_into(
                *((order + "H", data, place, number % 65536) if kind == 3 else (where, data, place, number))
            )
    return bytes(data)


def bmp_changed(content, rng):
    data = bytearray(content)
    number = (NUMBERS + LARGE)[rng.integers(len(NUMBERS) + len(LARGE))]
    struct.pack_into("<I", data, 10 + 4 * int(rng.integers(11)), number)
    return bytes(data)


# --------------------------------------------------------------------------------------------- arrays and texts


def npy_changed(content, rng):
    """The description of an array, or its values."""
    length = struct.unpack_from("<H", content, 8)[0]
    header, values = ast.literal_eval(content[10 : 10 + length].decode("latin1")), content[10 + length :]
    match rng.integers(5):
        case 0:
            header["shape"] = SHAPES[rng.integers(len(SHAPES))]
        case 1:
            header["descr"] = TYPES[rng.integers(len(TYPES))]
        case 2:
            header["fortran_order"] = (True, False, None, 1)[rng.integers(4)]
        case 3:
            header[("shape", "descr", "extra", 3)[rng.integers(4)]] = VALUES[rng.integers(len(VALUES))]
        case 4:
            values = bytes_changed(values, rng)
    text = repr(header).encode("latin1", "replace") + b"\n"
    return NPY + bytes([1, 0]) + struct.pack("<H", len(text) % 65536) + text + values


def npz_changed(content, rng):
    """The members of an archive, stored anew with their checksums."""
    with zipfile.ZipFile(stdio.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]

    def change(member, rng):
        name, data = member
        if rng.random() < 0.1:
            return ("", "a/b.npy", "../x.npy", "x", "ä.npy")[rng.integers(5)], data
        return name, (npy_changed if rng.random() < 0.8 else bytes_changed)(data, rng)

    stream = stdio.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED if rng.random() < 0.5 else zipfile.ZIP_STORED) as archive:
        for k, (name, data) in enumerate(parts_changed(members, rng, change)):
            archive.writestr(f"{k}{name}" if k else name, data)
    return stream.getvalue()


def json_changed(content, rng):
    """A value somewhere in the tree replaced, dropped, doubled, or put elsewhere."""
    tree = json.loads(content)
    places: list[tuple[object, object]] = []

    def walk(node):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(tree)
    node, key = places[rng.integers(len(places))]
    from_node, from_key = places[rng.integers(len(places))]
    match rng.integers(8):
        case 0:
            del node[key]
        case 1:
            node[key] = json.loads(json.dumps(from_node[from_key]))
        case 2 if isinstance(node, list):
            node.insert(key, node[key])
        case 3 if isinstance(node[key], int | float) and not isinstance(node[key], bool):
            node[key] = node[key] * (-1, 2, 1e-9, 1e9, 1 + 2**-50)[rng.integers(5)]
        case 4 if isinstance(node, dict):
            node[str(from_key)] = node.pop(key)
        case _:
            node[key] = VALUES[rng.integers(len(VALUES))]
    return json.dumps(tree).encode()


def words_changed(content, rng):
    """A word of a text (rows of numbers, CSV, JSON lines, the header of a PPM) replaced by another."""
    starts = [k for k in range(min(len(content), 400)) if content[k : k + 1].strip(b" ,\t\r\n")
              and (k == 0 or not content[k - 1 : k].strip(b" ,\t\r\n"))]  # fmt: skip
    at = starts[rng.integers(len(starts))]
    end = next((k for k in range(at, len(content)) if not content[k : k + 1].strip(b" ,\t\r\n")), len(content))
    number = str((NUMBERS + LARGE)[rng.integers(len(NUMBERS) + len(LARGE))])
    word = number if rng.random() < 0.5 else WORDS[rng.integers(len(WORDS))]
    return content[:at] + word.encode() + content[end:]
