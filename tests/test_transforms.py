"""Transforms inside the real torchvision, albumentations, kornia and supervision; `make test-transforms` has them all."""

from __future__ import annotations

import numpy as np
import pytest

import pmtools
from pmtools import Warp, frames

HW = (60, 80)
BOX = [50.0, 10.0, 70.0, 25.0]
WARP = pmtools.fit_warp(np.random.default_rng(0).random((6, 9)), source_hw=HW, target_hw=(48, 100))
PIXELS = np.random.default_rng(0).integers(0, 256, (*HW, 3), dtype=np.uint8)
MASK = np.zeros(HW, dtype=np.uint8)
MASK[10:25, 50:70] = 7


def zoom(image_hw, boxes) -> Warp:
    return pmtools.zoom_warp(np.asarray(boxes)[:1], source_hw=tuple(image_hw), zoom=2)


# --------------------------------------------------------------------------------------------------- torchvision


@pytest.fixture
def vision():
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    from pmtools.transforms import torchvision

    return torchvision


def sample(format="XYXY"):
    import torch
    from torchvision import tv_tensors
    from torchvision.transforms.v2.functional import convert_bounding_box_format

    corners = tv_tensors.BoundingBoxes(torch.tensor([BOX, [0.0, 0, 80, 60]]), format="XYXY", canvas_size=HW)
    return {
        "image": tv_tensors.Image(torch.as_tensor(PIXELS).permute(2, 0, 1)),
        "mask": tv_tensors.Mask(torch.as_tensor(MASK)),
        "masks": tv_tensors.Mask(torch.as_tensor(np.stack([MASK, MASK > 0])).bool()),
        "boxes": corners if format == "XYXY" else convert_bounding_box_format(corners, new_format=format),
        "points": tv_tensors.KeyPoints(torch.tensor([[[60.0, 20], [3, 4]]]), canvas_size=HW),
        "label": 3,
    }


@pytest.mark.parametrize("format", ["XYXY", "XYWH", "CXCYWH"])
def test_torchvision_keeps_every_tv_tensor(vision, format):
    import torch
    from torchvision import tv_tensors
    from torchvision.transforms.v2.functional import convert_bounding_box_format

    before = sample(format)
    after = vision.Magnify(WARP)(before)
    assert {key: type(value) for key, value in after.items()} == {key: type(value) for key, value in before.items()}
    np.testing.assert_array_equal(after["image"].permute(1, 2, 0).numpy(), WARP.image(PIXELS))
    np.testing.assert_array_equal(after["mask"].numpy(), WARP.mask(MASK))
    np.testing.assert_array_equal(after["masks"][1].numpy(), WARP.mask(MASK > 0))
    assert after["boxes"].canvas_size == after["points"].canvas_size == WARP.target_hw
    assert after["boxes"].format.value == format
    corners = convert_bounding_box_format(after["boxes"], new_format="XYXY")
    np.testing.assert_allclose(corners.as_subclass(torch.Tensor), WARP.boxes([BOX, [0, 0, 80, 60]]), atol=1e-4)
    np.testing.assert_allclose(after["points"][0, 0], WARP.points([60, 20]), atol=1e-5)
    assert after["label"] == 3
    back = vision.Magnify(WARP.inverse())(after)
    assert isinstance(back["boxes"], tv_tensors.BoundingBoxes)
    np.testing.assert_allclose(back["boxes"].numpy(), before["boxes"].numpy(), atol=1e-4)


def test_torchvisions_own_resize_is_the_same_frame(vision):
    """Uniform maps: boxes, points and sizes are those of torchvision's Resize."""
    from torchvision.transforms import v2

    mine = vision.Magnify(frames.resize(HW, (30, 160)))(sample())
    theirs = v2.Resize((30, 160), antialias=True)(sample())
    for key in ("boxes", "points"):
        np.testing.assert_allclose(mine[key].numpy(), theirs[key].numpy(), atol=1e-4)
        assert mine[key].canvas_size == theirs[key].canvas_size
    assert mine["image"].shape == theirs["image"].shape


def test_torchvision_fits_a_warp_for_each_sample(vision):
    from PIL import Image
    from torchvision.transforms import v2

    pipeline = v2.Compose([vision.Magnify(lambda image, boxes: zoom(image.shape[-2:], boxes)), v2.Identity()])
    after = pipeline(sample("CXCYWH"))
    *_, w, h = after["boxes"][0].tolist()
    assert (w, h) == pytest.approx((40, 30), abs=1e-3)
    picture = vision.Magnify(lambda image, boxes: frames.resize(image.size[::-1], (10, 20)))(Image.fromarray(PIXELS))
    assert picture.size == (20, 10)
    assert "Magnify" in repr(pipeline)


def test_torchvision_gives_the_upright_boxes_around_rotated_ones(vision):
    import torch
    from torchvision import tv_tensors

    if not hasattr(tv_tensors.BoundingBoxFormat, "CXCYWHR"):
        pytest.skip("this torchvision has no rotated boxes")
    numbers = torch.tensor([[40.0, 30, 20, 10, 90], [20, 20, 8, 8, 45]])
    turned = tv_tensors.BoundingBoxes(numbers, format="CXCYWHR", canvas_size=HW)
    seen = []
    image = sample()["image"]
    after = vision.Magnify(lambda image, boxes: seen.append(boxes) or WARP)({"image": image, "boxes": turned})
    reach = 4 * 2**0.5
    wanted = [[35, 20, 45, 40], [20 - reach, 20 - reach, 20 + reach, 20 + reach]]
    np.testing.assert_allclose(seen[0], wanted, atol=1e-4)
    assert after["boxes"].format.value == "CXCYWHR"


def test_torchvision_refuses_what_does_not_fit(vision):
    with pytest.raises(ValueError, match="canvas_size"):
        vision.Magnify(WARP.inverse())({"boxes": sample()["boxes"]})
    with pytest.raises(ValueError, match="canvas_size"):
        vision.Magnify(WARP.inverse())({"points": sample()["points"]})
    with pytest.raises(ValueError, match="must have an image"):
        vision.Magnify(zoom)({"boxes": sample()["boxes"]})
    with pytest.raises(TypeError, match="must be a Warp"):
        vision.Magnify(3)


# ------------------------------------------------------------------------------------------------ albumentations


@pytest.fixture
def album():
    pytest.importorskip("albumentations", reason="albumentations is not installed")
    from pmtools.transforms import albumentations

    return albumentations


@pytest.mark.parametrize("format", ["pascal_voc", "coco", "albumentations"])
def test_albumentations_takes_everything_along(album, format):
    import albumentations as A

    x0, y0, x1, y1 = BOX
    given = {
        "pascal_voc": BOX,
        "coco": [x0, y0, x1 - x0, y1 - y0],
        "albumentations": [x0 / 80, y0 / 60, x1 / 80, y1 / 60],
    }[format]
    settings = {
        "bbox_params": A.BboxParams(format=format, label_fields=["labels"]),
        "keypoint_params": A.KeypointParams(format="xyas", remove_invisible=False),
    }
    there = A.Compose([album.Magnify(WARP)], **settings)
    data = {"image": PIXELS, "mask": MASK, "bboxes": [given], "labels": ["cup"], "keypoints": [(60.0, 20.0, 30.0, 2.0)]}
    after = there(**data)
    np.testing.assert_array_equal(after["image"], WARP.image(PIXELS))
    np.testing.assert_array_equal(after["mask"], WARP.mask(MASK))
    assert after["labels"] == ["cup"]
    u0, v0, u1, v1 = WARP.boxes(BOX).tolist()
    want = {
        "pascal_voc": [u0, v0, u1, v1],
        "coco": [u0, v0, u1 - u0, v1 - v0],
        "albumentations": [u0 / 100, v0 / 48, u1 / 100, v1 / 48],
    }[format]
    np.testing.assert_allclose(after["bboxes"][0][:4], want, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(after["keypoints"][0][:2], WARP.points([60.5, 20.5]) - 0.5, atol=1e-3)
    back = A.Compose([album.Magnify(WARP.inverse())], **settings)(**{k: after[k] for k in data})
    np.testing.assert_allclose(back["bboxes"][0][:4], given, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(back["keypoints"][0][:3], (60, 20, 30), atol=1e-2)


def test_albumentations_own_resize_is_the_same_frame(album):
    import albumentations as A

    settings = {
        "bbox_params": A.BboxParams(format="pascal_voc"),
        "keypoint_params": A.KeypointParams(format="xyas", remove_invisible=False),
    }
    data = {"image": PIXELS, "bboxes": np.array([BOX]), "keypoints": np.array([[60.0, 20, 0, 2]])}
    mine, theirs = (
        A.Compose([one], **settings)(**data)
        for one in (album.Magnify(frames.resize(HW, (120, 160))), A.Resize(120, 160))
    )
    np.testing.assert_allclose(mine["bboxes"], theirs["bboxes"], atol=1e-4)
    # their Resize scales pixel indices, ours pixel centres: half a pixel times the scale less one
    np.testing.assert_allclose(mine["keypoints"][:, :2], theirs["keypoints"][:, :2] + 0.5, atol=1e-4)
    np.testing.assert_allclose(mine["keypoints"][:, 2:], theirs["keypoints"][:, 2:], atol=1e-4)


def test_albumentations_fits_a_warp_for_each_sample(album):
    import albumentations as A

    pipeline = A.Compose(
        [album.Magnify(lambda image, boxes: zoom(image.shape[:2], boxes))],
        bbox_params=A.BboxParams(format="pascal_voc"),
    )
    x0, y0, x1, y1 = pipeline(image=PIXELS, bboxes=[BOX])["bboxes"][0][:4]
    assert (x1 - x0, y1 - y0) == pytest.approx((40, 30), abs=1e-3)
    assert "Magnify" in repr(pipeline)
    with pytest.raises(TypeError, match="must be a Warp"):
        album.Magnify(3)


@pytest.mark.parametrize("bboxes", [None, [], np.empty((0, 4))])
def test_albumentations_fits_a_warp_for_a_sample_without_boxes(album, bboxes):
    import albumentations as A

    seen = []
    magnify = album.Magnify(lambda image, boxes: seen.append(boxes) or WARP)
    pipeline = A.Compose([magnify], bbox_params=None if bboxes is None else A.BboxParams(format="pascal_voc"))
    after = pipeline(image=PIXELS, **({} if bboxes is None else {"bboxes": bboxes}))
    np.testing.assert_array_equal(after["image"], WARP.image(PIXELS))
    assert [boxes.shape for boxes in seen] == [(0, 4)]


# ---------------------------------------------------------------------------------------------------- supervision


def test_supervisions_detections_go_there_and_back():
    sv = pytest.importorskip("supervision", reason="supervision is not installed")
    from pmtools.transforms.supervision import detections

    corners = np.array([[[50.0, 12], [66, 8], [70, 22], [54, 26]], [[1, 2], [3, 4], [5, 6], [7, 8]]])
    before = sv.Detections(
        xyxy=np.array([BOX, [0, 0, 20, 20]]),
        mask=np.stack([MASK > 0, MASK > 9]),
        confidence=np.array([0.9, 0.2]),
        class_id=np.array([3, 4]),
        tracker_id=np.array([7, 8]),
        data={"xyxyxyxy": corners, "class_name": np.array(["a", "b"])},
    )
    after = detections(before, WARP)
    np.testing.assert_allclose(after.xyxy, WARP.boxes(before.xyxy))
    np.testing.assert_array_equal(after.mask, WARP.mask(before.mask))
    np.testing.assert_allclose(after.data["xyxyxyxy"], WARP.points(corners))
    assert after.class_id.tolist() == [3, 4]
    assert after.data["class_name"].tolist() == ["a", "b"]
    back = detections(after, WARP.inverse())
    np.testing.assert_allclose(back.xyxy, before.xyxy, atol=1e-9)
    np.testing.assert_allclose(back.data["xyxyxyxy"], corners, atol=1e-9)
    np.testing.assert_array_equal(back.tracker_id, before.tracker_id)
    kept = detections(before, frames.crop(HW, (40, 0, 80, 60)), clip=True, min_visible=0)
    assert kept.class_id.tolist() == [3]
    assert len(detections(sv.Detections.empty(), WARP)) == 0
    with pytest.raises(TypeError, match=r"supervision\.Detections"):
        detections(before.xyxy, WARP)
    from supervision.detection.compact_mask import CompactMask

    compact = sv.Detections(xyxy=before.xyxy, mask=CompactMask.from_dense(before.mask, before.xyxy, HW))
    np.testing.assert_array_equal(detections(compact, WARP).mask, WARP.mask(compact.mask.to_dense()))


# --------------------------------------------------------------------------------------------------------- kornia


@pytest.fixture
def kornia():
    pytest.importorskip("kornia", reason="kornia is not installed")
    from pmtools.transforms import kornia

    return kornia


def many() -> Warp:
    return pmtools.fit_warp(np.random.default_rng(1).random((2, 6, 9)), source_hw=HW, target_hw=(48, 100))


@pytest.mark.parametrize("fit", [WARP, many(), lambda images: many()], ids=["one", "batch", "function"])
def test_kornia_takes_everything_along_and_back(kornia, fit):
    import torch
    from kornia.augmentation import AugmentationSequential

    images = torch.as_tensor(np.stack([PIXELS, PIXELS[::-1].copy()])).permute(0, 3, 1, 2).double() / 255
    masks = torch.as_tensor(np.stack([MASK, MASK]))[:, None].double()
    boxes = torch.tensor([[BOX, [1.0, 2, 30, 40]], [BOX, [5, 5, 9, 9]]], dtype=torch.float64)
    points = torch.tensor([[[60.0, 20.0]], [[3.0, 4.0]]], dtype=torch.float64)
    sequence = AugmentationSequential(kornia.Magnify(fit), data_keys=["input", "mask", "bbox_xyxy", "keypoints"])
    after = sequence(images, masks, boxes, points)
    for i in range(2):
        warp = WARP if fit is WARP else many()[i]
        torch.testing.assert_close(after[0][i], warp.image(images[i]))
        torch.testing.assert_close(after[1][i, 0], warp.mask(masks[i, 0]))
        last = np.array([0, 0, 1, 1])  # kornia's boxes hold their last pixel
        np.testing.assert_allclose(after[2][i], warp.boxes(boxes[i].numpy() + last) - last, atol=1e-6)
        np.testing.assert_allclose(after[3][i], warp.points(points[i].numpy() + 0.5) - 0.5, atol=1e-6)
    back = sequence.inverse(*after)
    np.testing.assert_allclose(back[2], boxes, atol=1e-6)
    np.testing.assert_allclose(back[3], points, atol=1e-6)
    assert back[0].shape == images.shape
    assert back[1].shape == masks.shape
    assert float((back[1] == masks).double().mean()) > 0.95


def test_kornias_places_in_half_precision_are_rounded_once(kornia):
    import torch
    from kornia.augmentation import AugmentationSequential

    warp = pmtools.fit_warp(np.eye(8), source_hw=(1024, 1024))
    images = torch.zeros(1, 1, 1024, 1024, dtype=torch.bfloat16)
    boxes = torch.tensor([[[100.0, 200, 300, 260], [700, 512, 780, 640]]]).bfloat16()
    points = torch.tensor([[[100.0, 200], [1020, 776]]]).bfloat16()
    sequence = AugmentationSequential(kornia.Magnify(warp), data_keys=["input", "bbox_xyxy", "keypoints"])
    _, moved_boxes, moved_points = sequence(images, boxes, points)
    last = torch.tensor([0.0, 0, 1, 1])
    wanted = warp.boxes(boxes.float() + last) - last
    assert torch.equal(moved_boxes, wanted.bfloat16())
    torch.testing.assert_close(moved_points.float(), warp.points(points.float() + 0.5) - 0.5, rtol=0, atol=1e-3)


def test_kornias_gradients_and_refusals(kornia):
    import torch

    images = torch.rand(2, 3, *HW, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    kornia.Magnify(WARP)(images).sum().backward()
    assert images.grad is not None
    assert float(images.grad.abs().min()) >= 0
    assert float(images.grad.abs().max()) > 0
    with pytest.raises(TypeError, match="must be a Warp"):
        kornia.Magnify(3)
    with pytest.raises(RuntimeError, match="images must come first"):
        kornia.Magnify(lambda images: WARP).inverse_inputs(images, {}, {})


def test_kornias_own_resize_is_the_same_frame(kornia):
    import torch
    from kornia.augmentation import AugmentationSequential, Resize

    images, boxes = torch.zeros(1, 1, *HW, dtype=torch.float64), torch.tensor([[BOX]], dtype=torch.float64)
    frame = frames.resize(HW, (120, 160))
    keys = ["input", "bbox_xyxy"]
    mine = AugmentationSequential(kornia.Magnify(frame), data_keys=keys)(images, boxes)[1]
    theirs = AugmentationSequential(Resize((120, 160), align_corners=False), data_keys=keys)(images, boxes)[1]
    # their boxes are scaled as they are or to the pixels' centres: a pixel, depending on the release
    np.testing.assert_allclose(mine, theirs, atol=1.01)


# ------------------------------------------------------------------------------------------------------- batches


def test_a_data_loader_makes_batches_of_warps():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from pmtools.transforms.loading import collate

    warps = [pmtools.fit_warp(np.random.default_rng(i).random((6, 9)), source_hw=HW) for i in range(4)]
    samples = [{"image": torch.as_tensor(PIXELS), "warp": warp, "label": i} for i, warp in enumerate(warps)]
    batches = list(torch.utils.data.DataLoader(samples, batch_size=2, collate_fn=collate))
    assert [list(batch["warp"]) for batch in batches] == [warps[:2], warps[2:]]
    assert batches[1]["label"].tolist() == [2, 3]
    assert batches[0]["image"].shape == (2, *HW, 3)
    with pytest.raises(ValueError, match="same sizes"):
        collate([warps[0], frames.identity((3, 3))])
