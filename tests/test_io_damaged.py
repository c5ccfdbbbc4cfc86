"""Files that are truncated, damaged, too large or something else: an error that names them, or a picture."""

from __future__ import annotations

import contextlib
import io as stdio
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from io_pictures import needs_avif, picture
from PIL import Image

from pmtools import io
from pmtools.io import ImageFileError


@pytest.mark.parametrize("read", [io.read_image, io.read_heatmap])
@pytest.mark.parametrize(
    "suffix",
    [".png", ".jpg", ".tiff", ".webp", ".gif", ".bmp", ".jp2", pytest.param(".avif", marks=needs_avif)],
)
def test_truncated_files(tmp_path, suffix, read):
    noise = picture(size=(64, 64))
    whole = stdio.BytesIO()
    noise.save(whole, format=io.FORMATS[suffix])
    content = whole.getvalue()
    path = tmp_path / f"x{suffix}"
    for share in (0.02, 0.5, 0.8):
        path.write_bytes(content[: max(4, int(len(content) * share))])
        with pytest.raises(ImageFileError) as caught:
            io.read_heatmap(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".npy", ".npz", ".json"])
@pytest.mark.parametrize("read", [io.read_image, io.read_heatmap, io.read_json])
def test_files_that_are_something_else(tmp_path, suffix, read):
    path = tmp_path / f"x{suffix}"
    for content in (
        b"hello, world",
        b"\x89PNG\r\n\x1a\nnonsense",
        b"II*\0nonsense",
        b"\xff\xd8\xff\xe0",
        b"PK\3\4",
        b"{",
    ):
        path.write_bytes(content)
        with pytest.raises(ImageFileError, match=f"x{suffix}"):
            io.read_heatmap(path)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is HEIC"),
        (b"\xff\n", "it is JPEG XL"),
        (b"\xff\xd8\xff\xf7\0\x0b\x08", "it is JPEG-LS"),
        (b"\xff\xd8\xff\xe8\0 SPIFF\0", "it is JPEG-LS"),
        (bytes(128) + b"DICM", "it is DICOM"),
        (b"v/1\1", "it is OpenEXR"),
        (b"<!DOCTYPE html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    ],
)
def test_other_kinds_are_named(start, words):
    with pytest.raises(ImageFileError, match=words) as caught:
        io.read_image(start + bytes(64))
    assert "damaged" not in str(caught.value)


def test_kinds_of_known_formats_that_are_not_read_are_not_damaged(tmp_path):
    png, jpeg = stdio.BytesIO(), stdio.BytesIO()
    picture().save(png, "PNG")
    picture().save(jpeg, "JPEG")
    apple = (
        png.getvalue()[:8] + struct.pack(">I4s", 4, b"CgBI") + bytes(4) + struct.pack(">I", zlib.crc32(b"CgBI\0\0\0\0"))
    )
    twelve = bytearray(jpeg.getvalue())
    twelve[twelve.index(b"\xff\xc0") + 4] = 12
    for content, words in ((apple + png.getvalue()[8:], "Apple's own kind"), (bytes(twelve), "12-bit layers.*save it")):
        with pytest.raises(ImageFileError, match=words) as caught:
            io.read_image(content)
        assert "damaged" not in str(caught.value)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([".png", ".jpg", ".tiff", ".gif", ".bmp", ".webp", ".ppm"]),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6),
)
@pytest.mark.filterwarnings("ignore")  # Pillow warns about what it can repair
def test_damaged_files_give_an_image_or_a_clear_error(tmp_path, suffix, damage):
    whole = stdio.BytesIO()
    picture(size=(16, 16)).save(whole, format=io.FORMATS[suffix])
    content = bytearray(whole.getvalue())
    for place, value in damage:
        content[int(place * len(content))] = value
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with contextlib.suppress(ImageFileError):  # and nothing else
        assert io.read_image(path, max_pixels=10_000).size


def test_missing_folder_empty_and_special_files(tmp_path):
    (tmp_path / "empty.png").touch()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    for name, message in {
        "nowhere.png": "does not exist",
        "dangling.png": "does not exist",
        ".": "is a folder",
        "empty.png": r"is empty \(0 bytes\)",
        "pipe.png": "not a regular file" if hasattr(os, "mkfifo") else "does not exist",
        "nul\0.png": "does not exist",
    }.items():
        for read in (io.read_image, io.read_heatmap, io.read_json):
            with pytest.raises(ImageFileError, match=message):
                read(tmp_path / name)


def test_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b""))
    content = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(ImageFileError, match=r"60000 x 60000 pixels.*`max_pixels=`"):
        io.read_image(tmp_path / "bomb.png")
    with pytest.raises(ImageFileError, match="`max_pixels=`"):
        io.read_heatmap(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("shape", [(300_000, 300_000), (1, 10**12), (10**30, 1), (2**40, 1, 1)])
def test_arrays_that_claim_more_than_there_is(tmp_path, suffix, shape):
    path = write_array(tmp_path / f"bomb{suffix}", f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}")
    with pytest.raises(ImageFileError, match=r"bomb.*claims shape.*more than `max_pixels` = \d+"):
        io.read_heatmap(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4)}",  # cut off
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 4)}",
        "{'descr': '<U999999999', 'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': '|V999999999', 'fortran_order': False, 'shape': (1, 1)}",
        "(" * 5000,
        "-" * 5000 + "1",
    ],
)
def test_damaged_headers_of_arrays(tmp_path, suffix, header):
    path = write_array(tmp_path / f"x{suffix}", header)
    with pytest.raises(ImageFileError, match=f"x{suffix}"):
        io.read_heatmap(path)


def test_max_pixels_of_arrays(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((4, 5)))
    np.savez_compressed(tmp_path / "x.npz", np.ones((4, 5)))
    for name in ("x.npy", "x.npz"):
        for enough in (20, None):
            assert io.read_heatmap(tmp_path / name, max_pixels=enough).shape == (4, 5)
        with pytest.raises(ImageFileError, match=r"claims shape \(4, 5\), 20 values"):
            io.read_heatmap(tmp_path / name, max_pixels=19)
        with pytest.raises(TypeError, match="`max_pixels`"):
            io.read_heatmap(tmp_path / name, max_pixels="many")


def write_array(path, header):
    """A file of 8 numbers whose header says what it likes."""
    text = header.encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + b"\0" * 64
    if path.suffix == ".npy":
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("map.npy", content)
    return path


def test_max_pixels_is_the_way_out(tmp_path, monkeypatch):
    io.write_image(picture(size=(20, 10)), tmp_path / "x.png")
    with pytest.raises(ImageFileError, match=r"20 x 10 pixels, 200 in all"):
        io.read_image(tmp_path / "x.png", max_pixels=199)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # Pillow's own guard stays out of it
    assert io.read_image(tmp_path / "x.png", max_pixels=200).size == (20, 10)
    assert io.read_image(tmp_path / "x.png", max_pixels=None).size == (20, 10)
