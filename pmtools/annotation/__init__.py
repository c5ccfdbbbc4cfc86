"""Whole annotations through a warp: boxes of any format, keypoints, COCO records and YOLO rows, both ways.

Every function takes a `Warp`, or a `Turned` of `pmtools.frames`; to undo, give it `warp.inverse()`. What else a record says,
and what depends on its geometry (`area`, `segmentation`, `width`), comes along; another geometry than the one read is
refused, never read as corners.

Convention: continuous pixel-edge coordinates; pixel `i` covers `[i, i + 1)`.
"""

from pmtools.annotation.coco import coco_annotations, coco_dataset
from pmtools.annotation.formats import FORMATS, boxes, convert, keypoints, visible_share
from pmtools.annotation.polygons import polygon
from pmtools.annotation.yolo import KINDS, yolo_rows

__all__ = [
    "FORMATS",
    "KINDS",
    "boxes",
    "coco_annotations",
    "coco_dataset",
    "convert",
    "keypoints",
    "polygon",
    "visible_share",
    "yolo_rows",
]
