"""Pixel values on their way through a resampling: the dtype it runs in, the range they keep, the dtype they return to, the
value of what shows nothing.

Knows arrays and names of kernels; no footprints.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from pmtools import _array, _checks
from pmtools.typing import Array


def compute_dtype(pixels: Array) -> Any:
    """float32 where it holds every value exactly, otherwise float64 (float32 on devices that have no other)."""
    xp = _array.namespace(pixels)
    narrow = ("float16", "bfloat16", "float32", "bool", "int8", "uint8", "int16", "uint16")
    return xp.float32 if str(pixels.dtype).rpartition(".")[2] in narrow else _array.wide_dtype(pixels)


def value_limits(pixels: Array, kernels: Collection[str]) -> tuple[Array, Array] | None:
    """The range of each image, which its result keeps; None for booleans, and for integers whose averages cannot leave it."""
    if _array.is_bool(pixels) or ("cubic" not in kernels and not _array.is_floating(pixels)):
        return None
    xp, dtype, each = _array.namespace(pixels), compute_dtype(pixels), (1, 2, 3)
    # PyTorch orders no wide unsigned integers
    ordered = isinstance(pixels, np.ndarray) or _array.is_floating(pixels)
    values = pixels if ordered else xp.astype(pixels, dtype)
    low, high = xp.min(values, axis=each, keepdims=True), xp.max(values, axis=each, keepdims=True)
    return xp.astype(low, dtype, copy=False), xp.astype(high, dtype, copy=False)


def may_overflow(limits: tuple[Array, Array]) -> bool:
    """Whether sums and differences of a few values between the limits leave the dtype."""
    xp = _array.namespace(limits[0])
    quarter = float(xp.finfo(limits[0].dtype).max) / 4
    return bool(xp.any((xp.abs(limits[0]) > quarter) | (xp.abs(limits[1]) > quarter)))


def clip_like(values: Array, limits: tuple[Array, Array], like: Array) -> Array:
    """`values` between the limits, in the dtype of `like`."""
    xp = _array.namespace(values)
    return xp.clip(values, *(xp.astype(limit, like.dtype, copy=False) for limit in limits))


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


def fill_value(fill: Any, like: Array) -> Array:
    """`fill` as an array of shape () or (C,) in the dtype of pixels like `like`, (..., C); what that cannot hold is refused."""
    if isinstance(fill, int) and fill == 0:  # the default, which every dtype holds
        return _array.namespace(like).zeros((), dtype=like.dtype, device=_array.device(like))
    channels = like.shape[-1]
    value = np.asarray(_array.to_numpy(fill) if _array.is_array(fill) else fill)
    if value.dtype.kind not in "biuf" or value.shape not in ((), (1,), (channels,)):
        raise ValueError(
            f"`fill` must be a number, or one per channel, {channels} of them; got {_checks.describe(fill)}"
        )
    refused = [number for number in value.ravel().tolist() if not _holds(like, number)]
    if refused:
        raise ValueError(
            f"`fill` must be what the dtype of the image holds, {_held(like)}, got {refused[0]}; "
            "choose such a value, or convert the image to a dtype with more room"
        )
    xp = _array.namespace(like)
    return xp.asarray(value.reshape(()) if value.size == 1 else value, dtype=like.dtype, device=_array.device(like))


def _holds(like: Array, number: float) -> bool:
    """Whether the dtype of `like` holds `number`: integers to the last digit, floats up to their rounding."""
    if _array.is_bool(like):
        return number in (0, 1)
    if _array.is_integer(like):
        info = _array.namespace(like).iinfo(like.dtype)
        return int(info.min) <= number <= int(info.max) and number == int(number)  # Python compares these exactly
    return not math.isfinite(number) or abs(number) <= float(_array.namespace(like).finfo(like.dtype).max)


def _held(like: Array) -> str:
    """What the dtype of `like` holds, in words."""
    name = str(like.dtype).rpartition(".")[2]
    if _array.is_bool(like):
        return f"{name}: 0 or 1"
    if _array.is_integer(like):
        info = _array.namespace(like).iinfo(like.dtype)
        return f"{name}: integers from {info.min} to {info.max}"
    return f"{name}: numbers up to {float(_array.namespace(like).finfo(like.dtype).max):g}"
