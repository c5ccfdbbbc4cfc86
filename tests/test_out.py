"""`out=`: the same numbers as without it, in memory that the caller has, and refusals that say why."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest
from PIL import Image

from pmtools import Warp, fit_warp, frames, magnify

HW, TARGET = (24, 33), (30, 28)


@pytest.fixture
def warp(rng):
    return fit_warp(rng.random((5, 6)), source_hw=HW, target_hw=TARGET)


def views(shape, dtype):
    """Arrays of this shape in memory of every kind: in order, with gaps, turned around, planes, unaligned."""
    yield np.zeros(shape, dtype)
    yield np.zeros([2 * side for side in shape], dtype)[tuple(slice(None, None, 2) for _ in shape)]
    yield np.zeros(shape, dtype)[::-1]
    yield np.zeros(shape[::-1], dtype).transpose()
    raw = np.zeros(int(np.prod(shape)) * np.dtype(dtype).itemsize + 1, np.uint8)
    yield raw[1:].view(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "bool", ">u2"])
@pytest.mark.parametrize(("lead", "channels"), [((), ()), ((), (3,)), ((2,), (3,)), ((2, 2), (1,))])
def test_numbers_are_those_without_it(rng, warp, dtype, lead, channels):
    image = (rng.random((*lead, *HW, *channels)) * 200).astype(dtype)
    padded = warp.then(frames.pad_to_square(TARGET))
    for one in (warp, padded, frames.crop(HW, (3, 4, 20, 21))):
        expected = one.image(image, fill=1)
        back = one.inverse_image(expected, fill=1)
        for out in views(expected.shape, dtype):
            assert one.image(image, fill=1, out=out) is out
            np.testing.assert_array_equal(out, expected)
        for out in views(back.shape, dtype):
            assert one.inverse_image(expected, fill=1, out=out) is out
            np.testing.assert_array_equal(out, back)


def test_the_comparison_notices_what_was_not_written(rng, warp):
    image = rng.random(HW)
    out = np.zeros(TARGET)
    warp.image(image, out=out.copy())
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(out, warp.image(image))


def test_batches_of_warps_and_planes(rng):
    images = (rng.random((3, 2, *HW)) * 200).astype(np.uint8)
    warps = fit_warp(rng.random((3, 5, 6)), source_hw=HW, target_hw=TARGET)
    expected = warps.image(images, channel_axis=1)
    for out in views(expected.shape, np.uint8):
        assert warps.image(images, channel_axis=1, out=out) is out
        np.testing.assert_array_equal(out, expected)
    nothing = np.zeros((0, *TARGET, 3))
    assert Warp.from_map(np.eye(2), source_hw=HW, target_hw=TARGET).image(np.zeros((0, *HW, 3)), out=nothing) is nothing


def test_nan_and_huge_floats(rng, warp):
    image = rng.random((*HW, 3)).astype(np.float32)
    image[3, 4], image[10, 10] = np.nan, 3e38
    out = np.zeros((*TARGET, 3), np.float32)
    warp.image(image, out=out)
    np.testing.assert_array_equal(out, warp.image(image))


def test_in_place(rng):
    image = (rng.random((*HW, 3)) * 200).astype(np.uint8)
    warp = fit_warp(rng.random((5, 6)), source_hw=HW)
    expected = warp.image(image)
    memory = np.concatenate([image, image])
    warp.image(memory[2 : 2 + HW[0]], out=memory[: HW[0]])
    np.testing.assert_array_equal(memory[: HW[0]], warp.image(np.concatenate([image, image])[2 : 2 + HW[0]]))
    warp.image(image, out=image)
    np.testing.assert_array_equal(image, expected)


def test_an_identity_is_a_copy(rng):
    image = rng.random((*HW, 3))
    out = np.zeros_like(image)
    assert frames.identity(HW).image(image, out=out) is out
    np.testing.assert_array_equal(out, image)
    assert magnify(image, np.ones((2, 2)), out=out) is out


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "int32"])
def test_tensors(rng, warp, dtype, torch):
    image = torch.as_tensor((rng.random((2, 3, *HW)) * 200).astype(dtype))
    expected = warp.image(image)
    for out in (
        torch.zeros_like(expected),
        torch.zeros((2, 3, 2 * TARGET[0], TARGET[1]), dtype=image.dtype)[:, :, ::2],
    ):
        assert warp.image(image, out=out) is out
        assert torch.equal(out, expected)
    plain = torch.as_tensor(image[0, 0])
    assert torch.equal(warp.image(plain, out=torch.zeros(TARGET, dtype=image.dtype)), warp.image(plain))


def test_other_namespaces(rng, warp):
    image = array_api_strict.asarray(rng.random((*HW, 3)))
    out = array_api_strict.zeros((*TARGET, 3))
    assert warp.image(image, out=out) is out
    np.testing.assert_array_equal(np.asarray(out), np.asarray(warp.image(image)))


def test_magnify_takes_one_or_one_for_each(rng):
    images = [(rng.random((*HW, 3)) * 200).astype(np.uint8), rng.random((20, 20))]
    heatmap = rng.random((5, 6))
    expected = magnify(images, heatmap)
    outs = [np.zeros_like(image) for image in images]
    found = magnify(images, heatmap, out=outs)
    assert all(one is out for one, out in zip(found, outs, strict=True))
    for one, wanted in zip(outs, expected, strict=True):
        np.testing.assert_array_equal(one, wanted)
    assert magnify(images[1], boxes=[2, 3, 9, 9], out=outs[1]) is outs[1]
    with pytest.raises(ValueError, match="`out` must be a list with an entry for each of the 2 images"):
        magnify(images, heatmap, out=outs[0])


def test_refusals(warp, torch):
    image = np.zeros((*HW, 3), np.uint8)
    right = np.zeros((*TARGET, 3), np.uint8)
    for out, message in (
        (np.zeros((*HW, 3), np.uint8), r"`out` must have shape \(30, 28, 3\)"),
        (np.zeros((*TARGET, 3)), "`out` must have shape .* uint8, got ndarray of shape .* float64"),
        (right.tolist(), "`out` must be ndarray, as the image is, got list"),
        (torch.zeros((*TARGET, 3), dtype=torch.uint8), "`out` must be ndarray, as the image is, got Tensor"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            warp.image(image, out=out)
    right.flags.writeable = False
    with pytest.raises(ValueError, match="`out` must be writeable"):
        warp.image(image, out=right)
    with pytest.raises(TypeError, match="`out` must be left out for an image of PIL"):
        warp.image(Image.fromarray(image), out=right)


def test_gradients_are_not_lost(warp, torch):
    image, out = torch.zeros((3, *HW)), torch.zeros((3, *TARGET))
    learned = Warp.from_map(torch.ones((2, 2), requires_grad=True), source_hw=HW, target_hw=TARGET)
    for one, pixels, target in (
        (warp, image.clone().requires_grad_(), out),
        (warp, image, out.clone().requires_grad_()),
        (learned, image, out),
    ):
        with pytest.raises(ValueError, match="`out` must not be given where gradients are wanted"):
            one.image(pixels, out=target)


def test_the_way_back_is_made_once_but_for_gradients(rng, warp, torch):
    assert warp._inverse is warp._inverse
    learned = Warp.from_map(torch.as_tensor(rng.random((3, 3))).requires_grad_(), source_hw=HW)
    learned.inverse_image(torch.rand((3, *HW), dtype=torch.float64))
    assert "_inverse" not in vars(learned)
