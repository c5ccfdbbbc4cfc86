"""How to magnify any image, as the options say it: what `magnify` and `show` share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pmtools import Warp, _images, fit_warp, io, perception_map, viz
from pmtools.cli import options as opt
from pmtools.cli.console import in_options, usage_error
from pmtools.cli.focus import Focus, Units, read_focus
from pmtools.typing import Image, SizeHW

_PICTURE_HEIGHT = 512  # of each of the four parts of a picture: together they fit a screen


@dataclass(frozen=True)
class Magnified:
    """An image that was magnified, and how.

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

    def apply(self, path: Path) -> Magnified:
        """Magnify the image in a file."""
        source = io.read_image(path, max_pixels=self.max_pixels)
        source_hw = _images.image_hw(source)
        heatmap = self.focus.heatmap_for(path, source_hw)
        warp = fit_warp(heatmap, source_hw=source_hw, target_hw=self.size_hw, **self.fitting)
        perception = perception_map(heatmap, gain=self.fitting["gain"], kernel_size=self.fitting["kernel_size"])
        return Magnified(source, warp.image(source, antialias=self.antialias), perception, warp)


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
