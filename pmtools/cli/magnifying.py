"""What to magnify in any image, and how, as the options say it: what `magnify` and `show` share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pmtools import Warp, _images, fit_warp, frames, heatmaps, io, perception_map, viz, zoom_warp
from pmtools.cli import options as opt
from pmtools.cli.box_lists import BoxList, namesake
from pmtools.cli.console import in_options, quoted, usage_error
from pmtools.cli.options import BoxFormat, Units
from pmtools.cli.streams import Which, read
from pmtools.typing import Image, SizeHW

Numbers: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_HEATMAP_SUFFIXES = (*io.FORMATS, ".npy", ".npz")
#: Zoom of boxes at most, where none is asked for: what readers of scans gained most from, see docs/log.md.
MOST_ZOOM = 3.0
_POINT_SHARE = 1 / 8  # of the shorter side: the box that a point is the middle of
_PICTURE_HEIGHT, _PICTURE_WIDTH, _PICTURE_LEAST = 512, 2048, 32  # pixels of each of the four parts of a picture

# -------------------------------------------------------------------------------------------------- what to magnify


class HeatmapFolder:
    """A folder with one map per image, called like the image, whatever the suffix; in a tree, in folders called alike."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by_name: dict[str, list[Path]] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in _HEATMAP_SUFFIXES:
                self.by_name.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)

    def namesake(self, source: Path) -> Path:
        """The one map that is called like `source`."""
        found = namesake(self.by_name, source.with_suffix("")) or []
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(quoted(path.name) for path in found)
            raise io.ImageFileError(self.folder, f"has several heatmaps of that name: {names}; keep one")
        wanted = quoted(source.stem + ".*")
        raise io.ImageFileError(self.folder, f"has no heatmap {wanted} ({', '.join(_HEATMAP_SUFFIXES)})")


@dataclass(frozen=True)
class Focus:
    """What to magnify, in any image: a heatmap, or boxes and points.

    Attributes
    ----------
    heatmap : array of shape (h, w), HeatmapFolder, or None
        One map for all images, or a map for each.
    boxes : array of shape (n, 4)
        x0, y0, x1, y1, in every image.
    points : array of shape (n, 2)
        x, y, in every image.
    units : Units
        Of boxes and points.
    listed : BoxList, optional
        Boxes of each image beside those.
    """

    heatmap: Numbers | HeatmapFolder | None
    boxes: Numbers
    points: Numbers
    units: Units
    listed: BoxList | None = None

    def heatmap_for(self, source: Path, max_pixels: int) -> Numbers | None:
        """The heatmap, of shape (h, w), for one image; None where boxes and points say what to magnify."""
        if isinstance(self.heatmap, HeatmapFolder):
            return io.read_heatmap(self.heatmap.namesake(source), max_pixels=max_pixels)
        return self.heatmap

    def boxes_for(self, source: Path, image_hw: SizeHW) -> Numbers:
        """The boxes, of shape (n, 4) in pixels, in one image of `image_hw` pixels: a point is the middle of one."""
        to_units = self.units.frame(image_hw)
        points, reach = to_units.inverse_points(self.points), _POINT_SHARE * min(image_hw) / 2
        parts = [to_units.inverse_boxes(self.boxes), np.concatenate([points - reach, points + reach], axis=1)]
        if self.listed is not None:
            parts.append(self.listed.boxes_for(source, image_hw))
        return np.concatenate(parts)

    def file_for(self, source: Path) -> Path | None:
        """The file that says what to magnify in one image, where one does."""
        if isinstance(self.heatmap, HeatmapFolder):
            return self.heatmap.namesake(source)
        return self.listed.file_of(source) if self.listed is not None else None


def read_focus(
    heatmap: Path | None,
    boxes: list[str],
    points: list[str],
    units: Units,
    *,
    max_pixels: int = io.MAX_PIXELS,
    listed: Path | None = None,
    box_format: BoxFormat = BoxFormat.XYXY,
) -> Focus:
    """The focus that `--heatmap`, `--box`, `--point` and `--boxes` describe; a usage error where they cannot."""
    box_rows = np.asarray([_numbers(text, 4, "--box", "x0,y0,x1,y1", units) for text in boxes]).reshape(-1, 4)
    point_rows = np.asarray([_numbers(text, 2, "--point", "x,y", units) for text in points]).reshape(-1, 2)
    if (heatmap is None) == (not boxes and not points and listed is None):
        raise usage_error("say what to magnify: either one --heatmap, or any of --box, --point and --boxes")
    for row, text in zip(box_rows, boxes, strict=True):
        if not (row[:2] < row[2:]).all():
            raise usage_error(f"{text!r} must be x0,y0,x1,y1 with x0 < x1 and y0 < y1", "--box")
    try:
        return Focus(
            None if heatmap is None else _read_heatmap(heatmap, max_pixels),
            box_rows,
            point_rows,
            units,
            None if listed is None else BoxList(listed, units, box_format),
        )
    except OSError as error:
        raise usage_error(in_options(str(error)), "--heatmap") from None


def _read_heatmap(path: Path, max_pixels: int) -> Numbers | HeatmapFolder:
    return HeatmapFolder(path) if path.is_dir() else io.read_heatmap(path, max_pixels=max_pixels)


def _numbers(text: str, count: int, option: str, wanted: str, units: Units) -> list[float]:
    """`count` finite numbers from text such as "10,20,30,40"."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not np.isfinite(values).all():
        raise usage_error(f"{text!r} must be {wanted}, {count} numbers with commas and no spaces", option)
    if units is Units.PIXELS and max(values) <= 1 and any(value % 1 for value in values):
        raise usage_error(f"{text!r} lies within one pixel; are these --units fractions?", option)
    return values


# ------------------------------------------------------------------------------------------------------------- how


@dataclass(frozen=True)
class MagnifiedFile:
    """The images of a file, and how they are magnified.

    Attributes
    ----------
    source : Frames
        Before.
    followed : array of shape (h, w)
        What the warp of the first image followed: the perception map, or a map of the boxes.
    warps : list of Warp
        One for each image; the same where their sizes are.
    antialias : bool
    """

    source: io.Frames
    followed: Any
    warps: list[Warp]
    antialias: bool

    def images(self) -> io.Frames:
        """The images magnified, with all that came with them."""
        pairs = zip(self.source.images, self.warps, strict=True)
        return replace(self.source, images=[warp.image(image, antialias=self.antialias) for image, warp in pairs])

    def warp(self) -> Warp:
        """The one warp of all images."""
        if any(warp is not self.warps[0] for warp in self.warps):
            raise ValueError("has images of several sizes, for which one warp will not do; use --frames first")
        return self.warps[0]

    def picture(self) -> Image:
        """Original, map, magnified image and grid of the first image, side by side, made at the size they are shown in."""
        warp, source = self.warps[0], self.source.images[0]
        small_hw = _on_screen(warp.source_hw)
        to_screen = warp.then(frames.resize(warp.target_hw, _on_screen(warp.target_hw)))
        small = source if small_hw == warp.source_hw else frames.resize(warp.source_hw, small_hw).image(source)
        magnified = to_screen.image(source, antialias=self.antialias)
        parts = {
            "original": small,
            "what was followed": viz.overlay(small, self.followed),
            "magnified": magnified,
            "where the grid went": viz.warp_grid(magnified, frames.resize(small_hw, warp.source_hw).then(to_screen)),
        }
        flattest = min(height / width for height, width in (warp.source_hw, warp.target_hw))
        height = max(_PICTURE_LEAST, round(min(_PICTURE_HEIGHT, _PICTURE_WIDTH * flattest)))
        return viz.side_by_side(list(parts.values()), titles=list(parts), height=height)


def _on_screen(size_hw: SizeHW) -> SizeHW:
    """Size of an image that fits a part of a picture, its shape kept; never larger."""
    share = min(1, _PICTURE_HEIGHT / size_hw[0], _PICTURE_WIDTH / size_hw[1])
    return max(1, round(size_hw[0] * share)), max(1, round(size_hw[1] * share))


@dataclass(frozen=True)
class Recipe:
    """What to magnify, and how.

    Attributes
    ----------
    focus : Focus
    size_hw : (int, int), optional
    fitting : dict
        Options of `pmtools.fit_warp` for a heatmap, otherwise of `pmtools.zoom_warp`.
    most : float
        Greatest zoom of boxes where none is given.
    antialias : bool
    max_pixels : int
    options : dict
        All of that as the user gave it, for the file of the warp.
    """

    focus: Focus
    size_hw: SizeHW | None
    fitting: dict[str, Any]
    most: float
    antialias: bool
    max_pixels: int
    options: dict[str, Any]

    def apply(self, path: Path, which: Which = Which.ALL) -> MagnifiedFile:
        """Magnify the images in a file."""
        source = read(path, which, self.max_pixels)
        sizes = [_images.image_hw(image) for image in source.images]
        fitted = {size_hw: self._fit(path, size_hw) for size_hw in dict.fromkeys(sizes)}
        return MagnifiedFile(source, fitted[sizes[0]][0], [fitted[size_hw][1] for size_hw in sizes], self.antialias)

    def _fit(self, path: Path, source_hw: SizeHW) -> tuple[Any, Warp]:
        """What the warp of images of that size follows, and the warp."""
        heatmap = self.focus.heatmap_for(path, self.max_pixels)
        if heatmap is not None:
            mapping = {key: value for key, value in self.fitting.items() if key in ("gain", "kernel_size")}
            warp = fit_warp(heatmap, source_hw=source_hw, target_hw=self.size_hw, **self.fitting)
            return perception_map(heatmap, **mapping), warp
        boxes = self.focus.boxes_for(path, source_hw)
        return heatmaps.from_boxes(boxes, source_hw=source_hw), self._zoom(boxes, source_hw)

    def settings_for(self, source: Path) -> dict[str, Any]:
        """What the warp of an image depends on beside the image, for JSON: options, and the content of their files."""
        file = self.focus.file_for(source)
        digest = {} if file is None else {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        return {**self.options, **digest}

    def _zoom(self, boxes: Numbers, source_hw: SizeHW) -> Warp:
        """The zoom that was asked for, or the largest up to the cap."""
        sizes: dict[str, Any] = {"source_hw": source_hw, "target_hw": self.size_hw}
        if self.fitting.get("zoom") is not None:
            return zoom_warp(boxes, **sizes, **self.fitting)
        try:
            return zoom_warp(boxes, **sizes, **{**self.fitting, "zoom": self.most})
        except ValueError:  # too much for the output, or not to be had at all, which the next one says
            return zoom_warp(boxes, **sizes, **self.fitting)


def read_recipe(
    *,
    heatmap: Path | None,
    box: list[str] | None,
    point: list[str] | None,
    boxes: Path | None,
    box_format: BoxFormat,
    units: Units,
    size: str | None,
    zoom: float | None,
    margin: float | None,
    gain: float | None,
    kernel_size: int | None,
    marginal: opt.Marginal | None,
    floor: float | None,
    max_magnification: float | None,
    antialias: bool,
    max_pixels: int,
) -> Recipe:
    """The recipe that the options describe; a usage error for what would fail on every image."""
    marginal_name = None if marginal is None else marginal.value
    of_maps = _given(gain=gain, kernel_size=kernel_size, marginal=marginal_name)
    of_boxes = _given(zoom=zoom, margin=margin)
    shared = _given(floor=floor)
    try:
        fit_warp(np.eye(2), source_hw=(2, 2), max_magnification=max_magnification, **of_maps, **shared)
        zoom_warp(np.empty((0, 4)), source_hw=(2, 2), **of_boxes, **({} if heatmap else shared))
    except (TypeError, ValueError) as error:
        raise usage_error(in_options(str(error))) from None
    focus = read_focus(
        heatmap, box or [], point or [], units, max_pixels=max_pixels, listed=boxes, box_format=box_format
    )
    misplaced = of_boxes if heatmap is not None else of_maps
    if misplaced:
        names = ", ".join("--" + name.replace("_", "-") for name in misplaced)
        raise usage_error(
            f"{names}: for boxes and points, not for a --heatmap, which has --gain and --max-magnification"
            if heatmap is not None
            else f"{names}: for a --heatmap; boxes and points have --zoom, --margin and --floor"
        )
    if heatmap is not None:
        fitting = {**of_maps, **shared, **_given(max_magnification=max_magnification)}
    elif zoom is not None and max_magnification is not None:
        raise usage_error("--zoom is exact, and --max-magnification what it may be at most; give one of them")
    else:
        fitting = {**of_boxes, **shared}
    options = {
        "heatmap": None if heatmap is None else heatmap.name,
        "box": box,
        "point": point,
        "boxes": None if boxes is None else boxes.name,
        "box_format": box_format.value,
        "units": units.value,
        "size": size,
        **of_maps,
        **of_boxes,
        **shared,
        "max_magnification": max_magnification,
        "antialias": antialias,
    }
    most = MOST_ZOOM if max_magnification is None else max_magnification
    return Recipe(focus, opt.read_size(size), fitting, most, antialias, max_pixels, _given(**options))


def _given(**options: Any) -> dict[str, Any]:
    """The options that have a value; for the others the library has one."""
    return {name: value for name, value in options.items() if value is not None}
