"""What a warp does to named boxes: scales, pixels, patches, what else grew, and whether another tool would serve better.

Knows axes of warps; no images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pmtools._brief import brief
from pmtools.axes import AxisMap
from pmtools.axis_algebra import source_knots
from pmtools.typing import Ndarray, SizeHW

#: A stretch between x and y at which letters and faces look wrong.
_STRETCH = 1.5
#: A zoom below this makes little difference.
_HARDLY = 1.2


@dataclass(frozen=True, eq=False)
class WarpReport:
    """What a warp does to n boxes; print it for a table.

    Attributes
    ----------
    boxes_xyxy : float64 array of shape (n, 4)
        The boxes on the source.
    scale_x, scale_y : float64 arrays of shape (n,)
        Output pixels per source pixel, the mean over the box; NaN for a box without an area.
    zoom : float64 array of shape (n,)
        Magnification over a plain resize, of the two axes together: the root of how many times more pixels the box has.
    pixels, patches : float64 arrays of shape (n,)
        Output pixels, and patches of the model's input, that each box covers.
    boxes_share : float
        Share of the output that shows boxes, in [0, 1].
    ghosts_share : float
        Share of the output that is magnified along both axes without being in a box: beside them, and where the rows of one
        box cross the columns of another.
    rounding : float
        Greatest distance in source pixels along an axis, anywhere on the image, between a place that a model means and what is
        read when it says it in whole thousandths of the magnified image.
    tool : {"warp", "zoom_warp", "mosaic"}
        What serves these boxes best.
    advice : str
        Why, in a sentence.
    """

    boxes_xyxy: Ndarray
    scale_x: Ndarray
    scale_y: Ndarray
    zoom: Ndarray
    pixels: Ndarray
    patches: Ndarray
    boxes_share: float
    ghosts_share: float
    rounding: float
    tool: str
    advice: str

    def __repr__(self) -> str:
        return brief(self)

    def __str__(self) -> str:
        lines = ["  box  scale x  scale y     zoom     pixels   patches"]
        rows = zip(self.scale_x, self.scale_y, self.zoom, self.pixels, self.patches, strict=True)
        lines += [f"{i:5} {x:8.3f} {y:8.3f} {z:8.3f} {n:10.1f} {p:9.2f}" for i, (x, y, z, n, p) in enumerate(rows)]
        lines += [f"boxes {self.boxes_share:.1%} of the output, ghosts {self.ghosts_share:.1%}"]
        lines += [f"answers in thousandths are right to {self.rounding:.1f} source pixels", self.advice]
        return "\n".join(lines)


def report(x: AxisMap, y: AxisMap, boxes_xyxy: Ndarray, *, input_hw: SizeHW, patch_size: int) -> WarpReport:
    """The report on boxes, float64 of shape (n, 4), through the axes of a single warp; `Warp.report` checks its arguments."""
    axes = [axis.moved_like(np.empty(0)) for axis in (x, y)]
    low = [boxes_xyxy[:, i] for i in (0, 1)]
    high = [boxes_xyxy[:, i + 2] for i in (0, 1)]
    spread = [axis.forward(b) - axis.forward(a) for axis, a, b in zip(axes, low, high, strict=True)]
    with np.errstate(invalid="ignore", divide="ignore"):
        scale_x, scale_y = (np.where(b > a, s / (b - a), np.nan) for s, a, b in zip(spread, low, high, strict=True))
    resize = [axis.target_size / axis.source_size for axis in axes]
    zoom: Ndarray = np.sqrt(scale_x * scale_y / (resize[0] * resize[1]))
    pixels = spread[0] * spread[1]
    output = axes[0].target_size * axes[1].target_size
    patches = pixels / output * input_hw[0] * input_hw[1] / patch_size**2
    boxes_share, ghosts_share = _shares(axes, low, high)
    tool, advice = _advice(zoom, scale_x / scale_y, boxes_share, ghosts_share)
    rounding = max(_rounding(axis) for axis in axes)
    return WarpReport(
        boxes_xyxy, scale_x, scale_y, zoom, pixels, patches, boxes_share, ghosts_share, rounding, tool, advice
    )


def _rounding(axis: AxisMap) -> float:
    """The worst error of places rounded to thousandths: the map is monotone, so it is found where the rounding turns."""
    step = axis.target_size / 1000
    said, meant = axis.backward(np.arange(1001.0) * step), axis.backward((np.arange(1000) + 0.5) * step)
    return float(max((meant - said[:-1]).max(), (said[1:] - meant).max()))


def _shares(axes: list[AxisMap], low: list[Ndarray], high: list[Ndarray]) -> tuple[float, float]:
    """Shares of the output in boxes, and magnified along both axes but not in boxes."""
    edges, everything, grown = [], [], []
    for axis, a, b in zip(axes, low, high, strict=True):
        ends = np.array([0.0, axis.source_size])
        edges.append(np.unique(np.clip(np.concatenate([ends, a, b]), *ends)))
        knots = np.unique(np.clip(np.concatenate([edges[-1], source_knots(axis)]), *ends))
        there = np.clip(axis.forward(knots), 0.0, axis.target_size)
        mass = np.diff(there)
        larger = mass / np.diff(knots) > axis.target_size / axis.source_size * (1 + 1e-6)
        starts = np.searchsorted(knots, edges[-1][:-1])
        everything.append(np.add.reduceat(mass, starts) / axis.target_size)
        grown.append(np.add.reduceat(mass * larger, starts) / axis.target_size)
    inside = np.zeros((len(edges[1]) - 1, len(edges[0]) - 1), dtype=bool)
    for x0, y0, x1, y1 in zip(*low, *high, strict=True):
        columns, rows = (slice(*np.searchsorted(e, pair)) for e, pair in zip(edges, ((x0, x1), (y0, y1)), strict=True))
        inside[rows, columns] = True
    return float(everything[1] @ inside @ everything[0]), float(grown[1] @ ~inside @ grown[0])


def _advice(zoom: Ndarray, stretch: Ndarray, boxes_share: float, ghosts_share: float) -> tuple[str, str]:
    known = np.isfinite(zoom)
    if not known.any():
        return "warp", "There is no box with an area to judge by."
    least, worst = float(zoom[known].min()), float(np.exp(np.abs(np.log(stretch[known])).max()))
    if known.sum() > 1 and (least < _HARDLY or ghosts_share > 2 * boxes_share):
        return "mosaic", (
            f"One warp is the wrong tool: a box is magnified only {least:.2f} times, and {ghosts_share:.0%} of the output are "
            "places that merely share rows and columns with boxes; pmtools.mosaic gives each box a window of its own."
        )
    if worst > _STRETCH:
        return "zoom_warp", (
            f"Shapes are stretched up to {worst:.1f} times; pmtools.zoom_warp gives boxes one scale along x and y."
        )
    return "warp", "One warp serves."
