"""Perception maps against hand-worked numbers, PyTorch's own pieces, and invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pmtools
from pmtools.perception import amplify, normalize, perception_map, smooth, spread, upsample
from pmtools.testing import heatmaps


def test_hand_worked(xp):
    # mean 1/4, unbiased deviation 1/2: scores -1/2 and 3/2, times the gain 2
    heatmap = xp.asarray(np.array([[0.0, 0.0], [0.0, 5.0]]))
    result = perception_map(heatmap, gain=2.0, kernel_size=1)
    assert isinstance(result, xp.kind)
    low, high = 1 / (1 + np.exp(1.0)), 1 / (1 + np.exp(-3.0))
    np.testing.assert_allclose(xp.numpy(result), [[low, low], [low, high]], rtol=1e-14)


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 9, 31])
def test_smooth_is_a_mean_filter_with_replicated_edges(xp, rng, kernel_size, torch):
    values = rng.random((2, 5, 8))
    pad = kernel_size // 2
    padded = torch.nn.functional.pad(torch.as_tensor(values), [pad] * 4, mode="replicate")
    wanted = torch.nn.functional.avg_pool2d(padded, kernel_size, stride=1).numpy()
    np.testing.assert_allclose(xp.numpy(smooth(xp.asarray(values), kernel_size=kernel_size)), wanted, rtol=1e-12)


@pytest.mark.parametrize("size_hw", [(5, 8), (17, 23), (64, 9), (3, 4), (1, 1)])
def test_upsample_is_bilinear(xp, rng, size_hw, torch):
    values = rng.random((5, 8))
    wanted = torch.nn.functional.interpolate(
        torch.as_tensor(values)[None, None], size_hw, mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(xp.numpy(upsample(xp.asarray(values), size_hw)), wanted[0, 0].numpy(), atol=1e-12)


@pytest.mark.parametrize("weight", [1, 5e-324, 1e300])
@pytest.mark.parametrize("cells", [1, 3, 12])
def test_spread_is_the_share_of_equal_cells(xp, cells, weight):
    values = np.zeros(12)
    values[:cells] = weight
    assert spread(xp.asarray(values.reshape(3, 4))) == pytest.approx(cells / 12)


def test_spread_of_weights_against_the_formula(rng):
    values = rng.random((5, 7))
    assert spread(values) == pytest.approx(values.mean() ** 2 / (values**2).mean())
    assert spread(np.zeros((2, 2))) == 1


def test_spread_takes_one_map():
    with pytest.raises(ValueError, match="one 2-D map"):
        spread(np.ones((2, 3, 4)))


def test_size_hw_upsamples(rng):
    heatmap = rng.random((4, 6))
    np.testing.assert_array_equal(
        perception_map(heatmap, size_hw=(40, 30)), upsample(perception_map(heatmap), (40, 30))
    )


@given(heatmaps())
def test_range_scale_and_mirror(heatmap):
    result = perception_map(heatmap)
    assert result.shape == heatmap.shape
    assert result.min() >= 0
    assert result.max() <= 1
    np.testing.assert_allclose(perception_map(heatmap * 1024.0), result, atol=1e-12)
    np.testing.assert_allclose(perception_map(heatmap[::-1]), result[::-1], atol=1e-9)
    np.testing.assert_allclose(perception_map(heatmap.T), result.T, atol=1e-9)


@pytest.mark.parametrize("value", [0.0, 1.0, 3e-300, 1e300])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_constant_map_is_one_half(xp, value, dtype):
    if xp.name == "strict" and dtype == "float16":
        pytest.skip("the array API standard has no float16")
    heatmap = np.full((3, 4), value).astype(dtype) if value <= 1 or dtype == "float64" else np.ones((3, 4), dtype)
    if value == 1.0:
        heatmap[1, 1] = np.nextafter(heatmap[1, 1], np.dtype(dtype).type(2))  # one ulp is not a signal
    assert (xp.numpy(perception_map(xp.asarray(heatmap))) == 0.5).all()


def test_a_small_signal_above_rounding_is_one():
    heatmap = np.ones((3, 4))
    heatmap[1, 1] += 1e-12
    assert perception_map(heatmap, kernel_size=1)[1, 1] > 0.9


def test_dtypes(xp):
    for dtype in ("float32", "float64"):
        result = perception_map(xp.asarray(np.arange(6).reshape(2, 3).astype(dtype)))
        assert str(xp.numpy(result).dtype) == dtype
    for dtype in ("uint8", "int64", "bool"):
        result = perception_map(xp.asarray((np.arange(6).reshape(2, 3) % 2).astype(dtype)))
        assert str(xp.numpy(result).dtype) == "float64"


def test_bfloat16_heatmap(torch):
    heatmap = torch.tensor([[0.0, 1.0], [2.0, 4.0]], dtype=torch.bfloat16)
    result = perception_map(heatmap)
    assert result.dtype == torch.bfloat16
    assert result.argmax() == 3


def test_batch_equals_items(xp, rng):
    batch = rng.random((3, 4, 5)) * np.array([1e-9, 1.0, 1e9])[:, None, None]
    together = xp.numpy(perception_map(xp.asarray(batch)))
    for item, alone in zip(together, batch, strict=True):
        np.testing.assert_allclose(item, perception_map(alone), rtol=1e-12)


@given(st.floats(0, 50))
def test_gain_sharpens(gain):
    heatmap = np.array([[0.0, 1.0, 4.0]])
    result = perception_map(heatmap, gain=gain, kernel_size=1)
    assert (np.diff(result) >= 0).all()
    if gain == 0:
        assert (result == 0.5).all()


def test_inputs_stay_as_they_are(rng):
    heatmap = rng.random((4, 4))
    before = heatmap.copy()
    perception_map(heatmap, size_hw=(8, 8))
    np.testing.assert_array_equal(heatmap, before)


def test_lists_and_single_cells():
    assert perception_map([[0, 1], [1, 0]]).shape == (2, 2)
    assert perception_map(np.ones((1, 1))) == 0.5
    assert normalize(np.array([[2, 4]])).tolist() == [[0.0, 1.0]]
    assert amplify(np.array([[0.0, 1.0]]), gain=1e300).tolist() == [[pytest.approx(0, abs=1e-300), 1.0]]


@pytest.mark.parametrize(
    ("heatmap", "error", "words"),
    [
        (np.ones(576), ValueError, r"`heatmap` must be 2-D \(h, w\).*\(576,\); reshape"),
        (np.ones((0, 3)), ValueError, "`heatmap` must not be empty"),
        (np.array([[np.nan, 1.0]]), ValueError, "`heatmap` must be finite"),
        (np.array([[np.inf, 1.0]]), ValueError, "`heatmap` must be finite"),
        (np.array([[-1.0, 1.0]]), ValueError, "`heatmap` must be non-negative"),
        (np.array([[1j, 1.0]]), TypeError, "`heatmap` must hold real numbers"),
        (np.array([["a", "b"]]), TypeError, "`heatmap` must hold real numbers"),
        ([[1, 2], [3]], TypeError, "`heatmap` must be an array"),
        (None, TypeError, "`heatmap` must be an array"),
        ("map.png", TypeError, "`heatmap` must be an array"),
        ([[object()]], TypeError, "`heatmap` must be an array of numbers"),
    ],
)
def test_bad_heatmaps(heatmap, error, words):
    with pytest.raises(error, match=words):
        perception_map(heatmap)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"gain": -1}, ValueError, "`gain`"),
        ({"gain": np.nan}, ValueError, "`gain`"),
        ({"gain": "10"}, TypeError, "`gain`"),
        ({"gain": True}, TypeError, "`gain`"),
        ({"kernel_size": 2}, ValueError, "`kernel_size` must be odd.*use 3"),
        ({"kernel_size": 0}, ValueError, "`kernel_size`"),
        ({"kernel_size": 3.0}, TypeError, "`kernel_size`"),
        ({"size_hw": (0, 3)}, ValueError, r"`size_hw\[0\]`"),
        ({"size_hw": 5}, TypeError, "`size_hw`"),
        ({"size_hw": (10**6, 10**6)}, ValueError, "`size_hw`"),
    ],
)
def test_bad_options(options, error, words):
    with pytest.raises(error, match=words):
        pmtools.perception_map(np.eye(3), **options)


def test_a_gain_beyond_all_floats_is_refused():
    with pytest.raises(ValueError, match=r"`gain` must be a finite number in .*, got a number beyond all floats"):
        perception_map(np.eye(3), gain=10**400)
