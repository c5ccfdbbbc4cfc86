"""Tiles: they cover the image, overlap as promised, and merging finds each object once."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import pmtools
from pmtools import fit_tiles

pytest.importorskip("cv2", reason="non-maximum suppression is a library's")


@given(st.tuples(*[st.integers(1, 400)] * 2), st.tuples(*[st.integers(60, 300)] * 2), st.floats(0, 0.7))
def test_tiles_cover_and_overlap(source_hw, tile_hw, overlap):
    tiles = fit_tiles(source_hw, tile_hw=tile_hw, overlap=overlap)
    windows = np.array([warp.inverse_boxes([0, 0, tile_hw[1], tile_hw[0]]) for warp in tiles.warps])
    for axis, n in enumerate(source_hw[::-1]):
        low, high = np.unique(windows[:, axis]), np.unique(windows[:, axis + 2])
        assert low[0] == 0
        assert high[-1] >= n
        if len(low) > 1:
            assert high[-1] == n
            side = tile_hw[::-1][axis]
            assert (high[:-1] - low[1:] >= min(tiles.overlap_hw[::-1][axis], side - 1)).all()


def test_the_least_overlap_is_rounded_up():
    assert fit_tiles((100, 100), tile_hw=(33, 40), overlap=0.1).overlap_hw == (4, 4)


def objects_and_what_tiles_see(rng, tiles, n=40, largest=40):
    """Objects, and their parts on each tile, as a perfect detector finds them, with scores by how much is seen."""
    corner = rng.random((n, 2)) * (np.array(tiles.source_hw[::-1]) - largest)
    truth = np.concatenate([corner, corner + rng.uniform(8, largest, (n, 2))], axis=1)
    boxes, scores, labels = [], [], []
    for warp in tiles.warps:
        there = warp.boxes(truth)
        seen = np.clip(there, 0, np.tile(tiles.tile_hw[::-1], 2))
        area = np.prod(np.clip(seen[:, 2:] - seen[:, :2], 0, None), axis=1)
        share = area / np.prod(there[:, 2:] - there[:, :2], axis=1)
        boxes.append(seen[area > 4])
        scores.append(0.5 + share[area > 4] / 2 * rng.uniform(0.5, 1, (area > 4).sum()))  # pieces may be surer
        labels.append(np.flatnonzero(area > 4))
    return truth, boxes, scores, labels


def test_each_object_is_found_once_and_whole(rng):
    tiles = fit_tiles((500, 700), tile_hw=(200, 200), overlap=0.25)
    truth, boxes, scores, labels = objects_and_what_tiles_see(rng, tiles)
    assert sum(map(len, boxes)) > 1.5 * len(truth)
    merged = tiles.merge(boxes, scores, labels)
    assert sorted(merged.labels) == list(range(len(truth)))
    np.testing.assert_allclose(merged.boxes_xyxy, truth[merged.labels], atol=1e-9)
    assert (np.diff(merged.scores) <= 0).all()
    for box, tile in zip(merged.boxes_xyxy, merged.tile, strict=True):
        there = tiles.warps[tile].boxes(box)
        assert (there >= -1e-9).all()


def test_classes_do_not_suppress_each_other():
    tiles = fit_tiles((50, 50), tile_hw=(50, 50))
    boxes = [[[10, 10, 20, 20], [10, 10, 20, 21]]]
    assert len(tiles.merge(boxes, [[0.9, 0.8]]).scores) == 1
    assert len(tiles.merge(boxes, [[0.9, 0.8]], [[0, 1]]).scores) == 2
    assert tiles.merge(torch.tensor(boxes), torch.tensor([[0.2, 0.8]])).scores == pytest.approx([0.8])


def test_iou_says_which_boxes_are_one_object():
    tiles = fit_tiles((50, 50), tile_hw=(50, 50))
    boxes = [[[10, 10, 20, 20], [10, 10, 20, 26]]]  # 100 shared of 160 pixels
    assert len(tiles.merge(boxes, [[0.9, 0.8]], iou=0.6).scores) == 1
    assert len(tiles.merge(boxes, [[0.9, 0.8]], iou=0.65).scores) == 2


def test_nothing_found():
    tiles = fit_tiles((50, 90), tile_hw=(50, 50))
    merged = tiles.merge([[]] * len(tiles), [[]] * len(tiles))
    assert merged.boxes_xyxy.shape == (0, 4)


def test_images_are_crops(astronaut):
    tiles = fit_tiles((512, 512), tile_hw=(200, 300))
    for image, warp in zip(tiles.images(astronaut), tiles.warps, strict=True):
        x0, y0, x1, y1 = warp.inverse_boxes([0, 0, 300, 200]).astype(int)
        np.testing.assert_array_equal(image, astronaut[y0:y1, x0:x1])
    (padded,) = fit_tiles((512, 512), tile_hw=(600, 600)).images(astronaut, fill=9)
    assert (padded[512:] == 9).all()


def test_without_a_library(monkeypatch):
    for name in ("cv2", "torchvision", "torchvision.ops"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="opencv-python-headless"):
        fit_tiles((50, 50), tile_hw=(50, 50)).merge([[[1, 1, 2, 2]]], [[1.0]])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([[], []], [[]]), "`boxes` must have an entry for each of the 1 tiles, got 2"),
        (([[[1, 1, 2, 2]]], [[]]), r"`scores\[0\]` must have shape \(1,\)"),
        (([[[3, 1, 2, 2]]], [[1.0]]), r"`boxes\[0\]` must hold"),
    ],
)
def test_what_does_not_meet_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        pmtools.fit_tiles((50, 50), tile_hw=(50, 50)).merge(*arguments)


def test_classes_by_name_are_refused_by_name():
    tiles = fit_tiles((50, 50), tile_hw=(50, 50))
    with pytest.raises(TypeError, match=r"`labels\[0\]` must hold real numbers"):
        tiles.merge([[[1, 1, 2, 2]]], [[1.0]], [["cat"]])
