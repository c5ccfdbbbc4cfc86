"""Resampling of pixels along two monotone axes, for NumPy and for any array namespace.

Three back ends do the same: `_kernel` (compiled, optional; 8 and 16-bit and float32 pixels in main memory),
`_resample_numpy`, and `_resample_generic` for every other namespace and device, which is differentiable. What none of them
need know is done here: labels, NaN, what lies outside the source.

Knows footprints, nothing of maps.
"""

from __future__ import annotations

import numpy as np

from pmtools import _array, _kernel, _values
from pmtools.footprints import Footprints, choose_kernel, nearest_index
from pmtools.typing import Array


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
    kernels = ("gather", "gather")
    if not nearest:
        kernels = choose_kernel(rows, antialias=antialias), choose_kernel(columns, antialias=antialias)
    if kernels == ("copy", "copy"):
        return pixels
    if set(kernels) <= {"copy", "gather"}:
        take = _array.namespace(pixels).take
        return take(take(pixels, nearest_index(rows), axis=1), nearest_index(columns), axis=2)
    limits = _values.value_limits(pixels, kernels)
    if limits is not None and not _values.is_finite(limits):
        # a product with a block of weights would spread NaN over the block
        xp = _array.namespace(pixels)
        unknown = ~xp.isfinite(pixels)
        known = xp.where(unknown, xp.zeros_like(pixels), pixels)
        clean = _dispatch(known, rows, columns, kernels, _values.value_limits(known, kernels))
        touched = _dispatch(xp.astype(unknown, pixels.dtype), rows, columns, kernels, None) != 0
        return xp.where(touched, xp.full_like(clean, np.nan), clean)
    return _dispatch(pixels, rows, columns, kernels, limits)


def fill_outside(pixels: Array, rows: Footprints, columns: Footprints, fill: Array, /) -> Array:
    """`pixels` of shape (n, H, W, C) with `fill`, of shape () or (C,), where nothing of the source shows."""
    if not (rows.partly_outside or columns.partly_outside):
        return pixels
    xp = _array.namespace(pixels)
    mask = rows.outside[:, None, None] | columns.outside[None, :, None]  # (H, W, 1)
    return xp.where(mask[None, ...], fill, pixels)


def _dispatch(
    pixels: Array,
    rows: Footprints,
    columns: Footprints,
    kernels: tuple[str, str],
    limits: tuple[Array, Array] | None,
) -> Array:
    if limits is not None and _array.is_floating(pixels) and _values.may_overflow(limits):
        # a quarter of them, of which neither differences nor a cubic's sums overflow
        quarters = limits[0] / 4, limits[1] / 4
        return 4 * _values.clip_like(_dispatch(pixels / 4, rows, columns, kernels, quarters), quarters, pixels)
    if isinstance(pixels, np.ndarray) and _kernel.serves(pixels):
        return _kernel.resample(pixels, rows, columns, kernels, limits)
    # the others are imported where they are used: not all of them are
    if not isinstance(pixels, np.ndarray):
        from pmtools import _resample_generic

        # elsewhere rounding may leave the range by an ulp, so that gradients need no clip
        return _resample_generic.resample(pixels, rows, columns, kernels, limits if "cubic" in kernels else None)
    from pmtools import _resample_numpy

    return _resample_numpy.resample(pixels, rows, columns, kernels, limits)
