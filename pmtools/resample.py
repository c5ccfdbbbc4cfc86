"""Resampling of pixels along two monotone axes, for NumPy and for any array namespace.

Three back ends do the same: `_kernel` (compiled, optional; 8 and 16-bit and float32 pixels in main memory),
`_resample_numpy`, and `_resample_generic` for every other namespace and device, which is differentiable. What none of them
need know is done here: labels, NaN, what lies outside the source.

Knows footprints, nothing of maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from pmtools import _array, _kernel, _values
from pmtools.footprints import Footprints, choose_kernel, nearest_index
from pmtools.typing import Array, Ndarray

_Pair: TypeAlias = tuple[Footprints, Footprints]

#: Kernels that move pixels as they are.
_MOVES = {"copy", "gather"}


def resample(
    pixels: Array,
    pairs: Sequence[_Pair],
    /,
    *,
    fill: Array | None = None,
    antialias: bool = True,
    nearest: bool = False,
    out: Ndarray | None = None,
) -> Array:
    """Pixels looked up at the footprints of both axes; the one door in front of all back ends.

    Parameters
    ----------
    pixels : array of shape (n, H, W, C)
        Any real dtype. With PyTorch the channels may be last in name only: a permuted view is fine.
    pairs : sequence of (Footprints, Footprints)
        Rows and columns for all images, or for as many images each, in turn; of one length, in the namespace and on the device of
        `pixels`.
    fill : array of shape () or (C,), optional
        What takes the place of output pixels that show nothing of the source, in the dtype of `pixels`. Default: their value.
    antialias : bool, optional
        Average where an output pixel covers more than one source pixel.
    nearest : bool, optional
        Take the pixel under the centre instead of interpolating: for labels.
    out : NumPy array of shape (n, len(rows), len(columns), C), optional
        Where the result goes, in the dtype of `pixels`; with pixels in NumPy.

    Returns
    -------
    array of shape (n, len(rows), len(columns), C)
        dtype of `pixels`; integers are rounded and clipped, booleans are True from one half on. NaN and infinity make NaN of
        the output pixels that touch them, and of no other. `pixels` itself, no copy and nothing in `out`, where nothing moves.
    """
    kernels = [_kernels_of(*pair, antialias=antialias, nearest=nearest) for pair in pairs]
    if all(both == ("copy", "copy") for both in kernels):
        return pixels
    each = pixels.shape[0] // len(pairs)
    parts = [slice(i * each, (i + 1) * each) for i in range(len(pairs))]
    if not isinstance(pixels, np.ndarray):
        cases = zip(parts, pairs, kernels, strict=True)
        found = [_fill_outside(_one_pair(pixels[part, ...], *pair, k), *pair, fill) for part, pair, k in cases]
        return found[0] if len(found) == 1 else _array.namespace(pixels).concat(found, axis=0)
    at_once, limits = _at_once(pixels, pairs, kernels)
    if at_once:
        out = _kernel.resample_each(pixels, pairs, kernels, limits, out=out)
    elif len(pairs) == 1 and out is None:
        out = _one_pair(pixels, *pairs[0], kernels[0])
    else:
        out = _pair_by_pair(pixels, pairs, kernels, parts, out)
    for part, pair in zip(parts, pairs, strict=True):
        _fill_outside(out[part], *pair, fill)
    return out


def _kernels_of(rows: Footprints, columns: Footprints, *, antialias: bool, nearest: bool) -> tuple[str, str]:
    if nearest:
        return "gather", "gather"
    return choose_kernel(rows, antialias=antialias), choose_kernel(columns, antialias=antialias)


def _at_once(
    pixels: Ndarray, pairs: Sequence[_Pair], kernels: Sequence[tuple[str, str]]
) -> tuple[bool, tuple[Ndarray, Ndarray] | None]:
    """Whether one call of the compiled kernel serves all pixels, which need no more care; and their limits."""
    names = {name for both in kernels for name in both}
    if names <= _MOVES or not _kernel.serves(pixels):
        return False, None
    if not all(_kernel.sums_well(*pair, both) for pair, both in zip(pairs, kernels, strict=True)):
        return False, None
    limits = _values.value_limits(pixels, names)
    if limits is None or pixels.dtype.kind == "u":
        return True, limits
    return _values.is_finite(limits) and not _values.may_overflow(limits), limits


def _pair_by_pair(
    pixels: Ndarray,
    pairs: Sequence[_Pair],
    kernels: Sequence[tuple[str, str]],
    parts: Sequence[slice],
    out: Ndarray | None,
) -> Ndarray:
    result = _kernel.empty(pixels, len(pairs[0][0]), len(pairs[0][1])) if out is None else out

    def run(i: int) -> None:
        result[parts[i]] = _one_pair(pixels[parts[i]], *pairs[i], kernels[i])

    each = _kernel.map_threads if pixels[parts[0]].size >= _kernel.WORTH_A_THREAD else map
    list(each(run, range(len(pairs))))
    return result


def _one_pair(pixels: Array, rows: Footprints, columns: Footprints, kernels: tuple[str, str]) -> Array:
    if set(kernels) <= _MOVES:
        if kernels == ("copy", "copy"):
            return pixels
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


def _fill_outside(pixels: Array, rows: Footprints, columns: Footprints, fill: Array | None) -> Array:
    """`pixels` of shape (n, H, W, C) with `fill` where nothing of the source shows; NumPy's are written to."""
    if fill is None or not (rows.partly_outside or columns.partly_outside):
        return pixels
    mask = (rows.outside[:, None, None] | columns.outside[None, :, None])[None, ...]  # (1, H, W, 1)
    if not isinstance(pixels, np.ndarray):
        return _array.namespace(pixels).where(mask, fill, pixels)
    np.copyto(pixels, fill, where=mask)
    return pixels


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
    if isinstance(pixels, np.ndarray) and _kernel.serves(pixels) and _kernel.sums_well(rows, columns, kernels):
        return _kernel.resample(pixels, rows, columns, kernels, limits)
    # the others are imported where they are used: not all of them are
    if not isinstance(pixels, np.ndarray):
        from pmtools import _resample_generic

        # elsewhere rounding may leave the range by an ulp, so that gradients need no clip
        return _resample_generic.resample(pixels, rows, columns, kernels, limits if "cubic" in kernels else None)
    from pmtools import _resample_numpy

    return _resample_numpy.resample(pixels, rows, columns, kernels, limits)
