"""Files: what goes in comes out, what is wrong is said, and nothing is ever half-written."""

from __future__ import annotations

import contextlib
import io as stdio
import json
import os
import pickle
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms

from pmtools import io
from pmtools.io import ImageFileError, metadata

ORIENTATION, MAKE, EXIF_DIRECTORY, GPS_DIRECTORY = 0x0112, 0x010F, 0x8769, 0x8825


def picture(mode="RGB", size=(7, 5), seed=0):
    """Small PIL image without any symmetry."""
    rng = np.random.default_rng(seed)
    width, height = size
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16))
    if mode == "I":
        return Image.fromarray(rng.integers(-(2**31), 2**31, (height, width), dtype=np.int32))
    if mode == "F":
        return Image.fromarray(rng.normal(size=(height, width)).astype(np.float32))
    if mode == "1":
        return Image.fromarray(rng.random((height, width)) > 0.5)
    if mode == "P":
        return picture("RGB", size, seed).quantize(11)
    bands = Image.getmodebands(mode)
    return Image.merge(mode, [Image.fromarray(b) for b in rng.integers(0, 256, (bands, height, width), dtype=np.uint8)])


def assert_same_picture(actual, expected):
    assert (actual.mode, actual.size) == (expected.mode, expected.size)
    np.testing.assert_array_equal(io.to_array(actual), io.to_array(expected))


def leftovers(folder):
    return [path.name for path in folder.rglob("*.tmp")]


def test_assert_same_picture_can_fail():
    with pytest.raises(AssertionError):
        assert_same_picture(picture(seed=0), picture(seed=1))
    with pytest.raises(AssertionError):
        assert_same_picture(picture("L"), picture("1"))


# -- there and back -----------------------------------------------------------------------------------

LOSSLESS = [
    *[("x.png", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
    *[("x.tiff", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")],
    *[("x.bmp", mode) for mode in ("1", "L", "P", "RGB")],
    *[("x.ppm", mode) for mode in ("1", "L", "RGB", "I;16")],
    *[("x.jp2", mode) for mode in ("L", "LA", "RGB", "RGBA", "I;16")],
    *[("x.gif", mode) for mode in ("L",)],
]


@pytest.mark.parametrize(("name", "mode"), LOSSLESS)
def test_lossless_formats_keep_mode_and_pixels(tmp_path, name, mode):
    image = picture(mode, size=(70, 50))  # JPEG 2000 wants some pixels
    io.write_image(image, tmp_path / name)
    back = io.read_image(tmp_path / name)
    if name.endswith("gif"):
        back = back.convert("L")
    assert_same_picture(back, image)
    assert not leftovers(tmp_path)


@pytest.mark.parametrize(
    ("name", "mode", "read"),
    [
        ("x.jpg", "RGB", "RGB"),
        ("x.jpg", "L", "L"),
        ("x.jpg", "1", "L"),
        ("x.jpg", "P", "RGB"),
        ("x.jpg", "CMYK", "CMYK"),
        ("x.JPEG", "YCbCr", "RGB"),
        ("x.webp", "RGB", "RGB"),
        ("x.webp", "RGBA", "RGBA"),
        ("x.webp", "LA", "RGBA"),
        ("x.webp", "L", "RGB"),
        ("x.avif", "RGB", "RGB"),
        ("x.png", "CMYK", "RGB"),
        ("x.png", "HSV", "RGB"),
    ],
)
def test_other_pairs_keep_the_picture_in_a_mode_the_format_has(tmp_path, name, mode, read):
    smooth = np.add.outer(np.linspace(0, 200, 40), np.linspace(0, 50, 60)).astype(np.uint8)
    image = Image.fromarray(smooth).convert("RGBA" if mode in ("LA", "RGBA") else "RGB")
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(255 - smooth))
    image = image.quantize(200) if mode == "P" else image.convert(mode)
    io.write_image(image, tmp_path / name)
    back = io.read_image(tmp_path / name)
    assert back.mode == read
    difference = np.abs(io.to_array(back).astype(int) - io.to_array(image.convert(read)).astype(int))
    assert difference.max() <= (255 if mode == "1" else 12)  # ringing at the edges of black and white
    assert difference.mean() < 6


def test_opaque_alpha_may_be_dropped_but_no_other(tmp_path):
    io.write_image(picture("RGB").convert("RGBA"), tmp_path / "x.jpg")
    assert io.read_image(tmp_path / "x.jpg").mode == "RGB"
    io.write_image(picture("L").convert("LA"), tmp_path / "x.ppm")
    assert io.read_image(tmp_path / "x.ppm").mode == "L"


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *[(f"x.{suffix}", "I;16") for suffix in ("jpg", "webp", "avif", "gif", "bmp")],
        *[(f"x.{suffix}", "RGBA") for suffix in ("jpg", "bmp", "ppm")],
        *[("x.jpg", "LA"), ("x.jpg", "F"), ("x.png", "F"), ("x.png", "I")],
    ],
)
def test_bits_and_alpha_are_never_lost_silently(tmp_path, name, mode):
    with pytest.raises(ImageFileError, match=f"no image of mode {mode} without losing bits or alpha; use .*tif"):
        io.write_image(picture(mode), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_palette_transparency_is_kept(tmp_path):
    image = picture("P")
    image.info["transparency"] = 3
    io.write_image(image, tmp_path / "x.png")
    back = io.read_image(tmp_path / "x.png")
    assert back.mode == "P"
    np.testing.assert_array_equal(io.to_array(back), io.to_array(image))
    assert 0 < (io.to_array(back)[..., 3] == 0).mean() < 1


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_colour_key_becomes_alpha(tmp_path, mode):
    image = picture(mode)
    image.save(tmp_path / "x.png", transparency=image.getpixel((2, 1)))
    back = io.read_image(tmp_path / "x.png")
    assert back.mode == mode + "A"
    assert back.getpixel((2, 1))[-1] == 0
    assert back.getpixel((0, 0))[-1] == 255


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("size_hw", [(1, 1), (4, 9), (31, 17)])
def test_sixteen_bit_colour_is_kept(tmp_path, suffix, channels, size_hw):
    pixels = np.random.default_rng(1).integers(0, 65536, (*size_hw, channels), dtype=np.uint16)
    target = tmp_path / f"deep{suffix}"
    if (suffix, channels) == (".tiff", 2):
        with pytest.raises(ImageFileError, match=r"use \.png"):
            io.write_image(pixels, target)
        return
    io.write_image(pixels, target)
    back = io.read_image(target)
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back, pixels)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_colour_agrees_with_opencv(tmp_path, suffix, channels):
    cv2 = pytest.importorskip("cv2")
    order = [2, 1, 0, 3][:channels]  # OpenCV has blue first
    pixels = np.random.default_rng(2).integers(0, 65536, (12, 19, channels), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / f"theirs{suffix}"), pixels[..., order])
    np.testing.assert_array_equal(io.read_image(tmp_path / f"theirs{suffix}"), pixels)
    io.write_image(pixels, tmp_path / f"ours{suffix}")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / f"ours{suffix}"), cv2.IMREAD_UNCHANGED)[..., order], pixels)


@pytest.mark.parametrize("options", [{"byteorder": ">"}, {"byteorder": "<"}, {"rowsperstrip": 2}])
def test_sixteen_bit_tiff_of_either_byte_order(tmp_path, options):
    tifffile = pytest.importorskip("tifffile")
    pixels = np.random.default_rng(3).integers(0, 65536, (8, 6, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb", **options)
    np.testing.assert_array_equal(io.read_image(tmp_path / "x.tif"), pixels)
    grey = pixels[..., 0]
    tifffile.imwrite(tmp_path / "g.tif", grey, photometric="minisblack", **options)
    back = io.read_image(tmp_path / "g.tif")
    assert back.mode == "I;16"
    np.testing.assert_array_equal(io.to_array(back), grey)


def test_sixteen_bit_planes_are_refused_not_garbled(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    planes = np.random.default_rng(4).integers(0, 65536, (3, 8, 6), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(ImageFileError, match="interleaved"):
        io.read_image(tmp_path / "x.tif")


def test_sixteen_bit_colour_only_where_it_fits(tmp_path):
    with pytest.raises(ImageFileError, match=r"16-bit RGB does not go into JPEG here; use \.png"):
        io.write_image(np.zeros((3, 3, 3), np.uint16), tmp_path / "x.jpg")
    assert not list(tmp_path.iterdir())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([np.bool_, np.uint8, np.uint16]).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            st.sampled_from([(), (1,), (2,), (3,), (4,)] if dtype != np.bool_ else [()]).flatmap(
                lambda end: st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda size: size + end)
            ),
        )
    )
)
def test_arrays_survive_png(tmp_path, pixels):
    io.write_image(pixels, tmp_path / "x.png")
    back = io.read_image(tmp_path / "x.png")
    back = back if isinstance(back, np.ndarray) else io.to_array(back)
    assert back.dtype == pixels.dtype
    np.testing.assert_array_equal(back, pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)


def test_torch_tensor_is_written(tmp_path):
    torch = pytest.importorskip("torch")
    pixels = torch.arange(24, dtype=torch.uint8).reshape(2, 4, 3)
    io.write_image(pixels, tmp_path / "x.png")
    np.testing.assert_array_equal(io.to_array(io.read_image(tmp_path / "x.png")), pixels.numpy())


def test_format_is_found_from_the_content(tmp_path):
    picture().save(tmp_path / "x.jpg", format="PNG")
    assert_same_picture(io.read_image(tmp_path / "x.jpg"), picture())


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".tiff", ".png"])
def test_first_frame_of_many(tmp_path, suffix):
    frames = [picture(size=(16, 16), seed=seed).quantize(8).convert("RGB") for seed in range(3)]
    path = tmp_path / f"x{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(io.to_array(io.read_image(path).convert("RGB")), io.to_array(frames[0]))


def test_image_is_free_of_its_file(tmp_path):
    picture().save(tmp_path / "x.png")
    image = io.read_image(tmp_path / "x.png")
    (tmp_path / "x.png").unlink()
    assert type(image) is Image.Image
    assert_same_picture(image.copy(), picture())


# -- metadata ----------------------------------------------------------------------------------------------


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


def test_jpeg_is_written_at_full_colour_resolution(tmp_path):
    io.write_image(picture(size=(40, 40)), tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as image:
        assert {component[1:3] for component in image.layer} == {(1, 1)}
    io.write_image(picture(size=(40, 40)), tmp_path / "y.jpg", quality=30)
    assert (tmp_path / "y.jpg").stat().st_size < (tmp_path / "x.jpg").stat().st_size / 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])  # Pillow's encoder and ours
def test_png_levels_change_the_size_and_no_pixel(tmp_path, dtype):
    noise = np.random.default_rng(8).normal(size=(60, 80, 3)).cumsum(axis=1)
    pixels = np.rint((noise - noise.min()) / np.ptp(noise) * np.iinfo(dtype).max).astype(dtype)
    sizes = {}
    for level in (0, 1, 6, 9):
        path = tmp_path / f"{level}.png"
        io.write_image(pixels, path, compress_level=level)
        np.testing.assert_array_equal(np.asarray(io.read_image(path)), pixels)
        sizes[level] = path.stat().st_size
    assert sizes[0] > pixels.nbytes > sizes[1] > sizes[6] >= sizes[9]
    io.write_image(pixels, tmp_path / "default.png")
    assert (tmp_path / "default.png").read_bytes() == (tmp_path / "6.png").read_bytes()


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png"])
def test_large_noise_is_written(tmp_path, suffix):
    """Pillow's buffer for optimised JPEGs is too small for it: they are not asked for."""
    noise = np.random.default_rng(7).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    io.write_image(noise, tmp_path / f"x{suffix}", quality=100)
    assert io.read_image(tmp_path / f"x{suffix}").size == (1200, 900)


# -- what is wrong with files ------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [io.read_image, io.read_heatmap])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".webp", ".gif", ".bmp", ".jp2", ".avif"])
def test_truncated_files(tmp_path, suffix, read):
    noise = picture(size=(64, 64))
    whole = stdio.BytesIO()
    noise.save(whole, format=io.FORMATS[suffix])
    content = whole.getvalue()
    path = tmp_path / f"x{suffix}"
    for share in (0.02, 0.5, 0.8):
        path.write_bytes(content[: max(4, int(len(content) * share))])
        with pytest.raises(ImageFileError) as caught:
            read(path)
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
            read(path)


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


def test_max_pixels_is_the_way_out(tmp_path, monkeypatch):
    io.write_image(picture(size=(20, 10)), tmp_path / "x.png")
    with pytest.raises(ImageFileError, match=r"20 x 10 pixels, 200 in all"):
        io.read_image(tmp_path / "x.png", max_pixels=199)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # Pillow's own guard stays out of it
    assert io.read_image(tmp_path / "x.png", max_pixels=200).size == (20, 10)
    assert io.read_image(tmp_path / "x.png", max_pixels=None).size == (20, 10)


def test_error_is_caught_as_either_kind_and_crosses_processes():
    error = ImageFileError("a/b.png", "is empty")
    assert isinstance(error, OSError)
    assert isinstance(error, ValueError)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.path, copy.problem) == ("'a/b.png' is empty", "a/b.png", "is empty")


# -- writing -----------------------------------------------------------------------------------------------


def test_folders_are_made(tmp_path):
    io.write_image(picture(), tmp_path / "a" / "b" / "x.png")
    io.write_json({}, tmp_path / "c" / "d" / "x.json")
    assert (tmp_path / "a" / "b" / "x.png").is_file()
    assert (tmp_path / "c" / "d" / "x.json").is_file()


def test_targets_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    for path, message in {
        tmp_path / "file" / "x.png": "could not be written",
        tmp_path / "folder.png": "is a folder; add a file name",
        tmp_path / "x.xyz": "needs an image suffix, one of .*got '.xyz'",
        tmp_path / "nul\0.png": "could not be written: .*null",
        tmp_path / "x": "needs an image suffix.*got 'none'",
        tmp_path / ("x" * 300 + ".png"): "could not be written: File name too long",
    }.items():
        with pytest.raises(ImageFileError, match=message):
            io.write_image(picture(), path)
    with pytest.raises(ImageFileError, match="could not be written"):
        io.write_json({}, tmp_path / "file" / "x.json")
    assert not leftovers(tmp_path)


def test_failing_encoder_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    io.write_image(picture(), path)
    before = path.read_bytes()

    def fail_half_way(self, stream, **_):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail_half_way)
    with pytest.raises(ImageFileError, match="No space left on device"):
        io.write_image(picture(seed=1), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.png"]


def test_interrupt_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(self, stream, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        io.write_image(picture(), tmp_path / "x.png")
    assert os.listdir(tmp_path) == []


def test_permissions_follow_the_umask_and_links_stay_links(tmp_path):
    (tmp_path / "plain").touch()
    io.write_image(picture(), tmp_path / "real.png")
    assert (tmp_path / "real.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "link.png").symlink_to("real.png")
    io.write_image(picture(seed=1), tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert_same_picture(io.read_image(tmp_path / "real.png"), picture(seed=1))


def test_many_threads_read_and_write(tmp_path):
    failures = []

    def work(seed):
        try:
            for _ in range(10):
                io.write_image(picture(seed=seed), tmp_path / f"{seed}.png")
                io.write_image(picture(seed=seed), tmp_path / "shared.png")
                assert_same_picture(io.read_image(tmp_path / f"{seed}.png"), picture(seed=seed))
                assert io.read_image(tmp_path / "shared.png").size == (7, 5)  # whole, whoever wrote it
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not leftovers(tmp_path)


# -- arrays -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "I;16", "I", "F"])
def test_array_and_back(mode):
    image = picture(mode)
    assert_same_picture(io.from_array(io.to_array(image)), image)


def test_array_modes():
    assert io.from_array(np.zeros((2, 3, 1), np.uint8)).mode == "L"
    assert io.from_array(np.zeros((2, 3), np.int64) - 5).mode == "I"
    assert io.from_array(np.zeros((2, 3), np.float16)).mode == "F"
    assert io.from_array(np.zeros((2, 3, 4), np.uint8), mode="CMYK").mode == "CMYK"
    assert io.from_array(np.zeros((2, 3, 3), np.uint8), mode="RGB").mode == "RGB"
    assert io.to_array(picture("P")).shape == (5, 7, 3)
    big_endian = Image.new("I;16B", (3, 2), 258)
    np.testing.assert_array_equal(io.to_array(big_endian), np.full((2, 3), 258))


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.zeros((2, 3, 3)), TypeError, r"must be uint8 for colour.*\* 255"),
        (np.zeros((2, 3, 3), np.uint16), TypeError, "16-bit colour"),
        (np.zeros((3, 20, 30), np.uint8), ValueError, r"permute\(1, 2, 0\)"),
        (np.zeros((2, 0)), ValueError, "not be empty"),
        (np.zeros(4), ValueError, r"\(H, W\) or \(H, W, C\)"),
        (np.zeros((2, 2, 2, 3), np.uint8), ValueError, r"\(H, W\) or \(H, W, C\)"),
        (np.zeros((2, 2), complex), TypeError, "real numbers"),
        (np.full((2, 2), 2**40), ValueError, "32 bits"),
        ("cat.png", TypeError, "must be an array"),
    ],
)
def test_arrays_without_a_mode(array, error, message):
    with pytest.raises(error, match=message):
        io.from_array(array)


@pytest.mark.parametrize("mode", ["RGB", "nonsense", 3, "F"])
def test_modes_that_do_not_fit(mode):
    with pytest.raises(ValueError, match="`mode` must be"):
        io.from_array(np.zeros((2, 3, 4), np.uint8), mode=mode)


# -- heatmaps and JSON ------------------------------------------------------------------------------------------

HEATMAP = np.array([[0, 1, 2], [3, 4, 250]])


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("h.npy", HEATMAP),
        ("h.npy", HEATMAP[np.newaxis].astype(np.float16)),
        ("h.npy", HEATMAP[..., np.newaxis]),
        ("h.npz", HEATMAP.astype(np.float32)),
        ("h.png", HEATMAP.astype(np.uint8)),
        ("h.png", HEATMAP.astype(np.uint16)),
        ("h.png", np.dstack([HEATMAP] * 3).astype(np.uint8)),
        ("h.png", np.dstack([HEATMAP, HEATMAP * 0 + 255]).astype(np.uint8)),
        ("h.png", np.dstack([HEATMAP] * 3).astype(np.uint16)),
        ("h.pgm", HEATMAP.astype(np.uint16)),
        ("h.bmp", HEATMAP.astype(np.uint8)),
        ("h.tiff", HEATMAP.astype(np.uint16)),
        ("h.tiff", HEATMAP.astype(np.float32)),
        ("h.tiff", HEATMAP.astype(np.int32)),
        ("h.tiff", HEATMAP > 1),
    ],
)
def test_heatmap_files(tmp_path, name, array):
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, array)
    elif name.endswith(".npz"):
        np.savez_compressed(path, array)
    else:
        io.write_image(array, path)
    heatmap = io.read_heatmap(path)
    assert heatmap.dtype == np.float64
    np.testing.assert_array_equal(heatmap, HEATMAP > 1 if array.dtype == bool else HEATMAP)


def test_files_that_hold_no_heatmap(tmp_path):
    colour = np.random.default_rng(6).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    cases = {
        "colour": (colour, "is in colour"),
        "transparent": (np.dstack([HEATMAP, HEATMAP]).astype(np.uint8), "transparent"),
        "negative": (HEATMAP - 1.0, "non-negative"),
        "nan": (HEATMAP * np.nan, "must be finite"),
        "batch": (np.ones((2, 3, 4)), r"one 2-D heatmap \(h, w\), got shape \(2, 3, 4\)"),
        "flat": (np.ones(576), "one 2-D heatmap"),
        "empty": (np.ones((0, 3)), "must not be empty"),
        "text": (np.array([["a"]]), "real numbers"),
        "objects": (np.array([[None]]), "no NumPy file that can be read"),
    }
    for name, (array, message) in cases.items():
        path = tmp_path / f"{name}.npy"
        if array.dtype == np.uint8:
            path = path.with_suffix(".png")
            io.write_image(array, path)
        else:
            np.save(path, array, allow_pickle=True)
        with pytest.raises(ImageFileError, match=message) as caught:
            io.read_heatmap(path)
        assert name in str(caught.value)
    np.savez(tmp_path / "two.npz", a=HEATMAP, b=HEATMAP)
    with pytest.raises(ImageFileError, match=r"it has 2 \(a, b\)"):
        io.read_heatmap(tmp_path / "two.npz")


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_keeps_every_float(tmp_path, numbers):
    io.write_json({"cdf": numbers}, tmp_path / "w.json")
    assert io.read_json(tmp_path / "w.json") == {"cdf": numbers}


def test_json_of_numpy_values(tmp_path):
    io.write_json({"a": np.float64(0.1), "b": np.arange(3), "c": np.bool_(True), "d": "Ünï"}, tmp_path / "w.json")
    assert json.loads((tmp_path / "w.json").read_text(encoding="utf-8")) == {
        "a": 0.1,
        "b": [0, 1, 2],
        "c": True,
        "d": "Ünï",
    }


def test_json_that_cannot_be(tmp_path):
    for data, error in (({"a": np.nan}, ValueError), ({"a": object()}, TypeError), ({"a": {1, 2}}, TypeError)):
        with pytest.raises(error, match="`data` must hold"):
            io.write_json(data, tmp_path / "w.json")
    assert os.listdir(tmp_path) == []
    (tmp_path / "w.json").write_text('{"a": 1,}')
    with pytest.raises(ImageFileError, match=r"is no JSON: .*line 1 column"):
        io.read_json(tmp_path / "w.json")


# -- lists of files ------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden.png", "deep/c.tiff", "deep/.cache/d.png", "odd[1].png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def found(photos, *args, **options):
    return [path.relative_to(photos).as_posix() for path in io.find_images(*args, **options)]


def test_find_images(photos):
    assert found(photos, photos) == ["a.jpg", "b.PNG", "odd[1].png"]
    assert found(photos, str(photos), recursive=True) == ["a.jpg", "b.PNG", "deep/c.tiff", "odd[1].png"]
    assert found(photos, [photos / "*"]) == ["a.jpg", "b.PNG", "odd[1].png"]
    assert found(photos, photos / "**" / "*.tiff") == ["deep/c.tiff"]
    assert found(photos, photos / "[ab].*") == ["a.jpg", "b.PNG"]
    assert found(photos, photos / "notes.txt") == ["notes.txt"]  # named: taken
    assert found(photos, photos / ".hidden.png") == [".hidden.png"]
    assert found(photos, photos / "odd[1].png") == ["odd[1].png"]  # a file before it is a pattern
    assert found(photos, [photos / "b.PNG", photos]) == ["b.PNG", "a.jpg", "odd[1].png"]
    assert io.find_images([]) == []


def test_find_images_says_what_is_missing(photos):
    (photos / "nothing").mkdir()
    for path, message in {
        photos / "z.png": "does not exist",
        photos / "z*.png": "pattern matches no image",
        photos / "nothing": "folder has no image",
    }.items():
        with pytest.raises(ImageFileError, match=message):
            io.find_images([photos / "a.jpg", path])


# -- arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [None, 3, b"x.png", stdio.BytesIO()])
def test_paths_are_paths(path):
    for call in (io.read_image, io.read_heatmap, io.read_json, lambda p: io.find_images([p])):
        with pytest.raises(TypeError, match="`path` must be a str"):
            call(path)
    for call in (io.write_image, io.write_json):
        with pytest.raises(TypeError, match="`path` must be a str"):
            call(np.zeros((2, 2), np.uint8).tolist() if call is io.write_json else picture(), path)


def test_other_arguments(tmp_path):
    with pytest.raises(TypeError, match="`image`"):
        io.write_image("cat.png", tmp_path / "x.png")
    with pytest.raises(TypeError, match="`image` must be a PIL image"):
        io.to_array(np.zeros((2, 2)))
    for quality in (0, 101):
        with pytest.raises(ValueError, match="`quality`"):
            io.write_image(picture(), tmp_path / "x.png", quality=quality)
    for level in (-1, 10):
        with pytest.raises(ValueError, match="`compress_level` must be a whole number from 0 to 9"):
            io.write_image(picture(), tmp_path / "x.png", compress_level=level)
    with pytest.raises(ValueError, match="`max_pixels`"):
        io.read_image(tmp_path / "x.png", max_pixels=0)
    assert not Path(tmp_path / "x.png").exists()
