"""The two-means split against brute force, and its invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pmtools import highlight_mask
from pmtools.testing import heatmaps


def brute_force_error(values: np.ndarray, high: np.ndarray) -> float:
    """Squared error within the two clusters."""
    return sum(((v - v.mean()) ** 2).sum() for v in (values[high], values[~high]) if v.size)


def least_error(values: np.ndarray) -> float:
    return min(brute_force_error(values, values > t) for t in np.unique(values))


@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(0, 1, allow_subnormal=False)))
def test_no_threshold_is_better(heatmap):
    high = highlight_mask(heatmap)
    spread = heatmap.max() - heatmap.min()
    if high.any():
        assert heatmap[high].min() > heatmap[~high].max()
        assert brute_force_error(heatmap, high) <= least_error(heatmap) + 1e-12 * spread**2
    else:
        assert spread <= 8 * np.finfo(float).eps * heatmap.max()


@given(heatmaps(), st.integers(-60, 60))
def test_free_of_scale(heatmap, power):
    np.testing.assert_array_equal(highlight_mask(heatmap * 2.0**power), highlight_mask(heatmap * 1.0))


def test_kinds_agree(xp, rng):
    heatmap = rng.random((2, 6, 7))
    visible = rng.random((2, 6, 7)) < 0.7
    result = highlight_mask(xp.asarray(heatmap), visible=xp.asarray(visible))
    assert isinstance(result, xp.kind)
    np.testing.assert_array_equal(xp.numpy(result), highlight_mask(heatmap, visible=visible))
    for i in range(2):  # a batch equals its items
        np.testing.assert_array_equal(xp.numpy(result)[i], highlight_mask(heatmap[i], visible=visible[i]))


def test_only_visible_cells_take_part():
    heatmap = np.array([[9.0, 0.1, 0.2, 0.8, 0.9]])
    visible = np.array([[False, True, True, True, True]])
    assert highlight_mask(heatmap).tolist() == [[True, False, False, False, False]]
    assert highlight_mask(heatmap, visible=visible).tolist() == [[False, False, False, True, True]]
    assert not highlight_mask(heatmap, visible=np.zeros_like(visible)).any()


def test_lloyd_would_stop_here():
    # Lloyd's algorithm from (min, max) ends at {0, 4} | {9} only if the first split says so; the exact answer is the best one
    values = np.array([[0.0, 4.0, 5.0, 9.0]])
    assert brute_force_error(values, highlight_mask(values)) == least_error(values)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-30])
def test_constant_maps_have_no_highlight(value):
    assert not highlight_mask(np.full((3, 3), value)).any()


def test_equal_values_stay_together():
    heatmap = np.array([[1.0, 1.0, 1.0, 0.0]])
    assert highlight_mask(heatmap).tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("visible", [np.ones((2, 2), bool), np.ones((3, 3)), "all"])
def test_bad_visible(visible):
    with pytest.raises((TypeError, ValueError), match="`visible`"):
        highlight_mask(np.eye(3), visible=visible)
