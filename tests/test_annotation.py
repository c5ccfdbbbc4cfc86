"""Whole annotations through warps: against pycocotools, torchvision and supervision where they are, and there and back."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pmtools
from pmtools import annotation, frames, zoom_warp
from pmtools.annotation.polygons import area
from pmtools.testing import boxes as drawn_boxes
from pmtools.testing import points as drawn_points
from pmtools.testing import warps

HW = (200, 300)
HEAT = np.random.default_rng(5).random((6, 9))
WARP = pmtools.fit_warp(HEAT, source_hw=HW, target_hw=(150, 400))
ZOOM = pmtools.zoom_warp([120, 60, 150, 90], source_hw=HW, target_hw=(240, 320), zoom=3)
STAR = np.array([[40.0, 30], [200, 60], [260, 180], [120, 90], [30, 150]])
TURNED = np.array([[100.0, 80, 60, 20, 30], [150, 100, 20, 70, -15], [60, 60, 30, 30, 90]])


def drawn(ring, hw=HW):
    """A polygon's pixels, by another library."""
    from PIL import Image, ImageDraw

    scale = 8
    canvas = Image.new("L", (hw[1] * scale, hw[0] * scale))
    ImageDraw.Draw(canvas).polygon([(x * scale, y * scale) for x, y in np.asarray(ring).tolist()], fill=255)
    return np.asarray(canvas.reduce(scale)) > 127


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


# --------------------------------------------------------------------------------------------------------- boxes


@pytest.mark.parametrize("format", annotation.FORMATS)
def test_every_format_says_what_torchvision_says(format):
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    import torch

    del torchvision
    from torchvision.transforms.v2.functional import convert_bounding_box_format as convert

    upright = torch.tensor([[10.0, 20, 40, 50], [0, 0, 5, 90]], dtype=torch.float64)
    turned = torch.tensor(TURNED)
    start, name = (upright, "xyxy") if format in ("xyxy", "xywh", "cxcywh") else (turned, "cxcywhr")
    want = convert(start.clone(), old_format=name.upper(), new_format=format.upper())
    torch.testing.assert_close(annotation.convert(start, name, format), want)


def test_lists_of_torchvisions_boxes_keep_the_format_of_each():
    """Before, their sizes were read as corners, or plain tensors came back from images of any size."""
    tv_tensors = pytest.importorskip("torchvision.tv_tensors", reason="torchvision is not installed")
    import torch

    half, crop = frames.resize((60, 80), (30, 40)), frames.crop((60, 80), (10, 5, 50, 35))
    some = {"XYWH": [10.0, 10, 30, 40], "XYXY": [10.0, 10, 40, 50]}
    made = [
        tv_tensors.BoundingBoxes(torch.tensor([box]), format=format, canvas_size=(60, 80))
        for format, box in some.items()
    ]
    for warp, wanted in (
        (pmtools.Warp.stack([half, crop.then(frames.resize((30, 40), (30, 40)))]), [[5, 5, 15, 20], [0, 5, 30, 45]]),
        (half, [[5, 5, 15, 20], [5, 5, 20, 25]]),
    ):
        found = annotation.boxes(made, warp)
        assert [(type(one), one.format.value, one.canvas_size) for one in found] == [
            (tv_tensors.BoundingBoxes, format, (30, 40)) for format in some
        ]
        assert [one.tolist() for one in found] == [[box] for box in wanted]
        with pytest.raises(ValueError, match="canvas_size"):
            annotation.boxes([tv_tensors.wrap(one, like=one, canvas_size=(99, 99)) for one in made], warp)


def test_boxes_of_supervision_are_the_same():
    sv = pytest.importorskip("supervision", reason="supervision is not installed")
    xywh = np.array([[10.0, 20, 40, 50], [0, 0, 5, 90]])
    np.testing.assert_allclose(annotation.convert(xywh, "xywh", "xyxy"), sv.xywh_to_xyxy(xywh))
    np.testing.assert_allclose(annotation.convert(xywh, "cxcywh", "xyxy"), sv.xcycwh_to_xyxy(xywh))


@pytest.mark.parametrize("format", ["xyxy", "xywh", "cxcywh"])
@given(warp=warps(), data=st.data())
def test_upright_boxes_are_the_warps_own_and_come_back(format, warp, data):
    corners = data.draw(drawn_boxes(warp.source_hw))
    boxes = annotation.convert(corners, "xyxy", format)
    there = annotation.boxes(boxes, warp, format=format)
    np.testing.assert_allclose(annotation.convert(there, format, "xyxy"), warp.boxes(corners), rtol=0, atol=1e-9)
    np.testing.assert_allclose(annotation.boxes(there, warp.inverse(), format=format), boxes, rtol=0, atol=1e-7)


@given(warp=warps(), data=st.data())
def test_four_corners_are_points_and_come_back(warp, data):
    corners = data.draw(drawn_points(warp.source_hw)).reshape(-1, 2)
    quads = np.resize(corners, (len(corners), 4, 2)).reshape(-1, 8)
    there = annotation.boxes(quads, warp, format="xyxyxyxy")
    np.testing.assert_array_equal(there.reshape(-1, 4, 2), warp.points(quads.reshape(-1, 4, 2)))
    np.testing.assert_allclose(annotation.boxes(there, warp.inverse(), format="xyxyxyxy"), quads, atol=1e-7)


@pytest.mark.parametrize("format", ["cxcywhr", "xywhr"])
def test_an_angle_stays_where_both_axes_have_one_scale(format):
    boxes = annotation.convert(TURNED, "cxcywhr", format)
    there = annotation.boxes(boxes, frames.resize(HW, (400, 600)), format=format)
    np.testing.assert_allclose(there, boxes * [2, 2, 2, 2, 1], atol=1e-9)


def test_an_angle_follows_a_stretch_and_the_area_is_kept():
    stretch = frames.resize(HW, (200, 900))  # three times as wide
    there = annotation.boxes(TURNED, stretch, format="cxcywhr")
    np.testing.assert_allclose(there[:, 2] * there[:, 3], 3 * TURNED[:, 2] * TURNED[:, 3])
    np.testing.assert_allclose(there[0, 4], np.rad2deg(np.arctan(np.tan(np.pi / 6) / 3)))
    np.testing.assert_allclose(there[:, :2], TURNED[:, :2] * [3, 1])


def test_boxes_keep_their_kind(xp):
    boxes = xp.asarray(np.array([[10, 20, 30, 40]], dtype=np.float32))
    for format in ("xywh", "cxcywh"):
        there = annotation.boxes(boxes, ZOOM, format=format)
        assert isinstance(there, xp.kind)
        assert there.dtype == boxes.dtype
    turned = annotation.boxes(xp.asarray(TURNED), ZOOM, format="cxcywhr")
    np.testing.assert_allclose(xp.numpy(turned), annotation.boxes(TURNED, ZOOM, format="cxcywhr"))


def test_a_ragged_batch_is_each_of_its_images():
    batch = pmtools.fit_warp(np.random.default_rng(0).random((3, 6, 9)), source_hw=HW)
    boxes = [np.array([[1.0, 2, 3, 4]]), np.zeros((0, 4)), np.array([[5.0, 6, 7, 8], [9, 10, 11, 12]])]
    there = annotation.boxes(boxes, batch, format="xywh")
    for one, warp, found in zip(boxes, batch, there, strict=True):
        np.testing.assert_array_equal(found, annotation.boxes(one, warp, format="xywh"))
    points = annotation.keypoints([np.ones((2, 17, 3)), np.ones((0, 17, 3)), np.ones((1, 5, 3))], batch)
    assert [p.shape for p in points] == [(2, 17, 3), (0, 17, 3), (1, 5, 3)]
    with pytest.raises(ValueError, match="each of the 3 warps"):
        annotation.boxes(boxes[:2], batch)
    whole = np.random.default_rng(0).random((3, 7, 4)) * 100
    clipped = annotation.boxes(whole, batch, format="xywh", clip=True)
    np.testing.assert_allclose(clipped[2], annotation.boxes(whole[2], batch[2], format="xywh", clip=True))


def test_clipping_and_what_is_visible():
    crop = frames.crop(HW, (50, 0, 150, 100))
    boxes = np.array([[0.0, 0, 100, 50], [0, 0, 40, 40], [60, 10, 70, 20], [140, 90, 160, 110]])
    np.testing.assert_allclose(annotation.visible_share(boxes, crop), [0.5, 0, 1, 0.25])
    clipped = annotation.boxes(boxes, crop, clip=True)
    np.testing.assert_allclose(clipped, [[0, 0, 50, 50], [0, 0, 0, 40], [10, 10, 20, 20], [90, 90, 100, 100]])
    padded = frames.pad(HW, left=20)  # beyond the source there is nothing to be seen
    np.testing.assert_allclose(annotation.boxes([-10, 0, 30, 40], padded, clip=True), [20, 0, 50, 40])
    assert annotation.visible_share([[10, 10, 10, 10], [-5, 10, -5, 10]], padded).tolist() == [1, 0]
    np.testing.assert_allclose(
        annotation.visible_share(TURNED, crop, format="cxcywhr"), [0.92265, 0.25, 5 / 6], atol=1e-5
    )
    with pytest.raises(ValueError, match="more corners"):
        annotation.boxes(TURNED, crop, format="cxcywhr", clip=True)


# ----------------------------------------------------------------------------------------------------- keypoints


@given(warp=warps(), data=st.data())
def test_keypoints_come_back_and_absent_ones_stay(warp, data):
    xy = data.draw(drawn_points(warp.source_hw))
    rows = np.concatenate([xy, np.full((len(xy), 1), 2.0)], axis=1)
    rows = np.concatenate([rows, np.zeros((1, 3))])
    there = annotation.keypoints(rows, warp)
    assert (there[-1] == 0).all()
    np.testing.assert_array_equal(there[:-1, :2], warp.points(xy))
    np.testing.assert_allclose(annotation.keypoints(there, warp.inverse()), rows, rtol=0, atol=1e-7)


def test_keypoints_beyond_a_crop_become_absent_when_clipped():
    crop = frames.crop(HW, (50, 0, 150, 100))
    rows = np.array([[60.0, 10, 2], [10, 10, 1], [0, 0, 0]])
    assert annotation.keypoints(rows, crop).tolist() == [[10, 10, 2], [-40, 10, 1], [0, 0, 0]]
    assert annotation.keypoints(rows, crop, clip=True).tolist() == [[10, 10, 2], [0, 0, 0], [0, 0, 0]]
    with pytest.raises(ValueError, match="visibility"):
        annotation.keypoints(rows[:, :2], crop, clip=True)


# ------------------------------------------------------------------------------------------------------ polygons


@pytest.mark.parametrize("warp", [WARP, ZOOM])
def test_a_polygon_covers_what_its_mask_covers(warp):
    want = warp.mask(drawn(STAR))
    vertices = overlap(drawn(warp.points(STAR), warp.target_hw), want)
    there = annotation.polygon(STAR, warp)
    assert overlap(drawn(there, warp.target_hw), want) > 0.985
    assert vertices < 0.97  # straight sides between mapped vertices are seen to be wrong
    assert len(there) < 120
    assert {tuple(p) for p in warp.points(STAR).tolist()} <= {tuple(p) for p in there.tolist()}
    assert len(annotation.polygon(STAR, warp, tolerance=math.inf)) == len(STAR)
    back = annotation.polygon(there, warp.inverse())
    assert overlap(drawn(back), drawn(STAR)) > 0.995


@given(warp=warps(max_side=24), data=st.data())
def test_a_polygons_sides_stay_within_the_tolerance(warp, data):
    ring = data.draw(drawn_points(warp.source_hw, max_count=6))
    there = annotation.polygon(ring, warp, tolerance=0.1)
    if len(ring) < 2:
        return
    t = np.linspace(0, 1, 33)[:, None]
    for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        curve = warp.points(a + t * (b - a))
        starts, ends = there, np.roll(there, -1, axis=0)
        way = ends - starts
        share = ((curve[:, None] - starts) * way).sum(-1) / np.maximum((way**2).sum(-1), 1e-12)
        nearest = starts + np.clip(share, 0, 1)[..., None] * way
        assert np.linalg.norm(nearest - curve[:, None], axis=-1).min(axis=1).max() < 0.5


def test_a_clipped_polygon_has_the_area_inside():
    crop = frames.crop(HW, (50, 40, 220, 140))
    there = annotation.polygon(STAR, crop, clip=True)
    assert area(there) == pytest.approx(drawn(STAR)[40:140, 50:220].sum(), rel=0.01)
    assert overlap(drawn(there, (100, 170)), drawn(STAR)[40:140, 50:220]) > 0.98
    assert annotation.polygon(STAR, frames.crop(HW, (0, 0, 20, 20)), clip=True).shape == (0, 2)
    around = [[-10, -10], [400, -10], [400, 400], [-10, 400]]
    assert area(annotation.polygon(around, crop, clip=True)) == 100 * 170


# ---------------------------------------------------------------------------------------------------------- COCO


def record(**fields):
    x, y, w, h = 30.0, 30.0, 230.0, 150.0
    return {
        "id": 7,
        "image_id": 1,
        "category_id": 3,
        "iscrowd": 0,
        "bbox": [x, y, w, h],
        "segmentation": [STAR.ravel().tolist()],
        "area": area(STAR),
        "keypoints": [50.0, 60, 2, 0, 0, 0, 200, 100, 1],
        "num_keypoints": 2,
        **fields,
    }


def test_a_whole_record_goes_along_and_comes_back():
    one = record()
    kept = copy.deepcopy(one)
    (there,) = annotation.coco_annotations([one], WARP)
    assert one == kept
    x, y, w, h = there["bbox"]
    np.testing.assert_allclose([x, y, x + w, y + h], WARP.boxes(np.array([30.0, 30, 260, 180])))
    ring = np.reshape(there["segmentation"][0], (-1, 2))
    assert there["area"] == pytest.approx(area(ring))
    assert there["area"] == pytest.approx(WARP.mask(drawn(STAR)).sum(), rel=0.02)
    np.testing.assert_allclose(
        np.reshape(there["keypoints"], (3, 3))[[0, 2], :2], WARP.points([[50.0, 60], [200, 100]])
    )
    assert there["keypoints"][3:6] == [0, 0, 0]
    assert [type(v) for v in there["keypoints"][2::3]] == [int] * 3
    assert {key: there[key] for key in ("id", "image_id", "category_id", "iscrowd", "num_keypoints")} == {
        key: one[key] for key in ("id", "image_id", "category_id", "iscrowd", "num_keypoints")
    }
    (back,) = annotation.coco_annotations([there], WARP.inverse())
    np.testing.assert_allclose(back["bbox"], one["bbox"], atol=1e-8)
    np.testing.assert_allclose(back["keypoints"], one["keypoints"], atol=1e-8)
    assert back["area"] == pytest.approx(one["area"], rel=2e-3)
    assert overlap(drawn(np.reshape(back["segmentation"][0], (-1, 2))), drawn(STAR)) > 0.995


@given(warp=warps(), data=st.data())
def test_boxes_areas_and_keypoints_of_records_come_back(warp, data):
    corners = data.draw(drawn_boxes(warp.source_hw))
    xywh = annotation.convert(corners, "xyxy", "xywh")
    records = [{"id": i, "bbox": b, "area": 0.5 * b[2] * b[3]} for i, b in enumerate(xywh.tolist())]
    there = annotation.coco_annotations(records, warp)
    back = annotation.coco_annotations(there, warp.inverse())
    assert [r["id"] for r in back] == [r["id"] for r in records]
    for one, other in zip(records, back, strict=True):
        np.testing.assert_allclose(other["bbox"], one["bbox"], rtol=0, atol=1e-7)
        np.testing.assert_allclose(other["area"], one["area"], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("form", ["list", "str", "bytes"])
def test_run_lengths_are_the_warped_mask_by_pycocotools(form):
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    mask = drawn(STAR)
    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    if form == "str":
        rle["counts"] = rle["counts"].decode()
    if form == "list":
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]])))
        rle["counts"] = np.diff(edges, prepend=0).tolist()
        decoded = coco.decode(coco.frPyObjects(rle, *HW))
        np.testing.assert_array_equal(decoded, mask)
    (there,) = annotation.coco_annotations([record(segmentation=rle, area=float(mask.sum()))], WARP)
    found = there["segmentation"]
    assert type(found["counts"]) is type(rle["counts"])
    compressed = coco.frPyObjects(found, *found["size"]) if form == "list" else found
    np.testing.assert_array_equal(coco.decode(compressed), WARP.mask(mask))
    assert there["area"] == coco.area(compressed) == WARP.mask(mask).sum()


def test_polygons_and_their_area_against_pycocotools():
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    (there,) = annotation.coco_annotations([record()], WARP)
    h, w = WARP.target_hw
    mask = coco.decode(coco.merge(coco.frPyObjects(there["segmentation"], h, w))).astype(bool)
    before = coco.decode(coco.merge(coco.frPyObjects([STAR.ravel().tolist()], *HW)))
    assert overlap(mask, WARP.mask(before).astype(bool)) > 0.98
    assert there["area"] == pytest.approx(mask.sum(), rel=0.02)


def test_uncompressed_run_lengths_need_nothing():
    mask = np.zeros(HW, dtype=bool)
    mask[0:60, 0:90] = True  # starts with a run of none
    counts = [0, *[60, 140] * 89, 60, 140 + 210 * 200]
    rle = {"size": list(HW), "counts": counts}
    half = frames.resize(HW, (100, 150))
    (there, same) = annotation.coco_annotations(
        [{"segmentation": {**rle, "size": s}} for s in (HW, np.array(HW))], half
    )
    assert there["segmentation"] == {"size": [100, 150], "counts": [0, *[30, 70] * 44, 30, 70 + 105 * 100]}
    assert same == there
    for wrong in ({"size": [3, 4]}, {"counts": [5]}, {"counts": None}):
        with pytest.raises((ValueError, TypeError), match="annotation 0: segmentation"):
            annotation.coco_annotations([{"segmentation": {**rle, **wrong}}], WARP)


def test_what_vanished_is_dropped_where_that_is_asked_for():
    crop = frames.crop(HW, (0, 0, 100, 100))
    half = {"id": 1, "bbox": [50, 0, 100, 100], "area": 10000}
    gone = {"id": 2, "bbox": [200, 0, 50, 50], "area": 2500}
    concave = {"id": 3, "bbox": [0, 0, 200, 200], "area": 3.0, "segmentation": [[150, 0, 200, 0, 0, 200, 0, 199]]}
    ids = [r["id"] for r in annotation.coco_annotations([half, gone, concave], crop)]
    assert ids == [1, 2, 3]
    kept = annotation.coco_annotations([half, gone], crop, clip=True, min_visible=0)
    assert kept == [{"id": 1, "bbox": [50, 0, 50, 100], "area": 5000}]
    assert annotation.coco_annotations([half, gone], crop, min_visible=0.6) == []
    tiny = frames.crop(HW, (0, 0, 60, 60))
    assert annotation.coco_annotations([concave], tiny, clip=True, min_visible=0) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"rotation": 30},
        {"attributes": {"rotation": 30.0}},
        {"x3": 1, "y3": 2},
        {"bbox_mode": 2},
        {"bbox_mode": "xyxy"},
        {"bbox": [1, 2, 3, 4, 5]},
        {"bbox": [1, 2, 3]},
        {"bbox": [1, 2, 3, float("nan")]},
        {"segmentation": [[1, 2, 3]]},
        {"segmentation": "abc"},
        {"keypoints": [1, 2]},
        {"bbox": None, "segmentation": None},
    ],
)
def test_another_geometry_is_refused_by_name(fields):
    with pytest.raises((ValueError, TypeError), match="annotation 7"):
        annotation.coco_annotations([record(**fields)], WARP)


@pytest.mark.parametrize("zero", [0, np.int64(0), np.array(0)])
def test_detectron2s_modes_are_understood(zero):
    corners = {"bbox": [30, 30, 260, 180], "bbox_mode": zero}
    turned = {"bbox": TURNED[0].tolist(), "bbox_mode": 4}
    first, second = annotation.coco_annotations([corners, turned, record(attributes={"rotation": 0.0})], WARP)[:2]
    np.testing.assert_allclose(first["bbox"], WARP.boxes(np.array([30.0, 30, 260, 180])))
    np.testing.assert_allclose(second["bbox"], annotation.boxes(TURNED[0], WARP, format="cxcywhr"))


def test_a_data_set_has_a_warp_for_each_image_and_its_new_size():
    other = pmtools.fit_warp(HEAT, source_hw=(50, 60))
    dataset = {
        "info": {"year": 2026},
        "images": [
            {"id": 1, "file_name": "a.jpg", "height": 200, "width": 300},
            {"id": 2, "file_name": "b.jpg", "height": 50, "width": 60},
        ],
        "annotations": [record(), {"id": 8, "image_id": 2, "bbox": [1, 2, 3, 4], "area": 12}],
        "categories": [{"id": 3}],
    }
    for keys in ((1, 2), ("a.jpg", "b.jpg")):
        there = annotation.coco_dataset(dataset, dict(zip(keys, (WARP, other), strict=True)))
        assert [(i["height"], i["width"]) for i in there["images"]] == [(150, 400), (50, 60)]
        assert there["annotations"] == annotation.coco_annotations(dataset["annotations"], {1: WARP, 2: other})
        assert there["info"] == dataset["info"]
    back = annotation.coco_dataset(there, {1: WARP.inverse(), 2: other.inverse()})
    assert back["images"] == dataset["images"]
    with pytest.raises(ValueError, match=r"image 2 must have a warp"):
        annotation.coco_dataset(dataset, {1: WARP})
    with pytest.raises(ValueError, match="image 1 must be of the size"):
        annotation.coco_dataset(dataset, {1: WARP.inverse(), 2: other})
    with pytest.raises(ValueError, match="use coco_annotations"):
        annotation.coco_dataset([record()], WARP)


# ---------------------------------------------------------------------------------------------------------- YOLO


def test_rows_are_parts_of_either_image():
    rows = [[3, 0.5, 0.5, 0.2, 0.4], [0, 0.1, 0.2, 0.1, 0.1, 0.9]]
    there = annotation.yolo_rows(rows, WARP)
    for row, found in zip(rows, there, strict=True):
        cx, cy, w, h = np.array(row[1:5]) * [300, 200, 300, 200]
        want = WARP.boxes(np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])) / [400, 150, 400, 150]
        np.testing.assert_allclose(annotation.convert(found[1:5], "cxcywh", "xyxy"), want)
        assert [found[0], *found[5:]] == [row[0], *row[5:]]
    back = annotation.yolo_rows(there, WARP.inverse())
    for row, found in zip(rows, back, strict=True):
        np.testing.assert_allclose(found, row, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("pose", [1, 0.5, 0.5, 0.2, 0.4, 0.45, 0.5, 2, 0, 0, 0, 0.55, 0.6, 1]),
        ("quads", [1, 0.3, 0.3, 0.5, 0.4, 0.45, 0.6, 0.2, 0.5]),
        ("quads", [1, 0.3, 0.3, 0.5, 0.4, 0.45, 0.6, 0.2, 0.5, 0.75]),
    ],
)
def test_rows_of_other_kinds_come_back(kind, row):
    (there,) = annotation.yolo_rows([row], WARP, kind=kind)
    start = 5 if kind == "pose" else 1
    x, y = there[start : start + 2]
    np.testing.assert_allclose([x * 400, y * 150], WARP.points(np.array(row[start : start + 2]) * [300, 200]))
    (back,) = annotation.yolo_rows([there], WARP.inverse(), kind=kind)
    np.testing.assert_allclose(back, row, atol=1e-12)


def test_polygons_of_rows_and_what_vanishes():
    row = [2, *(STAR / [300, 200]).ravel().tolist()]
    (there,) = annotation.yolo_rows([row], WARP, kind="polygons")
    want = annotation.polygon(STAR, WARP) / [400, 150]
    np.testing.assert_allclose(np.reshape(there[1:], (-1, 2)), want)
    crop = frames.crop(HW, (0, 0, 100, 100))
    rows = [[0, 0.5, 0.1, 0.1, 0.1], [1, 1 / 3, 0.25, 1 / 3, 0.5]]
    np.testing.assert_allclose(annotation.yolo_rows(rows, crop, clip=True, min_visible=0.1), [[1, 0.75, 0.5, 0.5, 1.0]])
    pose = [0, 1 / 3, 0.25, 1 / 3, 0.5, 0.3, 0.2, 2, 0.4, 0.2, 1]
    assert annotation.yolo_rows([pose], crop, kind="pose", clip=True)[0][8:] == [0, 0, 0]


@pytest.mark.parametrize(
    ("row", "says"), [([1, 0.2, 0.3], "none fits"), ([1] + [0.5] * 8, "quads"), (["a"] * 5, "finite")]
)
def test_rows_of_another_kind_are_refused(row, says):
    with pytest.raises((ValueError, TypeError), match=says):
        annotation.yolo_rows([row], WARP)


def test_supervisions_reader_reads_the_rows():
    sv = pytest.importorskip("supervision", reason="supervision is not installed")
    from supervision.dataset.formats.yolo import yolo_annotations_to_detections

    rows = [[3, 0.5, 0.5, 0.2, 0.4], [0, 0.1, 0.2, 0.1, 0.1]]

    def read(rows, hw):
        lines = [" ".join(map(str, row)) for row in rows]
        return yolo_annotations_to_detections(lines, (hw[1], hw[0]), with_masks=False)

    there = read(annotation.yolo_rows(rows, WARP), WARP.target_hw)
    assert isinstance(there, sv.Detections)
    np.testing.assert_allclose(there.xyxy, WARP.boxes(read(rows, HW).xyxy), rtol=1e-4)


def test_records_from_detectors_of_any_kind_of_number():
    torch = pytest.importorskip("torch")
    plain = {"bbox": [10.0, 10.0, 20.0, 20.0], "keypoints": [12, 13, 2], "segmentation": [[10, 10, 30, 10, 30, 30]]}
    (wanted,) = annotation.coco_annotations([plain], WARP)
    for change in (
        np.array,
        lambda values: [np.float32(value) for value in values],
        lambda values: torch.tensor(values),
    ):
        record = {
            "bbox": change(plain["bbox"]),
            "keypoints": change(plain["keypoints"]),
            "segmentation": [change(plain["segmentation"][0])],
        }
        (found,) = annotation.coco_annotations((one for one in [record]), WARP)
        for name in wanted:
            np.testing.assert_allclose(np.ravel(found[name]), np.ravel(wanted[name]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: annotation.coco_annotations(None, w), "`records` must be a list of dicts"),
        (lambda w: annotation.coco_annotations({"bbox": [1, 2, 3, 4]}, w), "`records` must be a list of dicts"),
        (lambda w: annotation.coco_annotations([{"image_id": 1}], {"1": w}), "the mapping has '1': make both of one"),
        (
            lambda w: annotation.coco_annotations([{"segmentation": [1, 2, 3, 4, 5, 6]}], w),
            "polygons, a list of flat lists",
        ),
        (lambda w: annotation.coco_annotations([{}], w, clip="no"), "`clip` must be True or False"),
        (lambda w: annotation.coco_dataset({"images": ["a"], "annotations": []}, w), r"images'\]\[0\]` must be a dict"),
        (lambda w: annotation.coco_dataset({"images": None, "annotations": []}, w), r"images'\]` must be a list"),
        (lambda w: annotation.yolo_rows("0 .5 .5 .2 .2", w), "`rows` must be a list of rows.*split the text"),
        (lambda w: annotation.yolo_rows([0, 0.5, 0.5, 0.2, 0.2], w), r"`rows\[0\]` must hold finite numbers"),
    ],
)
def test_records_of_no_known_kind_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(WARP)


# ----------------------------------------------------------------------------------------- pixels and other geometries


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("boxes", [0, 40, 30, 10, 12.5]),
        ("quads", [0, 10, 10, 20, 10, 20, 20, 10, 20]),
        ("polygons", [0, 10, 10, 20, 10, 20, 20]),
    ],
)
def test_yolo_rows_in_pixels_are_refused(kind, row):
    warp = zoom_warp([30, 20, 50, 40], source_hw=(60, 80), zoom=1.5)
    with pytest.raises(ValueError, match=r"got pixels.*divide x by 80 and y by 60"):
        annotation.yolo_rows([row], warp, kind=kind)


def test_yolo_rows_beyond_the_image_come_back():
    crop = frames.crop((600, 800), (0, 0, 20, 30))
    rows = [[0, 0.9, 0.9, 0.1, 0.1], [1, 0.5, 0.4, 0.2, 0.2], [2, 0.01, 0.01, 0.01, 0.01]]
    beyond = annotation.yolo_rows(rows, crop)
    assert min(beyond[0][1:3]) > 10  # not in the crop,
    assert min(beyond[0][3:]) > 1  # and larger than it
    np.testing.assert_allclose(annotation.yolo_rows(beyond, crop.inverse()), rows)
    np.testing.assert_allclose(annotation.yolo_rows(beyond[:1], crop.inverse()), rows[:1])


def test_an_angle_is_no_confidence():
    warp = frames.resize((60, 80), (30, 40))
    for last in (1.57, -0.3):
        with pytest.raises(ValueError, match="for an angle give four corners"):
            annotation.yolo_rows([[0, 0.5, 0.5, 0.2, 0.1, last]], warp)
    for last in (0.25, 17):
        assert annotation.yolo_rows([[0, 0.5, 0.5, 0.2, 0.1, last]], warp)[0][5] == last


@pytest.mark.parametrize(
    "more",
    [
        {"bbox_format": "xyxy"},
        {"format": "cxcywh"},
        {"bbox_format": "xywh", "bbox_mode": 0},
        {"obb": [1, 2, 3, 4, 5]},
        {"segments_info": [{"bbox": [1, 2, 3, 4]}]},
        {"polygon": [1, 2, 3, 4, 5, 6]},
    ],
)
def test_records_of_another_geometry_are_refused(more):
    with pytest.raises(ValueError, match=next(iter(more))):
        annotation.coco_annotations([{"bbox": [1, 2, 3, 4], **more}], frames.identity((60, 80)))
