"""The warp: coordinates against the formulas, images against SciPy, PyTorch and OpenCV, and the round trips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pmtools
from pmtools import Warp, fit_warp
from pmtools.testing import (
    boxes,
    check_boxes_round_trip,
    check_identity,
    check_linear_sampling,
    check_mirrored,
    check_monotone,
    check_points_round_trip,
    heatmaps,
    images,
    points,
    warps,
)


@pytest.fixture
def warp(rng) -> Warp:
    return fit_warp(rng.random((6, 9)) ** 4, source_hw=(40, 70))


# ------------------------------------------------------------------------------------------------- coordinates


def test_hand_worked():
    # one row, two columns of mass 1 and 3: the left half gets a quarter of the width, rows stay
    warp = Warp.from_map(np.array([[1.0, 3.0]]), source_hw=(10, 20), target_hw=(10, 40), floor=1e-9)
    np.testing.assert_allclose(
        warp.points([[0, 0], [10, 5], [20, 10], [5, 2.5]]), [[0, 0], [10, 5], [40, 10], [5, 2.5]], atol=1e-6
    )
    np.testing.assert_allclose(warp.boxes([10, 5, 15, 10]), [10, 5, 25, 10], atol=1e-6)
    magnification = warp.local_magnification()
    np.testing.assert_allclose(magnification.x, [1.0] * 10 + [3.0] * 10, atol=1e-6)
    np.testing.assert_allclose(magnification.y, [1.0] * 10, atol=1e-6)


def test_points_are_xy_and_sizes_are_hw():
    warp = Warp.from_map(np.ones((2, 2)), source_hw=(10, 20), target_hw=(30, 20))
    assert warp.points([20, 10]).tolist() == [20, 30]
    assert (warp.source_hw, warp.target_hw) == ((10, 20), (30, 20))
    assert repr(warp) == "Warp(10x20 -> 30x20)"


def test_points_follow_interpolation_of_the_cdf(rng):
    weights = rng.random((5, 7))
    warp = Warp.from_map(weights, source_hw=(50, 91), target_hw=(60, 33), floor=0.1)
    p = 0.9 * weights.max(0) / weights.max(0).sum() + 0.1 / 7
    x = rng.uniform(0, 91, 100)
    wanted = 33 * np.interp(x, np.arange(8) * 91 / 7, np.concatenate([[0], np.cumsum(p)]))
    np.testing.assert_allclose(warp.points(np.stack([x, x * 0], -1))[:, 0], wanted, atol=1e-12)


@given(warps(max_side=200))
def test_round_trip_and_order(warp):
    check_points_round_trip(warp)
    check_monotone(warp)


@given(st.data(), heatmaps(), st.integers(1, 5000), st.integers(1, 5000))
def test_round_trip_at_any_size_at_the_default_floor(data, heatmap, height, width):
    warp = fit_warp(heatmap, source_hw=(height, width))
    check_points_round_trip(warp, data.draw(points((height, width), margin=0.5)))
    check_boxes_round_trip(warp, data.draw(boxes((height, width))))


@given(warps(), st.data())
def test_boxes_stay_boxes(warp, data):
    there = warp.boxes(data.draw(boxes(warp.source_hw)))
    assert (there[:, :2] <= there[:, 2:]).all()


@given(warps())
def test_local_magnification(warp):
    for axis, n, m in zip(warp.local_magnification(), warp.source_hw[::-1], warp.target_hw[::-1], strict=True):
        assert axis.shape == (n,)
        np.testing.assert_allclose(axis.sum(), m, rtol=1e-9)


@given(heatmaps(), st.floats(1e-3, 1), st.floats(1, 6))
def test_floor_and_cap_are_honoured(heatmap, floor, cap):
    warp = fit_warp(heatmap, source_hw=(30, 41), floor=floor, max_magnification=cap)
    for axis in warp.local_magnification():
        assert axis.min() >= floor * (1 - 1e-9)
        assert axis.max() <= cap * (1 + 1e-9)


def test_points_beyond_the_image_are_extrapolated():
    warp = Warp.from_map(np.array([[1.0, 3.0]]), source_hw=(4, 4), floor=1e-9)
    np.testing.assert_allclose(warp.points([[-2, -1], [6, 5]]), [[-1, -1], [7, 5]], atol=1e-6)


def test_shapes_and_dtypes(warp, xp):
    for shape in ((2,), (0, 2), (3, 2), (2, 3, 2)):
        for dtype in ("float32", "float64"):
            result = warp.points(xp.asarray(np.ones(shape, dtype)))
            assert isinstance(result, xp.kind)
            assert xp.numpy(result).shape == shape
            assert str(xp.numpy(result).dtype) == dtype
    assert xp.numpy(warp.points(xp.asarray(np.array([1, 2])))).dtype == np.float64
    assert warp.points([(1, 2), (3, 4)]).shape == (2, 2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda w: w.points([1, 2, 3]), r"`points_xy` must have shape \(\.\.\., 2\)"),
        (lambda w: w.boxes(np.ones((3, 2))), r"`boxes_xyxy` must have shape \(\.\.\., 4\)"),
        (lambda w: w.points(np.array(["a", "b"])), "`points_xy` must hold real numbers"),
        (lambda w: w.points(None), "`points_xy` must be an array"),
        (lambda w: w.points(3), "`points_xy` must have shape"),
    ],
)
def test_bad_coordinates(warp, call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call(warp)


# ------------------------------------------------------------------------------------------------------ images


@given(warps(max_side=40), st.integers(0, 2**31))
def test_linear_sampling_is_scipys(warp, seed):
    check_linear_sampling(warp, np.random.default_rng(seed).random(warp.source_hw))


@pytest.mark.parametrize("target_hw", [None, (40, 70), (17, 99), (80, 31)])
@pytest.mark.parametrize("align_corners", [False, True])
def test_grid_sample_gives_the_linear_image(rng, target_hw, align_corners, torch):
    warp = fit_warp(rng.random((6, 9)) ** 4, source_hw=(40, 70), target_hw=target_hw)
    image = rng.random((3, 40, 70))
    grid = torch.as_tensor(warp.to_grid_sample(align_corners=align_corners))
    sampled = torch.nn.functional.grid_sample(
        torch.as_tensor(image)[None], grid, mode="bilinear", padding_mode="border", align_corners=align_corners
    )[0]
    np.testing.assert_allclose(sampled.numpy(), warp.image(torch.as_tensor(image), antialias=False).numpy(), atol=1e-9)


def test_cv2_maps_give_the_linear_image(rng):
    cv2 = pytest.importorskip("cv2")
    warp = fit_warp(rng.random((6, 9)) ** 4, source_hw=(40, 70), target_hw=(50, 60))
    image = rng.random((40, 70, 3)).astype(np.float32)
    map_x, map_y = warp.to_cv2_maps()
    assert map_x.dtype == np.float32
    assert map_x.shape == map_y.shape == (50, 60)
    remapped = cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(remapped, warp.image(image, antialias=False), atol=3e-2)  # OpenCV 4 works in 1/32 px


def test_a_half_pixel_shift_would_be_seen(warp, rng):
    class Shifted(Warp):
        def inverse_points(self, points_xy):
            return super().inverse_points(points_xy) + 0.5

    with pytest.raises(AssertionError, match="not the linear interpolation"):
        check_linear_sampling(Shifted(warp.x, warp.y), rng.random(warp.source_hw))


@given(images(), heatmaps())
def test_uniform_is_the_identity(image, heatmap):
    check_identity(fit_warp(np.ones_like(heatmap, dtype=float), source_hw=image.shape[:2]), image)


@given(heatmaps(), st.booleans(), st.sampled_from([None, (20, 31), (11, 13), (40, 50)]), st.integers(0, 2**31))
def test_mirrored_input_gives_mirrored_output(heatmap, antialias, target_hw, seed):
    image = np.random.default_rng(seed).random((20, 31, 2))

    def make(h):
        return fit_warp(h, source_hw=(20, 31), target_hw=target_hw)

    check_mirrored(make, heatmap, image, antialias=antialias)


def test_transposed_input_gives_transposed_output(rng):
    heatmap, image = rng.random((5, 8)) ** 3, rng.random((30, 44))
    upright = fit_warp(heatmap, source_hw=(30, 44), target_hw=(25, 60)).image(image)
    lying = fit_warp(heatmap.T, source_hw=(44, 30), target_hw=(60, 25)).image(image.T)
    np.testing.assert_allclose(lying.T, upright, atol=1e-12)


def test_antialiasing_averages_what_is_compressed():
    # every fourth column is white and the left half is squeezed 4 times: point sampling misses them, the average does not
    image = np.broadcast_to(np.arange(64) % 4 == 0, (64, 64)) * 1.0
    warp = Warp.from_map(np.array([[1.0, 7.0]]), source_hw=(64, 64), floor=1e-9)
    left = np.s_[:, 1:7]
    np.testing.assert_allclose(warp.image(image)[left], 0.25, atol=1e-6)
    assert np.abs(warp.image(image, antialias=False)[left]).max() < 1e-6
    # where every footprint is at most a pixel, nothing changes
    np.testing.assert_allclose(warp.image(image)[:, 16:], warp.image(image, antialias=False)[:, 16:], atol=1e-9)


def test_inverse_image_brings_the_magnified_part_back(astronaut):
    heatmap = pmtools.heatmaps.from_boxes([180, 60, 260, 180], source_hw=(512, 512))
    warp = fit_warp(heatmap, source_hw=(512, 512))
    back = warp.inverse_image(warp.image(astronaut))
    assert back.shape == astronaut.shape
    part = np.s_[70:170, 190:250]
    error = back[part].astype(float) - astronaut[part]
    assert np.sqrt(np.mean(error**2)) < 3.0  # grey levels
    shifted = np.roll(back, 1, axis=1)[part].astype(float) - astronaut[part]
    assert np.sqrt(np.mean(shifted**2)) > 6.0  # and a pixel's shift is seen


def test_from_map_holds_the_greatest_magnification_and_makes_peaks_equal():
    weights = np.ones((6, 12))
    weights[2, 3] = 40
    x, y = (float(axis.max()) for axis in Warp.from_map(weights, source_hw=(60, 60)).local_magnification())
    assert x > 1.5 * y > 4
    capped = Warp.from_map(weights, source_hw=(60, 60), max_magnification=2.0).local_magnification()
    np.testing.assert_allclose([capped.x.max(), capped.y.max()], 2.0)
    equal = Warp.from_map(weights, source_hw=(60, 60), equal_peaks=True).local_magnification()
    np.testing.assert_allclose([equal.x.max(), equal.y.max()], y)


def test_masks_keep_their_labels(rng, xp):
    labels = rng.integers(0, 5, (40, 70)).astype(np.int32) * 1000
    warp = fit_warp(rng.random((6, 9)) ** 4, source_hw=(40, 70), target_hw=(90, 150))
    result = xp.numpy(warp.mask(xp.asarray(labels)))
    y, x = np.mgrid[0:90, 0:150] + 0.5
    source = np.floor(warp.inverse_points(np.stack([x, y], -1))).astype(int)
    np.testing.assert_array_equal(result, labels[source[..., 1], source[..., 0]])
    back = xp.numpy(warp.inverse_mask(xp.asarray(result)))
    assert set(np.unique(back)) <= set(np.unique(labels))


def test_stacks_of_masks_and_masks_with_channels(warp, rng):
    stack = rng.random((5, 40, 70)) < 0.5
    assert warp.mask(stack).shape == (5, 40, 70)
    np.testing.assert_array_equal(warp.mask(stack)[3], warp.mask(stack[3]))
    np.testing.assert_array_equal(warp.mask(np.moveaxis(stack, 0, -1)), np.moveaxis(warp.mask(stack), 0, -1))
    np.testing.assert_array_equal(warp.mask(stack, channel_axis=0), warp.mask(stack))


def test_magnified_masks_agree_with_magnified_boxes(warp):
    mask = np.zeros((40, 70), bool)
    mask[10:25, 20:50] = True
    x0, y0, x1, y1 = warp.boxes([20, 10, 50, 25])
    rows, columns = np.flatnonzero(warp.mask(mask).any(1)), np.flatnonzero(warp.mask(mask).any(0))
    assert abs(columns[0] - x0) <= 0.5 + 1e-9
    assert abs(columns[-1] + 1 - x1) <= 0.5 + 1e-9
    assert abs(rows[0] - y0) <= 0.5 + 1e-9
    assert abs(rows[-1] + 1 - y1) <= 0.5 + 1e-9


def test_wrong_images_are_refused(warp):
    with pytest.raises(ValueError, match=r"must be 40x70.*got 70x40.*channel_axis"):
        warp.image(np.zeros((70, 40)))
    with pytest.raises(ValueError, match="`image` must not be empty"):
        warp.image(np.zeros((40, 0, 3)))
    with pytest.raises(ValueError, match="at least two axes"):
        warp.image(np.zeros(40))
    with pytest.raises(TypeError, match="must be a PIL image or an array"):
        warp.image("photo.png")
    with pytest.raises(TypeError, match="must hold real numbers"):
        warp.image(np.zeros((40, 70), complex))
    with pytest.raises(ValueError, match="`fill`"):
        warp.image(np.zeros((40, 70, 3)), fill=(1, 2))


# ---------------------------------------------------------------------------------------------------- algebra


@given(warps(max_side=50), st.data())
def test_then_is_one_after_the_other(first, data):
    second = data.draw(warps(max_side=50, source_hw=first.target_hw))
    both = first.then(second)
    xy = data.draw(points(first.source_hw))
    np.testing.assert_allclose(both.points(xy), second.points(first.points(xy)), rtol=1e-12)
    check_points_round_trip(both, tolerance=1e-7)
    assert (both.source_hw, both.target_hw) == (first.source_hw, second.target_hw)


@given(warps(max_side=50), st.integers(0, 2**31))
def test_a_warp_and_its_inverse_are_the_identity(warp, seed):
    image = np.random.default_rng(seed).integers(0, 255, warp.source_hw).astype(np.uint8)
    check_identity(warp.then(warp.inverse()), image)


def test_then_refuses_what_does_not_meet(warp):
    with pytest.raises(ValueError, match="must start where this warp ends, at 40x70"):
        warp.then(fit_warp(np.eye(3), source_hw=(70, 40)))
    with pytest.raises(TypeError, match="`other` must be a Warp"):
        warp.then(np.eye(3))


# ---------------------------------------------------------------------------------------------------- batches


def test_a_batch_equals_its_items(xp, rng):
    heat = rng.random((3, 6, 9)) ** 4
    batch = fit_warp(xp.asarray(heat), source_hw=(40, 70), target_hw=(33, 80))
    assert len(batch) == 3
    assert batch.batch_shape == (3,)
    xy, box = rng.uniform(0, 40, (3, 4, 5, 2)), rng.uniform(0, 40, (3, 4))
    frames = rng.integers(0, 255, (3, 40, 70, 3)).astype(np.uint8)
    source = np.moveaxis(frames, -1, 1) if "torch" in xp.name else frames
    together = batch.image(xp.asarray(source))
    for i, item in enumerate(batch):
        alone = fit_warp(heat[i], source_hw=(40, 70), target_hw=(33, 80))
        np.testing.assert_allclose(xp.numpy(batch.points(xp.asarray(xy)))[i], alone.points(xy[i]), atol=1e-11)
        np.testing.assert_allclose(
            xp.numpy(batch.inverse_points(xp.asarray(xy)))[i], alone.inverse_points(xy[i]), atol=1e-11
        )
        np.testing.assert_allclose(xp.numpy(batch.boxes(xp.asarray(box)))[i], alone.boxes(box[i]), atol=1e-11)
        np.testing.assert_array_equal(xp.numpy(together)[i], xp.numpy(item.image(xp.asarray(source[i]))))
        difference = xp.numpy(together)[i].astype(int)
        wanted = alone.image(frames[i]).astype(int)
        difference = (np.moveaxis(difference, 0, -1) if "torch" in xp.name else difference) - wanted
        assert np.abs(difference).max() <= 1
    check_points_round_trip(batch)


def test_batches_that_do_not_fit_are_refused(rng):
    batch = fit_warp(rng.random((3, 4, 4)), source_hw=(8, 8))
    with pytest.raises(ValueError, match=r"a batch of 3 warps takes 3 images.*a heatmap is \(h, w\)"):
        batch.image(np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match="a batch of 3 warps takes 3 images"):
        batch.image(np.zeros((2, 8, 8, 3)))
    with pytest.raises(ValueError, match=r"`points_xy` must have shape \(3, \.\.\., 2\)"):
        batch.points(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"warp\[i\].to_cv2_maps"):
        batch.to_cv2_maps()
    for index in (3, -4):
        with pytest.raises(IndexError, match="`index` must be an integer from -3 to 2"):
            batch[index]
    with pytest.raises(TypeError, match="`index`"):
        batch[0.5]
    assert batch[-1].points([3, 3]).tolist() == batch[2].points([3, 3]).tolist()
    with pytest.raises(TypeError, match="single Warp has no length"):
        len(batch[0])
    assert batch
    assert batch[0]  # also without a length
    with pytest.raises(ValueError, match=r"got a batch of 3 along x and a single map along y"):
        Warp(x=batch.x, y=batch[0].y)
    with pytest.raises(TypeError, match=r"`x` and `y` must be AxisMaps.*Warp\.from_map"):
        Warp(x=np.eye(3), y=batch.y)
    with pytest.raises(ValueError, match="at most one batch axis"):
        fit_warp(rng.random((2, 3, 4, 4)), source_hw=(8, 8))


def test_single_frames_chain_with_batches(rng):
    batch = fit_warp(rng.random((3, 4, 4)), source_hw=(20, 20))
    chained = pmtools.frames.pad_to_square((12, 20)).then(batch).then(pmtools.frames.resize((20, 20), (10, 10)))
    assert len(chained) == 3
    xy = np.broadcast_to([[5.0, 5.0]], (3, 1, 2))
    np.testing.assert_allclose(chained.points(xy), batch.points(xy + np.array([0, 4])) / 2, atol=1e-12)
    assert chained.image(np.ones((3, 12, 20, 1))).shape == (3, 10, 10, 1)


def test_frames_follow_a_warp_to_its_library(xp, rng):
    warp = fit_warp(xp.asarray(rng.random((4, 4))), source_hw=(20, 20))
    frame = pmtools.frames.pad_to_square((12, 20))
    for chained in (frame.then(warp), warp.then(frame.inverse())):
        assert isinstance(chained.x.like, xp.kind)


# -------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("target_hw", [None, (5, 4), (11, 15)])
def test_gradients_in_image_and_map(rng, antialias, target_hw, torch):
    weights = torch.tensor(rng.random((3, 4)) + 0.5, requires_grad=True)
    image = torch.tensor(rng.random((1, 7, 8)), requires_grad=True)

    def run(weights, image):
        warp = Warp.from_map(weights, source_hw=(7, 8), target_hw=target_hw, marginal="sum", floor=0.1)
        return warp.image(image, antialias=antialias)

    assert torch.autograd.gradcheck(run, (weights, image), eps=1e-7, atol=1e-3)


@pytest.mark.parametrize("marginal", ["max", "sum"])
def test_a_map_that_starts_uniform_learns(rng, marginal, torch):
    image = torch.tensor(rng.random((3, 12, 12)))
    weights = torch.ones(4, 4, dtype=torch.float64, requires_grad=True)

    def loss(weights):
        return (Warp.from_map(weights, source_hw=(12, 12), marginal=marginal).image(image, antialias=False) ** 2).sum()

    before = loss(weights)
    assert before == (image**2).sum()  # still the identity, to the last bit
    before.backward()
    assert torch.isfinite(weights.grad).all()
    # more weight on the last column moves every sample to the right, where the slopes are those of the gradient
    heavier = weights.detach().clone()
    heavier[:, -1] += 1e-6
    change = (loss(heavier) - before).item() / 1e-6
    assert abs(change) > 0.1
    np.testing.assert_allclose(weights.grad[:, -1].sum(), change, rtol=1e-4)


def test_a_map_that_starts_uniform_keeps_nan_in_its_place(rng, torch):
    image = torch.tensor(rng.random((12, 12)))
    image[3, 7] = torch.nan
    weights = torch.ones(4, 4, dtype=torch.float64, requires_grad=True)
    np.testing.assert_array_equal(Warp.from_map(weights, source_hw=(12, 12)).image(image).detach(), image)


def test_gradient_of_the_whole_call(rng, torch):
    heatmap = torch.tensor(rng.random((6, 6)), requires_grad=True)
    image = torch.tensor(rng.random((3, 32, 32)), requires_grad=True)
    pmtools.magnify(image, heatmap, gain=2.0)[:, 8:16].sum().backward()
    for gradient in (heatmap.grad, image.grad):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0
