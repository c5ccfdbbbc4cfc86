"""Warps as values: equal, hashed, copied, pickled, batched, moved, blended and smoothed over time."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pmtools
from pmtools import Warp, fit_warp, frames, smooth_warps
from pmtools.testing import check_points_round_trip, warps

HW = (40, 70)
GRID = np.stack(np.meshgrid(np.linspace(-5, 75, 33), np.linspace(-5, 45, 29)), axis=-1)


def fitted(seed: int, **options) -> Warp:
    return fit_warp(np.random.default_rng(seed).random((6, 9)) ** 4, source_hw=HW, **options)


@given(warp=warps())
def test_the_same_numbers_are_equal_and_have_one_hash(warp):
    again = Warp.from_dict(warp.to_dict())
    assert again == warp
    assert hash(again) == hash(warp)
    assert len({warp, again, copy.deepcopy(warp), pickle.loads(pickle.dumps(warp))}) == 1
    assert warp != warp.then(frames.identity(warp.target_hw))  # the same map of other pieces
    assert warp != "warp"


def test_other_numbers_are_not_equal():
    assert fitted(0) != fitted(1)
    assert fitted(0) != fitted(0, target_hw=(40, 71))
    assert frames.crop(HW, (0, 0, 70, 40)) != frames.crop((40, 71), (0, 0, 70, 40))  # a window of another width
    minus = Warp.from_dict(frames.identity(HW).to_dict())
    minus.x.pieces[0].before.base[0] = -0.0
    assert hash(minus) == hash(frames.identity(HW))


def test_equal_on_every_device(xp):
    heat = np.random.default_rng(0).random((4, 5))
    assert fit_warp(xp.asarray(heat), source_hw=HW) == Warp.from_dict(
        fit_warp(xp.asarray(heat), source_hw=HW).to_dict()
    )


@pytest.mark.parametrize(
    "made", [lambda w: w, copy.copy, copy.deepcopy, lambda w: pickle.loads(pickle.dumps(w)), Warp.inverse]
)
def test_numbers_cannot_be_written_to(made):
    warp = made(fitted(0))
    for axis in (warp.x, warp.y):
        for array in (axis.window, *axis.pieces[0]):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 3.0


def test_making_a_warp_leaves_the_callers_arrays_alone():
    knots = np.array([0.0, 1.0, 5.0])
    axis = pmtools.axes.axis_map(knots, knots, 5, 5)
    knots[1] = 2.0  # still theirs to write to
    assert not axis.pieces[0].before.flags.writeable


def test_a_deep_copy_passes_gradients_on(torch):
    heat = torch.rand(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    warp = fit_warp(heat, source_hw=HW)
    twin = copy.deepcopy(warp)
    assert twin == warp
    points = torch.tensor([[10.0, 20.0]], dtype=torch.float64)
    (want,) = torch.autograd.grad(warp.points(points).sum(), heat, retain_graph=True)
    (found,) = torch.autograd.grad(twin.points(points).sum(), heat)
    torch.testing.assert_close(found, want)
    assert want.abs().sum() > 0


# ------------------------------------------------------------------------------------------------------- batches


def different() -> list[Warp]:
    """Single warps of one size: of one piece and of several, of few knots and many."""
    zoom = pmtools.zoom_warp([10, 10, 20, 15], source_hw=HW, zoom=2)
    crop = frames.crop(HW, (10, 5, 60, 30)).then(frames.resize((25, 50), HW))
    return [fitted(0), zoom, frames.identity(HW), crop, fitted(1).then(fitted(2)), fitted(3).inverse()]


def test_a_stack_is_each_of_its_warps(xp):
    singles = different()
    batch = Warp.stack(warp.to(xp.asarray(np.zeros(1))) for warp in singles)
    assert len(batch) == len(singles)
    there = batch.points(xp.asarray(np.stack([GRID] * len(singles))))
    for i, single in enumerate(singles):
        np.testing.assert_allclose(xp.numpy(there)[i], single.points(GRID), rtol=0, atol=1e-9)
        np.testing.assert_allclose(batch[i].inverse_points(single.points(GRID)), GRID, rtol=0, atol=1e-8)
    pixels = np.random.default_rng(0).integers(0, 256, (len(singles), *HW, 3), dtype=np.uint8)
    images = Warp.stack(singles).image(pixels)
    for i, single in enumerate(singles):
        assert np.abs(images[i].astype(int) - single.image(pixels[i]).astype(int)).max() <= 1
    np.testing.assert_allclose(batch[3].x.window, singles[3].x.window)  # what a crop has cut off stays off


def test_a_stack_of_equal_chains_is_exact_and_goes_through_a_file():
    singles = [fitted(0), fitted(1)]
    batch = Warp.stack(singles)
    assert list(batch) == singles
    assert Warp.from_dict(batch.to_dict()) == batch
    assert Warp.stack([singles[0]])[0] == singles[0]


def test_stacks_of_something_else_are_refused():
    with pytest.raises(ValueError, match=r"same sizes.*at 1"):
        Warp.stack([fitted(0), frames.identity((3, 3))])
    with pytest.raises(TypeError, match="a batch at 0"):
        Warp.stack([Warp.stack([fitted(0)])])
    with pytest.raises(TypeError, match="at 0"):
        Warp.stack([1])
    with pytest.raises(ValueError, match="none"):
        Warp.stack([])


def test_to_another_namespace_and_back(torch, xp):
    warp = fitted(0)
    moved = warp.to(xp.asarray(np.zeros(2)))
    assert isinstance(moved.x.like, xp.kind)
    assert moved == warp
    assert moved.to(np.zeros(1)) == warp
    assert warp.to("cpu") is not None
    assert isinstance(warp.to("cpu").x.like, np.ndarray)
    assert warp.to("meta").x.like.device.type == "meta"
    assert warp.to(torch.zeros(1)).to("cpu").x.like.device.type == "cpu"
    heat = torch.rand(4, 5, dtype=torch.float64).requires_grad_()
    fit_warp(heat, source_hw=HW).to("cpu").points(torch.ones(1, 2)).sum().backward()
    assert heat.grad is not None


# ------------------------------------------------------------------------------------------------ between, in time


@given(first=warps(source_hw=(20, 30), target_hw=(25, 15)), second=warps(source_hw=(20, 30), target_hw=(25, 15)),
       weight=st.floats(0, 1))  # fmt: skip
def test_a_blend_lies_between_and_comes_back(first, second, weight):
    blend = first.blend(second, weight)
    points = np.random.default_rng(0).random((50, 2)) * [30, 20]
    want = (1 - weight) * first.points(points) + weight * second.points(points)
    np.testing.assert_allclose(blend.points(points), want, rtol=0, atol=1e-4)
    check_points_round_trip(blend)
    assert (blend.source_hw, blend.target_hw) == (first.source_hw, first.target_hw)


def test_a_blend_of_chains_knows_where_they_bend():
    singles = different()
    for first in singles:
        for second in singles:
            found = first.blend(second, 0.3).points(GRID[3:-3, 3:-3])
            want = 0.7 * first.points(GRID[3:-3, 3:-3]) + 0.3 * second.points(GRID[3:-3, 3:-3])
            np.testing.assert_allclose(found, want, rtol=0, atol=1e-4)
    assert singles[3].blend(singles[0], 0.5).inverse_points(singles[3].points([20, 10])).shape == (2,)
    batch, other = Warp.stack(singles), Warp.stack(singles[::-1])
    blend = batch.blend(other, 0.3)
    np.testing.assert_allclose(blend[1].points(GRID), singles[1].blend(singles[4], 0.3).points(GRID), atol=1e-9)


def test_a_blend_shows_what_both_show():
    whole = frames.identity((8, 8))
    left = frames.crop((8, 8), (0, 0, 4, 8)).then(frames.pad((8, 4), right=4))
    right = frames.crop((8, 8), (4, 0, 8, 8)).then(frames.pad((8, 4), left=4))
    for half, shown in ((left, [1, 1, 1, 1, 0, 0, 0, 0]), (right, [0, 0, 0, 0, 1, 1, 1, 1])):
        for blend in (whole.blend(half, 0.5), half.blend(whole, 0.5)):
            np.testing.assert_array_equal(blend.image(np.ones((8, 8)), fill=0)[0], shown)


def test_gradients_reach_both_of_a_blend(torch):
    heats = [
        torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(i)).requires_grad_()
        for i in (0, 1)
    ]

    def at(first, second):
        blend = fit_warp(first, source_hw=(6, 8)).blend(fit_warp(second, source_hw=(6, 8)), 0.25)
        return blend.points(torch.tensor([[2.3, 4.1], [6.6, 1.2]], dtype=torch.float64))

    assert torch.autograd.gradcheck(at, tuple(heats))


def test_blends_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="sizes"):
        fitted(0).blend(frames.identity((3, 3)), 0.5)
    with pytest.raises(TypeError, match="must be a Warp"):
        fitted(0).blend(3, 0.5)
    with pytest.raises(ValueError, match="weight"):
        fitted(0).blend(fitted(1), 1.5)


def test_smoothing_is_a_running_mean_of_positions():
    sequence = [fitted(i) for i in range(6)]
    found = list(smooth_warps(iter(sequence), half_life=2))
    mean = sequence[0].points(GRID)
    weight = 1 - 2**-0.5
    for warp, smooth in zip(sequence, found, strict=True):
        mean = (1 - weight) * mean + weight * warp.points(GRID)
        np.testing.assert_allclose(smooth.points(GRID), mean, rtol=0, atol=1e-9)
        check_points_round_trip(smooth)
    assert list(smooth_warps(Warp.stack(sequence), half_life=2)) == found
    np.testing.assert_allclose(next(smooth_warps(sequence, half_life=5)).points(GRID), sequence[0].points(GRID))


def test_smoothing_holds_a_noisy_grid_still():
    rng = np.random.default_rng(0)
    noisy = [fit_warp(np.eye(8) + 0.05 * rng.random((8, 8)), source_hw=(100, 100)) for _ in range(30)]

    def moved(sequence):
        at = np.array([warp.points(GRID) for warp in sequence])
        return np.abs(np.diff(at, axis=0)).max(axis=(1, 2, 3)).mean()

    assert moved(list(smooth_warps(noisy, half_life=4))[10:]) < moved(noisy[10:]) / 4


def test_smoothing_starts_anew_where_the_size_changes():
    with pytest.raises(ValueError, match=r"at 1.*start a new sequence"):
        list(smooth_warps([fitted(0), frames.identity((3, 3))], half_life=1))
    with pytest.raises(TypeError, match="at 0"):
        list(smooth_warps([1], half_life=1))
    with pytest.raises(ValueError, match="half_life"):
        smooth_warps([], half_life=0)
    assert list(smooth_warps([], half_life=1)) == []


def test_what_a_warp_remembers_changes_nothing_and_does_not_travel(rng):
    """Where output pixels look is kept from one image to the next; copies and pickles start without."""
    weights, image = rng.random((5, 7)) + 0.1, rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    warp = Warp.from_map(weights, source_hw=(40, 60), target_hw=(20, 70))
    before = len(pickle.dumps(warp))
    first = [warp.image(image), warp.image(image, antialias=False), warp.mask(image[..., 0])]
    fresh = Warp.from_map(weights, source_hw=(40, 60), target_hw=(20, 70))
    again = [warp.image(image), warp.image(image, antialias=False), warp.mask(image[..., 0])]
    want = [fresh.image(image), fresh.image(image, antialias=False), fresh.mask(image[..., 0])]
    for a, b, c in zip(first, again, want, strict=True):
        assert (a == b).all()
        assert (b == c).all()
    assert len(pickle.dumps(warp)) == before
    assert pickle.loads(pickle.dumps(warp)) == warp == fresh
