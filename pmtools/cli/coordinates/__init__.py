"""Boxes, points and whole annotations through a warp, from file to file: `pmtools coords`, and what it knows of files."""

from __future__ import annotations

from pmtools.cli.coordinates.files import CoordinateFileError, Kind, boxes, map_csv, map_json, points
from pmtools.cli.coordinates.records import map_coco, map_json_lines, map_yolo

__all__ = [
    "CoordinateFileError",
    "Kind",
    "boxes",
    "map_coco",
    "map_csv",
    "map_json",
    "map_json_lines",
    "map_yolo",
    "points",
]
