"""Where each output pixel of an axis looks, and what it takes from the source pixels there.

The two axes of a warp are independent, so an image is resampled along one and then the other. Each axis is a list of
footprints: where an output pixel looks, and how wide. Which kernel an axis needs is decided here:

- `copy`: it looks exactly at its own pixel, `gather`: exactly at some pixel; both keep every bit;
- `linear`: no footprint is wider than a pixel, or no anti-aliasing is wanted;
- `box`: the average over the footprint where that is wider than a pixel, linear elsewhere (it meets linear at width 1);
- `cubic`: where the output is smaller than what it shows; the kernel is as wide as the footprint, at least a pixel.

Knows maps of one axis and no pixel values; measurements behind the choice of kernels are in docs/log.md.

References
----------
- R. Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 1981 (a = -1/2)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pmtools import _array
from pmtools.axes import AxisMap
from pmtools.interpolation import linear_taps
from pmtools.typing import Array, Ndarray

#: Positions closer than this, in pixels, are the same: rounding of coordinates is about 1e-12.
TOLERANCE = 1e-9
#: Output pixels that share one dense block of weights; small, since a block is mostly zeros.
BLOCK = 32


@dataclass(frozen=True)
class Footprints:
    """Where the output pixels of one axis look.

    Attributes
    ----------
    centre, low, high : arrays of shape (m,)
        Source position of the centre and of the two edges of every output pixel, cut to what is visible.
    outside : bool array of shape (m,)
        Output pixels whose centre shows nothing of the source.
    first, last : int
        The outermost visible source pixels.
    size : int
        Number of source pixels.
    """

    centre: Array
    low: Array
    high: Array
    outside: Array
    first: int
    last: int
    size: int

    def __len__(self) -> int:
        return int(self.centre.shape[0])

    @cached_property
    def partly_outside(self) -> bool:
        """Whether some output pixel shows nothing of the source."""
        return _array.somewhere(self.outside)

    @cached_property
    def averaging(self) -> str:
        """The kernel where output pixels may average: "box" or "cubic", or "" if no footprint is wider than a pixel."""
        _, low, high = self.positions
        width = high - low
        if width.max() <= 1 + TOLERANCE:
            return ""
        return "cubic" if len(self) < width.sum() - TOLERANCE else "box"

    @cached_property
    def widest(self) -> float:
        """The greatest width of a footprint, in source pixels."""
        _, low, high = self.positions
        return float(np.max(high - low, initial=0.0))

    @cached_property
    def exact(self) -> str:
        """The kernel that keeps every bit, "copy" or "gather"; "" if some output pixel looks between source pixels."""
        if _array.requires_grad(self.centre):  # a copy would have no gradient
            return ""
        offset = _array.to_numpy(self.centre) - 0.5
        if not bool(np.all(np.abs(offset - np.round(offset)) <= TOLERANCE)):
            return ""
        same = len(self) == self.size and bool(np.all(np.abs(offset - np.arange(self.size)) <= TOLERANCE))
        return "copy" if same else "gather"

    @cached_property
    def positions(self) -> tuple[Ndarray, Ndarray, Ndarray]:
        """`centre`, `low` and `high`, contiguous NumPy arrays in float64."""
        arrays = (_array.to_numpy(array) for array in (self.centre, self.low, self.high))
        centre, low, high = (np.ascontiguousarray(array, dtype=np.float64) for array in arrays)
        return centre, low, high

    @cached_property
    def plans(self) -> dict[tuple[object, ...], object]:
        """What a back end has made of this axis, under what it was made for."""
        return {}


def footprints(axis: AxisMap) -> list[Footprints]:
    """The footprints of one axis; one entry per map of a batch, a single one otherwise.

    Parameters
    ----------
    axis : AxisMap

    Returns
    -------
    list of Footprints
    """
    xp = _array.namespace(axis.like)
    n, m = axis.batch_size, axis.target_size
    half_steps = _array.arange(2 * m + 1, axis.like) / 2.0  # edges and centres of the output pixels in turn
    position = axis.backward(half_steps if n is None else xp.broadcast_to(half_steps, (n, 2 * m + 1)))
    positions = [position] if n is None else [position[i, ...] for i in range(n)]
    visible = _array.to_numpy(axis.window).reshape(-1, 2).tolist()
    result = []
    for position, (low, high) in zip(positions, visible, strict=True):
        if isinstance(position, np.ndarray) and low <= position[0] and position[-1] <= high:  # nothing to be cut
            cut, outside = position, np.zeros(m, bool)
        else:
            cut, centre = _array.clip(position, low, high), position[1::2]
            outside = (centre < low - TOLERANCE) | (centre > high + TOLERANCE)
        first = min(max(math.floor(low + TOLERANCE), 0), axis.source_size - 1)
        last = min(max(math.ceil(high - TOLERANCE) - 1, first), axis.source_size - 1)
        result.append(Footprints(cut[1::2], cut[:-1:2], cut[2::2], outside, first, last, axis.source_size))
    return result


def choose_kernel(axis: Footprints, *, antialias: bool) -> str:
    """The kernel this axis needs: "copy", "gather", "linear", "box" or "cubic"."""
    return (antialias and axis.averaging) or axis.exact or "linear"


def nearest_index(axis: Footprints) -> Array:
    """The source pixel under the centre of every output pixel, an integer array of shape (m,)."""
    xp = _array.namespace(axis.centre)
    index = xp.astype(xp.floor(axis.centre), xp.int64)
    return _array.clip(index, axis.first, axis.last)


def visible_taps(axis: Footprints) -> tuple[Array, Array, Array]:
    """`linear_taps` of the centres, kept to the visible pixels: first and second index, weight of the second, each (m,)."""
    first, second, weight = linear_taps(axis.centre, axis.size)
    return _array.clip(first, axis.first, axis.last), _array.clip(second, axis.first, axis.last), weight


def kernel_weights(axis: Footprints, kernel: str, outputs: slice, pixels: slice) -> Array:
    """Weights of the source pixels in `pixels` for the output pixels in `outputs`: rows that sum to 1.

    Parameters
    ----------
    axis : Footprints
    kernel : {"box", "cubic"}
    outputs, pixels : slice
        With start and stop.

    Returns
    -------
    array of shape (number of outputs, number of pixels)
    """
    xp = _array.namespace(axis.centre)
    left = _array.arange(pixels.stop - pixels.start, axis.centre, offset=float(pixels.start))[None, :]  # (1, k)
    centre = xp.clip(axis.centre[outputs], axis.first + 0.5, axis.last + 0.5)[:, None]  # (m, 1)
    low, high = axis.low[outputs][:, None], axis.high[outputs][:, None]
    distance = xp.abs(left + 0.5 - centre)
    if kernel == "cubic":
        weights = _keys(distance / xp.clip(high - low, 1.0, None))
    else:
        overlap = xp.clip(xp.minimum(high, left + 1.0) - xp.maximum(low, left), 0.0, None)
        weights = xp.where(high - low > 1.0, overlap, xp.clip(1.0 - distance, 0.0, None))
    return weights / xp.sum(weights, axis=1, keepdims=True)


def _keys(t: Array) -> Array:
    """Keys' cubic kernel with a = -1/2 at distances `t >= 0`; zero from 2 on."""
    xp = _array.namespace(t)
    near = (1.5 * t - 2.5) * t * t + 1.0
    far = ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    return xp.where(t < 1.0, near, xp.where(t < 2.0, far, xp.zeros_like(t)))


def blocks(axis: Footprints, kernel: str, step: int = BLOCK) -> list[tuple[slice, slice]]:
    """Runs of output pixels, and the source pixels each run needs."""
    low, high, centre = (_array.to_numpy(a) for a in (axis.low, axis.high, axis.centre))
    reach = 2.0 * np.maximum(high - low, 1.0) if kernel == "cubic" else np.full(len(axis), 1.0)
    start = np.clip(np.floor(np.minimum(low, centre - reach)).astype(int), axis.first, axis.last)
    stop = np.clip(np.ceil(np.maximum(high, centre + reach)).astype(int), axis.first + 1, axis.last + 1)
    return [
        (slice(i, min(i + step, len(axis))), slice(int(start[i : i + step].min()), int(stop[i : i + step].max())))
        for i in range(0, len(axis), step)
    ]
