"""Flips and quarter turns as frames: pixels as NumPy and Pillow turn them, coordinates with them, chains with warps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import pmtools
from pmtools import Turned, annotation, frames
from pmtools.testing import boxes as drawn_boxes
from pmtools.testing import points as drawn_points
from pmtools.testing import warps

HW = (40, 60)
PIXELS = np.random.default_rng(0).integers(0, 256, (*HW, 3), dtype=np.uint8)
WARP = pmtools.fit_warp(np.random.default_rng(1).random((6, 9)), source_hw=HW, target_hw=(30, 80))
TURNS = {
    "left to right": (frames.flip_horizontal(HW), lambda a: a[:, ::-1]),
    "top to bottom": (frames.flip_vertical(HW), lambda a: a[::-1]),
    **{
        f"{n} quarters": (frames.quarter_turns(HW, n), lambda a, n=n: np.rot90(a, n))
        for n in (-3, -1, 0, 1, 2, 3, 4, 7)
    },
    "both": (frames.quarter_turns(HW, 1).then(frames.flip_horizontal((60, 40))), lambda a: np.rot90(a)[:, ::-1]),
}
each_turn = pytest.mark.parametrize(("turn", "numpy"), TURNS.values(), ids=TURNS)


@each_turn
def test_pixels_are_turned_as_numpy_turns_them(turn, numpy, xp):
    wanted = numpy(PIXELS)
    np.testing.assert_array_equal(turn.image(PIXELS), wanted)
    np.testing.assert_array_equal(turn.inverse_image(wanted), PIXELS)
    assert turn.target_hw == wanted.shape[:2]
    labels = PIXELS[..., 0]
    np.testing.assert_array_equal(xp.numpy(turn.mask(xp.asarray(labels))), numpy(labels))
    stack = np.stack([labels, labels + 1])
    np.testing.assert_array_equal(turn.mask(stack), [numpy(one) for one in stack])
    np.testing.assert_array_equal(turn.inverse_mask(turn.mask(labels)), labels)
    picture = Image.fromarray(labels).convert("P")
    assert turn.image(picture).mode == "P"
    np.testing.assert_array_equal(np.asarray(turn.image(picture)), numpy(np.asarray(picture)))


@each_turn
def test_a_pixel_and_its_coordinates_stay_together(turn, numpy):
    for row, column in ((0, 0), (7, 31), (39, 59)):
        image = np.zeros(HW, dtype=np.uint8)
        image[row, column] = 1
        where = np.argwhere(turn.image(image))
        np.testing.assert_array_equal(turn.points([column + 0.5, row + 0.5]), where[0, ::-1] + 0.5)
        box = turn.boxes([column, row, column + 1, row + 1])
        np.testing.assert_array_equal(box, [*where[0, ::-1], *(where[0, ::-1] + 1)])


def test_pillows_turns_are_the_same():
    picture = Image.fromarray(PIXELS)
    for turn, method in (
        (frames.flip_horizontal(HW), Image.Transpose.FLIP_LEFT_RIGHT),
        (frames.flip_vertical(HW), Image.Transpose.FLIP_TOP_BOTTOM),
        (frames.quarter_turns(HW, 1), Image.Transpose.ROTATE_90),
        (frames.quarter_turns(HW, -1), Image.Transpose.ROTATE_270),
    ):
        np.testing.assert_array_equal(np.asarray(turn.image(picture)), np.asarray(picture.transpose(method)))


def test_torchvisions_flips_are_the_same():
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    import torch
    from torchvision import tv_tensors
    from torchvision.transforms.v2 import functional

    corners = torch.tensor([[10.0, 5, 20, 30]])
    for turn, function in (
        (frames.flip_horizontal(HW), functional.horizontal_flip),
        (frames.flip_vertical(HW), functional.vertical_flip),
    ):
        want = function(tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=HW)).as_subclass(torch.Tensor)
        torch.testing.assert_close(turn.boxes(corners), want)
        points = function(tv_tensors.KeyPoints(corners[:, :2], canvas_size=HW)).as_subclass(torch.Tensor)
        # its flips of keypoints count pixels' centres (W - 1 - x), its resize their edges
        torch.testing.assert_close(turn.points(corners[:, :2] + 0.5) - 0.5, points)


@st.composite
def turns(draw, size_hw):
    kinds = [frames.flip_horizontal(size_hw), frames.flip_vertical(size_hw)]
    return draw(st.sampled_from([*kinds, *(frames.quarter_turns(size_hw, n) for n in range(4))]))


@given(data=st.data())
def test_chains_of_warps_and_turns_are_one_after_the_other_and_come_back(data):
    chain, parts = None, []
    size = data.draw(st.sampled_from([(7, 9), (16, 5)]))
    first = size
    for _ in range(data.draw(st.integers(1, 4))):
        is_warp = data.draw(st.booleans())
        part = data.draw(warps(source_hw=size, max_side=20)) if is_warp else data.draw(turns(size))
        chain = (part if not is_warp else Turned(part)) if chain is None else chain.then(part)
        parts.append(part)
        size = part.target_hw
    points, boxes = data.draw(drawn_points(first)), data.draw(drawn_boxes(first))
    want, want_boxes = points, boxes
    for part in parts:
        want, want_boxes = part.points(want), part.boxes(want_boxes)
    assert chain.target_hw == size
    np.testing.assert_allclose(chain.points(points), want, rtol=0, atol=1e-7)
    np.testing.assert_allclose(chain.boxes(boxes), want_boxes, rtol=0, atol=1e-7)
    np.testing.assert_allclose(chain.inverse_points(want), points, rtol=0, atol=1e-5)
    np.testing.assert_allclose(chain.inverse_boxes(want_boxes), boxes, rtol=0, atol=1e-5)


def test_images_go_through_a_chain_in_one_resampling():
    chain = frames.quarter_turns(HW, 1).then(pmtools.fit_warp(np.eye(4), source_hw=(60, 40), target_hw=(50, 50)))
    turned = np.ascontiguousarray(np.rot90(PIXELS))
    want = pmtools.fit_warp(np.eye(4), source_hw=(60, 40), target_hw=(50, 50)).image(turned)
    assert np.abs(chain.image(PIXELS).astype(int) - want.astype(int)).max() <= 1
    after = frames.flip_horizontal((30, 80)).after(WARP)
    np.testing.assert_array_equal(after.image(PIXELS), WARP.image(PIXELS)[:, ::-1])
    cropped = frames.flip_horizontal(HW).then(frames.crop(HW, (-5, 0, 55, 40)))
    assert (cropped.image(PIXELS, fill=9)[:, :5] == 9).all()
    np.testing.assert_array_equal(cropped.image(PIXELS)[:, 5:], PIXELS[:, ::-1][:, :55])


def test_what_the_result_does_not_show_takes_fill_on_the_way_back():
    cropped = frames.quarter_turns(HW, 1).then(frames.crop((60, 40), (0, 0, 40, 50)))
    wanted = PIXELS.copy()
    wanted[:, :10] = 7
    np.testing.assert_array_equal(cropped.inverse_image(cropped.image(PIXELS), fill=7), wanted)
    np.testing.assert_array_equal(cropped.inverse_mask(cropped.mask(PIXELS[..., 0]), fill=7), wanted[..., 0])
    first, wanted = np.moveaxis(PIXELS, -1, 0), np.moveaxis(wanted, -1, 0)
    for there, back in ((cropped.image, cropped.inverse_image), (cropped.mask, cropped.inverse_mask)):
        np.testing.assert_array_equal(back(there(first, channel_axis=0), channel_axis=0, fill=7), wanted)


def test_batches_and_values():
    batch = pmtools.fit_warp(np.random.default_rng(0).random((3, 4, 5)), source_hw=HW)
    turned = frames.flip_horizontal(HW).after(batch)
    images = np.random.default_rng(1).integers(0, 256, (3, *HW, 3), dtype=np.uint8)
    np.testing.assert_array_equal(turned.image(images)[1], turned[1].image(images[1]))
    assert [one.batch_shape for one in turned] == [()] * 3
    assert frames.quarter_turns(HW, 5) == frames.quarter_turns(HW, 1) != frames.quarter_turns(HW, 3)
    assert len({frames.quarter_turns(HW, 5), frames.quarter_turns(HW, 1)}) == 1
    assert "flip_x" in repr(frames.flip_horizontal(HW))
    with pytest.raises(ValueError, match="start where this ends"):
        frames.quarter_turns(HW, 1).then(WARP)
    with pytest.raises(TypeError, match="must be a Warp"):
        frames.quarter_turns(HW, 1).then(3)


@each_turn
def test_annotations_are_turned_too(turn, numpy):
    ring = [5, 5, 20, 8, 12, 30]
    mask = np.zeros(HW, dtype=np.uint8)
    mask[3:9, 10:30] = 1
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    rle = {"size": list(HW), "counts": np.diff(edges, prepend=0).tolist()}
    polygon = {"bbox": [5, 5, 15, 25], "segmentation": [ring], "area": 100.0, "keypoints": [5, 6, 2, 0, 0, 0]}
    records = [polygon, {"segmentation": rle, "area": 120}]
    there = annotation.coco_annotations(records, turn, clip=True)
    assert [record["area"] for record in there] == pytest.approx([100, 120])
    x0, y0, w, h = there[0]["bbox"]
    np.testing.assert_allclose([x0, y0, x0 + w, y0 + h], turn.boxes([5, 5, 20, 30]))
    again = annotation.coco_annotations(there, turn.inverse())
    np.testing.assert_allclose(again[0]["segmentation"][0], ring)
    np.testing.assert_allclose(again[0]["keypoints"], polygon["keypoints"])
    assert again[1]["segmentation"] == rle
    rows = [[1, 0.25, 0.5, 0.1, 0.2]]
    np.testing.assert_allclose(annotation.yolo_rows(annotation.yolo_rows(rows, turn), turn.inverse()), rows)
    assert min(annotation.yolo_rows(rows, turn)[0][3:]) > 0
    assert annotation.visible_share([0, 0, 5, 5], turn) == 1
    rotated = np.array([[20.0, 15, 12, 4, 30]])
    back = annotation.boxes(annotation.boxes(rotated, turn, format="cxcywhr"), turn.inverse(), format="cxcywhr")
    np.testing.assert_allclose((back - rotated)[:, :4], 0, atol=1e-9)
    assert abs((back - rotated)[0, 4] % 180) == pytest.approx(0, abs=1e-9) or (back - rotated)[0, 4] % 180 > 179.999
