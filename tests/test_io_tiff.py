"""TIFFs of every kind, against tifffile's writer and reader, OpenCV and ImageMagick: read rightly, or refused with the reason."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import struct
import subprocess
import tracemalloc

import numpy as np
import pytest
import tifffile
from PIL import Image

from pmtools import io, magnify
from pmtools.io import ImageFileError

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float16", "float32", "float64"]
LAYOUTS = {
    "strips": {},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True, "byteorder": ">"},
    "tiles, deflated": {"tile": (16, 16), "compression": "zlib", "byteorder": ">"},
    "rows": {"rowsperstrip": 3, "compression": "zlib", "predictor": None},
}


def noise(dtype, shape=(20, 35)):
    """Values over the whole range of integers, both signs of floats."""
    rng = np.random.default_rng(4)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def pixels(image):
    return image if isinstance(image, np.ndarray) else io.to_array(image)


def assert_reads(path, expected):
    got = pixels(io.read_image(path))
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


def test_assert_reads_can_fail(tmp_path):
    values = noise("uint8")
    tifffile.imwrite(tmp_path / "x.tif", values)
    for other in (values.astype("int32"), values[::-1]):
        with pytest.raises(AssertionError):
            assert_reads(tmp_path / "x.tif", other)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_grey_of_every_dtype_and_layout(tmp_path, dtype, layout):
    values = noise(dtype)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="minisblack", **LAYOUTS[layout])
    assert_reads(tmp_path / "x.tif", values)
    io.write_image(io.read_image(tmp_path / "x.tif"), tmp_path / "y.tif")
    assert_reads(tmp_path / "y.tif", values)
    assert tifffile.imread(tmp_path / "y.tif").dtype == dtype


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_colour_of_every_dtype_in_pixels_and_planes(tmp_path, dtype, planes):
    values = noise(dtype, (20, 35, 3))
    stored = values if planes == "contig" else np.ascontiguousarray(np.moveaxis(values, -1, 0))
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="rgb", planarconfig=planes)
    assert_reads(tmp_path / "x.tif", values)
    io.write_image(io.read_image(tmp_path / "x.tif"), tmp_path / "y.tif")
    assert_reads(tmp_path / "y.tif", values)


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_many_channels(tmp_path, planes):
    values = noise("uint16", (20, 35, 6))
    stored = values if planes == "contig" else np.ascontiguousarray(np.moveaxis(values, -1, 0))
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="minisblack", planarconfig=planes)
    assert_reads(tmp_path / "x.tif", values)
    result = magnify(io.read_image(tmp_path / "x.tif"), np.eye(4))
    io.write_image(result, tmp_path / "y.tif")
    assert_reads(tmp_path / "y.tif", result)
    with pytest.raises((ValueError, TypeError), match="`array`"):
        io.write_image(result, tmp_path / "y.png")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_least_is_white(tmp_path, dtype):
    values = noise(dtype)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="miniswhite")
    assert_reads(tmp_path / "x.tif", np.iinfo(dtype).max - values)


def test_white_is_turned_and_alpha_is_not(tmp_path):
    values = noise("uint8", (20, 35, 2))
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="miniswhite", extrasamples=["unassalpha"], metadata=None)
    assert_reads(tmp_path / "x.tif", np.stack([255 - values[..., 0], values[..., 1]], axis=-1))


def test_black_and_white_either_way(tmp_path):
    values = noise("uint8") > 99
    for photometric in ("minisblack", "miniswhite"):
        tifffile.imwrite(tmp_path / "x.tif", values, photometric=photometric)
        assert_reads(tmp_path / "x.tif", values == (photometric == "minisblack"))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_premultiplied_alpha_is_divided_out(tmp_path, dtype):
    top = np.iinfo(dtype).max
    alpha = np.full((8, 9, 1), top // 2, dtype)
    colour = (noise(dtype, (8, 9, 3)) // 2).astype(dtype)
    tifffile.imwrite(
        tmp_path / "x.tif", np.concatenate([colour, alpha], -1), photometric="rgb", extrasamples=["assocalpha"]
    )
    got = pixels(io.read_image(tmp_path / "x.tif")).astype(float)
    np.testing.assert_allclose(got[..., :3], np.clip(colour / (alpha / top), 0, top), atol=1)
    np.testing.assert_array_equal(got[..., 3:], alpha)


@pytest.mark.parametrize(
    ("values", "options", "reason"),
    [
        (noise("uint16", (9, 8, 4)), {"photometric": "separated"}, "CMYK in samples that are not of 8 bits"),
        (
            noise("uint8", (9, 8, 5)),
            {"photometric": "separated", "extrasamples": ["unassalpha"]},
            "CMYK with more channels",
        ),
        (noise("uint16", (9, 8, 3)), {"photometric": "cielab"}, r"CIE L\*a\*b\* in samples"),
        (noise("float32").astype("complex64"), {}, "complex numbers"),
        (noise("float32"), {"photometric": "miniswhite"}, "calls the least value white in float32"),
        (noise("uint8", (9, 8, 4)), {"photometric": "rgb", "extrasamples": ["unspecified"]}, "does not call alpha"),
        (noise("uint8", (9, 8, 2)), {"planarconfig": "contig", "extrasamples": ["unspecified"]}, "does not call alpha"),
        (
            noise("uint8", (9, 8, 2)),
            {"photometric": "miniswhite", "planarconfig": "contig", "extrasamples": ["assocalpha"]},
            "premultiplied alpha where the least value is white",
        ),
        (noise("uint8", (4, 16, 16)), {"volumetric": True, "tile": (4, 16, 16)}, "a volume"),
        (noise("uint16"), {"photometric": "cfa"}, "CFA data, which is not yet a picture"),
    ],
)
def test_what_is_not_read_is_refused_with_the_reason(tmp_path, values, options, reason):
    tifffile.imwrite(tmp_path / "x.tif", values, **({"photometric": "minisblack"} | options))
    with pytest.raises(ImageFileError, match=reason) as caught:
        io.read_image(tmp_path / "x.tif")
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("compression", ["lerc", "jpeg2000", "jpegxl", "png", "jpegxr", "webp"])
def test_compressions_that_pillow_does_not_know(tmp_path, compression):
    values = noise("uint8", (33, 45, 3))
    path = tmp_path / "x.tif"
    if importlib.util.find_spec("imagecodecs") is not None:
        lossless = {
            "jpeg2000": {"level": 0, "reversible": True},
            "jpegxl": {"lossless": True},
            "webp": {"lossless": True},
        }
        options = {"compression": compression, "compressionargs": lossless.get(compression)}
        tifffile.imwrite(path, values, photometric="rgb", **options)
        assert_reads(path, values)
        return
    tifffile.imwrite(path, values, photometric="rgb")
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["Compression"].overwrite(tifffile.COMPRESSION[compression.upper()])
    with pytest.raises(ImageFileError, match=r"is compressed with \w+ and needs imagecodecs: pip install") as caught:
        io.read_image(path)
    assert "damaged" not in str(caught.value)


def test_other_colours_under_such_a_compression_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", noise("uint8", (9, 8, 4)), photometric="separated")
    with tifffile.TiffFile(tmp_path / "x.tif", mode="r+b") as file:
        file.pages[0].tags["Compression"].overwrite(tifffile.COMPRESSION.PNG)
    with pytest.raises(ImageFileError, match="holds CMYK that is compressed with PNG; convert it to RGB"):
        io.read_image(tmp_path / "x.tif")


def test_samples_of_differing_bits_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", noise("uint8", (9, 8, 3)), photometric="rgb")
    with tifffile.TiffFile(tmp_path / "x.tif", mode="r+b") as file:
        file.pages[0].tags["BitsPerSample"].overwrite((5, 6, 5))
    with pytest.raises(ImageFileError, match=r"samples of differing bits \(5, 6, 5\); save it with 8 or 16 in each"):
        io.read_image(tmp_path / "x.tif")


def test_truncated_pages_that_pillow_does_not_read(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", noise("float64"))
    content = (tmp_path / "x.tif").read_bytes()
    (tmp_path / "x.tif").write_bytes(content[:-100])
    with pytest.raises(ImageFileError, match="truncated"):
        io.read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
def test_strips_that_are_not_there_are_no_zeros(tmp_path, compression, dtype):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, noise(dtype), rowsperstrip=5, compression=compression)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["ImageLength"].overwrite(4000)
    with pytest.raises(ImageFileError, match="truncated"):
        io.read_image(path)


def packed(path, values, *, photometric, extra=(), byte_order="<"):
    """A TIFF with samples of one bit, as revision 6.0 packs them: rows begin with a byte."""
    height, width, samples = values.shape
    data = np.packbits(values.reshape(height, -1), axis=1).tobytes()
    tags = {256: [width], 257: [height], 258: [1] * samples, 262: [photometric], 277: [samples], 278: [height]}
    tags |= {338: list(extra)} if extra else {}
    entries, more, start = b"", b"", 8 + 2 + 12 * (len(tags) + 2) + 4
    for tag in sorted([*tags, 273, 279]):
        if tag in tags:
            content = struct.pack(f"{byte_order}{len(tags[tag])}H", *tags[tag])
            if len(content) > 4:
                content, more = struct.pack(byte_order + "I", start + len(more)), more + content
            entries += struct.pack(byte_order + "HHI4s", tag, 3, len(tags[tag]), content)
        else:
            size = 2 * samples if samples > 2 else 0
            entries += struct.pack(byte_order + "HHII", tag, 4, 1, start + size if tag == 273 else len(data))
    head = {"<": b"II*\0", ">": b"MM\0*"}[byte_order] + struct.pack(byte_order + "IH", 8, len(tags) + 2)
    path.write_bytes(head + entries + bytes(4) + more + data)


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize(("samples", "photometric", "extra"), [(3, 2, ()), (4, 2, (2,)), (2, 1, (2,))])
def test_colour_in_one_bit(tmp_path, samples, photometric, extra, byte_order):
    for width in (16, 13):
        values = np.random.default_rng(samples).integers(0, 2, (9, width, samples), dtype=np.uint8)
        packed(tmp_path / "x.tif", values, photometric=photometric, extra=extra, byte_order=byte_order)
        assert_reads(tmp_path / "x.tif", values * np.uint8(255))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_orientation_of_pages_that_pillow_reads(tmp_path, dtype, orientation):
    values = noise(dtype)  # in one strip, which Pillow maps into memory where it knows the file's name
    tifffile.imwrite(tmp_path / "x.tif", values, extratags=[(274, 3, 1, orientation, True)], metadata=None)
    content = (tmp_path / "x.tif").read_bytes()
    turned = values.T if orientation > 4 else values
    flips = {2: 1, 3: (0, 1), 4: 0, 6: 1, 7: (0, 1), 8: 0}.get(orientation, ())
    expected = np.flip(turned, flips)
    assert_reads(tmp_path / "x.tif", expected)
    assert_reads(content, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_pages_that_pillow_does_not_read(tmp_path, orientation):
    values = noise("float64", (3, 4))
    expected = {
        1: values,
        2: values[:, ::-1],
        3: values[::-1, ::-1],
        4: values[::-1],
        5: values.T,
        6: values.T[:, ::-1],
        7: values[::-1, ::-1].T,
        8: values.T[::-1],
    }[orientation]
    tifffile.imwrite(tmp_path / "x.tif", values, extratags=[(274, 3, 1, orientation, True)])
    assert_reads(tmp_path / "x.tif", expected)


def test_metadata_of_arrays_go_along(tmp_path):
    options = {"resolution": (120.0, 60.0), "resolutionunit": "inch", "description": "a meadow", "metadata": None}
    profile = b"\0" * 16 + b"GRAY" + b"\0" * 108
    tags = [(700, 1, 4, b"<x/>", True), (315, 2, 0, "M. Artist", True)]
    tifffile.imwrite(tmp_path / "x.tif", noise("float64"), iccprofile=profile, extratags=tags, **options)
    frames = io.read_frames(tmp_path / "x.tif")
    assert io.write_frames(frames, tmp_path / "y.tif") == ()
    with tifffile.TiffFile(tmp_path / "y.tif") as file:
        tags = file.pages[0].tags
        assert tags["ImageDescription"].value == "a meadow"
        assert tags["Artist"].value == "M. Artist"
        assert tags["InterColorProfile"].value == profile
        assert tags["XMP"].value == b"<x/>"
        assert file.pages[0].get_resolution("inch") == (120, 60)


def test_camera_and_place_that_go_are_said(tmp_path):
    exif = Image.Exif()
    exif[0x8769] = {0x8827: 400}
    frames = io.Frames([noise("uint16", (8, 9, 3))], info={"exif": exif.tobytes()})
    assert io.write_frames(frames, tmp_path / "x.tif") == ("EXIF of camera and place at this depth",)
    assert io.write_frames(frames, tmp_path / "x.png") == ()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
def test_pages_and_their_description(tmp_path, dtype):
    stack = noise(dtype, (3, 8, 9))
    tifffile.imwrite(tmp_path / "x.tif", stack, photometric="minisblack")  # describes the shape of the stack
    frames = io.read_frames(tmp_path / "x.tif")
    assert (frames.count, frames.durations) == (3, None)
    io.write_frames(frames, tmp_path / "y.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "y.tif", key=range(3)), stack)
    io.write_image(io.read_image(tmp_path / "x.tif"), tmp_path / "one.tif", like=frames)
    with tifffile.TiffFile(tmp_path / "one.tif") as file:
        assert len(file.pages) == 1
        assert "ImageDescription" not in file.pages[0].tags


def test_thumbnails_are_no_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for size, kind in ((32, 0), (16, 1), (8, 1)):
            file.write(noise("uint8", (size, size)), subfiletype=kind, photometric="minisblack")
    frames = io.read_frames(tmp_path / "x.tif")
    assert (frames.count, frames.companions, len(frames.images)) == (1, 2, 1)


def test_pages_claim_no_more_than_the_limit_together(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", noise("uint8", (3, 10, 10)), photometric="minisblack")
    assert io.read_frames(tmp_path / "x.tif", max_pixels=300).count == 3
    with pytest.raises(ImageFileError, match=r"claims 3 pages of 300 pixels in all.*`max_pixels` = 299"):
        io.read_frames(tmp_path / "x.tif", max_pixels=299)
    assert io.read_frames(tmp_path / "x.tif", max_pixels=100, first_only=True).count == 3


TILED = {"photometric": "rgb", "tile": (16, 16), "compression": "zlib"}


@pytest.mark.parametrize(
    ("values", "layout", "tags", "message"),
    [
        (noise("uint16", (40, 40, 3)), {"photometric": "rgb"}, {"BitsPerSample": (3, 0, 255), "ImageLength": 2**22},
            "holds samples of differing kinds"),
        (noise("uint16", (40, 40, 3)), TILED, {"TileLength": 2**24},
            "40 x 40 pixels in tiles of 16 x 16777216, 268435456 in all and more than `max_pixels`"),
        (noise("uint16", (40, 40, 3)), TILED | {"tile": None}, {"SamplesPerPixel": 2**31, "ImageWidth": 9},
            "9 x 40 pixels of 2147483648 channels"),
        (noise("float64"), {}, {"SamplesPerPixel": 0, "ImageLength": 2**32 - 1}, "35 x 4294967295 pixels, 150323855325 in all"),
        (noise("uint16", (4, 20, 35)), {"photometric": "minisblack", "volumetric": True, "tile": (16, 16, 16)},
            {"ImageDepth": 10**8}, "holds a volume"),
    ],
)  # fmt: skip
def test_a_small_file_takes_no_memory_for_what_it_claims(tmp_path, values, layout, tags, message):
    tifffile.imwrite(tmp_path / "x.tif", values, **layout)
    with tifffile.TiffFile(tmp_path / "x.tif", mode="r+b") as file:
        for name, value in tags.items():
            file.pages[0].tags[name].overwrite(value, dtype="I" if np.ndim(value) == 0 else "H")
    tracemalloc.start()
    with pytest.raises(ImageFileError, match=message):
        io.read_image(tmp_path / "x.tif")
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def imagemagick() -> str | None:
    """ImageMagick's program, whatever else is called `convert`."""
    for name in ("magick", "convert", "/usr/bin/convert"):
        if shutil.which(name):
            version = subprocess.run([name, "-version"], capture_output=True).stdout
            if version.startswith(b"Version: ImageMagick"):
                return name
    return None


@pytest.mark.skipif(imagemagick() is None, reason="ImageMagick is not installed")
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("kind", ["gray", "rgb"])
@pytest.mark.parametrize(
    "options", ["-compress none", "-compress zip -endian MSB", "-interlace plane", "-compress lzw"]
)
def test_imagemagick_reads_the_same(tmp_path, depth, kind, options):
    values = noise("uint16", (10, 16, 3) if kind == "rgb" else (10, 16))
    convert, to_raw = imagemagick(), ["-depth", "16", "-endian", "LSB", f"{kind}:-"]
    made = ["-depth", str(depth), *options.split(), str(tmp_path / "x.tif")]
    subprocess.run([convert, "-size", "16x10", *to_raw, *made], input=values.astype("<u2").tobytes(), check=True)
    seen = subprocess.run([convert, str(tmp_path / "x.tif"), *to_raw], capture_output=True, check=True).stdout
    expected = np.frombuffer(seen, "<u2").reshape(values.shape)
    if kind == "rgb" and depth < 8 and importlib.util.find_spec("imagecodecs") is None:
        with contextlib.suppress(ImageFileError):  # what is written with 1 bit is stored as grey
            io.read_image(tmp_path / "x.tif")
            return
        with pytest.raises(ImageFileError, match=r"needs imagecodecs: pip install 'pmtools\[tiff\]'"):
            io.read_image(tmp_path / "x.tif")
        return
    got = pixels(io.read_image(tmp_path / "x.tif"))
    scale = {"b": 65535, "u": 65535 // np.iinfo(got.dtype).max if got.dtype.kind == "u" else 0}[got.dtype.kind]
    got = got if got.ndim == values.ndim else got[..., None]  # where all colours are grey
    np.testing.assert_array_equal(np.broadcast_to(got.astype(int) * scale, expected.shape), expected)
