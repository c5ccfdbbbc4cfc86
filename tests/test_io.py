"""Image files: what goes in comes out, and what a format cannot hold is refused."""

from __future__ import annotations

import base64
import io as stdio
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from io_pictures import assert_same_picture, leftovers, needs_avif, picture
from PIL import Image

from pmtools import io
from pmtools.io import ImageFileError


def test_assert_same_picture_can_fail():
    with pytest.raises(AssertionError):
        assert_same_picture(picture(seed=0), picture(seed=1))
    with pytest.raises(AssertionError):
        assert_same_picture(picture("L"), picture("1"))


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
        pytest.param("x.avif", "RGB", "RGB", marks=needs_avif),
        ("x.png", "CMYK", "RGB"),
        ("x.png", "HSV", "RGB"),
        ("x.png", "La", "LA"),
        ("x.webp", "La", "RGBA"),
        pytest.param("x.avif", "La", "RGBA", marks=needs_avif),
        ("x.webp", "RGBa", "RGBA"),
    ],
)
def test_other_pairs_keep_the_picture_in_a_mode_the_format_has(tmp_path, name, mode, read):
    smooth = np.add.outer(np.linspace(0, 200, 40), np.linspace(0, 50, 60)).astype(np.uint8)
    alpha = mode.upper() in ("LA", "RGBA")
    image = Image.fromarray(smooth).convert("RGBA" if alpha else "RGB")
    if alpha:
        image.putalpha(Image.fromarray(255 - smooth))
    image = image.quantize(200) if mode == "P" else image.convert(mode.upper() if alpha else mode)
    expected = io.to_array(image.convert(read)).astype(int)
    io.write_image(image.convert(mode) if alpha else image, tmp_path / name)  # colours weighted by alpha last of all
    back = io.read_image(tmp_path / name)
    assert back.mode == read
    difference = np.abs(io.to_array(back).astype(int) - expected)
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
        *[(f"x.{suffix}", "I;16") for suffix in ("jpg", "webp", "gif", "bmp")],
        pytest.param("x.avif", "I;16", marks=needs_avif),
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


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
def test_transparent_colours_of_a_picture_in_memory_are_kept_or_refused(tmp_path, mode):
    image = picture(mode)
    image.info["transparency"] = {"1": 0, "L": image.getpixel((2, 1)), "P": 3}.get(mode, image.getpixel((2, 1)))
    expected = np.asarray(image.convert("RGBA"))
    assert (expected[..., 3] == 0).any()
    for name in ("x.tif", "x.png", "x.webp"):
        io.write_image(image, tmp_path / name, lossless=True)
        np.testing.assert_array_equal(
            np.asarray(io.read_image(tmp_path / name).convert("RGBA")), expected, err_msg=name
        )
    for name in ("x.bmp", "x.jpg"):
        with pytest.raises(ImageFileError, match="without losing bits or alpha"):
            io.write_image(image, tmp_path / name)


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
    pixels = np.random.default_rng(3).integers(0, 65536, (8, 6, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb", **options)
    np.testing.assert_array_equal(io.read_image(tmp_path / "x.tif"), pixels)
    grey = pixels[..., 0]
    tifffile.imwrite(tmp_path / "g.tif", grey, photometric="minisblack", **options)
    back = io.read_image(tmp_path / "g.tif")
    assert back.mode == "I;16"
    np.testing.assert_array_equal(io.to_array(back), grey)


@pytest.mark.parametrize("dtype", [">u2", "<u2"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jp2", ".pgm"])
def test_arrays_of_either_byte_order(tmp_path, suffix, dtype):
    values = np.random.default_rng(3).integers(0, 65536, (40, 50, 3)).astype(dtype)
    for pixels in (values[..., 0],) + ((values,) if suffix in (".png", ".tif") else ()):
        io.write_image(pixels, tmp_path / f"x{suffix}")
        np.testing.assert_array_equal(np.asarray(io.read_image(tmp_path / f"x{suffix}")), pixels)
    mode = "I;16B" if dtype == ">u2" else "I;16L"
    image = Image.frombytes(mode, (50, 40), values[..., 0].tobytes())  # as Pillow opens TIFFs
    io.write_image(image, tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(np.asarray(io.read_image(tmp_path / f"x{suffix}")), values[..., 0])


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
@pytest.mark.parametrize("bits", [10, 16])
def test_jpeg_2000_of_more_bits_than_are_read_is_refused(mode, bits):
    stream = stdio.BytesIO()
    picture(mode, (40, 50)).save(stream, "JPEG2000")
    content = bytearray(stream.getvalue())
    depths = content.index(b"\xff\x4f\xff\x51") + 42  # of the marker SIZ, three bytes a channel
    assert content[depths] == 8 - 1
    content[depths] = bits - 1
    with pytest.raises(ImageFileError, match=r"JPEG 2000 with colour of more than 8 bits; save it as PNG or TIFF"):
        io.read_image(bytes(content))


#: 8 x 8 pixels of one grey in 10 bits, by imagecodecs.avif_encode(..., bitspersample=10).
TEN_BITS = (
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUEAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAAAAAAAAAOcGl0bQAA"
    "AAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAAHAAAAChpaW5mAAAAAAABAAAAGmluZmUCAAAAAAEAAGF2MDFDb2xvcgAAAABqaXBycAAAAEtp"
    "cGNvAAAAFGlzcGUAAAAAAAAACAAAAAgAAAAQcGl4aQAAAAADCgoKAAAADGF2MUOBIEAAAAAAE2NvbHJuY2x4AAIAAgAGgAAAABdpcG1hAAAAAAAAAAEA"
    "AQQBAoMEAAAAJG1kYXQSAAoIOAi/bwICBpAyDhICQ0qAAPIAABCQPBVA"
)


@needs_avif
def test_avif_of_more_than_eight_bits_says_so(tmp_path):
    frames = io.read_frames(base64.b64decode(TEN_BITS))
    assert frames.left_out == ("10 or 12 bits a channel are read as 8",)
    assert frames.images[0].getpixel((3, 3)) == (128, 128, 128)
    io.write_image(picture(size=(8, 8)), tmp_path / "x.avif")
    assert io.read_frames(tmp_path / "x.avif").left_out == ()


@pytest.mark.parametrize("top", [65535, 1000])
@pytest.mark.parametrize("plain", [False, True])
def test_ppm_in_more_than_eight_bits(plain, top):
    values = np.random.default_rng(1).integers(0, top + 1, (5, 7, 3))
    text = " ".join(map(str, values.ravel())).encode()
    content = b"P%d\n# a comment\n7 5\n%d\n" % ((3 if plain else 6), top)
    image = io.read_image(content + (text if plain else values.astype(">u2").tobytes()))
    np.testing.assert_array_equal(image, np.rint(values * (65535 / top)).astype(np.uint16))


def test_sixteen_bits_a_pixel_are_eight_a_channel():
    values = np.arange(0, 2**16, 2**16 // 24, dtype="<u2")[:24].reshape(4, 6)  # red 5 bits, green 6, blue 5
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    head = struct.pack("<IiiHHIIiiII", 40, 6, -4, 1, 16, 3, values.nbytes, 0, 0, 0, 0) + masks
    content = b"BM" + struct.pack("<IHHI", 14 + len(head) + values.nbytes, 0, 0, 14 + len(head)) + head
    got = io.to_array(io.read_image(content + values.tobytes()))
    expected = np.stack([(values >> 11) * 255 / 31, (values >> 5 & 63) * 255 / 63, (values & 31) * 255 / 31], axis=-1)
    np.testing.assert_allclose(got, expected, atol=1)


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


def test_other_arguments(tmp_path):
    with pytest.raises(TypeError, match="`image`"):
        io.write_image("cat.png", tmp_path / "x.png")
    with pytest.raises(TypeError, match="`image` must be a PIL image"):
        io.to_array(np.zeros((2, 2)))
    for quality in (0, 101):
        with pytest.raises(ValueError, match="`quality`"):
            io.write_image(picture(), tmp_path / "x.png", quality=quality)
    for level in (-1, 10):
        with pytest.raises(ValueError, match="`compress_level` must be an integer from 0 to 9"):
            io.write_image(picture(), tmp_path / "x.png", compress_level=level)
    with pytest.raises(ValueError, match="`max_pixels`"):
        io.read_image(tmp_path / "x.png", max_pixels=0)
    assert not Path(tmp_path / "x.png").exists()
