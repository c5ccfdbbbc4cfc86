"""Model-free heatmaps and controls."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pmtools import heatmaps
from pmtools.heatmaps import CONTROLS, from_boxes, from_mask, from_points


def test_from_boxes_is_the_covered_share_of_each_cell(rng):
    boxes = np.sort(rng.integers(0, 60, (3, 2, 2)), axis=1).reshape(3, 4) + np.array([0, 0, 1, 1])
    fine = np.zeros((3, 72, 96))
    for layer, (x0, y0, x1, y1) in zip(fine, boxes, strict=True):
        layer[y0:y1, x0:x1] = 1
    shares = fine.reshape(3, 9, 8, 8, 12).mean((2, 4))
    wanted = (shares / shares.max((1, 2), keepdims=True)).max(0)
    np.testing.assert_allclose(from_boxes(boxes, source_hw=(72, 96), grid_hw=(9, 8)), wanted, atol=1e-12)


def test_from_boxes_shapes_and_edges():
    assert from_boxes([0, 0, 5, 5], source_hw=(10, 20)).shape == (10, 20)  # never finer than the image
    assert from_boxes([[-50, -50, 5, 5]], source_hw=(100, 100), grid_hw=(10, 10)).argmax() == 0
    for line, beside in (([0, 10, 0, 20], [0, 10, 1, 20]), ([80, 10, 80, 20], [79, 10, 80, 20])):  # a pixel wide
        both = (from_boxes(box, source_hw=(80, 80), grid_hw=(8, 80)) for box in (line, beside))
        np.testing.assert_array_equal(*both)
    with pytest.raises(ValueError, match="x0 <= x1"):
        from_boxes([5, 5, 0, 0], source_hw=(10, 10))
    with pytest.raises(ValueError, match="must touch the image"):
        from_boxes([50, 50, 60, 60], source_hw=(10, 10))
    with pytest.raises(ValueError, match="must be finite"):
        from_boxes([0, 0, np.nan, 1], source_hw=(10, 10))
    np.testing.assert_array_equal(from_boxes(np.zeros((0, 4)), source_hw=(10, 12)), np.zeros((10, 12)))
    np.testing.assert_array_equal(from_points([], source_hw=(10, 12)), np.zeros((10, 12)))


def test_from_points_peaks_at_the_points():
    heat = from_points([[10, 30], [90, 10]], source_hw=(40, 100), grid_hw=(8, 10), sigma=4)
    assert heat[6, 1] > 0.5
    assert heat[2, 9] > 0.5
    assert heat[2, 4] < 0.01
    at = {"source_hw": (60, 80), "grid_hw": (60, 80)}
    y, x = np.mgrid[:60, :80] + 0.5
    square = (x - 30.5) ** 2 + (y - 20.5) ** 2
    for sigma, spread in ((6.0, 6.0), (None, 0.05 * 80)):
        np.testing.assert_allclose(from_points([30.5, 20.5], sigma=sigma, **at), np.exp(-square / (2 * spread**2)))
    assert from_points([50, 20], source_hw=(40, 100), sigma=1e-3).max() == 1  # narrow ones do not vanish
    with pytest.raises(ValueError, match="must lie in the image"):
        from_points([101, 5], source_hw=(40, 100))
    with pytest.raises(ValueError, match="`sigma`"):
        from_points([1, 5], source_hw=(40, 100), sigma=0)


def test_from_mask_is_the_cell_mean(rng, xp):
    mask = rng.random((60, 84)) < 0.3
    wanted = mask.reshape(6, 10, 12, 7).mean((1, 3))
    np.testing.assert_allclose(from_mask(xp.asarray(mask), grid_hw=(6, 12)), wanted, atol=1e-12)
    assert from_mask(mask).shape == (48, 48)
    np.testing.assert_allclose(from_mask(Image.fromarray(mask), grid_hw=(6, 12)), wanted, atol=1e-12)
    np.testing.assert_allclose(from_mask(mask[:5, :7]), mask[:5, :7], atol=1e-12)


@pytest.mark.parametrize("name", CONTROLS)
def test_controls(name, xp, rng):
    heat = rng.random((2, 5, 7))
    result = CONTROLS[name](xp.asarray(heat), rng=np.random.default_rng(1))
    assert isinstance(result, xp.kind)
    result = xp.numpy(result)
    assert result.shape == heat.shape
    if name == "uniform":
        assert np.ptp(result) == 0
    else:  # the same values elsewhere, item by item
        np.testing.assert_array_equal(np.sort(result.reshape(2, -1)), np.sort(heat.reshape(2, -1)))
        assert (result != heat).any()
    again = xp.numpy(CONTROLS[name](xp.asarray(heat), rng=np.random.default_rng(1)))
    np.testing.assert_array_equal(again, result)


def test_centred_falls_off_from_the_middle(rng):
    result = heatmaps.centred(rng.random((5, 5)))
    assert result[2, 2] == result.max()
    assert result[[0, 0, 4, 4], [0, 4, 0, 4]].max() == np.sort(result.ravel())[3]


def test_rolled_keeps_the_shape(rng):
    heat = rng.random((5, 7))
    moved = heatmaps.rolled(heat, rng=np.random.default_rng(3))
    assert any(np.array_equal(np.roll(heat, (i, j), (0, 1)), moved) for i in range(5) for j in range(7))


@pytest.mark.parametrize("control", [heatmaps.shuffled, heatmaps.rolled])
def test_controls_want_a_generator(control):
    with pytest.raises(TypeError, match=r"`rng` must be a numpy.random.Generator, got .*5.*default_rng\(5\)"):
        control(np.eye(3), rng=5)
