"""Marks of a user on a picture (points, boxes, brush strokes) and their heatmap.

Marks come from a browser, so all of their fields are checked.

Convention: continuous pixel-edge coordinates of the picture, `(x, y)` from its top-left corner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pmtools import frames, heatmaps
from pmtools.app.pictures import PageError
from pmtools.typing import SizeHW

#: Sides a stroke's mask is drawn at: finer than the heatmap's grid by far.
_MASK_SIDE = 480
_MOST_MARKS, _MOST_NUMBERS = 200, 20_000
_COUNTS = {"point": 2, "box": 4}


@dataclass(frozen=True)
class Mark:
    """One mark.

    Attributes
    ----------
    kind : {"point", "box", "stroke"}
    xy : tuple of float
        x, y; or x0, y0, x1, y1; or x, y, x, y, ... along a stroke.
    radius : float
        Of a stroke, in pixels.
    """

    kind: str
    xy: tuple[float, ...]
    radius: float = 0.0


def read_mark(data: Any, /, *, size_hw: SizeHW) -> Mark:
    """The mark that the browser describes, clipped to the picture.

    Parameters
    ----------
    data : dict
        `kind`, `xy`, and `radius` for a stroke.
    size_hw : (int, int)
        Height and width of the picture.

    Returns
    -------
    Mark

    Raises
    ------
    PageError
        If it is not a mark, or is a box without width or height.
    """
    height, width = size_hw
    try:
        kind, xy, radius = data["kind"], np.asarray(data["xy"], dtype=np.float64), float(data.get("radius", 0.0))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise PageError("The page sent a mark that cannot be read; reload it.") from None
    whole = xy.ndim == 1 and 2 <= xy.size <= _MOST_NUMBERS and xy.size % 2 == 0 and bool(np.isfinite(xy).all())
    if kind not in ("point", "box", "stroke") or not whole or xy.size != _COUNTS.get(kind, xy.size):
        raise PageError("The page sent a mark that cannot be read; reload it.")
    if kind == "stroke" and not 0 < radius <= max(size_hw):
        raise PageError("A brush needs a radius between 0 and the size of the picture.")
    xy = np.clip(xy.reshape(-1, 2), 0, (width, height))
    if kind == "box":
        xy = np.stack([xy.min(axis=0), xy.max(axis=0)])
        if not (xy[0] < xy[1]).all():
            raise PageError("A box needs some width and height: drag from one corner to the opposite one.")
    return Mark(kind, tuple(float(value) for value in xy.ravel()), radius if kind == "stroke" else 0.0)


def with_mark(marks: Sequence[Mark], mark: Mark, /) -> tuple[Mark, ...]:
    """The marks with another one added.

    Parameters
    ----------
    marks : sequence of Mark
    mark : Mark

    Returns
    -------
    tuple of Mark

    Raises
    ------
    PageError
        If there are too many.
    """
    if len(marks) >= _MOST_MARKS:
        raise PageError(f"This page holds up to {_MOST_MARKS} marks; clear some first.")
    return (*marks, mark)


def heatmap_of(marks: Sequence[Mark], /, *, size_hw: SizeHW) -> np.ndarray[Any, Any] | None:
    """Heatmap of all marks: the greatest value where they overlap.

    Points and boxes as in `pmtools magnify --point --box`.

    Parameters
    ----------
    marks : sequence of Mark
    size_hw : (int, int)
        Height and width of the picture.

    Returns
    -------
    float64 array of shape (h, w), or None
        None without marks.
    """
    maps = [heatmaps.from_boxes(mark.xy, source_hw=size_hw) for mark in marks if mark.kind == "box"]
    maps += [heatmaps.from_points(mark.xy, source_hw=size_hw) for mark in marks if mark.kind == "point"]
    strokes = [mark for mark in marks if mark.kind == "stroke"]
    if strokes:
        painted = heatmaps.from_mask(stroke_mask(strokes, size_hw=size_hw), grid_hw=_grid(size_hw))
        maps.append(painted / painted.max())
    return np.max(maps, axis=0) if maps else None


def stroke_mask(strokes: Sequence[Mark], /, *, size_hw: SizeHW) -> np.ndarray[Any, Any]:
    """What brush strokes cover, on a grid that covers the picture.

    A cell is covered where its centre is within the radius of a stroke's line.

    Parameters
    ----------
    strokes : sequence of Mark
    size_hw : (int, int)
        Height and width of the picture.

    Returns
    -------
    bool array of shape (h, w)
        Never empty: at least the cell under a stroke is covered.
    """
    scale = min(1.0, _MASK_SIDE / max(size_hw))
    least = _grid(size_hw)  # long, thin pictures: the heatmap's own grid
    grid = (max(least[0], round(size_hw[0] * scale)), max(least[1], round(size_hw[1] * scale)))
    to_picture = frames.resize(size_hw, grid).inverse_points
    y, x = np.mgrid[: grid[0], : grid[1]] + 0.5
    cells = to_picture(np.stack([x, y], axis=-1))  # (h, w, 2), centres in pixels of the picture
    covered = np.zeros(grid, dtype=bool)
    for stroke in strokes:
        path = np.asarray(stroke.xy).reshape(-1, 2)
        for start, end in zip(path, path[1:] if len(path) > 1 else path, strict=False):
            _cover(covered, cells, start, end, stroke.radius)
        column, row = np.minimum(frames.resize(size_hw, grid).points(path[0]).astype(int), (grid[1] - 1, grid[0] - 1))
        covered[row, column] = True
    return covered


def _cover(covered: Any, cells: Any, start: Any, end: Any, radius: float) -> None:
    """Mark the cells within `radius` of the line from `start` to `end`; only those around it are looked at."""
    x, y = cells[0, :, 0], cells[:, 0, 1]
    low, high = np.minimum(start, end) - radius, np.maximum(start, end) + radius
    window = (slice(*np.searchsorted(y, (low[1], high[1]))), slice(*np.searchsorted(x, (low[0], high[0]))))
    near = cells[window]
    along = end - start
    length = float(along @ along)
    share = np.clip((near - start) @ along / length, 0, 1) if length else np.zeros(near.shape[:-1])
    away = near - start - share[..., None] * along
    covered[window] |= (away**2).sum(axis=-1) <= radius**2


def _grid(size_hw: SizeHW) -> SizeHW:
    """The grid that boxes and points have, so that maps can be put together."""
    return min(heatmaps.DEFAULT_GRID[0], size_hw[0]), min(heatmaps.DEFAULT_GRID[1], size_hw[1])
