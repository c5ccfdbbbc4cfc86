"""What the user wants to see larger: a heatmap file, boxes or points; and the heatmap that this means for an image."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pmtools import Warp, frames, heatmaps, io
from pmtools.cli.console import quoted, usage_error
from pmtools.typing import SizeHW

Numbers: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_HEATMAP_SUFFIXES = (*io.FORMATS, ".npy", ".npz")


class Units(StrEnum):
    """What coordinates count."""

    PIXELS = "pixels"
    FRACTIONS = "fractions"
    THOUSANDTHS = "thousandths"

    def frame(self, image_hw: SizeHW) -> Warp:
        """The map from pixels of an image to these units."""
        if self is Units.PIXELS:
            return frames.identity(image_hw)
        return frames.normalized(image_hw, scale=1 if self is Units.FRACTIONS else 1000)


class HeatmapFolder:
    """A folder with one map per image, called like the image, whatever the suffix."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by_stem: dict[str, list[Path]] = {}
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in _HEATMAP_SUFFIXES:
                self.by_stem.setdefault(path.stem, []).append(path)

    def namesake(self, source: Path) -> Path:
        """The one map that is called like `source`."""
        found = self.by_stem.get(source.stem, [])
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(quoted(path.name) for path in found)
            raise io.ImageFileError(self.folder, f"has several heatmaps of that name: {names}; keep one")
        wish = quoted(source.stem + ".*")
        raise io.ImageFileError(self.folder, f"has no heatmap {wish} ({', '.join(_HEATMAP_SUFFIXES)})")


@dataclass(frozen=True)
class Focus:
    """What to magnify, in any image.

    Attributes
    ----------
    heatmap : array of shape (h, w), HeatmapFolder, or None
        One map for all images, or a map for each.
    boxes : array of shape (n, 4)
        x0, y0, x1, y1.
    points : array of shape (n, 2)
        x, y.
    units : Units
        Of boxes and points.
    """

    heatmap: Numbers | HeatmapFolder | None
    boxes: Numbers
    points: Numbers
    units: Units

    def heatmap_for(self, source: Path, image_hw: SizeHW) -> Numbers:
        """The heatmap, of shape (h, w), for one image of `image_hw` pixels."""
        if isinstance(self.heatmap, HeatmapFolder):
            return heatmaps.from_image(self.heatmap.namesake(source))
        if self.heatmap is not None:
            return self.heatmap
        to_units = self.units.frame(image_hw)
        maps = [heatmaps.from_boxes(box, source_hw=image_hw) for box in to_units.inverse_boxes(self.boxes)]
        maps += [heatmaps.from_points(point, source_hw=image_hw) for point in to_units.inverse_points(self.points)]
        combined: Numbers = np.max(maps, axis=0)
        return combined


def read_focus(heatmap: Path | None, boxes: list[str], points: list[str], units: Units) -> Focus:
    """The focus that the options `--heatmap`, `--box` and `--point` describe; a usage error where they cannot."""
    box_rows = np.asarray([_numbers(text, 4, "--box", "x0,y0,x1,y1", units) for text in boxes]).reshape(-1, 4)
    point_rows = np.asarray([_numbers(text, 2, "--point", "x,y", units) for text in points]).reshape(-1, 2)
    if (heatmap is None) == (not boxes and not points):
        raise usage_error("say what to magnify: either one --heatmap, or any number of --box and --point")
    for row, text in zip(box_rows, boxes, strict=True):
        if not (row[:2] < row[2:]).all():
            raise usage_error(f"{text!r} must be x0,y0,x1,y1 with x0 < x1 and y0 < y1", "--box")
    try:
        return Focus(None if heatmap is None else _read_heatmap(heatmap), box_rows, point_rows, units)
    except OSError as error:
        raise usage_error(str(error), "--heatmap") from None


def _read_heatmap(path: Path) -> Numbers | HeatmapFolder:
    return HeatmapFolder(path) if path.is_dir() else heatmaps.from_image(path)


def _numbers(text: str, count: int, option: str, wish: str, units: Units) -> list[float]:
    """`count` finite numbers from text such as "10,20,30,40"."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not np.isfinite(values).all():
        raise usage_error(f"{text!r} must be {wish}, {count} numbers with commas and no spaces", option)
    if units is Units.PIXELS and max(values) <= 1 and any(value % 1 for value in values):
        raise usage_error(f"{text!r} lies within one pixel; are these --units fractions?", option)
    return values
