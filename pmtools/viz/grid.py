"""The grid of a warp on the magnified image.

This file knows only `points`, `source_hw` and `target_hw` of a warp.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pmtools import _array
from pmtools.typing import Image, Ndarray, PointsXY, SizeHW
from pmtools.viz.arguments import colour, positive
from pmtools.viz.painting import paint
from pmtools.viz.rgb import as_rgb

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

_MAX_LINES = 10_000  # per axis: a step that gives more is a mistake


class PointMap(Protocol):
    """What `warp_grid` needs of a warp."""

    @property
    def source_hw(self) -> SizeHW:
        """Height and width of the source image."""

    @property
    def target_hw(self) -> SizeHW:
        """Height and width of the magnified image."""

    def points(self, points_xy: PointsXY, /) -> PointsXY:
        """Where source points of shape (n, 2) land on the magnified image."""


def warp_grid(
    image: Image | None,
    warp: PointMap,
    /,
    *,
    step: float | None = None,
    color: str = "white",
    width: float | None = None,
) -> PILImage:
    """Where the regular square grid of the source lands on the magnified image.

    Convention: pixel-edge coordinates; grid lines at 0, step, 2 step, ... of the source, and at its far edges.

    Parameters
    ----------
    image : PIL image, array or None
        The *magnified* image, of size `warp.target_hw`; None for a plain dark background.
    warp : Warp
        Anything with `points`, `source_hw` and `target_hw`.
    step : float, optional
        Source pixels between lines. Default: a sixteenth of the longer side.
    color : str, optional
        Any colour PIL knows. The lines have a dark rim, so that they are visible on light ground too.
    width : float, optional
        Width of the lines in pixels. Default: a 350th of the longer side, at least 1.

    Returns
    -------
    PIL image, mode RGB
        Of size `warp.target_hw`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or `image` has another size than `warp.target_hw`.

    Examples
    --------
    >>> import pmtools
    >>> warp = pmtools.fit_warp(np.eye(4), source_hw=(40, 60))
    >>> warp_grid(None, warp, step=10).size
    (60, 40)
    """
    from PIL import Image as PIL

    if getattr(warp, "batch_shape", ()):
        raise ValueError("`warp` must be a single warp, got a batch; draw warp[i]")
    height, width_px = warp.target_hw
    picture = PIL.new("RGB", (width_px, height), (38, 38, 43)) if image is None else as_rgb(image)
    if picture.size != (width_px, height):
        raise ValueError(
            f"`image` must be the magnified image, {height} x {width_px} (height x width), got {picture.height} x "
            f"{picture.width}; pass `warp.image(image)`"
        )
    spacing = positive(step, "step", max(warp.source_hw) / 16)
    line = positive(width, "width", max(1.0, max(height, width_px) / 350))
    paint(picture, _grid_bars(warp, spacing, line + 2), (0, 0, 0), opacity=0.35)
    paint(picture, _grid_bars(warp, spacing, line), colour(color), opacity=0.9)
    return picture


def _places(side: int, step: float) -> Ndarray:
    """0, step, 2 step, ... below `side`, and `side` itself."""
    count = math.ceil(side / step - 1e-9)
    if count > _MAX_LINES:
        raise ValueError(f"`step` must be large enough for distinguishable lines, got {step:g} for {side} pixels")
    return np.append(np.arange(count) * step, float(side))


def _grid_bars(warp: PointMap, step: float, width: float) -> Ndarray:
    """(n, 4) boxes of the grid's lines on the magnified image; the warp is separable, so they stay straight."""
    height, width_px = warp.source_hw
    columns, rows = _places(width_px, step), _places(height, step)
    bars = [[x, 0.0, x, height] for x in columns] + [[0.0, y, width_px, y] for y in rows]
    ends = np.asarray(bars, dtype=np.float64).reshape(-1, 2)
    landed = _array.to_numpy(warp.points(ends)).reshape(-1, 4)
    return landed + np.array([-width, -width, width, width]) / 2
