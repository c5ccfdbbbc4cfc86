"""Resampling in any array namespace, on any device, with gradients.

Knows footprints and the array API standard; of PyTorch, what it is slow at.
"""

from __future__ import annotations

from pmtools import _array, _values
from pmtools.footprints import Footprints, blocks, kernel_weights, nearest_index, visible_taps
from pmtools.typing import Array


def resample(
    pixels: Array, rows: Footprints, columns: Footprints, kernels: tuple[str, str], limits: tuple[Array, Array] | None
) -> Array:
    """As `_kernel.resample`, on planes (n, C, H, W): rows first, then columns."""
    xp = _array.namespace(pixels)
    planes = xp.permute_dims(xp.astype(pixels, _values.compute_dtype(pixels), copy=False), (0, 3, 1, 2))
    with _array.own_precision(planes):
        planes = _along(planes, rows, kernels[0], axis=2)
        planes = _along(planes, columns, kernels[1], axis=3)
    return _values.store_like(xp.permute_dims(planes, (0, 2, 3, 1)), pixels, limits)


def _along(planes: Array, footprint: Footprints, kernel: str, *, axis: int) -> Array:
    xp = _array.namespace(planes)
    if kernel == "copy":
        return planes
    if kernel == "gather":
        return _take_lines(planes, nearest_index(footprint), axis)
    if kernel == "linear":
        first, second, weight = visible_taps(footprint)
        weight = xp.reshape(xp.astype(weight, planes.dtype), (-1, 1) if axis == 2 else (-1,))
        a, b = _take_lines(planes, first, axis), _take_lines(planes, second, axis)
        # PyTorch's lerp is one kernel for three
        return xp.lerp(a, b, weight) if _array.is_torch(planes) else a * (1 - weight) + b * weight
    parts = []
    for outputs, pixels in blocks(footprint, kernel):
        weights = xp.astype(kernel_weights(footprint, kernel, outputs, pixels), planes.dtype)
        if axis == 2:
            parts.append(xp.matmul(weights, planes[:, :, pixels, :]))
        else:
            parts.append(xp.matmul(planes[:, :, :, pixels], xp.matrix_transpose(weights)))
    return xp.concat(parts, axis=axis)


def _take_lines(planes: Array, index: Array, axis: int) -> Array:
    """Rows (axis 2) or columns (axis 3) of planes (n, C, H, W)."""
    xp = _array.namespace(planes)
    if axis == 2:
        return xp.take(planes, index, axis=2)
    # along the last of four axes, PyTorch is 20 times slower than along the last of two
    lines = xp.take(xp.reshape(planes, (-1, planes.shape[-1])), index, axis=1)
    return xp.reshape(lines, (*planes.shape[:-1], index.shape[0]))
