"""Marginals, floor, cap and CDF against hand-worked numbers and full-map computations."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmtools import _array, _kernel
from pmtools.marginals import cdf, marginal, upsampled_marginal
from pmtools.perception import upsample
from pmtools.settings import WarpSettings
from pmtools.testing import heatmaps

compiled = pytest.mark.skipif(_kernel.serves(np.zeros(1, np.uint8)) is False, reason=_kernel.NAME)
FUZZ = runpy.run_path(str(Path(__file__).parent / "fuzz" / "fuzz_kernel.py"))


def marginal_cdf(weights, *, axis, **options):
    settings = WarpSettings(**options)
    mass = marginal(weights, axis=axis, reduce=settings.marginal)
    return cdf(mass, settings, rounding=_array.epsilon(weights))


def test_hand_worked(xp):
    weights = xp.asarray(np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]))
    np.testing.assert_allclose(xp.numpy(marginal(weights, axis=-1)), [1, 0, 3])
    np.testing.assert_allclose(xp.numpy(marginal(weights, axis=-2)), [2, 3])
    np.testing.assert_allclose(xp.numpy(marginal(weights, axis=-1, reduce="sum")) * 3, [1, 0, 5])
    # floor 0.1: p = 0.9 * (1, 0, 3) / 4 + 0.1 / 3
    p = 0.9 * np.array([1, 0, 3]) / 4 + 0.1 / 3
    result = marginal_cdf(weights, axis=-1, floor=0.1)
    np.testing.assert_allclose(xp.numpy(result), np.concatenate([[0], np.cumsum(p)]), atol=1e-15)


def test_cap_hands_the_excess_on_in_proportion():
    # masses (6, 3, 1) / 10 with cap 1.2: 6 -> 4, the excess 2 goes 3 : 1 to the others: 4.5 > 4, so that is capped too
    result = np.diff(cdf(np.array([6.0, 3.0, 1.0]), WarpSettings(floor=1e-9, max_magnification=1.2)))
    np.testing.assert_allclose(result * 10, [4, 4, 2], atol=1e-6)


@given(heatmaps(), st.floats(1e-3, 1), st.one_of(st.none(), st.floats(1, 6)), st.sampled_from(["max", "sum"]))
def test_floor_cap_and_mass_hold(weights, floor, cap, reduce):
    for axis in (-2, -1):
        edges = marginal_cdf(weights, axis=axis, marginal=reduce, floor=floor, max_magnification=cap)
        n = weights.shape[axis]
        relative = np.diff(edges) * n
        assert edges[0] == 0
        assert edges[-1] == 1
        assert relative.min() >= floor * (1 - 1e-9)
        if cap is not None:
            assert relative.max() <= cap * (1 + 1e-9)
        np.testing.assert_allclose(
            marginal_cdf(weights * 4.0, axis=axis, marginal=reduce, floor=floor, max_magnification=cap),
            edges,
            atol=1e-14,
        )


@given(
    st.lists(st.sampled_from([0.0, 1e-9, 1e-3, 0.5, 1.0, 1e3]), min_size=2, max_size=200),
    st.sampled_from([1e-6, 1e-3, 0.3]),
    st.one_of(st.sampled_from([1.0, 24 / 23]), st.floats(-15, 2).map(lambda exponent: 1 + 10**exponent)),
)
def test_the_cap_holds_however_close_to_one(mass, floor, cap):
    relative = np.diff(cdf(np.array(mass), WarpSettings(floor=floor, max_magnification=cap))) * len(mass)
    assert relative.max() <= cap * (1 + 1e-9)
    assert relative.min() >= floor * (1 - 1e-6)


def test_a_cap_just_above_one():
    mass = np.zeros(24)
    mass[3] = 1.0
    relative = np.diff(cdf(mass, WarpSettings(floor=1e-9, max_magnification=1 + 1e-8))) * 24
    np.testing.assert_allclose(relative, 1.0, atol=1e-7)  # rounding once let 24 through


@given(heatmaps())
def test_water_filling_is_one_scale_and_one_cap(weights):
    free = np.diff(marginal_cdf(weights, axis=-1)) * weights.shape[-1]
    capped = np.diff(marginal_cdf(weights, axis=-1, max_magnification=1.5)) * weights.shape[-1]
    below = capped < 1.5 - 1e-9
    ratio = capped[below] / free[below]
    assert ratio.size == 0 or np.ptp(ratio) < 1e-9 * ratio.max()
    assert ratio.size == 0 or ratio.min() >= 1 - 1e-9  # nobody loses but the capped


def test_a_cap_of_one_is_uniform():
    np.testing.assert_allclose(cdf(np.array([1.0, 5.0, 0.0, 2.0]), WarpSettings(max_magnification=1)), np.arange(5) / 4)


@pytest.mark.parametrize(
    "weights", [np.zeros((3, 7)), np.full((3, 7), 0.3), np.full((3, 7), 1e300), np.ones((3, 7), bool)]
)
@pytest.mark.parametrize("reduce", ["max", "sum"])
def test_constant_is_exactly_uniform(xp, weights, reduce):
    np.testing.assert_array_equal(
        xp.numpy(marginal_cdf(xp.asarray(weights), axis=-1, marginal=reduce)), np.arange(8) / 7
    )


def test_huge_and_tiny_values_do_not_overflow(rng):
    weights = rng.random((4, 6))
    for scale in (1e300, 1e-300):
        for reduce in ("max", "sum"):
            np.testing.assert_allclose(
                marginal_cdf(weights * scale, axis=-1, marginal=reduce),
                marginal_cdf(weights, axis=-1, marginal=reduce),
                rtol=1e-12,
            )


@pytest.mark.parametrize("size", [24, 57, 336, 1000])
def test_upsampled_max_marginal_is_that_of_the_full_map(rng, size):
    weights = rng.random((24, 24))
    full = upsample(weights, (24 * 40, size))  # finely sampled along the other axis: close to the continuous map
    np.testing.assert_allclose(upsampled_marginal(weights, size, axis=-1), full.max(axis=0), rtol=0.02)
    assert (upsampled_marginal(weights, size, axis=-1) >= full.max(axis=0) - 1e-12).all()


def test_upsampled_sum_marginal_is_that_of_the_full_map(rng):
    weights = rng.random((12, 24))
    full = upsample(weights, (12 * 8, 100)).sum(axis=0)
    result = upsampled_marginal(weights, 100, axis=-1, reduce="sum")
    np.testing.assert_allclose(result / result.sum(), full / full.sum(), rtol=1e-12)


def test_a_finer_map_keeps_its_cells(rng):
    weights = rng.random((30, 40))
    np.testing.assert_array_equal(upsampled_marginal(weights, 7, axis=-1), weights.max(axis=0))


@compiled
def test_the_compiled_marginal_is_that_of_numpy_to_the_last_bit():
    for seed in range(200):
        FUZZ["check_marginal"](seed)
        FUZZ["check_hostile_map"](seed)


@compiled
def test_the_comparison_notices_a_mirrored_map(monkeypatch):
    right = _kernel.upsampled_greatest
    monkeypatch.setattr(_kernel, "upsampled_greatest", lambda values, size: right(values[:, ::-1], size))
    with pytest.raises(SystemExit, match="the marginal of"):
        list(map(FUZZ["check_marginal"], range(10)))


@compiled
@pytest.mark.parametrize(
    "changes",
    [
        {"values": np.zeros(3)},
        {"values": np.zeros((2, 3), np.float32)},
        {"values": np.zeros((2, 0))},
        {"values": np.zeros(49, np.uint8)[1:].view(np.float64).reshape(2, 3)},
        {"out": np.zeros(4, np.float32)},
        {"out": np.zeros(8)[::2]},
        {"out": np.frombuffer(bytes(32))},
    ],
)
def test_bad_arrays_are_refused_at_the_compiled_door(changes):
    from pmtools import _resample

    right = {"values": np.zeros((2, 3)), "out": np.zeros(4)}
    _resample.upsampled_greatest(*right.values())
    with pytest.raises((ValueError, BufferError)):
        _resample.upsampled_greatest(*(right | changes).values())


def test_batch_equals_items(xp, rng):
    batch = rng.random((3, 5, 6)) ** 4
    result = xp.numpy(marginal_cdf(xp.asarray(batch), axis=-2, max_magnification=1.4))
    for i in range(3):
        np.testing.assert_allclose(result[i], marginal_cdf(batch[i], axis=-2, max_magnification=1.4), atol=1e-15)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"floor": 0}, "`floor`.*could not be undone"),
        ({"floor": 1.1}, "`floor`"),
        ({"floor": 1e-300}, "`floor` 1e-300 is too small"),
        ({"max_magnification": 0.5}, "`max_magnification`"),
        ({"marginal": "mean"}, "`marginal` must be one of 'max', 'sum'"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ValueError, match=words):
        marginal_cdf(np.diag([1.0, 0.0, 0.0]), axis=-1, **options)
