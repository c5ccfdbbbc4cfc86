"""The resampler against scipy, PyTorch and Pillow, and against what the definition of each kernel promises.

The tests that call `resample` with NumPy arrays run the compiled kernel where it was built, and the NumPy path under
`PMTOOLS_KERNEL=numpy`; tests/test_kernel.py compares the two.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import map_coordinates

from pmtools import _array
from pmtools.axes import axis_map
from pmtools.footprints import Footprints, choose_kernel, footprints, kernel_weights
from pmtools.resample import resample


@pytest.fixture(params=["numpy", "array_api_strict", "torch"])
def make(request):
    """NumPy array -> array of one of the namespaces."""
    library = pytest.importorskip(request.param)
    return library.as_tensor if request.param == "torch" else library.asarray


@pytest.fixture
def rng():
    return np.random.default_rng(20260517)


def identity(array):
    return array


def look(knots_before, knots_after, source, target, make=identity):
    """Footprints of the piecewise linear map through the knots, source to target."""
    before, after = (make(np.asarray(knots, dtype=np.float64)) for knots in (knots_before, knots_after))
    return footprints(axis_map(before, after, source, target))[0]


def random_look(rng, source, target, make=identity, cells=7, least=0.3):
    mass = rng.uniform(least, 1.0, cells)
    edges = np.concatenate([[0.0], np.cumsum(mass) / mass.sum()])
    return look(np.linspace(0, source, cells + 1), edges * target, source, target, make)


def uniform_look(source, target, make=identity):
    return look([0, source], [0, target], source, target, make)


def single(pixels, rows, columns, **options):
    """`resample` of one (H, W, C) image, back in NumPy."""
    return _array.to_numpy(resample(pixels[None, ...], [(rows, columns)], **options))[0]


# ------------------------------------------------------------------------------------------ outside references


@pytest.mark.parametrize(
    ("source", "target"), [((17, 23), (17, 23)), ((9, 30), (31, 12)), ((1, 5), (4, 5)), ((6, 1), (6, 3))]
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "uint16", "int32"])
def test_linear_is_scipys(rng, make, source, target, dtype):
    image = rng.uniform(0, 200, (*source, 3)).astype(dtype)
    rows, columns = (random_look(rng, n, m, make) for n, m in zip(source, target, strict=True))
    result = single(make(image), rows, columns, antialias=False)
    grid = np.meshgrid(_array.to_numpy(rows.centre) - 0.5, _array.to_numpy(columns.centre) - 0.5, indexing="ij")
    planes = [map_coordinates(image[..., c].astype(float), grid, order=1, mode="nearest") for c in range(3)]
    assert result.dtype == image.dtype
    np.testing.assert_allclose(result, np.stack(planes, -1), rtol=1e-5, atol=1e-5 if "float" in dtype else 0.52)


def test_the_comparison_with_scipy_notices_half_a_pixel(rng):
    image = rng.uniform(0, 200, (17, 23, 1))
    rows, columns = random_look(rng, 17, 17), random_look(rng, 23, 23)
    grid = np.meshgrid(rows.centre, columns.centre, indexing="ij")  # the shift of -0.5 is left out
    shifted = map_coordinates(image[..., 0], grid, order=1, mode="nearest")
    assert np.abs(single(image, rows, columns, antialias=False)[..., 0] - shifted).max() > 10


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_linear_is_grid_samples(rng, channels, torch):
    image = rng.uniform(0, 1, (19, 26, channels)).astype(np.float32)
    rows, columns = random_look(rng, 19, 14), random_look(rng, 26, 40)
    y, x = (2 * axis.centre / axis.size - 1 for axis in (rows, columns))
    grid = torch.as_tensor(np.stack(np.meshgrid(x, y), axis=-1))[None]
    planes = torch.as_tensor(image, dtype=torch.float64).permute(2, 0, 1)[None]
    expected = torch.nn.functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    result = single(image, rows, columns, antialias=False)
    np.testing.assert_allclose(result, expected[0].permute(1, 2, 0).numpy(), atol=2e-6)


def test_box_reduces_by_whole_numbers_as_pillow_does(rng, make):
    # three times smaller up to pixel 24, then three times larger, in both axes
    axis = look([0, 24, 32], [0, 8, 32], 32, 32, make)
    image = rng.uniform(0, 255, (32, 32)).astype(np.float32)
    expected = np.asarray(Image.fromarray(image[:24, :24]).resize((8, 8), Image.Resampling.BOX))
    assert choose_kernel(axis, antialias=True) == "box"
    np.testing.assert_allclose(single(make(image[..., None]), axis, axis)[:8, :8, 0], expected, rtol=1e-5)


def test_box_of_bytes_reduces_as_pillow_does(rng, make):
    axis = look([0, 40, 48], [0, 8, 48], 48, 48, make)
    image = rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(image[:40, :40]).resize((8, 8), Image.Resampling.BOX))
    result = single(make(image), axis, axis)[:8, :8]
    assert np.abs(result.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("target", [5, 12, 16, 47])
def test_cubic_reduces_as_pillow_does(rng, make, target):
    image = rng.uniform(0, 1, (48, 48)).astype(np.float32)
    expected = np.asarray(Image.fromarray(image).resize((target, target), Image.Resampling.BICUBIC))
    axis = uniform_look(48, target, make)
    assert choose_kernel(axis, antialias=True) == "cubic"
    result = single(make(image[..., None]), axis, axis)[..., 0]
    np.testing.assert_allclose(result, np.clip(expected, image.min(), image.max()), atol=2e-6)


def test_cubic_of_bytes_reduces_as_pillow_does(rng, make):
    image = rng.integers(0, 256, (60, 44, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((17, 13), Image.Resampling.BICUBIC))
    result = single(make(image), uniform_look(60, 13, make), uniform_look(44, 17, make))
    assert np.abs(result.astype(int) - expected).max() <= 1


def test_box_is_the_integral_of_the_pixels(rng, make):
    # reference by brute force: 1000 samples of the piecewise constant row in each footprint
    axis = random_look(rng, 40, 40, make, least=0.02)
    row = rng.uniform(0, 1, 40)
    result = single(make(row[None, :, None]), uniform_look(1, 1, make), axis)[0, :, 0]
    low, high = _array.to_numpy(axis.low), _array.to_numpy(axis.high)
    where = low[:, None] + (high - low)[:, None] * (np.arange(1000) + 0.5) / 1000
    expected = row[np.minimum(where.astype(int), 39)].mean(axis=1)
    wide = high - low > 1
    assert 5 < wide.sum() < 40
    np.testing.assert_allclose(result[wide], expected[wide], atol=2e-3)


# -------------------------------------------------------------------------------------------- bit for bit


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", "int64", "float32", "float64"])
@pytest.mark.parametrize("antialias", [True, False])
def test_no_magnification_keeps_every_bit(rng, make, dtype, antialias):
    image = rng.integers(0, 2 if dtype == "bool" else 120, (13, 7, 2)).astype(dtype)
    result = single(make(image), uniform_look(13, 13, make), uniform_look(7, 7, make), antialias=antialias)
    assert result.dtype == image.dtype
    np.testing.assert_array_equal(result, image)


def test_whole_pixel_shifts_keep_every_bit(rng, make):
    image = rng.normal(size=(8, 9, 1))
    image[3, 4] = np.nan
    rows, columns = look([0, 8], [-2, 6], 8, 6, make), look([0, 9], [-3, 6], 9, 5, make)
    np.testing.assert_array_equal(single(make(image), rows, columns), image[2:, 3:8])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "float32", "float64", "bool"])
@pytest.mark.parametrize(("source", "target"), [((21, 34), (21, 34)), ((60, 64), (11, 9)), ((5, 5), (16, 3))])
def test_a_flat_image_stays_flat(rng, make, dtype, source, target):
    value = {"uint8": 255, "uint16": 65535, "int64": 2**40, "bool": True}.get(dtype, 0.1)
    image = np.full((*source, 3), value, dtype=dtype)
    rows, columns = (random_look(rng, n, m, make, least=0.05) for n, m in zip(source, target, strict=True))
    for antialias in (True, False):
        result = single(make(image), rows, columns, antialias=antialias)
        np.testing.assert_allclose(result.astype(float), float(image[0, 0, 0]), rtol=1e-6)
        if dtype in ("uint8", "uint16", "bool"):
            np.testing.assert_array_equal(result, image[0, 0, 0])


def test_nearest_takes_the_pixel_under_the_centre(rng, make):
    image = rng.integers(0, 1000, (9, 11, 1))
    rows, columns = random_look(rng, 9, 20, make), random_look(rng, 11, 6, make)
    index = np.ix_(*(np.floor(_array.to_numpy(axis.centre)).astype(int) for axis in (rows, columns)))
    np.testing.assert_array_equal(single(make(image), rows, columns, nearest=True), image[index])


# -------------------------------------------------------------------------------------- limits and strangers


def test_cubic_overshoot_stays_in_the_range_of_the_image(make):
    step = np.repeat(np.array([[0.25], [0.75]], dtype=np.float32), 32, axis=0)  # (64, 1): a hard edge
    result = single(make(step[..., None]), uniform_look(64, 21, make), uniform_look(1, 1, make))
    assert result.min() == np.float32(0.25)
    assert result.max() == np.float32(0.75)
    bits = (step * 1020 - 255).clip(0, 255).astype(np.uint8)[..., None]  # 0 and 255: integers must not wrap
    result = single(make(bits), uniform_look(64, 21, make), uniform_look(1, 1, make))[:, 0, 0]
    assert (np.diff(result.astype(int)) >= 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", [12, 30])
def test_values_whose_differences_overflow(dtype, target):
    huge = float(np.finfo(dtype).max)
    image = np.where(np.arange(20) % 7 < 3, huge, -huge).astype(dtype)[:, None, None]
    rows, column = uniform_look(20, target), uniform_look(1, 1)
    expected = single((image / huge).astype(dtype), rows, column)
    np.testing.assert_allclose(single(image, rows, column) / huge, expected, atol=1e-6)


def test_each_image_of_a_batch_has_its_own_range(make):
    images = np.stack([np.zeros((30, 30, 1)), np.pad(np.ones((15, 30, 1)), ((0, 15), (0, 0), (0, 0)))]).astype(
        np.float32
    )
    axis = uniform_look(30, 10, make)
    result = _array.to_numpy(resample(make(images), [(axis, axis)]))
    assert (result[0] == 0).all()
    assert result[1].min() == 0
    assert result[1].max() == 1


@pytest.mark.parametrize("kind", ["linear", "box", "cubic"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_spreads_only_where_it_is_touched(rng, make, kind, value):
    axis = {
        "linear": look([0, 10, 40], [0, 25, 40], 40, 40, make),
        "box": look([0, 30, 40], [0, 10, 40], 40, 40, make),
        "cubic": uniform_look(40, 13, make),
    }[kind]
    antialias = kind != "linear"
    image = rng.uniform(0, 1, (40, 40, 2)).astype(np.float32)
    image[17, 5, 1] = value
    result = single(make(image), axis, axis, antialias=antialias)
    centre, low, high = (_array.to_numpy(a) for a in (axis.centre, axis.low, axis.high))
    if kind == "cubic":
        weights = _array.to_numpy(kernel_weights(axis, "cubic", slice(0, len(axis)), slice(0, 40)))
        row, column = weights[:, 17] != 0, weights[:, 5] != 0
    elif kind == "box":
        wide = high - low > 1
        row, column = (np.where(wide, (low < k + 1) & (high > k), np.abs(centre - k - 0.5) < 1) for k in (17, 5))
    else:
        row, column = (np.abs(centre - k - 0.5) < 1 for k in (17, 5))
    touched = row[:, None, None] & column[None, :, None] & (np.arange(2) == 1)
    assert 0 < touched.sum() < 200
    np.testing.assert_array_equal(np.isnan(result), touched)
    clean = np.where(np.isfinite(image), image, 0)
    expected = single(make(clean), axis, axis, antialias=antialias)
    np.testing.assert_allclose(result[~touched], expected[~touched], atol=1e-6)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("target", [6, 12, 20])
def test_what_a_crop_cut_off_does_not_bleed_in(rng, make, antialias, target):
    image = np.full((1, 30, 1), 1e6, dtype=np.float32)
    image[:, 8:20] = rng.uniform(0, 1, (1, 12, 1))
    crop = axis_map(make(np.array([0.0, 30.0])), make(np.array([-8.0, 22.0])), 30, 12)
    zoom = axis_map(make(np.array([0.0, 5.0, 12.0])), make(np.array([0.0, 0.7 * target, target])), 12, target)
    columns = footprints(crop.then(zoom))[0]
    assert (columns.first, columns.last) == (8, 19)
    result = single(make(image), uniform_look(1, 1, make), columns, antialias=antialias)
    # a cubic may be clamped to the range of the whole image, so look at it through the footprints of the crop alone
    alone = single(make(image[:, 8:20]), uniform_look(1, 1, make), footprints(zoom)[0], antialias=antialias)
    np.testing.assert_allclose(result, alone, atol=0.2 if target < 12 and antialias else 1e-5)
    assert result.max() < 1.5


def test_outside_is_filled(rng, make):
    image = rng.uniform(0, 1, (4, 6, 3)).astype(np.float32)
    rows, columns = look([0, 4], [2, 6], 4, 7, make), look([0, 6], [1, 7], 6, 8, make)
    pixels = resample(make(image)[None, ...], [(rows, columns)], fill=make(np.float32([7, 8, 9])))
    expected = np.broadcast_to(np.float32([7, 8, 9]), (7, 8, 3)).copy()
    expected[2:6, 1:7] = image
    np.testing.assert_array_equal(_array.to_numpy(pixels)[0], expected)


# --------------------------------------------------------------------------------------------- properties


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_symmetries_and_range(data):
    """Mirrored, transposed and batched images give mirrored, transposed and batched results; nothing leaves the range."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    source = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    target = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    dtype = data.draw(st.sampled_from(["uint8", "uint16", "float32", "float64"]))
    antialias = data.draw(st.booleans())
    image = rng.uniform(0, 255, (*source, data.draw(st.integers(1, 5)))).astype(dtype)
    rows, columns = (random_look(rng, n, m, least=0.05) for n, m in zip(source, target, strict=True))
    result = single(image, rows, columns, antialias=antialias)
    close = 1e-3 if "float" in dtype else 1

    mirrored = single(image[:, ::-1], rows, mirror(columns), antialias=antialias)[:, ::-1]
    np.testing.assert_allclose(mirrored.astype(float), result, atol=close)
    transposed = single(image.transpose(1, 0, 2), columns, rows, antialias=antialias).transpose(1, 0, 2)
    np.testing.assert_allclose(transposed.astype(float), result, atol=close)
    batch = resample(np.stack([image, image[::-1].copy()]), [(rows, columns)], antialias=antialias)
    np.testing.assert_array_equal(batch[0], result)
    if dtype != "uint8" and dtype != "uint16":
        assert result.min() >= image.min() - 1e-3
        assert result.max() <= image.max() + 1e-3


def mirror(axis):
    n = axis.size
    centre, low, high = (n - axis.centre[::-1], n - axis.high[::-1], n - axis.low[::-1])
    return Footprints(centre, low, high, axis.outside[::-1], n - 1 - axis.last, n - 1 - axis.first, n)


@pytest.mark.parametrize("kind", ["box", "cubic"])
def test_weights_sum_to_one(rng, make, kind):
    axis = random_look(rng, 50, 50 if kind == "box" else 20, make, least=0.05)
    weights = _array.to_numpy(kernel_weights(axis, kind, slice(0, len(axis)), slice(0, 50)))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)


def test_gradients_reach_the_image_and_the_footprints(rng, torch):
    image = torch.tensor(rng.uniform(0, 1, (1, 12, 12, 2)), requires_grad=True)
    after = torch.tensor(np.linspace(0, 12, 5) + np.array([0, 0.7, -0.4, 0.6, 0]), requires_grad=True)
    axis = footprints(axis_map(torch.linspace(0, 12, 5, dtype=torch.float64), after, 12, 12))[0]
    resample(image, [(axis, axis)])[..., 0].square().sum().backward()
    assert torch.isfinite(image.grad).all()
    assert (image.grad[..., 0] != 0).any()
    assert (image.grad[..., 1] == 0).all()
    assert (after.grad[1:-1] != 0).all()
