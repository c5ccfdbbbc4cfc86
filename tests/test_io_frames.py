"""Every frame of a file, with its time; lossless stays lossless; streams and bytes are as good as paths."""

from __future__ import annotations

import io as stdio
import struct
import zlib

import numpy as np
import pytest
from io_pictures import assert_same_picture, needs_avif, picture
from PIL import Image, ImageCms, ImageSequence

from pmtools import io
from pmtools.io import Frames, ImageFileError


def blink(count=4, mode="RGB", size=(24, 16)):
    """Frames of few colours that differ everywhere."""
    return [picture("RGB", size, seed).quantize(30).convert(mode) for seed in range(count)]


def seen_by_pillow(path):
    """What another reader of the file shows: pixels and milliseconds."""
    with Image.open(path) as image:
        frames = [(np.asarray(f.convert("RGBA")), f.info.get("duration")) for f in ImageSequence.Iterator(image)]
        return [a for a, _ in frames], [b for _, b in frames], image.info.get("loop")


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", pytest.param(".avif", marks=needs_avif)])
def test_animations_keep_frames_durations_and_loops(tmp_path, suffix):
    frames, durations = blink(), [100, 250, 40, 1000]
    options = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(
        tmp_path / f"x{suffix}", save_all=True, append_images=frames[1:], duration=durations, loop=3, **options
    )
    got = io.read_frames(tmp_path / f"x{suffix}")
    assert got.durations == durations
    assert got.count == len(got.images) == 4
    if suffix != ".avif":
        assert got.plays == (4 if suffix == ".gif" else 3)
        for image, frame in zip(got.images, frames, strict=True):
            np.testing.assert_array_equal(io.to_array(image.convert("RGB")), io.to_array(frame))
    io.write_frames(got, tmp_path / f"y{suffix}", quality=100)
    before, after = seen_by_pillow(tmp_path / f"x{suffix}"), seen_by_pillow(tmp_path / f"y{suffix}")
    assert before[1:] == after[1:]
    for a, b in zip(before[0], after[0], strict=True):
        np.testing.assert_allclose(a.astype(int), b, atol=60 if suffix == ".avif" else 0)


@pytest.mark.parametrize(("plays", "loop"), [(0, 0), (1, None), (5, 4)])
def test_gif_counts_repetitions(tmp_path, plays, loop):
    io.write_frames(Frames(blink(), durations=[100.0] * 4, plays=plays), tmp_path / "x.gif")
    assert seen_by_pillow(tmp_path / "x.gif")[2] == loop
    assert io.read_frames(tmp_path / "x.gif").plays == plays
    io.write_frames(io.read_frames(tmp_path / "x.gif"), tmp_path / "x.webp", lossless=True)
    assert io.read_frames(tmp_path / "x.webp").plays == plays


@pytest.mark.parametrize(
    ("suffix", "durations", "plays", "kept", "lost"),
    [
        ("gif", [33, 33, 34, 10], 0, [30, 40, 30, 10], "durations between hundredths of a second"),
        ("gif", [30, 40, 30, 10], 65536, [30, 40, 30, 10], None),
        ("gif", [30, 40, 30, 10], 65537, [30, 40, 30, 10], "65537 plays"),
        ("webp", [33, 1, 70000, 5], 65536, [33, 1, 70000, 5], "65536 plays"),
        ("png", [33.4, 33.4, 33.4, 5], 65537, [33, 34, 33, 5], None),
        ("tif", [30, 40, 30, 10], 0, None, "how long each image is shown"),
        ("jpg", [30, 40, 30, 10], 3, None, "how long each image is shown"),
        pytest.param("avif", [33, 1, 70000, 5], 3, [33, 1, 70000, 5], "the number of plays", marks=needs_avif),
    ],
)
def test_timing_that_a_format_has_no_place_for_is_said(suffix, durations, plays, kept, lost):
    stream = stdio.BytesIO()
    told = io.write_frames(Frames(blink(), durations=durations, plays=plays), stream, format=suffix)
    assert told == (() if lost is None else (lost,))
    assert io.read_frames(stream.getvalue()).durations == kept


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
@pytest.mark.parametrize("order", [[0, 0, 0, 1], [0, 0, 0, 0]])
def test_frames_that_encoders_join_are_said(suffix, order):
    views, stream = blink(2), stdio.BytesIO()
    frames = Frames([views[k] for k in order], durations=[100, 200, 300, 400])
    count = len(set(order))
    told = io.write_frames(frames, stream, format=suffix, lossless=True if suffix == "webp" else None)
    assert told == (f"{4 - count} frames like the ones before, which are shown longer",)
    back = io.read_frames(stream.getvalue())
    assert (len(back.images), back.durations) == (count, [600, 400] if count == 2 else None)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_transparent_frames_do_not_shine_through(tmp_path, suffix):
    frames = blink(3, "RGBA")
    for k, frame in enumerate(frames):
        frame.paste((0, 0, 0, 0), (4 * k, 0, 4 * k + 9, 9))
    io.write_frames(Frames(frames, durations=[50.0] * 3), tmp_path / f"x{suffix}", lossless=True)
    for image, frame in zip(io.read_frames(tmp_path / f"x{suffix}").images, frames, strict=True):
        np.testing.assert_array_equal(np.asarray(image.convert("RGBA"))[..., 3], np.asarray(frame)[..., 3])


def test_picture_before_an_animation_stays_outside_of_it(tmp_path):
    frames = blink(3)
    frames[0].save(tmp_path / "x.png", save_all=True, append_images=frames[1:], default_image=True, duration=[70, 90])
    got = io.read_frames(tmp_path / "x.png")
    assert got.default_image
    io.write_frames(got, tmp_path / "y.png")
    with Image.open(tmp_path / "y.png") as again:
        assert again.default_image
    assert seen_by_pillow(tmp_path / "y.png")[1] == seen_by_pillow(tmp_path / "x.png")[1]


def test_views_of_an_mpo_and_no_thumbnails(tmp_path):
    views = [*blink(2, size=(48, 32)), *blink(1, size=(24, 16))]
    views[0].save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=views[1:], quality=95)
    got = io.read_frames(tmp_path / "x.jpg")
    assert (got.count, got.companions, got.durations, got.format) == (2, 1, None, "jpg")
    first = io.read_frames(tmp_path / "x.jpg", first_only=True)
    assert (len(first.images), first.count, first.companions) == (1, 2, 1)
    assert first.left_out == ("the first of 2 images", "1 thumbnails, masks or gain maps are left out")
    io.write_frames(got, tmp_path / "y.mpo")
    with Image.open(tmp_path / "y.mpo") as again:
        assert (again.format, again.n_frames) == ("MPO", 2)


def test_views_in_cmyk_become_rgb():
    """Pillow writes their index where no reader finds it."""
    views, stream = [Image.new("CMYK", (24, 16), (0, 0, 0, black)) for black in (55, 155)], stdio.BytesIO()
    io.write_frames(Frames(views), stream, format="jpg", quality=100)
    back = io.read_frames(stream.getvalue()).images
    assert [image.getpixel((5, 5)) for image in back] == [(200, 200, 200), (100, 100, 100)]


@pytest.mark.parametrize("count", [2, 3, 4, 7])
@pytest.mark.parametrize("with_exif", [False, True])
def test_every_view_of_a_jpeg_is_found_and_has_its_size(count, with_exif):
    exif = Image.Exif()
    exif[0x010F] = "pmtools" * with_exif
    views, stream = [picture("RGB", (24, 16), seed) for seed in range(count)], stdio.BytesIO()
    io.write_frames(
        Frames(views, info={"exif": exif.tobytes()} if with_exif else {}), stream, format="jpg", quality=100
    )
    content = stream.getvalue()
    with Image.open(stream) as image:
        entries = image.mpinfo[0xB002]
        for k, view in enumerate(views):
            image.seek(k)
            assert np.abs(np.asarray(image).astype(int) - np.asarray(view)).max() < 12
    base = content.index(b"MPF\0") + 4
    ends = [*(base + entry["DataOffset"] for entry in entries[1:]), len(content)]
    assert [end - entry["Size"] for end, entry in zip(ends, entries, strict=True)] == [0, *ends[:-1]]
    assert all(content[end - 2 : end] == b"\xff\xd9" for end in ends)


def test_formats_of_one_image_refuse_more(tmp_path):
    for suffix in ("bmp", "ppm", "jp2"):
        with pytest.raises(ImageFileError, match=r"holds one image, not 4; use \.tif, \.gif"):
            io.write_frames(Frames(blink()), tmp_path / f"x.{suffix}")
    deep = [np.zeros((3, 3, 3), np.uint16)] * 2
    with pytest.raises(ImageFileError, match=r"16-bit RGB of several frames does not go into PNG here; use \.tif"):
        io.write_frames(Frames(deep), tmp_path / "x.png")
    grey = [np.full((3, 3), level, np.uint16) for level in (1000, 2000)]  # white to Pillow, who compares them
    for pages in (grey, [Image.fromarray(level) for level in grey]):
        with pytest.raises(ImageFileError, match=r"16-bit grey of several frames does not go into PNG here; use \.tif"):
            io.write_frames(Frames(pages), tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_all_frames_together_obey_the_limit(tmp_path):
    io.write_frames(Frames(blink()), tmp_path / "x.gif")
    assert len(io.read_frames(tmp_path / "x.gif", max_pixels=4 * 24 * 16).images) == 4
    with pytest.raises(ImageFileError, match="claims 4 frames of 24 x 16 pixels, 1536 in all"):
        io.read_frames(tmp_path / "x.gif", max_pixels=4 * 24 * 16 - 1)
    first = io.read_frames(tmp_path / "x.gif", max_pixels=24 * 16, first_only=True)
    assert (len(first.images), first.count) == (1, 4)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("count", [1, 3])
def test_lossless_webp_stays_lossless(tmp_path, mode, count):
    frames = [picture(mode, (32, 24), seed) for seed in range(count)]
    options = {"lossless": True, "exact": True, "save_all": count > 1, "append_images": frames[1:]}
    frames[0].save(tmp_path / "x.webp", **options)
    got = io.read_frames(tmp_path / "x.webp")
    assert got.info["lossless"] is True
    io.write_frames(got, tmp_path / "y.webp", quality=1)
    for image, frame in zip(io.read_frames(tmp_path / "y.webp").images, frames, strict=True):
        seen = np.asarray(frame.getchannel("A"))[..., None] > 0 if mode == "RGBA" and count > 1 else True
        np.testing.assert_array_equal(np.where(seen, image.convert(mode), 0), np.where(seen, frame, 0))
    if count == 1:
        io.write_image(io.read_image(tmp_path / "x.webp"), tmp_path / "z.webp")
        assert_same_picture(io.read_image(tmp_path / "z.webp"), frames[0])
        io.write_image(io.read_image(tmp_path / "x.webp"), tmp_path / "lossy.webp", lossless=False)
        assert "lossless" not in io.read_image(tmp_path / "lossy.webp").info
    with pytest.raises(ImageFileError, match="JPEG is never lossless"):
        io.write_frames(got, tmp_path / "x.jpg", lossless=True)


XMP = b'<x xmlns:tiff="t" tiff:Orientation="6" exif:PixelXDimension="99" dc:title="meadow"/>'


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", pytest.param(".avif", marks=needs_avif)])
def test_xmp_is_kept_without_what_no_longer_holds(tmp_path, suffix):
    image = picture(size=(24, 16))
    image.info["xmp"] = XMP
    io.write_image(image, tmp_path / f"x{suffix}")
    with Image.open(tmp_path / f"x{suffix}") as again:
        xmp = again.info["xmp"]
        assert again.size == (16, 24)  # turned, as it asked
    assert b"meadow" in xmp
    assert b'tiff:Orientation="1"' in xmp
    assert b"PixelXDimension" not in xmp
    assert b"meadow" in io.read_image(tmp_path / f"x{suffix}").info["xmp"]


def test_xmp_of_a_gain_map_is_dropped_with_it(tmp_path):
    image = picture()
    image.info["xmp"] = b'<x hdrgm:Version="1.0"/>'
    io.write_image(image, tmp_path / "x.png")
    assert "xmp" not in io.read_image(tmp_path / "x.png").info


def test_what_a_format_has_no_place_for_is_said(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "pmtools"
    info = {"icc_profile": profile, "exif": exif.tobytes(), "xmp": b"<x/>", "dpi": (72.0, 72.0)}
    frames = Frames([picture(size=(40, 40))], info=info)
    assert io.write_frames(frames, tmp_path / "x.png") == ()
    assert io.write_frames(frames, tmp_path / "x.webp") == ("the resolution",)
    assert io.write_frames(frames, tmp_path / "x.bmp") == ("the ICC profile", "EXIF", "XMP")
    assert io.write_frames(Frames([picture("L")], info=info), tmp_path / "x.jpg") == (
        "the ICC profile, made for other channels,",
    )
    long = Frames([picture()], info={"exif": exif.tobytes() + b"\0" * 70_000})
    assert io.write_frames(long, tmp_path / "long.jpg") == ("EXIF",)


def test_frames_of_gif_beyond_the_canvas_are_cut(tmp_path):
    first, second = (Image.fromarray(np.full((12, 14), value, np.uint8)) for value in (50, 200))
    first.save(tmp_path / "x.gif", save_all=True, append_images=[second, first])
    content, place = (tmp_path / "x.gif").read_bytes(), b"\x2c" + struct.pack("<4H", 0, 0, 14, 12)
    parts = content.split(place)
    assert len(parts) == 4
    further = b"\x2c" + struct.pack("<4H", 6, 0, 14, 12)
    frames = io.read_frames(place.join(parts[:2]) + further + place.join(parts[2:]), max_pixels=1000)
    assert [frame.size for frame in frames.images] == [(14, 12)] * 3
    assert (frames.count, frames.companions) == (3, 0)
    seen = io.to_array(frames.images[1])[..., 0]
    assert (seen[:, :6] == 50).all()
    assert (seen[:, 6:] == 200).all()
    away = b"\x2c" + struct.pack("<4H", 9000, 9000, 14, 12)
    with pytest.raises(ImageFileError, match="claims 9014 x 9012 pixels"):
        io.read_frames(place.join(parts[:2]) + away + place.join(parts[2:]), max_pixels=10**6)


def test_metadata_of_sixteen_bit_png(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    like = picture()
    exif = Image.Exif()
    exif[0x010F] = "pmtools"
    like.info |= {"icc_profile": profile, "exif": exif.tobytes(), "xmp": b"<x/>", "dpi": (144, 72)}
    io.write_image(np.zeros((3, 4, 3), np.uint16), tmp_path / "x.png", like=like)
    frames = io.read_frames(tmp_path / "x.png")
    assert frames.images[0].dtype == np.uint16
    assert frames.info["icc_profile"] == profile
    assert frames.info["xmp"] == b"<x/>"
    assert frames.info["dpi"] == pytest.approx((144, 72), rel=1e-3)
    with Image.open(tmp_path / "x.png") as again:
        assert again.getexif()[0x010F] == "pmtools"


def write_png(path, depth, colour, rows, chunks=()):
    height, width = len(rows), len(rows[0]) * 8 // (depth * (3 if colour == 2 else 1))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    with open(path, "wb") as stream:
        stream.write(b"\x89PNG\r\n\x1a\n")
        for kind, content in ((b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")):
            stream.write(
                struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
            )


def test_colour_key_of_few_bits(tmp_path):
    for depth, rows, key, alpha in (
        (1, [b"\xf0"], 1, [0, 0, 0, 0, 255, 255, 255, 255]),
        (2, [b"\x1b"], 2, [255, 255, 0, 255]),
        (4, [b"\x5f\x05"], 5, [0, 255, 255, 0]),
        (8, [bytes([9, 5])], 5, [255, 0]),
    ):
        write_png(tmp_path / "x.png", depth, 0, rows, [(b"tRNS", struct.pack(">H", key))])
        image = io.read_image(tmp_path / "x.png")
        assert image.mode == "LA"
        assert io.to_array(image)[0, :, 1].tolist() == alpha


def animated_png(path, depth, rows, key):
    """Two grey frames, each of one row."""
    control = [struct.pack(">IIIIIHHBB", k, len(rows[0]) * 8 // depth, 1, 0, 0, 1, 10, 0, 0) for k in (0, 1)]
    chunks = [(b"acTL", struct.pack(">II", 2, 0)), (b"tRNS", struct.pack(">H", key)), (b"fcTL", control[0])]
    write_png(path, depth, 0, rows[:1], chunks)
    more = [(b"fcTL", control[1]), (b"fdAT", struct.pack(">I", 2) + zlib.compress(b"\0" + rows[1]))]
    data = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in more)
    path.write_bytes(path.read_bytes()[:-12] + data + path.read_bytes()[-12:])


@pytest.mark.parametrize(
    ("depth", "rows", "key", "alpha"),
    [
        (1, [b"\xf0", b"\x0f"], 1, [[0, 0, 0, 0, 255, 255, 255, 255], [255, 255, 255, 255, 0, 0, 0, 0]]),
        (2, [b"\x1b", b"\xaa"], 2, [[255, 255, 0, 255], [0, 0, 0, 0]]),
        (4, [b"\x5f", b"\xf5"], 5, [[0, 255], [255, 0]]),
        (8, [bytes([9, 5]), bytes([5, 9])], 5, [[255, 0], [0, 255]]),
    ],
)
def test_colour_key_of_every_frame(tmp_path, depth, rows, key, alpha):
    animated_png(tmp_path / "x.png", depth, rows, key)
    frames = io.read_frames(tmp_path / "x.png").images
    assert [io.to_array(frame)[0, :, 1].tolist() for frame in frames] == alpha
    assert all("transparency" not in frame.info for frame in frames)


def test_sixteen_bit_frames_with_a_key_are_refused(tmp_path):
    animated_png(tmp_path / "x.png", 16, [struct.pack(">2H", 1000, 2000)] * 2, 2000)
    with pytest.raises(ImageFileError, match="2 frames of 16-bit grey with a transparent level; only the first"):
        io.read_frames(tmp_path / "x.png")
    assert io.read_image(tmp_path / "x.png")[0].tolist() == [[1000, 65535], [2000, 0]]


@pytest.mark.parametrize(("first", "key"), [(0, [4335]), (2, [1, 2, 3])])
@pytest.mark.parametrize("last", [2, 3])
def test_a_colour_key_before_the_header_counts_for_nothing(tmp_path, first, key, last):
    header = struct.pack(">IIBBBBB", 2, 1, 8, last, 0, 0, 0)  # Pillow takes the last one
    chunks = [(b"tRNS", struct.pack(f">{len(key)}H", *key)), (b"IHDR", header)]
    chunks += [(b"PLTE", bytes(range(6)))] if last == 3 else []
    write_png(tmp_path / "x.png", 8, first, [b"\0\1" if last == 3 else bytes(range(6))], chunks)
    frames = io.read_frames(tmp_path / "x.png")
    assert "transparency" not in frames.images[0].info
    assert io.to_array(frames.images[0]).tolist() == [[[0, 1, 2], [3, 4, 5]]]
    io.write_frames(frames, tmp_path / "y.tif")


def test_colour_key_of_sixteen_bits_is_exact(tmp_path):
    row = np.array([1000, 1001, 3000], ">u2").tobytes() + np.array([1000, 1256, 3000], ">u2").tobytes()
    write_png(tmp_path / "x.png", 16, 2, [row], [(b"tRNS", struct.pack(">3H", 1000, 1256, 3000))])
    assert io.read_image(tmp_path / "x.png")[0, :, 3].tolist() == [65535, 0]  # low bytes count


def test_png_says_what_its_numbers_look_like(tmp_path):
    gamma, primaries, points = (
        struct.pack(">I", 100_000),
        struct.pack(">8I", *range(31270, 31278)),
        bytes([9, 16, 0, 1]),
    )
    chunks = [(b"cICP", points), (b"gAMA", gamma), (b"cHRM", primaries)]
    for depth in (8, 16):
        write_png(tmp_path / "x.png", depth, 2, [b"\1" * (3 * depth // 8 * 4)] * 2, chunks)
        frames = io.read_frames(tmp_path / "x.png")
        assert io.write_frames(frames, tmp_path / "y.png") == ()
        content = (tmp_path / "y.png").read_bytes()
        for kind, data in chunks:
            assert struct.pack(">I", len(data)) + kind + data in content
    write_png(tmp_path / "x.png", 8, 2, [b"\1" * 12] * 2, [(b"gAMA", gamma)])
    assert io.write_frames(io.read_frames(tmp_path / "x.png"), tmp_path / "y.jpg") == ("gAMA",)


# ------------------------------------------------------------------------------------------------------ streams


class Pipe(stdio.RawIOBase):
    """A stream that can only be read or written, from front to back, as pipes and sockets are."""

    def __init__(self, content=b""):
        self.content, self.written = stdio.BytesIO(content), b""

    def read(self, size=-1):
        return self.content.read(size)

    def write(self, data):
        self.written += bytes(data)
        return len(data)

    def seekable(self):
        return False


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, stdio.BytesIO, Pipe])
def test_bytes_and_streams_are_read(tmp_path, wrap):
    io.write_image(picture("L"), tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    assert_same_picture(io.read_image(wrap(content)), picture("L"))
    assert io.read_frames(wrap(content)).format == "png"
    np.testing.assert_array_equal(io.read_heatmap(wrap(content)), io.to_array(picture("L")))
    assert io.read_json(wrap(b'{"a": 1}')) == {"a": 1}
    for values in (np.save, np.savez):
        stream = stdio.BytesIO()
        values(stream, np.eye(3))
        np.testing.assert_array_equal(io.read_heatmap(wrap(stream.getvalue())), np.eye(3))
    for read in (io.read_image, io.read_heatmap, io.read_json):
        with pytest.raises(ImageFileError, match=r"'<(bytes|stream)>' is empty"):
            read(wrap(b""))
        with pytest.raises(ImageFileError, match=r"'<(bytes|stream)>' is no"):
            read(wrap(b"nonsense"))


def test_streams_of_text_are_refused():
    with pytest.raises(TypeError, match="binary stream, got one of str; open it with 'rb'"):
        io.read_image(stdio.StringIO("text"))


def test_file_objects_are_read_from_where_they_are_and_left_open(tmp_path):
    io.write_image(picture(), tmp_path / "x.png")
    (tmp_path / "y.bin").write_bytes(b"prefix" + (tmp_path / "x.png").read_bytes())
    with open(tmp_path / "y.bin", "rb") as stream:
        stream.seek(6)
        assert_same_picture(io.read_image(stream), picture())
        assert not stream.closed


@pytest.mark.parametrize("target", [stdio.BytesIO, Pipe])
@pytest.mark.parametrize("image", [picture(), np.arange(36, dtype=np.uint16).reshape(3, 4, 3)])
def test_streams_are_written(target, image):
    for format in ("png", "tif"):
        stream = target()
        io.write_image(image, stream, format=format)
        got = io.read_image(stream.written if target is Pipe else stream.getvalue())
        np.testing.assert_array_equal(np.asarray(got), np.asarray(image))
    with pytest.raises(ImageFileError, match=r"needs an image suffix.*or a `format`"):
        io.write_image(image, target())
    with pytest.raises(ValueError, match="`format`"):
        io.write_image(image, target(), format="exe")
    stream = target()
    io.write_json([1], stream)
    assert io.read_json(stream.written if target is Pipe else stream.getvalue()) == [1]
