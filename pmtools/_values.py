"""Pixel values on their way through a resampling: the dtype it runs in, the range they keep, the dtype they return to.

Knows arrays and names of kernels; no footprints.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pmtools import _array
from pmtools.typing import Array


def compute_dtype(pixels: Array) -> Any:
    """float32 where it holds every value exactly, otherwise float64 (float32 on devices that have no other)."""
    xp = _array.namespace(pixels)
    narrow = ("float16", "bfloat16", "float32", "bool", "int8", "uint8", "int16", "uint16")
    return xp.float32 if str(pixels.dtype).rpartition(".")[2] in narrow else _array.wide_dtype(pixels)


def value_limits(pixels: Array, kernels: tuple[str, str]) -> tuple[Array, Array] | None:
    """The range of each image, which its result keeps; None for integers that cannot leave it, or only as far as their dtype."""
    narrow = _array.is_bool(pixels) or str(pixels.dtype).rpartition(".")[2] in ("uint8", "uint16")
    if narrow or ("cubic" not in kernels and not _array.is_floating(pixels)):
        return None
    xp, dtype, each = _array.namespace(pixels), compute_dtype(pixels), (1, 2, 3)
    # PyTorch orders no wide unsigned integers
    values = pixels if _array.is_floating(pixels) else xp.astype(pixels, dtype)
    low, high = xp.min(values, axis=each, keepdims=True), xp.max(values, axis=each, keepdims=True)
    return xp.astype(low, dtype, copy=False), xp.astype(high, dtype, copy=False)


def is_finite(limits: tuple[Array, Array]) -> bool:
    """Whether nothing between the limits is NaN or infinite: either would show in one of them."""
    xp = _array.namespace(limits[0])
    return bool(xp.all(xp.isfinite(limits[0]) & xp.isfinite(limits[1])))


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
