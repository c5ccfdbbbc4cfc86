"""What to magnify in any image, and how, as the options say it: what `magnify` and `show` share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pmtools import Warp, _images, fit_warp, heatmaps, io, perception_map, viz
from pmtools.cli import options as opt
from pmtools.cli.console import in_options, quoted, usage_error
from pmtools.cli.options import Units
from pmtools.typing import Image, SizeHW

Numbers: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_HEATMAP_SUFFIXES = (*io.FORMATS, ".npy", ".npz")
_PICTURE_HEIGHT = 512  # of each of the four parts of a picture: together they fit a screen

# -------------------------------------------------------------------------------------------------- what to magnify


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


# ------------------------------------------------------------------------------------------------------------- how


@dataclass(frozen=True)
class MagnifiedFile:
    """The image of a file, magnified, and how.

    Attributes
    ----------
    source, image : PIL image or array
        Before and after.
    perception : array of shape (h, w)
        What the warp followed.
    warp : Warp
    """

    source: Image
    image: Image
    perception: Any
    warp: Warp

    def picture(self) -> Image:
        """Original, map, magnified image and grid, side by side."""
        parts = {
            "original": self.source,
            "perception map": viz.overlay(self.source, self.perception),
            "magnified": self.image,
            "where the grid went": viz.warp_grid(self.image, self.warp),
        }
        return viz.side_by_side(list(parts.values()), titles=list(parts), height=_PICTURE_HEIGHT)


@dataclass(frozen=True)
class Recipe:
    """What to magnify, and the options of `pmtools.magnify`."""

    focus: Focus
    size_hw: SizeHW | None
    fitting: dict[str, Any]
    antialias: bool
    max_pixels: int

    def apply(self, path: Path) -> MagnifiedFile:
        """Magnify the image in a file."""
        source = io.read_image(path, max_pixels=self.max_pixels)
        source_hw = _images.image_hw(source)
        heatmap = self.focus.heatmap_for(path, source_hw)
        warp = fit_warp(heatmap, source_hw=source_hw, target_hw=self.size_hw, **self.fitting)
        perception = perception_map(heatmap, gain=self.fitting["gain"], kernel_size=self.fitting["kernel_size"])
        return MagnifiedFile(source, warp.image(source, antialias=self.antialias), perception, warp)


def read_recipe(
    *,
    heatmap: Path | None,
    box: list[str] | None,
    point: list[str] | None,
    units: Units,
    size: str | None,
    gain: float,
    kernel_size: int,
    marginal: opt.Marginal,
    floor: float,
    max_magnification: float | None,
    antialias: bool,
    max_pixels: int,
) -> Recipe:
    """The recipe that the options describe; a usage error for what would fail on every image."""
    fitting = {
        "gain": gain,
        "kernel_size": kernel_size,
        "marginal": marginal.value,
        "floor": floor,
        "max_magnification": max_magnification,
    }
    try:
        fit_warp(np.eye(2), source_hw=(2, 2), **fitting)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise usage_error(in_options(str(error))) from None
    focus = read_focus(heatmap, box or [], point or [], units)
    return Recipe(focus, opt.read_size(size), fitting, antialias, max_pixels)
