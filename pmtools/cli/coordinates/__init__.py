"""Boxes and points through a warp, from file to file: the command `pmtools coords`, and what it knows of files."""

from __future__ import annotations

from pmtools.cli.coordinates.files import CoordinateFileError, Kind, boxes, map_csv, map_json, points

__all__ = ["CoordinateFileError", "Kind", "boxes", "map_csv", "map_json", "points"]
