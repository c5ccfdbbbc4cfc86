"""Mosaics: windows of one scale along x and y that hold their boxes, cells that are the canvas, and exact inverses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

import pmtools
from pmtools import fit_mosaic, mosaic
from pmtools.testing import boxes as box_arrays
from pmtools.testing import points as point_arrays
from pmtools.testing import sizes


@st.composite
def mosaics(draw, max_count=30):
    source_hw = draw(sizes(100))
    boxes = draw(box_arrays(source_hw, max_count=max_count))
    assume(not len(boxes) or not (boxes <= 1).all())  # refused as parts of the sides
    size_hw = draw(st.tuples(st.integers(60, 400), st.integers(60, 400)))
    options = {"margin": draw(st.sampled_from([0.0, 5.0])), "max_scale": draw(st.sampled_from([8.0, 1e3, 0.5]))}
    return fit_mosaic(boxes, source_hw=source_hw, target_hw=size_hw, **options), boxes


@given(mosaics())
def test_cells_are_the_canvas_and_windows_hold_their_boxes(case):
    made, boxes = case
    assert len(made) == len(boxes)
    canvas = np.zeros(made.target_hw, int)
    for x0, y0, x1, y1 in made.cells_xyxy:
        canvas[y0:y1, x0:x1] += 1
    assert (canvas == 1).all()
    slack = 1e-9 * max(made.source_hw)
    assert (made.windows_xyxy[:-1, :2] <= boxes[:, :2] + slack).all()
    assert (made.windows_xyxy[:-1, 2:] >= boxes[:, 2:] - slack).all()
    extents = made.windows_xyxy[:, 2:] - made.windows_xyxy[:, :2]
    cells = made.cells_xyxy[:, 2:] - made.cells_xyxy[:, :2]
    np.testing.assert_allclose(cells / extents, np.tile(made.scale[:, None], 2), rtol=1e-9)  # isotropic


@given(mosaics(), st.data())
def test_inverses_are_exact_and_name_their_window(case, data):
    made, boxes = case
    xy = data.draw(point_arrays(made.source_hw))
    there = made.points(xy)
    back = made.inverse_points(there.coordinates, window=there.window)
    np.testing.assert_allclose(back.coordinates, xy, atol=1e-9)
    np.testing.assert_array_equal(back.window, there.window)
    there = made.boxes(boxes)
    assert (made.scale[there.window] >= made.scale[:-1] * (1 - 1e-9)).all()  # its own window, or a larger one
    np.testing.assert_allclose(made.inverse_boxes(there.coordinates, window=there.window).coordinates, boxes, atol=1e-9)
    # found on the canvas, the window is that of the cell
    middle = (made.cells_xyxy[:, :2] + made.cells_xyxy[:, 2:]) / 2
    found = made.inverse_points(middle)
    np.testing.assert_array_equal(found.window, [*range(len(made)), -1])
    np.testing.assert_allclose(found.coordinates, (made.windows_xyxy[:, :2] + made.windows_xyxy[:, 2:]) / 2, atol=1e-9)
    np.testing.assert_array_equal(made.inverse_boxes(np.concatenate([middle - 1, middle + 1], 1)).window, found.window)


@given(mosaics(max_count=5), st.integers(0, 2**31))
def test_every_cell_is_its_warps_image(case, seed):
    made, _ = case
    image = np.random.default_rng(seed).integers(0, 255, (*made.source_hw, 3), dtype=np.uint8)
    canvas = made.image(image, fill=7)
    assert canvas.shape == (*made.target_hw, 3)
    for i in {*range(min(len(made), 3)), -1}:
        x0, y0, x1, y1 = made.cells_xyxy[i]
        np.testing.assert_array_equal(canvas[y0:y1, x0:x1], made.warp(i).image(image, fill=7))
        low = made.windows_xyxy[i, :2]
        np.testing.assert_allclose(made.warp(i).points(low + 3.0), np.full(2, 3 * made.scale[i]), rtol=1e-9)


def test_scattered_boxes_all_grow(rng):
    corner = rng.random((20, 2)) * 970
    boxes = np.concatenate([corner, corner + 30], axis=1)
    warp = pmtools.zoom_warp(boxes, source_hw=(1000, 1000), target_hw=(672, 672))
    made = fit_mosaic(boxes, source_hw=(1000, 1000), target_hw=(672, 672))
    assert made.scale[:-1].min() > 4 * warp.report(boxes).scale_x.max()


def test_masks_and_images_come_back(astronaut):
    boxes = [[180, 60, 260, 180], [330, 400, 360, 430]]
    made = fit_mosaic(boxes, source_hw=(512, 512), target_hw=(400, 600))
    labels = np.zeros((512, 512), np.uint8)
    labels[400:430, 330:360] = 9
    assert (made.inverse_mask(made.mask(labels))[400:430, 330:360] == 9).all()
    assert (made.inverse_mask(made.mask(labels)) == labels).mean() > 0.99
    back = made.inverse_image(made.image(astronaut)).astype(float)
    overview = pmtools.frames.letterbox((512, 512), (400, 300))
    plain = overview.inverse_image(overview.image(astronaut)).astype(float)
    for x0, y0, x1, y1 in boxes:
        errors = [np.abs(a - astronaut)[y0:y1, x0:x1].mean() for a in (back, plain)]
        assert errors[0] < 0.5 * errors[1]
    first = np.moveaxis(astronaut, -1, 0)
    for there, undo in ((made.image, made.inverse_image), (made.mask, made.inverse_mask)):
        wanted = np.moveaxis(undo(there(astronaut, channel_axis=-1), channel_axis=-1), -1, 0)
        np.testing.assert_array_equal(undo(there(first, channel_axis=0), channel_axis=0), wanted)
    shifted = np.abs(np.roll(back, 1, axis=1) - astronaut)[60:180, 180:260].mean()
    assert shifted > 2 * np.abs(back - astronaut)[60:180, 180:260].mean()


def test_each_source_pixel_comes_from_the_window_that_shows_its_centre_largest(rng):
    made = fit_mosaic([[8.4, 7.3, 42.4, 30.2], [20.3, 14.4, 26.6, 19.7]], source_hw=(40, 60), target_hw=(48, 90))
    parts = np.abs(made.windows_xyxy[:2] % 1)
    assert (parts[:, :2] < 0.5).any()  # so the first pixel is seen by its centre, not by its edge
    assert (parts[:, 2:] > 0.5).any()
    canvas = rng.integers(0, 256, (48, 90), dtype=np.uint8)
    y, x = np.mgrid[:40, :60] + 0.5
    shown_by = made.points(np.stack([x, y], axis=-1)).window
    assert set(np.unique(shown_by)) == {-1, 0, 1}
    for undo in ("inverse_image", "inverse_mask"):
        wanted = np.zeros((40, 60), np.uint8)
        for window in (-1, 0, 1):
            x0, y0, x1, y1 = made.cells_xyxy[window]
            cell = getattr(made.warp(window), undo)(canvas[y0:y1, x0:x1])
            wanted = np.where(shown_by == window, cell, wanted)
        np.testing.assert_array_equal(getattr(made, undo)(canvas), wanted)


def test_kinds_and_namespaces(xp, rng):
    image = rng.random((40, 60, 2))
    boxes = [[5, 5, 12, 9], [40, 30, 50, 38]]
    wanted = mosaic(image, boxes, size_hw=(48, 64))
    source = np.moveaxis(image, -1, 0) if "torch" in xp.name else image
    result = mosaic(xp.asarray(source), xp.asarray(np.array(boxes)), size_hw=(48, 64))
    assert isinstance(result, xp.kind)
    result = xp.numpy(result)
    np.testing.assert_allclose(np.moveaxis(result, 0, -1) if "torch" in xp.name else result, wanted, atol=1e-9)
    made = fit_mosaic(boxes, source_hw=(40, 60), target_hw=(48, 64))
    back = xp.numpy(made.inverse_image(xp.asarray(np.moveaxis(wanted, -1, 0) if "torch" in xp.name else wanted)))
    np.testing.assert_allclose(
        np.moveaxis(back, 0, -1) if "torch" in xp.name else back, made.inverse_image(wanted), atol=1e-9
    )
    placed = made.points(xp.asarray(np.array([[6.0, 6.0], [1.0, 39.0]])))
    assert isinstance(placed.coordinates, xp.kind)
    assert placed.window.tolist() == [0, -1]


def test_gradients_and_batches_and_pil(rng):
    made = fit_mosaic([5, 5, 12, 9], source_hw=(40, 60), target_hw=(48, 64))
    image = torch.rand(2, 3, 40, 60, requires_grad=True)
    made.image(image).sum().backward()
    assert image.grad.abs().sum() > 0
    points = torch.tensor([[6.0, 6.0]], requires_grad=True)
    made.points(points).coordinates.sum().backward()
    np.testing.assert_allclose(points.grad, np.full((1, 2), made.scale[0]), rtol=1e-6)
    pil = Image.fromarray(rng.integers(0, 255, (40, 60, 4), dtype=np.uint8))
    result = made.image(pil)
    assert (result.mode, result.size) == ("RGBA", (64, 48))
    assert made.inverse_image(result).size == (60, 40)


def test_margins_end_at_the_image_and_the_overview_has_it_in_the_middle():
    corner = fit_mosaic([50, 30, 60, 40], source_hw=(40, 60), target_hw=(48, 90), margin=100)
    whole = fit_mosaic([0, 0, 60, 40], source_hw=(40, 60), target_hw=(48, 90))
    np.testing.assert_allclose(corner.scale, whole.scale)
    low, high = whole.windows_xyxy[-1, :2], whole.windows_xyxy[-1, 2:]
    assert (low < 0).any()
    np.testing.assert_allclose((low + high) / 2, [30, 20])


def test_no_boxes_give_the_overview():
    made = fit_mosaic([], source_hw=(40, 60), target_hw=(48, 64))
    assert len(made) == 0
    assert made
    assert repr(made) == "Mosaic(40x60 -> 48x64, 0 windows and an overview)"
    assert made.points([[3, 3]]).window.tolist() == [-1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit_mosaic([[1, 1, 2, 2]] * 9, source_hw=(9, 9), target_hw=(2, 2)), "`target_hw` must have a pixel"),
        (lambda: fit_mosaic([20, 1, 22, 2], source_hw=(9, 9), target_hw=(9, 9)), "`boxes_xyxy` must touch the image"),
        (lambda: fit_mosaic([1, 1, 2, 2], source_hw=(9, 9), target_hw=(9, 9), max_scale=0), "`max_scale`"),
        (
            lambda: fit_mosaic([1, 1, 2, 2], source_hw=(9, 9), target_hw=(9, 9)).inverse_points([[1, 1]], window=[1]),
            "`window` must hold numbers from -1 to 0",
        ),
        (
            lambda: fit_mosaic([1, 1, 2, 2], source_hw=(9, 9), target_hw=(9, 9)).inverse_image(np.zeros((9, 8))),
            "the canvas must be 9x9",
        ),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()
