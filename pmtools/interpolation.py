"""One-dimensional interpolation: piecewise linear maps on increasing knots, and linear resampling along an axis.

Knows nothing of images or warps: arrays of numbers only.
"""

from __future__ import annotations

import numpy as np

from pmtools import _array, _kernel
from pmtools.typing import Array, Ndarray


def interpolate(x: Array, knots_x: Array, knots_y: Array, /, *, out: Array | None = None) -> Array:
    r"""Piecewise linear map through knots, extended beyond them with the slope of the outermost pieces.

    $y = y_k + (x - x_k) (y_{k+1} - y_k) / (x_{k+1} - x_k)$ on piece $k$.

    Parameters
    ----------
    x : array of shape (..., q)
        Where to evaluate, one row per row of knots.
    knots_x, knots_y : arrays of shape (..., k)
        Knots, `k >= 2`; `knots_x` strictly increases.
    out : NumPy array of shape (..., q), optional
        Where the result goes, for float64 in NumPy; may be `x`.

    Returns
    -------
    array of shape (..., q)

    Examples
    --------
    >>> interpolate(np.array([-1.0, 0.5, 3.0]), np.array([0.0, 1.0, 2.0]), np.array([0.0, 4.0, 5.0]))
    array([-4.,  2.,  6.])
    """
    if isinstance(x, np.ndarray) and _kernel.takes_places(x, knots_x, knots_y):
        result: Ndarray = np.empty(x.shape) if out is None else out
        _kernel.interpolate(x, knots_x, knots_y, result)
        return result
    if out is not None:
        out[...] = interpolate(x, knots_x, knots_y)
        return out
    if _is_inside(x, knots_x):  # the same formula in one loop, four times as fast
        return np.interp(x, knots_x, knots_y)
    xp = _array.namespace(x)
    last_piece = knots_x.shape[-1] - 2
    piece = xp.clip(_count_knots_up_to(x, knots_x) - 1, 0, last_piece)
    x0, y0 = _gather(knots_x, piece), _gather(knots_y, piece)
    x1, y1 = _gather(knots_x, piece + 1), _gather(knots_y, piece + 1)
    return y0 + (x - x0) * ((y1 - y0) / (x1 - x0))


def _is_inside(x: Array, knots: Array) -> bool:
    """Whether `x` is all NumPy, and all between the outermost of a single row of knots."""
    if not isinstance(x, np.ndarray) or knots.ndim != 1 or not x.size:
        return False
    return bool(knots[0] <= x.min() and x.max() <= knots[-1])


def _count_knots_up_to(x: Array, knots: Array) -> Array:
    """How many knots are <= x, row by row: `searchsorted` from the right, with leading axes."""
    xp = _array.namespace(x)
    if knots.ndim == 1 or _array.is_torch(x):  # the standard's search has no leading axes, PyTorch's has
        return xp.searchsorted(_array.contiguous(knots), _array.contiguous(x), side="right")
    rows = [_count_knots_up_to(x[i, ...], knots[i, ...]) for i in range(x.shape[0])]
    return xp.stack(rows)


def _gather(values: Array, index: Array) -> Array:
    """`values[..., index]` row by row."""
    xp = _array.namespace(values)
    return xp.take(values, index, axis=0) if values.ndim == 1 else xp.take_along_axis(values, index, axis=-1)


def linear_taps(centres: Array, size: int) -> tuple[Array, Array, Array]:
    """The two samples around each position, and the weight of the second.

    Convention: sample `i` sits at `i + 0.5`; positions outside the outermost centres take the nearest sample.

    Parameters
    ----------
    centres : array of shape (q,)
        Positions in samples.
    size : int
        Number of samples.

    Returns
    -------
    first, second : integer arrays of shape (q,)
    weight : array of shape (q,), in [0, 1)
        0 where the first sample alone counts. The second is its neighbour there too, so that a position has a slope.
    """
    xp = _array.namespace(centres)
    position = _array.clip(centres - 0.5, 0.0, float(size - 1))
    below = xp.floor(position)
    weight = position - below
    first = xp.astype(below, xp.int64)
    return first, _array.clip(first + 1, 0, size - 1), weight


def resample_axis(values: Array, size: int, /, *, axis: int) -> Array:
    """`values` linearly resampled to `size` samples along one axis, both grids covering the same span.

    Convention: sample `i` of `n` sits at `(i + 0.5) / n` of the span; edges replicate.

    Parameters
    ----------
    values : array of shape (..., n, ...)
        Floating-point.
    size : int
        Wanted number of samples.
    axis : int
        Axis to resample.

    Returns
    -------
    array of shape (..., size, ...)

    Examples
    --------
    >>> resample_axis(np.array([0.0, 1.0]), 4, axis=0)
    array([0.  , 0.25, 0.75, 1.  ])
    """
    xp = _array.namespace(values)
    n = values.shape[axis]
    if n == size:
        return values
    first, second, weight = linear_taps(_array.arange(size, values, offset=0.5) * (n / size), n)
    shape = [1] * values.ndim
    shape[axis] = size
    weight = xp.reshape(xp.astype(weight, values.dtype), tuple(shape))
    return xp.take(values, first, axis=axis) * (1 - weight) + xp.take(values, second, axis=axis) * weight
