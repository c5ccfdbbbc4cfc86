"""Resampling in NumPy: chunk by chunk, so that what is worked on stays in the caches.

Knows footprints, NumPy arrays, and what NumPy is slow at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from pmtools import _values
from pmtools.footprints import BLOCK, Footprints, blocks, kernel_weights, nearest_index, visible_taps
from pmtools.typing import Ndarray

_Pass: TypeAlias = Callable[[Ndarray], Ndarray]

#: Pixels of a chunk of rows that NumPy interpolates at a time: in four floats each they stay in the second-level cache.
CHUNK_PIXELS = 1 << 15
#: Memory for chunks, fetched at once and used as far as needed; NumPy asks for huge pages from 4 MiB on.
SCRATCH_BYTES = (1 << 22) - (1 << 12)


def resample(
    pixels: Ndarray,
    rows: Footprints,
    columns: Footprints,
    kernels: tuple[str, str],
    limits: tuple[Ndarray, Ndarray] | None,
) -> Ndarray:
    """As `_kernel.resample`: chunks of output rows go through both axes while they are in the cache, so memory stays small."""
    n, _, _, channels = pixels.shape
    dtype = _values.compute_dtype(pixels)
    out = np.empty((n, len(rows), len(columns), channels), dtype=pixels.dtype)
    scratch = _Scratch(dtype)
    row_chunks = _row_chunks(rows, kernels[0], scratch, max(columns.size, len(columns)))
    along_columns = _column_pass(columns, kernels[1], scratch, channels)
    # averages stay in the range of their dtype, and float32 holds it
    in_range = pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2 and "cubic" not in kernels
    for image in range(n):
        bounds = None if limits is None else (limits[0][image], limits[1][image])
        for outputs, along_rows in row_chunks:
            values = along_columns(along_rows(pixels[image]))
            values = np.rint(values, out=values) if in_range else _values.store_like(values, pixels, bounds)
            _copy_channels(values, out[image, outputs])
    return out


def _copy_channels(values: Ndarray, out: Ndarray) -> None:
    """`out[...] = values`, of which channels that only padded are left out."""
    if values.shape == out.shape:
        out[...] = values
    else:
        for c in range(out.shape[-1]):  # one long loop each, instead of many short ones over the channels
            out[..., c] = values[..., c]


class _Scratch:
    """Memory that the chunks of one call use in turn.

    In one piece, which the C library keeps for the next call: many small ones go back to the system each time, and fetching
    them again, page by page, takes longer than the arithmetic.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self._held: dict[str, Ndarray] = {}
        self._free = np.empty(0, dtype=dtype)

    def __call__(self, name: str, *shape: int) -> Ndarray:
        """An array with this shape and any values, over what this name stood for before."""
        size = math.prod(shape)
        if name not in self._held or self._held[name].size < size:
            if self._free.size < size:
                self._free = np.empty(max(size, SCRATCH_BYTES // self.dtype.itemsize), dtype=self.dtype)
            self._held[name], self._free = self._free[:size], self._free[size:]
        return self._held[name][:size].reshape(shape)


def _row_chunks(axis: Footprints, kernel: str, scratch: _Scratch, width: int) -> list[tuple[slice, _Pass]]:
    """For each chunk of output rows, the function that makes it, (H, W, C) -> (chunk, W, C)."""
    dtype, step = scratch.dtype, max(1, CHUNK_PIXELS // width)
    if kernel in ("box", "cubic"):
        runs = blocks(axis, kernel, min(max(step, BLOCK // 2), BLOCK))
        return [(o, _row_product(kernel_weights(axis, kernel, o, p).astype(dtype), p, scratch)) for o, p in runs]
    if kernel == "linear":
        first, second, weight = visible_taps(axis)
    else:
        first = second = nearest_index(axis)
        weight = np.zeros(len(axis))
    weight = weight.astype(dtype)[:, None, None]
    chunks = [slice(i, min(i + step, len(axis))) for i in range(0, len(axis), step)]
    return [(o, _row_lerp(first[o], second[o], weight[o], scratch)) for o in chunks]


def _row_product(weights: Ndarray, pixels: slice, scratch: _Scratch) -> _Pass:
    taps = weights.shape[1]
    step = max(1, CHUNK_PIXELS // taps)  # columns at a time: a strong reduction needs many rows

    def along_rows(image: Ndarray) -> Ndarray:
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
    def along_rows(image: Ndarray) -> Ndarray:
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
        runs = [(o, p, kernel_weights(axis, kernel, o, p).astype(dtype).T) for o, p in blocks(axis, kernel)]

        def product(chunk: Ndarray) -> Ndarray:
            height, width, channels = chunk.shape
            planes = scratch("planes", height, channels, width)
            planes[...] = chunk.transpose(0, 2, 1)
            planes = planes.reshape(height * channels, width)
            out = scratch("columns", height * channels, len(axis))
            for outputs, pixels, weights in runs:
                np.matmul(planes[:, pixels], weights, out=out[:, outputs])
            return out.reshape(height, channels, len(axis)).transpose(0, 2, 1)

        return product

    if kernel == "gather":
        index = nearest_index(axis)
        return lambda chunk: np.take(chunk, index, axis=1)

    first, second, weight = visible_taps(axis)
    weight = np.repeat(weight.astype(dtype)[:, None], 4 if channels == 3 else channels, axis=1)  # NumPy repeats slowly

    def lerp(chunk: Ndarray) -> Ndarray:
        chunk = _pad_to_four(chunk, scratch)
        height, _, channels = chunk.shape
        a, b = (scratch(name, height, len(axis), channels) for name in ("first columns", "second columns"))
        np.take(chunk, first, axis=1, out=a, mode="clip")
        np.take(chunk, second, axis=1, out=b, mode="clip")
        return _lerp(a, b, weight)

    return lerp


def _pad_to_four(chunk: Ndarray, scratch: _Scratch) -> Ndarray:
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


def _lerp(a: Ndarray, b: Ndarray, weight: Ndarray) -> Ndarray:
    """`a + (b - a) weight`; the first two arguments are overwritten."""
    b -= a
    b *= weight
    a += b
    return a
