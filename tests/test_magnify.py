"""`magnify` on every kind of image: kind, dtype, device and range in = out, and all back ends agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import pmtools
from pmtools import magnify
from pmtools.testing import heatmaps, images, sizes

DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
MODES = [
    "1",
    "L",
    "LA",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBX",
    "CMYK",
    "YCbCr",
    "HSV",
    "LAB",
    "I",
    "F",
    "I;16",
    "I;16B",
    "I;16L",
]


@pytest.fixture
def heatmap() -> np.ndarray:
    heat = np.zeros((6, 8))
    heat[1:3, 4:6] = [[1, 2], [3, 1]]
    return heat


def random_image(rng, dtype, shape=(24, 33, 3)) -> np.ndarray:
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def pil_image(mode: str, rng, size=(33, 24)) -> Image.Image:
    noise = Image.fromarray(rng.integers(0, 255, (*size[::-1], 3)).astype(np.uint8))
    if mode in ("P", "PA"):
        image = noise.quantize(32)
        return image if mode == "P" else image.convert("PA")
    if mode in ("LA", "RGBA"):
        image = noise.convert(mode)
        image.putalpha(Image.fromarray(rng.integers(0, 255, size[::-1]).astype(np.uint8)))
        return image
    if mode.startswith("I;16"):
        values = rng.integers(0, 65535, size[::-1]).astype(">u2" if mode.endswith("B") else "<u2")
        return Image.frombytes(mode, size, values.tobytes())
    if mode == "I":
        return Image.fromarray(rng.integers(-1000, 100000, size[::-1]).astype(np.int32))
    if mode == "F":
        return Image.fromarray(rng.random(size[::-1]).astype(np.float32))
    if mode == "LAB":
        return Image.frombytes("LAB", size, noise.tobytes())
    return noise.convert(mode)


# ----------------------------------------------------------------------------------------- every kind of image


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size_hw", [None, (12, 50), (24, 10)])
def test_arrays_of_every_dtype(xp, rng, heatmap, dtype, size_hw):
    image = random_image(rng, dtype)
    source = np.moveaxis(image, -1, 0) if "torch" in xp.name else image
    result = magnify(xp.asarray(source), heatmap, size_hw=size_hw)
    assert isinstance(result, xp.kind)
    result = xp.numpy(result)
    result = np.moveaxis(result, 0, -1) if "torch" in xp.name else result
    assert result.dtype == image.dtype
    assert result.shape == (*(size_hw or (24, 33)), 3)
    wanted = magnify(image, heatmap, size_hw=size_hw)
    if dtype == "bool":
        assert (result != wanted).mean() < 0.01
    else:
        np.testing.assert_allclose(
            result.astype(float), wanted.astype(float), rtol=1e-5, atol=1 if np.dtype(dtype).kind in "iu" else 1e-5
        )
    np.testing.assert_array_equal(xp.numpy(magnify(xp.asarray(source), np.ones((3, 3)))), source)  # bit for bit


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision(rng, heatmap, name, torch):
    dtype = getattr(torch, name)
    image = torch.as_tensor(rng.random((3, 24, 33)))
    result = magnify(image.to(dtype), heatmap)
    assert result.dtype == dtype
    np.testing.assert_allclose(result.double().numpy(), magnify(image, heatmap).numpy(), atol=1e-2)
    half = rng.random((24, 33)).astype(np.float16)
    assert magnify(half, heatmap).dtype == np.float16


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_narrow_heatmaps_move_nothing_and_keep_their_gradient(name, torch):
    """Rounded on the way, a sharp map would have equal greatest cells, which share the gradient."""
    sharp = torch.zeros(24, 24)
    sharp[5, 7], sharp[5, 8], sharp[18, 3] = 1, 0.4, 0.2
    image = torch.rand(1, 3, 96, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def warp_and_gradient(dtype):
        heat = sharp.bfloat16().to(dtype).requires_grad_()
        warp = pmtools.fit_warp(heat, source_hw=(96, 96))
        (warp.image(image) * image.flip(-1)).sum().backward()
        return warp.points(torch.as_tensor([[20.5, 33.25], [31, 80]], dtype=torch.float64)), heat.grad.double()

    (points, gradient), (wanted_points, wanted) = map(warp_and_gradient, (getattr(torch, name), torch.float64))
    torch.testing.assert_close(points, wanted_points, rtol=0, atol=1e-9)
    assert (gradient - wanted).norm() <= torch.finfo(getattr(torch, name)).eps * wanted.norm()


@pytest.mark.parametrize("size_hw", [None, (12, 20)])  # products of blocks, with a box and with a cubic
@pytest.mark.parametrize("kind", ["int16", "float32", "float64", "float16"])
def test_autocast_changes_nothing(rng, heatmap, kind, size_hw, torch):
    image = torch.as_tensor(random_image(rng, "int16") if kind == "int16" else rng.random((24, 33, 3)).astype(kind))
    image.requires_grad_(kind == "float32")  # which the compiled kernel leaves to PyTorch
    heat = torch.as_tensor(heatmap, dtype=torch.float32)
    wanted = magnify(image, heat, size_hw=size_hw, channel_axis=-1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.ones(2, 2).matmul(torch.ones(2, 2)).dtype == torch.bfloat16  # it is on
        result = magnify(image, heat, size_hw=size_hw, channel_axis=-1)
    assert result.dtype == wanted.dtype
    assert torch.equal(result, wanted)


def test_a_copy_has_the_gradient_of_its_image(torch):
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    same = magnify(image, torch.ones(2, 2))
    assert torch.equal(same, image)
    assert same.data_ptr() != image.data_ptr()
    same.sum().backward()
    assert torch.equal(image.grad, torch.ones_like(image))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size_hw", [None, (12, 50)])
def test_pil_of_every_mode(rng, heatmap, mode, size_hw):
    image = pil_image(mode, rng)
    image.info["dpi"] = (72, 72)
    before = image.tobytes()
    result = magnify(image, heatmap, size_hw=size_hw)
    assert (result.mode, result.size) == (mode, (size_hw or (24, 33))[::-1])
    assert result.info["dpi"] == (72, 72)
    assert image.tobytes() == before
    if image.palette is not None:
        assert result.getpalette() == image.getpalette()
    same = magnify(image, np.ones((2, 2)))
    assert (same.mode, same.size, same.tobytes()) == (mode, image.size, before)
    assert same is not image


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "I;16", "I;16B", "I", "F"])
def test_pil_is_the_array_inside(rng, heatmap, mode):
    image = pil_image(mode, rng)
    np.testing.assert_array_equal(
        np.asarray(magnify(image, heatmap)),
        magnify(np.asarray(image).astype(np.asarray(image).dtype.newbyteorder("=")), heatmap),
    )


def test_palette_images_are_resampled_in_colour(heatmap):
    image = Image.new("P", (33, 24))
    image.putpalette([0, 0, 0, 255, 255, 255, 128, 128, 128])
    image.putdata([0 if x % 2 else 1 for _ in range(24) for x in range(33)])
    reduced = magnify(image, np.ones((2, 2)), size_hw=(24, 11))  # black and white columns become the palette's grey
    assert reduced.mode == "P"
    assert (np.asarray(reduced.convert("L")) == 128).mean() > 0.5


def test_palette_with_transparency_keeps_it(rng, heatmap):
    image = pil_image("P", rng)
    image.info["transparency"] = 3
    result = magnify(image, heatmap)
    assert result.info["transparency"] == 3
    assert set(np.unique(np.asarray(result))) <= set(np.unique(np.asarray(image)))


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_no_average_becomes_transparent_where_no_pixel_was(heatmap, mode):
    grid = np.indices((24, 33)).sum(0) % 2 * 200
    image = Image.fromarray(grid.astype(np.uint16 if mode == "I;16" else np.uint8))
    image = image.convert(mode) if mode == "RGB" else image
    between, there = (100, 200) if mode != "RGB" else ((100,) * 3, (200,) * 3)
    for key, kept in ((between, None), (there, there)):
        image.info["transparency"] = key
        result = magnify(image, heatmap)
        assert (result.mode, result.info.get("transparency")) == (mode, kept)
        assert image.info["transparency"] == key


def test_what_is_transparent_does_not_bleed(heatmap):
    pixels = np.zeros((24, 33, 4), np.uint8)
    pixels[..., :3] = (255, 0, 0)  # red nobody sees
    pixels[:, ::2] = (0, 0, 255, 255)
    result = np.asarray(magnify(Image.fromarray(pixels), heatmap))
    seen = result[..., 3] > 0
    assert not result[seen][:, 0].any()
    assert (result[seen][:, 2] == 255).all()


def test_exif_and_icc_stay_with_the_image(heatmap):
    image = Image.new("RGB", (33, 24))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.info.update(exif=exif.tobytes(), icc_profile=b"profile")
    result = magnify(image, heatmap)
    assert result.getexif()[0x0112] == 6
    assert result.info["icc_profile"] == b"profile"


# -------------------------------------------------------------------------------------------- layouts, batches


def test_layouts(rng, heatmap, torch):
    image = rng.random((24, 33, 3))
    wanted = magnify(image, heatmap)
    np.testing.assert_allclose(magnify(image[..., 0], heatmap), wanted[..., 0], atol=1e-12)
    np.testing.assert_allclose(magnify(image[None], heatmap)[0], wanted, atol=1e-12)
    np.testing.assert_allclose(
        magnify(np.moveaxis(image, -1, 0), heatmap, channel_axis=0), np.moveaxis(wanted, -1, 0), atol=1e-12
    )
    np.testing.assert_allclose(
        magnify(image.transpose(0, 2, 1), heatmap, channel_axis=1), wanted.transpose(0, 2, 1), atol=1e-12
    )
    chw = torch.as_tensor(np.ascontiguousarray(np.moveaxis(image, -1, 0)))
    np.testing.assert_allclose(magnify(chw, heatmap).numpy(), np.moveaxis(wanted, -1, 0), atol=1e-12)
    np.testing.assert_allclose(magnify(torch.as_tensor(image), heatmap, channel_axis=-1).numpy(), wanted, atol=1e-12)
    np.testing.assert_allclose(magnify(chw[0], heatmap).numpy(), wanted[..., 0], atol=1e-12)
    video = np.stack([np.stack([image, image[::-1]])] * 2)
    np.testing.assert_allclose(magnify(video, heatmap)[1, 0], wanted, atol=1e-12)


def test_a_batch_has_a_heatmap_each(xp, rng):
    heat = rng.random((3, 6, 8)) ** 4
    batch = rng.random((3, 24, 33, 2))
    source = np.moveaxis(batch, -1, 1) if "torch" in xp.name else batch
    result = xp.numpy(magnify(xp.asarray(source), xp.asarray(heat), size_hw=(20, 20)))
    for i in range(3):
        alone = magnify(batch[i], heat[i], size_hw=(20, 20))
        np.testing.assert_allclose(np.moveaxis(result[i], 0, -1) if "torch" in xp.name else result[i], alone, atol=1e-9)


def test_ragged_lists(rng, heatmap, torch):
    small, large = rng.random((10, 12, 3)), pil_image("RGB", rng)
    results = magnify([small, large], heatmap)
    np.testing.assert_array_equal(results[0], magnify(small, heatmap))
    assert results[1].tobytes() == magnify(large, heatmap).tobytes()
    results = magnify((small, small), [heatmap, torch.as_tensor(heatmap[::-1].copy())])
    np.testing.assert_allclose(results[1], magnify(small, heatmap[::-1]), atol=1e-12)
    assert len(magnify([small] * 2, np.stack([heatmap] * 2))) == 2
    assert magnify([], heatmap) == []
    with pytest.raises(ValueError, match="one map for each of the 2 images"):
        magnify([small, small], [heatmap])


def test_large_images_of_a_list_share_threads(rng, heatmap, monkeypatch):
    """Fits in turns, each in the thread of its image, give the pixels of one call each."""
    monkeypatch.setenv("PMTOOLS_THREADS", "3")
    images = [rng.integers(0, 255, (512, 512 + 8 * i, 3)).astype(np.uint8) for i in range(5)]
    maps = [np.roll(heatmap, i, axis=1) for i in range(5)]
    out = [np.empty_like(image) for image in images]
    results = magnify([*images, Image.fromarray(images[0])], [*maps, maps[0]])
    assert all(a is b for a, b in zip(magnify(images, maps, out=out), out, strict=True))
    for image, heat, result, written in zip(images, maps, results, out, strict=False):
        np.testing.assert_array_equal(result, magnify(image, heat))
        np.testing.assert_array_equal(result, written)
    assert np.array_equal(results[-1], results[0])
    boxes = [[9, 9, 50 + i, 60] for i in range(5)]
    for image, box, result in zip(images, boxes, magnify(images, boxes=boxes), strict=True):
        np.testing.assert_array_equal(result, magnify(image, boxes=box))
    with pytest.raises(ValueError, match="`heatmap` must be non-negative"):
        magnify(images, [*maps[:-1], -maps[0]])


@pytest.mark.parametrize("side", [16, 600])  # in turn, and in threads
def test_a_list_with_a_map_that_is_refused_leaves_out_as_it_was(side):
    images = [np.full((side, side, 3), 200, np.uint8)] * 2
    out = [np.zeros_like(one) for one in images]
    with pytest.raises(ValueError, match="finite"):
        magnify(images, [np.eye(4), np.full((4, 4), np.nan)], out=out)
    assert not any(one.any() for one in out)


@pytest.mark.parametrize(
    "convert", [lambda a: a, "as_tensor", lambda a: a.tolist(), Image.fromarray, lambda a: a.astype(bool)]
)
def test_heatmaps_of_another_kind_follow_the_image(rng, convert, torch):
    heat = (rng.random((6, 8)) * 255).astype(np.uint8)
    convert = torch.as_tensor if convert == "as_tensor" else convert
    image = rng.random((24, 33, 3)).astype(np.float32)
    result = magnify(image, convert(heat))
    assert isinstance(result, np.ndarray)
    result = magnify(torch.as_tensor(image), convert(heat), channel_axis=-1)
    assert isinstance(result, torch.Tensor)


def test_sliced_flipped_and_read_only_images(rng, heatmap):
    big = rng.integers(0, 255, (48, 66, 4)).astype(np.uint8)
    for view in (
        big[::2, ::2, :3],
        big[10:34, 40:7:-1, 1:2],
        np.broadcast_to(big[:1, :33], (24, 33, 4)),
        np.asfortranarray(big[:24, :33]),
    ):
        view.flags.writeable = False
        np.testing.assert_array_equal(magnify(view, heatmap), magnify(view.copy(), heatmap))


# -------------------------------------------------------------------------------------------------- hostile


@given(heatmaps(), sizes(40), st.one_of(st.none(), sizes(40)), st.booleans(), st.integers(0, 2**31))
def test_total_and_in_range(heatmap, size, size_hw, antialias, seed):
    image = np.random.default_rng(seed).random((*size, 2)) * 0.5 + 0.25
    result = magnify(image, heatmap, size_hw=size_hw, antialias=antialias)
    assert result.shape[:2] == (size_hw or size)
    assert np.isfinite(result).all()
    assert image.min() - 1e-9 <= result.min()
    assert result.max() <= image.max() + 1e-9


@given(images(max_side=20), heatmaps())
def test_every_dtype_keeps_its_range(image, heatmap):
    result = magnify(image, heatmap, size_hw=(9, 7))
    assert result.dtype == image.dtype
    assert image.min() <= result.min()
    assert result.max() <= image.max()


def test_nan_pixels_stay_where_they_are(heatmap):
    depth = np.ones((24, 33), np.float32)
    depth[20, 3] = np.nan
    for size_hw in (None, (60, 70), (12, 16)):
        unknown = np.isnan(magnify(depth, heatmap, size_hw=size_hw))
        assert unknown.any()
        warp = pmtools.fit_warp(heatmap, source_hw=(24, 33), target_hw=size_hw)
        x0, y0, x1, y1 = warp.boxes([1, 18, 6, 23] if size_hw != (12, 16) else [-5, 12, 12, 28])
        y, x = np.nonzero(unknown)
        assert x0 - 1 <= x.min()
        assert x.max() <= x1 + 1
        assert y0 - 1 <= y.min()
        assert y.max() <= y1 + 1


def test_inputs_stay_as_they_are(rng, heatmap):
    image, heat = random_image(rng, "uint8"), heatmap.copy()
    before = image.copy()
    for size_hw in (None, (10, 10)):
        result = magnify(image, heatmap, size_hw=size_hw)
        result[...] = 0
    same = magnify(image, np.ones((2, 2)))
    same[...] = 0
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(heat, heatmap)


@pytest.mark.parametrize(
    ("image", "heat", "words"),
    [
        ("cat.jpg", np.eye(3), "pmtools.io.read_image"),
        (None, np.eye(3), "`image` must be a PIL image or an array"),
        (3.5, np.eye(3), "`image` must be a PIL image or an array"),
        (np.zeros((0, 5, 3)), np.eye(3), "`image` must not be empty"),
        (np.zeros(5), np.eye(3), "`image` must have at least two axes"),
        (np.zeros((5, 5), dtype=object), np.eye(3), "`image`"),
        (np.zeros((5, 5), dtype="datetime64[s]"), np.eye(3), "`image` must hold real numbers"),
        (np.zeros((5, 5)), np.ones((2, 3, 3)), r"a batch of 2 warps.*a heatmap is \(h, w\)"),
        (
            np.zeros((5, 5)),
            Image.new("RGB", (4, 4)),
            "`heatmap` must be 2-D.*PIL image of mode RGB; make it grey",
        ),
        (np.zeros((3, 5, 5, 1)), np.ones((2, 3, 3)), "a batch of 2 warps"),
        (np.zeros((5, 5)), -np.eye(3), "`heatmap` must be non-negative"),
        (np.zeros((5, 5)), np.full((2, 2), np.nan), "`heatmap` must be finite"),
        (np.zeros((5, 5)), "heat", "`heatmap` must be an array"),
        (Image.new("RGB", (0, 5)), np.eye(3), "`image` must not be empty"),
    ],
)
def test_bad_input(image, heat, words):
    with pytest.raises((TypeError, ValueError), match=words):
        magnify(image, heat)


def test_bad_input_beside_a_tensor(torch):
    with pytest.raises(ValueError, match="`heatmap` must be finite"):
        magnify(torch.zeros(3, 5, 5), np.full((2, 2), np.nan))


@pytest.mark.parametrize(
    "options",
    [
        {"size_hw": (0, 5)},
        {"size_hw": "5x5"},
        {"gain": -1},
        {"kernel_size": 4},
        {"marginal": "mean"},
        {"floor": 0},
        {"max_magnification": 0},
        {"channel_axis": 5},
    ],
)
def test_bad_options(options):
    with pytest.raises((TypeError, ValueError), match=f"`{next(iter(options))}"):
        magnify(np.zeros((8, 8, 3)), np.eye(3), **options)


def test_channel_axis_is_for_arrays():
    with pytest.raises(ValueError, match="`channel_axis` is for arrays"):
        magnify(Image.new("RGB", (5, 5)), np.eye(3), channel_axis=0)
    with pytest.raises(ValueError, match="`channel_axis`"):
        magnify(np.zeros((5, 5)), np.eye(3), channel_axis=0)


# ------------------------------------------------------------------------------------------- what it is for


def test_the_object_is_larger_and_nothing_is_missing(astronaut):
    """The face takes more pixels, every part of the photograph is still there, and nothing is black."""
    box = np.array([170.0, 60.0, 270.0, 180.0])
    heat = pmtools.heatmaps.from_boxes(box, source_hw=(512, 512))
    warp = pmtools.fit_warp(heat, source_hw=(512, 512))
    x0, y0, x1, y1 = warp.boxes(box)
    assert (x1 - x0) * (y1 - y0) > 4 * 100 * 120
    white = magnify(np.full((512, 512), 255, np.uint8), heat)
    assert (white == 255).all()
    assert min(m.min() for m in warp.local_magnification()) > 0.2
    lines = magnify(np.broadcast_to(np.arange(512) % 16 == 0, (512, 512)) * 1.0, heat)
    assert np.ptp(lines, axis=0).max() < 1e-12  # straight lines along the axes stay straight


def test_fit_warp_is_the_same_in_two_steps(rng, heatmap):
    image = rng.random((24, 33))
    warp = pmtools.fit_warp(heatmap, source_hw=(24, 33), target_hw=(30, 30), gain=4, max_magnification=2)
    np.testing.assert_array_equal(
        warp.image(image), magnify(image, heatmap, size_hw=(30, 30), gain=4, max_magnification=2)
    )
