"""Resampling of pixels along two monotone axes: nearest, linear, box and cubic, for NumPy and for any array namespace.

The two axes of a warp are independent, so an image is resampled along one and then the other. Each axis is a list of
footprints: where an output pixel looks, and how wide. Which kernel an axis needs is decided here:

- `copy`: it looks exactly at its own pixel, `gather`: exactly at some pixel; both keep every bit;
- `linear`: no footprint is wider than a pixel, or no anti-aliasing is wanted;
- `box`: the average over the footprint where that is wider than a pixel, linear elsewhere (it meets linear at width 1);
- `cubic`: where the output is smaller than what it shows; the kernel is as wide as the footprint, at least a pixel.

Three back ends do the same: `_kernel` (compiled, optional; 8 and 16-bit and float32 pixels in main memory), NumPy, and the
generic one for every other namespace and device, which is differentiable.

Knows nothing of maps; measurements behind the choice of kernels are in docs/log.md.

References
----------
- R. Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 1981 (a = -1/2)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pmtools import _array, _kernel
from pmtools.axes import AxisMap
from pmtools.interpolation import linear_taps
from pmtools.typing import Array

#: Positions closer than this, in pixels, are the same: rounding of coordinates is about 1e-12.
TOLERANCE = 1e-9
#: Output pixels that share one dense block of weights; small, since a block is mostly zeros.
BLOCK = 32
#: Pixels of a chunk of rows that NumPy interpolates at a time: in four floats each they stay in the second-level cache.
CHUNK_PIXELS = 1 << 15
#: Memory for chunks, fetched at once and used as far as needed; NumPy asks for huge pages from 4 MiB on.
SCRATCH_BYTES = (1 << 22) - (1 << 12)


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
    position = xp.reshape(position, (-1, 2 * m + 1))
    visible = _array.to_numpy(axis.window).reshape(-1, 2)
    result = []
    for i in range(n or 1):
        low, high = float(visible[i, 0]), float(visible[i, 1])
        cut = xp.clip(position[i, ...], low, high)
        centre = position[i, 1::2]
        first = min(max(int(np.floor(low + TOLERANCE)), 0), axis.source_size - 1)
        last = min(max(int(np.ceil(high - TOLERANCE)) - 1, first), axis.source_size - 1)
        outside = (centre < low - TOLERANCE) | (centre > high + TOLERANCE)
        result.append(Footprints(cut[1::2], cut[:-1:2], cut[2::2], outside, first, last, axis.source_size))
    return result


def choose_kernel(axis: Footprints, *, antialias: bool) -> str:
    """The kernel this axis needs: "copy", "gather", "linear", "box" or "cubic"."""
    if _array.requires_grad(axis.centre):  # a copy would have no gradient
        exact = False
    else:
        offset = _array.to_numpy(axis.centre) - 0.5
        exact = bool(np.all(np.abs(offset - np.round(offset)) <= TOLERANCE))
    if antialias:
        width = _array.to_numpy(axis.high) - _array.to_numpy(axis.low)
        if bool(np.any(width > 1 + TOLERANCE)):
            return "cubic" if len(axis) < width.sum() - TOLERANCE else "box"
    if not exact:
        return "linear"
    same = len(axis) == axis.size and bool(np.all(np.abs(offset - np.arange(axis.size)) <= TOLERANCE))
    return "copy" if same else "gather"


def nearest_index(axis: Footprints) -> Array:
    """The source pixel under the centre of every output pixel, an integer array of shape (m,)."""
    xp = _array.namespace(axis.centre)
    index = xp.astype(xp.floor(axis.centre), xp.int64)
    return xp.clip(index, axis.first, axis.last)


def resample(
    pixels: Array, rows: Footprints, columns: Footprints, /, *, antialias: bool = True, nearest: bool = False
) -> Array:
    """Pixels looked up at the footprints of both axes; the one door in front of all back ends.

    Parameters
    ----------
    pixels : array of shape (n, H, W, C)
        Any real dtype. With PyTorch the channels may be last in name only: a permuted view is fine.
    rows, columns : Footprints
        In the namespace and on the device of `pixels`.
    antialias : bool, optional
        Average where an output pixel covers more than one source pixel.
    nearest : bool, optional
        Take the pixel under the centre instead of interpolating: for labels.

    Returns
    -------
    array of shape (n, len(rows), len(columns), C)
        dtype of `pixels`; integers are rounded and clipped, booleans are True from one half on. NaN and infinity make NaN of
        the output pixels that touch them, and of no other. `pixels` itself, no copy, where nothing moves.
    """
    if nearest:
        return _take(_take(pixels, nearest_index(rows), 1), nearest_index(columns), 2)
    kernels = choose_kernel(rows, antialias=antialias), choose_kernel(columns, antialias=antialias)
    if kernels == ("copy", "copy"):
        return pixels
    if set(kernels) <= {"copy", "gather"}:
        return _take(_take(pixels, nearest_index(rows), 1), nearest_index(columns), 2)
    limits = _limits(pixels, kernels)
    if limits is not None and not _is_finite(
        limits
    ):  # a product with a block of weights would spread NaN over the block
        xp = _array.namespace(pixels)
        unknown = ~xp.isfinite(pixels)
        known = xp.where(unknown, xp.zeros_like(pixels), pixels)
        clean = _dispatch(known, rows, columns, kernels, _limits(known, kernels))
        touched = _dispatch(xp.astype(unknown, pixels.dtype), rows, columns, kernels, None) != 0
        return xp.where(touched, xp.full_like(clean, np.nan), clean)
    return _dispatch(pixels, rows, columns, kernels, limits)


def _dispatch(
    pixels: Array,
    rows: Footprints,
    columns: Footprints,
    kernels: tuple[str, str],
    limits: tuple[Array, Array] | None,
) -> Array:
    if not isinstance(
        pixels, np.ndarray
    ):  # elsewhere rounding may leave the range by an ulp, so that gradients need no clip
        return _resample_generic(pixels, rows, columns, kernels, limits if "cubic" in kernels else None)
    back_end = _kernel.resample if _kernel.serves(pixels) else _resample_numpy
    return back_end(pixels, rows, columns, kernels, limits)


def fill_outside(pixels: Array, rows: Footprints, columns: Footprints, fill: Array, /) -> Array:
    """`pixels` of shape (n, H, W, C) with `fill`, of shape () or (C,), where nothing of the source shows."""
    xp = _array.namespace(pixels)
    if not (bool(xp.any(rows.outside)) or bool(xp.any(columns.outside))):
        return pixels
    mask = rows.outside[:, None, None] | columns.outside[None, :, None]  # (H, W, 1)
    return xp.where(mask[None, ...], fill, pixels)


# --------------------------------------------------------------------------------------------------- weights


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


def _blocks(axis: Footprints, kernel: str, step: int = BLOCK) -> list[tuple[slice, slice]]:
    """Runs of output pixels, and the source pixels each run needs."""
    low, high, centre = (_array.to_numpy(a) for a in (axis.low, axis.high, axis.centre))
    reach = 2.0 * np.maximum(high - low, 1.0) if kernel == "cubic" else np.full(len(axis), 1.0)
    start = np.clip(np.floor(np.minimum(low, centre - reach)).astype(int), axis.first, axis.last)
    stop = np.clip(np.ceil(np.maximum(high, centre + reach)).astype(int), axis.first + 1, axis.last + 1)
    return [
        (slice(i, min(i + step, len(axis))), slice(int(start[i : i + step].min()), int(stop[i : i + step].max())))
        for i in range(0, len(axis), step)
    ]


# ------------------------------------------------------------------------------------------- dtypes in and out


def _compute_dtype(pixels: Array) -> Any:
    """float32 where it holds every value exactly, otherwise float64 (float32 on devices that have no other)."""
    xp = _array.namespace(pixels)
    narrow = ("float16", "bfloat16", "float32", "bool", "int8", "uint8", "int16", "uint16")
    return xp.float32 if str(pixels.dtype).rpartition(".")[2] in narrow else _array.wide_dtype(pixels)


def store_like(values: Array, like: Array, limits: tuple[Array, Array] | None = None) -> Array:
    """`values` in the dtype of `like`: clipped to `limits`, rounded and clipped for integers, True from 1/2 on for booleans."""
    xp = _array.namespace(values)
    if _array.is_bool(like):
        return values >= 0.5
    if limits is not None:
        values = xp.clip(values, *limits)
    if _array.is_integer(like):
        low, high = _integer_range(like)
        values = xp.clip(xp.round(values), low, high)
    return xp.astype(values, like.dtype, copy=False)


def _integer_range(like: Array) -> tuple[float, float]:
    """The range of an integer dtype, in floats that do not overflow it."""
    info = _array.namespace(like).iinfo(like.dtype)
    high = float(info.max)
    return float(info.min), high if int(high) <= int(info.max) else float(np.nextafter(high, 0.0))


def _limits(pixels: Array, kernels: tuple[str, str]) -> tuple[Array, Array] | None:
    """The range of each image, which its result keeps; None for integers that cannot leave it, or only as far as their dtype."""
    narrow = _array.is_bool(pixels) or str(pixels.dtype).rpartition(".")[2] in ("uint8", "uint16")
    if narrow or ("cubic" not in kernels and not _array.is_floating(pixels)):
        return None
    xp, dtype, each = _array.namespace(pixels), _compute_dtype(pixels), (1, 2, 3)
    values = (
        pixels if _array.is_floating(pixels) else xp.astype(pixels, dtype)
    )  # PyTorch orders no wide unsigned integers
    low, high = xp.min(values, axis=each, keepdims=True), xp.max(values, axis=each, keepdims=True)
    return xp.astype(low, dtype, copy=False), xp.astype(high, dtype, copy=False)


def _is_finite(limits: tuple[Array, Array]) -> bool:
    """Whether nothing between the limits is NaN or infinite: either would show in one of them."""
    xp = _array.namespace(limits[0])
    return bool(xp.all(xp.isfinite(limits[0]) & xp.isfinite(limits[1])))


def _take(pixels: Array, index: Array, axis: int) -> Array:
    return _array.namespace(pixels).take(pixels, index, axis=axis)


# --------------------------------------------------------------------------------------------------- back ends


def _resample_numpy(
    pixels: np.ndarray[Any, Any],
    rows: Footprints,
    columns: Footprints,
    kernels: tuple[str, str],
    limits: tuple[Array, Array] | None,
) -> np.ndarray[Any, Any]:
    """Chunks of output rows go through both axes while they are in the cache, so memory stays small."""
    n, _, _, channels = pixels.shape
    dtype = _compute_dtype(pixels)
    if limits is not None and bool(np.any(limits[1] / 2 - limits[0] / 2 > np.finfo(dtype).max / 2)):
        half = (limits[0] / 2, limits[1] / 2)  # differences of such values would overflow
        return 2 * _resample_numpy(pixels / 2, rows, columns, kernels, half)
    out = np.empty((n, len(rows), len(columns), channels), dtype=pixels.dtype)
    scratch = _Scratch(dtype)
    row_chunks = _row_chunks(rows, kernels[0], scratch, max(columns.size, len(columns)))
    along_columns = _column_pass(columns, kernels[1], scratch, channels)
    in_range = (
        pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2 and "cubic" not in kernels
    )  # averages stay in it
    for image in range(n):
        bounds = None if limits is None else (limits[0][image], limits[1][image])
        for outputs, along_rows in row_chunks:
            values = along_columns(along_rows(pixels[image]))
            values = np.rint(values, out=values) if in_range else store_like(values, pixels, bounds)
            _copy_channels(values, out[image, outputs])
    return out


def _copy_channels(values: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
    """`out[...] = values`, of which channels that only padded are left out."""
    if values.shape == out.shape:
        out[...] = values
    else:
        for c in range(out.shape[-1]):  # one long loop each, instead of many short ones over the channels
            out[..., c] = values[..., c]


class _Scratch:
    """Memory that the chunks of one call use in turn.

    In one piece, which the C library keeps for the next call: many small ones go back to the system each time, and fetching
    them anew, page by page, takes longer than the arithmetic.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self._held: dict[str, np.ndarray[Any, Any]] = {}
        self._free = np.empty(0, dtype=dtype)

    def __call__(self, name: str, *shape: int) -> np.ndarray[Any, Any]:
        """An array with this shape and any values, over what this name stood for before."""
        size = math.prod(shape)
        if name not in self._held or self._held[name].size < size:
            if self._free.size < size:
                self._free = np.empty(max(size, SCRATCH_BYTES // self.dtype.itemsize), dtype=self.dtype)
            self._held[name], self._free = self._free[:size], self._free[size:]
        return self._held[name][:size].reshape(shape)


_Pass = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def _row_chunks(axis: Footprints, kernel: str, scratch: _Scratch, width: int) -> list[tuple[slice, _Pass]]:
    """For each chunk of output rows, the function that makes it, (H, W, C) -> (chunk, W, C)."""
    dtype, step = scratch.dtype, max(1, CHUNK_PIXELS // width)
    if kernel in ("box", "cubic"):
        blocks = _blocks(axis, kernel, min(max(step, BLOCK // 2), BLOCK))
        return [(o, _row_product(kernel_weights(axis, kernel, o, p).astype(dtype), p, scratch)) for o, p in blocks]
    first, second, weight = linear_taps(axis.centre, axis.size)
    if kernel != "linear":
        first = second = nearest_index(axis)
        weight = np.zeros(len(axis))
    first, second = (np.clip(index, axis.first, axis.last) for index in (first, second))
    weight = weight.astype(dtype)[:, None, None]
    chunks = [slice(i, min(i + step, len(axis))) for i in range(0, len(axis), step)]
    return [(o, _row_lerp(first[o], second[o], weight[o], scratch)) for o in chunks]


def _row_product(weights: np.ndarray[Any, Any], pixels: slice, scratch: _Scratch) -> _Pass:
    taps = weights.shape[1]
    step = max(1, CHUNK_PIXELS // taps)  # columns at a time: a strong reduction needs many rows

    def along_rows(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        _, width, channels = image.shape
        out = scratch("rows", len(weights), width * channels)
        chunk = scratch("chunk", max(CHUNK_PIXELS, taps) * channels)
        for x in range(0, width, step):
            part = image[pixels, x : x + step]
            values = chunk[: part.size].reshape(part.shape)
            values[...] = part
            np.matmul(weights, values.reshape(taps, -1), out=out[:, x * channels : (x + step) * channels])
        return out.reshape(-1, width, channels)

    return along_rows


def _row_lerp(first: Any, second: Any, weight: Any, scratch: _Scratch) -> _Pass:
    def along_rows(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        a, b = (scratch(name, len(first), *image.shape[1:]) for name in ("first rows", "second rows"))
        a[...], b[...] = image[first], image[second]
        return _lerp(a, b, weight)

    return along_rows


def _column_pass(axis: Footprints, kernel: str, scratch: _Scratch, channels: int) -> _Pass:
    """The function that resamples the columns of a chunk, (chunk, W, C) -> (chunk, len(axis), C), or 4 channels for 3."""
    dtype = scratch.dtype
    if kernel == "copy":
        return lambda chunk: chunk
    if kernel in ("box", "cubic"):
        blocks = [(o, p, kernel_weights(axis, kernel, o, p).astype(dtype).T) for o, p in _blocks(axis, kernel)]

        def product(chunk: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            height, width, channels = chunk.shape
            planes = scratch("planes", height, channels, width)
            planes[...] = chunk.transpose(0, 2, 1)
            planes = planes.reshape(height * channels, width)
            out = scratch("columns", height * channels, len(axis))
            for outputs, pixels, weights in blocks:
                np.matmul(planes[:, pixels], weights, out=out[:, outputs])
            return out.reshape(height, channels, len(axis)).transpose(0, 2, 1)

        return product

    first, second, weight = linear_taps(axis.centre, axis.size)
    if kernel == "gather":
        index = nearest_index(axis)
        return lambda chunk: np.take(chunk, index, axis=1)
    first, second = (np.clip(index, axis.first, axis.last) for index in (first, second))
    weight = np.repeat(weight.astype(dtype)[:, None], 4 if channels == 3 else channels, axis=1)  # NumPy repeats slowly

    def lerp(chunk: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        chunk = _pad_to_four(chunk, scratch)
        height, _, channels = chunk.shape
        a, b = (scratch(name, height, len(axis), channels) for name in ("first columns", "second columns"))
        np.take(chunk, first, axis=1, out=a, mode="clip")
        np.take(chunk, second, axis=1, out=b, mode="clip")
        return _lerp(a, b, weight)

    return lerp


def _pad_to_four(chunk: np.ndarray[Any, Any], scratch: _Scratch) -> np.ndarray[Any, Any]:
    """(rows, W, 3) as (rows, W, 4), because NumPy gathers powers of two faster; the fourth number means nothing."""
    height, width, channels = chunk.shape
    if channels != 3:
        return chunk
    chunk = np.ascontiguousarray(chunk)
    padded = scratch("padded", height * width, 4)
    # each pixel and the first number of the next, in one move; there is no next one after the last
    four = np.dtype((np.void, padded.strides[0]))
    padded[:-1].view(four)[:, 0] = np.ndarray(len(padded) - 1, four, chunk, strides=(3 * chunk.itemsize,))
    padded[-1] = (*chunk[-1, -1], 0)
    return padded.reshape(height, width, 4)


def _lerp(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`a + (b - a) weight`; the first two arguments are overwritten."""
    b -= a
    b *= weight
    a += b
    return a


def _resample_generic(
    pixels: Array, rows: Footprints, columns: Footprints, kernels: tuple[str, str], limits: tuple[Array, Array] | None
) -> Array:
    """Any namespace, any device, differentiable: planes (n, C, H, W), rows first."""
    xp = _array.namespace(pixels)
    planes = xp.permute_dims(xp.astype(pixels, _compute_dtype(pixels), copy=False), (0, 3, 1, 2))
    planes = _generic_axis(planes, rows, kernels[0], axis=2)
    planes = _generic_axis(planes, columns, kernels[1], axis=3)
    return store_like(xp.permute_dims(planes, (0, 2, 3, 1)), pixels, limits)


def _generic_axis(planes: Array, footprint: Footprints, kernel: str, *, axis: int) -> Array:
    xp = _array.namespace(planes)
    if kernel == "copy":
        return planes
    if kernel == "gather":
        return _take_lines(planes, nearest_index(footprint), axis)
    if kernel == "linear":
        first, second, weight = linear_taps(footprint.centre, footprint.size)
        first, second = (xp.clip(index, footprint.first, footprint.last) for index in (first, second))
        weight = xp.reshape(xp.astype(weight, planes.dtype), (-1, 1) if axis == 2 else (-1,))
        a, b = _take_lines(planes, first, axis), _take_lines(planes, second, axis)
        return (
            xp.lerp(a, b, weight) if _array.is_torch(planes) else a * (1 - weight) + b * weight
        )  # one kernel for three
    parts = []
    for outputs, pixels in _blocks(footprint, kernel):
        weights = xp.astype(kernel_weights(footprint, kernel, outputs, pixels), planes.dtype)
        if axis == 2:
            parts.append(xp.matmul(weights, planes[:, :, pixels, :]))
        else:
            parts.append(xp.matmul(planes[:, :, :, pixels], xp.matrix_transpose(weights)))
    return xp.concat(parts, axis=axis)


def _take_lines(planes: Array, index: Array, axis: int) -> Array:
    """Rows (axis 2) or columns (axis 3) of planes (n, C, H, W)."""
    if axis == 2:
        return _take(planes, index, 2)
    xp = _array.namespace(planes)  # along the last of four axes, PyTorch is 20 times slower than along the last of two
    lines = _take(xp.reshape(planes, (-1, planes.shape[-1])), index, 1)
    return xp.reshape(lines, (*planes.shape[:-1], index.shape[0]))
