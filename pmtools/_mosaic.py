"""Mosaic: many small places on one canvas, each in a window of its own scale, beside an overview of the whole image.

A separable warp has one scale per row and column, so scattered boxes cannot all grow; windows can.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from pmtools import _checks, _images
from pmtools.typing import BoxesXYXY, Image, Ndarray, SizeHW
from pmtools.windows import Mosaic

#: Output pixels per source pixel that a window has at most: beyond it, it shows more around its box instead.
MAX_SCALE = 8.0


def fit_mosaic(
    boxes_xyxy: BoxesXYXY,
    /,
    *,
    source_hw: SizeHW,
    target_hw: SizeHW,
    margin: float = 0.0,
    max_scale: float = MAX_SCALE,
) -> Mosaic:
    """Windows around boxes, and a canvas that holds them all beside an overview.

    The canvas is a grid of equal rows with the overview first and the boxes in their order; of all numbers of rows the one that
    makes the smallest window scale the greatest, then the overview. A window is its box with a margin, grown to the proportions
    of its cell with what is around it. Scales are the same along x and y.

    Parameters
    ----------
    boxes_xyxy : array of shape (4,) or (n, 4)
        x0, y0, x1, y1 in pixels, `x0 <= x1` and `y0 <= y1`, touching the image. None at all give the overview alone.
    source_hw, target_hw : (int, int)
        Height and width of the image and of the canvas.
    margin : float, optional
        Source pixels around every box that its window shows too, >= 0.
    max_scale : float, optional
        Output pixels per source pixel that a window has at most, > 0.

    Returns
    -------
    Mosaic

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above, or the canvas has too few pixels for so many windows.

    Examples
    --------
    >>> mosaic = fit_mosaic([[10, 10, 20, 20], [80, 70, 90, 75]], source_hw=(100, 100), target_hw=(64, 96))
    >>> mosaic.scale.round(2)
    array([3.2 , 3.2 , 0.32])
    >>> placed = mosaic.points([12, 15])
    >>> placed.window, mosaic.inverse_points(placed.coordinates).coordinates.round(9)
    (array(0), array([12., 15.]))
    """
    boxes = _checks.boxes_on(boxes_xyxy, "boxes_xyxy", _checks.size_hw(source_hw, "source_hw"))
    source_hw, target_hw = _checks.size_hw(source_hw, "source_hw"), _checks.size_hw(target_hw, "target_hw")
    margin = _checks.real_number(margin, "margin", minimum=0.0)
    max_scale = _checks.real_number(max_scale, "max_scale", minimum=0.0, exclusive_minimum=True)
    sides = np.array(source_hw[::-1], dtype=np.float64)
    low = np.clip(boxes[:, :2] - margin, 0.0, sides)
    high = np.clip(boxes[:, 2:] + margin, 0.0, sides)
    low, high = np.vstack([low, [0.0, 0.0]]), np.vstack([high, sides])
    count = len(boxes) + 1
    grids = [_grid(count, rows, target_hw) for rows in range(1, count + 1)]
    fits = [(_scales(high - low, cells, max_scale), cells) for cells in grids if cells is not None]
    if not fits:
        raise ValueError(
            f"`target_hw` must have a pixel at least for each of {count} windows, got {target_hw}; enlarge it"
        )
    scale, cells = max(fits, key=lambda fit: (float(fit[0][:-1].min(initial=np.inf)), float(fit[0][-1])))
    extent = (cells[:, 2:] - cells[:, :2]) / scale[:, None]
    # inside the image where it fits in, otherwise with the image in its middle
    corner = np.clip((low + high - extent) / 2, 0.0, np.maximum(sides - extent, 0.0))
    corner = np.where(extent > sides, (sides - extent) / 2, corner)
    return Mosaic(source_hw, target_hw, np.concatenate([corner, corner + extent], axis=1), cells, scale)


def mosaic(
    image: Image,
    boxes_xyxy: BoxesXYXY,
    /,
    *,
    size_hw: SizeHW,
    margin: float = 0.0,
    max_scale: float = MAX_SCALE,
    antialias: bool = True,
    channel_axis: int | None = None,
    fill: Any = 0,
) -> Image:
    """Many boxes of an image on one canvas, each in a window of its own scale, beside an overview.

    The same as `fit_mosaic(boxes, ...).image(image)`; use that to take coordinates both ways.

    Parameters
    ----------
    image : PIL image or array
        Kinds and layouts as in `Warp.image`.
    boxes_xyxy : array of shape (4,) or (n, 4)
        x0, y0, x1, y1 in pixels.
    size_hw : (int, int)
        Height and width of the canvas.
    margin, max_scale
        As in `fit_mosaic`.
    antialias, channel_axis, fill
        As in `Warp.image`.

    Returns
    -------
    PIL image or array
        Of size `size_hw`; kind, layout, dtype and device of `image`.

    Examples
    --------
    >>> mosaic(np.zeros((100, 100, 3)), [[10, 10, 20, 20], [80, 70, 90, 75]], size_hw=(64, 96)).shape
    (64, 96, 3)
    """
    _images.refuse_turned(image)
    source_hw = _images.image_hw(image, channel_axis=channel_axis)
    fitted = fit_mosaic(boxes_xyxy, source_hw=source_hw, target_hw=size_hw, margin=margin, max_scale=max_scale)
    return fitted.image(image, antialias=antialias, channel_axis=channel_axis, fill=fill)


def _grid(count: int, rows: int, size_hw: SizeHW) -> Ndarray | None:
    """Cells of `rows` equal rows, shape (count, 4), the first one, the overview, at the end; None where a cell is empty."""
    height, width = size_hw
    columns = math.ceil(count / rows)
    if rows != math.ceil(count / columns):
        return None  # a row would be empty
    cells = []
    for row in range(rows):
        here = min(columns, count - row * columns)
        top, bottom = row * height // rows, (row + 1) * height // rows
        edges = [i * width // here for i in range(here + 1)]
        cells += [(left, top, right, bottom) for left, right in itertools.pairwise(edges)]
    grid = np.array([*cells[1:], cells[0]])
    return grid if bool((grid[:, 2:] > grid[:, :2]).all()) else None


def _scales(extents: Ndarray, cells: Ndarray, max_scale: float) -> Ndarray:
    """The greatest scale at which each box fits its cell; the overview, at the end, has no bound."""
    bound = np.append(np.full(len(cells) - 1, max_scale), np.inf)[:, None]
    with np.errstate(divide="ignore", over="ignore"):  # a box without an area
        fits: Ndarray = np.minimum((cells[:, 2:] - cells[:, :2]) / extents, bound).min(axis=1)
    return fits
