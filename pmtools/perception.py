"""Heatmap to perception map: normalise, amplify, smooth, upsample.

Works on any grid and any scale; knows nothing of images, models or warps.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183), section 3
"""

from __future__ import annotations

from pmtools import _array, _checks
from pmtools.interpolation import resample_axis
from pmtools.settings import DEFAULTS, WarpSettings
from pmtools.typing import Array, Heatmap, SizeHW

#: A map whose range is at most this many rounding units of its maximum is constant: anything less would amplify rounding.
CONSTANT_ULPS = 8


def perception_map(
    heatmap: Heatmap,
    /,
    *,
    gain: float = DEFAULTS.gain,
    kernel_size: int = DEFAULTS.kernel_size,
    size_hw: SizeHW | None = None,
) -> Array:
    r"""What a heatmap says about where to look, between 0 and 1: the four steps of this file in order.

    $P = \mathrm{mean}_{k \times k}\, \sigma\big(\alpha\, (u - \bar u) / s_u\big)$ with $u$ the min-max normalised heatmap,
    $s_u$ its unbiased standard deviation and $\alpha$ the gain; then bilinear upsampling.

    Parameters
    ----------
    heatmap : array of shape (..., h, w)
        Non-negative, any scale, any real dtype. Leading axes are a batch; each item is normalised on its own.
    gain, kernel_size
        As in `pmtools.settings.WarpSettings`; with gain 0 the map is constant.
    size_hw : (int, int), optional
        Upsample to this height and width. Default: stay on the grid.

    Returns
    -------
    array of shape (..., h, w), or (..., *size_hw)
        In [0, 1]; namespace and device of `heatmap`, its dtype where that is floating-point, otherwise float64.
        A constant heatmap gives 0.5 everywhere.

    Raises
    ------
    TypeError, ValueError
        If `heatmap` is not a non-negative, finite, non-empty array of two or more axes, or an option is out of range.

    References
    ----------
    - Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)

    Examples
    --------
    >>> perception_map(np.array([[0.0, 0.0, 1.0]]), kernel_size=1).round(3)
    array([[0.003, 0.003, 1.   ]])
    """
    heatmap = _checks.weights(heatmap, "heatmap")
    values = perception(heatmap, WarpSettings(gain=gain, kernel_size=kernel_size))
    if size_hw is not None:
        values = upsample(values, _checks.size_hw(size_hw, "size_hw"))
    return _array.cast_like(values, heatmap)


def perception(heatmap: Heatmap, settings: WarpSettings, /) -> Array:
    """The first three steps, for a heatmap and settings that have been checked.

    Parameters
    ----------
    heatmap : array of shape (..., h, w)
    settings : WarpSettings
        Its `gain` and `kernel_size` count.

    Returns
    -------
    array of shape (..., h, w)
        In [0, 1], in the widest float of the device.
    """
    return _smoothed(_amplified(normalize(heatmap), settings.gain), settings.kernel_size // 2)


def normalize(heatmap: Heatmap, /) -> Array:
    """Min-max normalisation over the last two axes: the least cell becomes 0, the greatest 1; a constant map 0.

    Parameters
    ----------
    heatmap : array of shape (..., h, w)

    Returns
    -------
    array of shape (..., h, w)
        In [0, 1], in the widest float of the device.
    """
    xp = _array.namespace(heatmap)
    rounding = CONSTANT_ULPS * _array.epsilon(heatmap)
    values = _array.widen(heatmap)
    low, high = _array.least(values, (-2, -1)), _array.greatest(values, (-2, -1))
    constant = high - low <= rounding * high
    if _array.nowhere(constant):
        return (values - low) / (high - low)
    scale = xp.where(constant, xp.ones_like(high), high - low)
    return xp.where(constant, xp.zeros_like(values), (values - low) / scale)


def amplify(values: Array, /, *, gain: float = DEFAULTS.gain) -> Array:
    """Standardise over the last two axes, multiply by the gain, squash with the logistic function.

    Parameters
    ----------
    values : array of shape (..., h, w)
        Normalised heatmap.
    gain : float, optional
        >= 0.

    Returns
    -------
    array of shape (..., h, w)
        In [0, 1]; 0.5 where the map equals its mean.
    """
    return _amplified(values, WarpSettings(gain=gain).gain)


def _amplified(values: Array, gain: float) -> Array:
    xp = _array.namespace(values)
    cells = values.shape[-2] * values.shape[-1]
    centred = values - _array.mean(values, (-2, -1))
    variance = _array.total(centred * centred, (-2, -1)) / max(cells - 1, 1)  # unbiased, as the paper's
    flat = variance <= 0
    deviation = xp.sqrt(variance if _array.nowhere(flat) else xp.where(flat, xp.ones_like(variance), variance))
    scores = gain * centred / deviation
    return 1.0 / (1.0 + xp.exp(-_array.clip(scores, -700.0, 700.0)))  # exp overflows float64 at 709


def smooth(values: Array, /, *, kernel_size: int = DEFAULTS.kernel_size) -> Array:
    """Mean over a square window, edges replicated.

    Parameters
    ----------
    values : array of shape (..., h, w)
    kernel_size : int, optional
        Side of the window in cells, odd.

    Returns
    -------
    array of shape (..., h, w)
    """
    return _smoothed(values, WarpSettings(kernel_size=kernel_size).kernel_size // 2)


def _smoothed(values: Array, radius: int) -> Array:
    return _running_mean(_running_mean(values, radius, -2), radius, -1)


def spread(heatmap: Heatmap, /) -> float:
    r"""How much of the image a heatmap looks at: $(\sum h)^2 / (n \sum h^2)$ over its $n$ cells.

    A map of equal weights in some cells and nothing elsewhere gives the share of those cells.

    Parameters
    ----------
    heatmap : array of shape (h, w)
        Non-negative, any scale.

    Returns
    -------
    float
        In (0, 1]: 1 for a constant map, where nothing stands out; `1 / n` for a single cell.

    Raises
    ------
    TypeError, ValueError
        If `heatmap` is not a non-negative, finite, non-empty array of two axes.

    Examples
    --------
    >>> spread(np.array([[0.0, 2.0], [0.0, 2.0]]))
    0.5
    """
    weights = _checks.weights(heatmap, "heatmap")
    if len(weights.shape) != 2:
        raise ValueError(f"`heatmap` must be one 2-D map (h, w), got shape {tuple(weights.shape)}; give one at a time")
    xp = _array.namespace(weights)
    weights = _array.widen(weights)
    peak = float(xp.max(weights))
    if not peak:
        return 1.0
    shares = weights / peak  # the squares neither overflow nor vanish
    total, squares = float(xp.sum(shares)), float(xp.sum(shares * shares))
    return total * total / (int(weights.shape[0]) * int(weights.shape[1]) * squares)


def _running_mean(values: Array, radius: int, axis: int) -> Array:
    xp = _array.namespace(values)
    size = values.shape[axis]
    inner = min(radius, size - 1)  # the steps of the window that end in the map for some cell

    def cells(array: Array, start: int, stop: int) -> Array:
        return array[..., start:stop, :] if axis == -2 else array[..., start:stop]

    first, last = cells(values, 0, 1), cells(values, size - 1, size)
    padded = xp.concat([*[first] * inner, values, *[last] * inner], axis=axis)
    total = values
    for step in range(1, inner + 1):
        before, after = (cells(padded, inner + shift, inner + shift + size) for shift in (-step, step))
        total = total + (before + after)  # in pairs: a mirrored map gives the mirrored mean to the last bit
    if radius > inner:  # steps that leave the map on both sides
        total = total + (radius - inner) * (first + last)
    return total / (2 * radius + 1)


def upsample(values: Array, size_hw: SizeHW, /) -> Array:
    """Bilinear resampling of the last two axes to `size_hw`, both grids covering the same image.

    Convention: cell `i` covers `[i, i + 1)`; edges replicate.

    Parameters
    ----------
    values : array of shape (..., h, w)
    size_hw : (int, int)
        Height and width.

    Returns
    -------
    array of shape (..., *size_hw)
    """
    height, width = size_hw
    return resample_axis(resample_axis(values, height, axis=-2), width, axis=-1)
