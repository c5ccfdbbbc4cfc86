"""Heatmaps that need no model: from boxes, points and masks; and control maps that ought not to help.

A heatmap covers the image; its grid is as fine as you like. Model-made ones are in `pmtools.adapters`.

Convention: boxes and points in continuous pixel-edge coordinates of the image; cell `i` of `n` covers `[i, i + 1) / n` of a side.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pmtools import _array, _checks
from pmtools.typing import Array, BoxesXYXY, Heatmap, Ndarray, PointsXY, SizeHW

#: Grid of maps made from boxes and points: fine enough for a button, coarse enough for smooth edges.
DEFAULT_GRID = (48, 48)


def from_boxes(boxes_xyxy: BoxesXYXY, /, *, source_hw: SizeHW, grid_hw: SizeHW = DEFAULT_GRID) -> Ndarray:
    """How much of each cell lies in a box, relative to the box's fullest cell; the greatest value where boxes overlap.

    So a box below the size of a cell counts as much as a large one.

    Parameters
    ----------
    boxes_xyxy : array of shape (4,) or (n, 4)
        x0, y0, x1, y1 in pixels, `x0 <= x1` and `y0 <= y1`. Parts beyond the image do not count. None at all give zeros.
    source_hw : (int, int)
        Height and width of the image.
    grid_hw : (int, int), optional
        Grid of the heatmap; never finer than the image.

    Returns
    -------
    float64 array of shape (h, w)
        In [0, 1].

    Raises
    ------
    ValueError
        If a box is turned around, or none of them touches the image.

    Examples
    --------
    >>> from_boxes([0, 0, 60, 40], source_hw=(80, 80), grid_hw=(2, 2))
    array([[1. , 0.5],
           [0. , 0. ]])
    """
    boxes = _checks.boxes(boxes_xyxy, "boxes_xyxy")
    (height, width), (h, w) = _grid(source_hw, grid_hw)
    share_x = _overlap(*_widened(boxes[:, 0], boxes[:, 2], width), width, w)  # (n, w)
    share_y = _overlap(*_widened(boxes[:, 1], boxes[:, 3], height), height, h)  # (n, h)
    shares = share_y[:, :, None] * share_x[:, None, :]  # (n, h, w)
    fullest = shares.max(axis=(1, 2), keepdims=True)
    if len(boxes) and not fullest.any():
        raise ValueError(
            f"`boxes_xyxy` must touch the image of {height} x {width} pixels; is it in pixels, x before y? got "
            f"{boxes[0].tolist()} at 0"
        )
    _checks.refuse_parts(boxes, "boxes_xyxy", (height, width))
    heatmap: Ndarray = (shares / np.where(fullest > 0, fullest, 1.0)).max(axis=0, initial=0.0)
    return heatmap


def from_points(
    points_xy: PointsXY, /, *, source_hw: SizeHW, grid_hw: SizeHW = DEFAULT_GRID, sigma: float | None = None
) -> Ndarray:
    """A Gaussian around each point; the greatest value where they overlap.

    Parameters
    ----------
    points_xy : array of shape (2,) or (n, 2)
        x, y in pixels, inside the image. None at all give zeros.
    source_hw : (int, int)
        Height and width of the image.
    grid_hw : (int, int), optional
        Grid of the heatmap; never finer than the image.
    sigma : float, optional
        Standard deviation in pixels, > 0. Default: 5 % of the image's longer side.

    Returns
    -------
    float64 array of shape (h, w)
        In [0, 1].

    Raises
    ------
    ValueError
        If a point lies outside the image.
    """
    (height, width), (h, w) = _grid(source_hw, grid_hw)
    points = _checks.points_on(points_xy, "points_xy", (height, width))
    if not len(points):
        return np.zeros((h, w))
    spread = (
        0.05 * max(height, width)
        if sigma is None
        else _checks.real_number(sigma, "sigma", minimum=0, exclusive_minimum=True)
    )
    x = (np.arange(w) + 0.5) * width / w
    y = (np.arange(h) + 0.5) * height / h
    square = (x[None, None, :] - points[:, 0, None, None]) ** 2 + (y[None, :, None] - points[:, 1, None, None]) ** 2
    nearest = square.min(axis=0)
    # relative to the nearest cell: a sigma far below a cell would otherwise underflow to an empty map
    heatmap: Ndarray = np.exp(-(nearest - nearest.min()) / (2 * spread**2))
    return heatmap


def from_mask(mask: Array, /, *, grid_hw: SizeHW | None = None) -> Ndarray:
    """A segmentation mask as a heatmap: the mean of the mask in each cell.

    Parameters
    ----------
    mask : array of shape (H, W) or PIL image of one band
        Booleans, or non-negative numbers; it covers the image.
    grid_hw : (int, int), optional
        Grid of the heatmap, never finer than the mask. Default: at most 48 x 48.

    Returns
    -------
    float64 array of shape (h, w)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.

    Examples
    --------
    >>> from_mask(np.eye(4, dtype=bool), grid_hw=(2, 2))
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    values = _array.to_numpy(_checks.weights(mask, "mask", labels=True))
    if values.ndim != 2:
        raise ValueError(
            f"`mask` must be 2-D (H, W), got shape {values.shape}; make one mask of them first, for example with any()"
        )
    (height, width), (h, w) = _grid(values.shape, DEFAULT_GRID if grid_hw is None else grid_hw)
    edges_y, edges_x = np.arange(height, dtype=float), np.arange(width, dtype=float)
    to_rows, to_columns = _overlap(edges_y, edges_y + 1, height, h).T, _overlap(edges_x, edges_x + 1, width, w).T
    to_rows, to_columns = to_rows / to_rows.sum(1, keepdims=True), to_columns / to_columns.sum(1, keepdims=True)
    heatmap: Ndarray = to_rows @ values.astype(np.float64) @ to_columns.T
    return heatmap


# ----------------------------------------------------------------------------------------------------- controls


def uniform(heatmap: Heatmap, /, *, rng: np.random.Generator | None = None) -> Heatmap:
    """The constant map on the same grid: no magnification at all.

    Parameters
    ----------
    heatmap : array of shape (..., h, w)
    rng : numpy.random.Generator, optional
        Not used; all controls share one signature.

    Returns
    -------
    array of shape (..., h, w)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    heatmap = _checks.weights(heatmap, "heatmap")
    return _array.namespace(heatmap).ones_like(heatmap)


def shuffled(heatmap: Heatmap, /, *, rng: np.random.Generator) -> Heatmap:
    """The same cells in random order: the values stay, the places and the shapes are lost.

    Parameters
    ----------
    heatmap : array of shape (..., h, w)
        Items of a batch are shuffled alike.
    rng : numpy.random.Generator

    Returns
    -------
    array of shape (..., h, w)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    heatmap = _checks.weights(heatmap, "heatmap")
    return _rearranged(heatmap, _checks.generator(rng, "rng").permutation(heatmap.shape[-2] * heatmap.shape[-1]))


def rolled(heatmap: Heatmap, /, *, rng: np.random.Generator) -> Heatmap:
    """The same map moved by a random whole number of cells, around the edges: the right shape at a random place.

    Parameters
    ----------
    heatmap : array of shape (..., h, w)
        Items of a batch are moved alike.
    rng : numpy.random.Generator

    Returns
    -------
    array of shape (..., h, w)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    heatmap = _checks.weights(heatmap, "heatmap")
    rng = _checks.generator(rng, "rng")
    shift = tuple(int(rng.integers(size)) for size in heatmap.shape[-2:])
    return _array.namespace(heatmap).roll(heatmap, shift, axis=(-2, -1))


def centred(heatmap: Heatmap, /, *, rng: np.random.Generator | None = None) -> Heatmap:
    """The same cells, the greatest in the middle and the others around it in order: what is known without looking.

    Parameters
    ----------
    heatmap : array of shape (..., h, w)
    rng : numpy.random.Generator, optional
        Not used; all controls share one signature.

    Returns
    -------
    array of shape (..., h, w)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    heatmap = _checks.weights(heatmap, "heatmap")
    xp = _array.namespace(heatmap)
    h, w = heatmap.shape[-2:]
    y, x = np.meshgrid((np.arange(h) + 0.5) / h - 0.5, (np.arange(w) + 0.5) / w - 0.5, indexing="ij")
    rank = np.argsort(np.argsort((x**2 + y**2).ravel(), kind="stable"), kind="stable")  # 0 in the middle
    flat = xp.reshape(heatmap, (*heatmap.shape[:-2], h * w))
    descending = xp.flip(xp.sort(flat, axis=-1), axis=-1)
    return _rearranged(xp.reshape(descending, tuple(heatmap.shape)), rank)


#: Control maps by name, one signature: control(heatmap, /, *, rng).
CONTROLS: dict[str, Callable[..., Heatmap]] = {
    "uniform": uniform,
    "shuffled": shuffled,
    "rolled": rolled,
    "centred": centred,
}


def _rearranged(heatmap: Array, order: Ndarray) -> Array:
    """Cell `i`, in reading order, takes the value of cell `order[i]`."""
    xp = _array.namespace(heatmap)
    shape = tuple(heatmap.shape)
    flat = xp.reshape(heatmap, (*shape[:-2], -1))
    index = xp.asarray(order, device=_array.device(heatmap))
    return xp.reshape(xp.take(flat, index, axis=-1), shape)


def _grid(source_hw: object, grid_hw: object) -> tuple[SizeHW, SizeHW]:
    source, grid = _checks.size_hw(source_hw, "source_hw"), _checks.size_hw(grid_hw, "grid_hw")
    return source, (min(grid[0], source[0]), min(grid[1], source[1]))


def _widened(low: Ndarray, high: Ndarray, size: int) -> tuple[Ndarray, Ndarray]:
    """Sides of boxes, those without a length a pixel long, so that they count like narrow ones."""
    flat = (low == high) & (low >= 0) & (high <= size)
    return np.where(flat, low - 0.5, low), np.where(flat, high + 0.5, high)


def _overlap(low: Ndarray, high: Ndarray, size: int, cells: int) -> Ndarray:
    """Share of each of `cells` equal cells of `[0, size]` that lies in `[low, high]`, shape (n, cells)."""
    edges = np.arange(cells + 1) * size / cells
    covered = np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1])
    result: Ndarray = np.clip(covered, 0.0, None) * (cells / size)
    return result
