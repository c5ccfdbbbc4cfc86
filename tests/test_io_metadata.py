"""Orientation is applied once, and metadata that still hold go with the picture."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from io_pictures import assert_same_picture, picture
from PIL import Image, ImageCms

from pmtools import io
from pmtools.io import metadata

ORIENTATION, MAKE, EXIF_DIRECTORY, GPS_DIRECTORY = 0x0112, 0x010F, 0x8769, 0x8825


def camera_exif(orientation):
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKE] = orientation, "pmtools"
    exif[EXIF_DIRECTORY] = {0x8827: 400, 0xA002: 999, 0xA003: 999}  # ISO speed, stale width and height
    exif[GPS_DIRECTORY] = {1: "N", 2: (47.0, 22.0, 0.0)}
    return exif


# How the upright picture comes from the stored one (EXIF 2.32, 4.6.4 A, tag 274).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp", ".jpg"])
def test_orientation_is_applied_once(tmp_path, orientation, suffix):
    stored = Image.fromarray(np.kron(picture("L", (3, 2)), np.ones((16, 16), np.uint8))).convert("RGB")
    options = {".webp": {"lossless": True}, ".jpg": {"quality": 100}}.get(suffix, {})
    stored.save(tmp_path / f"stored{suffix}", exif=camera_exif(orientation).tobytes(), **options)
    expected = UPRIGHT[orientation](io.to_array(stored)).astype(int)

    image = io.read_image(tmp_path / f"stored{suffix}")
    io.write_image(image, tmp_path / f"again{suffix}", quality=100)
    again = io.read_image(tmp_path / f"again{suffix}")
    for upright in (image, again):
        assert upright.size == expected.shape[1::-1]
        np.testing.assert_allclose(io.to_array(upright), expected, atol=0 if suffix in (".png", ".tiff") else 4)
        assert ORIENTATION not in upright.getexif()
    with Image.open(tmp_path / f"again{suffix}") as raw:
        assert raw.getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp", ".jpg"])
def test_pending_orientation_is_applied_on_write(tmp_path, suffix):
    stored = picture(size=(24, 16))
    stored.save(tmp_path / "stored.png", exif=camera_exif(6).tobytes())
    with Image.open(tmp_path / "stored.png") as lazy:  # opened with Pillow: not upright yet
        io.write_image(lazy, tmp_path / f"x{suffix}")
    assert io.read_image(tmp_path / f"x{suffix}").size == (16, 24)


def test_turning_twice_is_turning_once(tmp_path):
    picture(size=(24, 16)).save(tmp_path / "x.png", exif=camera_exif(6).tobytes())
    with Image.open(tmp_path / "x.png") as lazy:
        once = metadata.upright(lazy)
    assert once.size == (16, 24)
    assert metadata.upright(once) is once


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_orientation_is_applied_where_the_rest_of_the_exif_is_damaged(tmp_path, suffix, monkeypatch):
    picture(size=(24, 16)).save(tmp_path / f"x{suffix}", exif=camera_exif(6).tobytes())

    def fail(self, offset=8):
        raise struct.error("damaged")

    monkeypatch.setattr(Image.Exif, "tobytes", fail)
    image = io.read_image(tmp_path / f"x{suffix}")
    assert image.size == (16, 24)
    io.write_image(image, tmp_path / f"y{suffix}")
    assert io.read_image(tmp_path / f"y{suffix}").size == (16, 24)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_sixteen_bit_colour(tmp_path, orientation):
    pixels = np.random.default_rng(5).integers(0, 65536, (4, 7, 3), dtype=np.uint16)
    io.write_image(pixels, tmp_path / "x.png")
    content, exif = (tmp_path / "x.png").read_bytes(), camera_exif(orientation).tobytes()[6:]
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    (tmp_path / "x.png").write_bytes(content[:33] + chunk + content[33:])  # after IHDR
    np.testing.assert_array_equal(io.read_image(tmp_path / "x.png"), UPRIGHT[orientation](pixels))


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp", ".jpg"])
@pytest.mark.parametrize("via", ["image", "like"])
def test_metadata_that_still_hold_are_kept(tmp_path, suffix, via):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture().save(tmp_path / f"x{suffix}", exif=camera_exif(6).tobytes(), icc_profile=profile, dpi=(144, 72))
    image = io.read_image(tmp_path / f"x{suffix}")
    if via == "image":
        io.write_image(image, tmp_path / f"y{suffix}")
    else:
        io.write_image(np.zeros((4, 4, 3), np.uint8), tmp_path / f"y{suffix}", like=image)
    back = io.read_image(tmp_path / f"y{suffix}")
    assert back.info["icc_profile"] == profile
    if suffix != ".webp":  # has no place for it
        assert back.info["dpi"] == pytest.approx((144, 72), rel=1e-3)
    exif = back.getexif()
    assert exif[MAKE] == "pmtools"
    assert exif.get_ifd(EXIF_DIRECTORY) == {0x8827: 400}  # without the stale width and height
    assert exif.get_ifd(GPS_DIRECTORY)[1] == "N"


def test_profile_of_other_channels_is_dropped(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    like = picture()
    like.info["icc_profile"] = profile
    io.write_image(picture("L"), tmp_path / "x.png", like=like)
    assert "icc_profile" not in io.read_image(tmp_path / "x.png").info


def test_damaged_metadata_do_not_cost_the_picture(tmp_path):
    image = picture()
    image.info.update(dpi=("a", None), exif=b"Exif\0\0nonsense", icc_profile=b"")
    io.write_image(image, tmp_path / "x.png")
    assert_same_picture(io.read_image(tmp_path / "x.png"), picture())
