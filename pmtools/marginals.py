"""Map to CDFs: marginal, floor, cap, cumulative mass at the cell edges; two one-dimensional problems.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183): maximum marginals
- AttWarp, [arXiv:2510.09741](https://arxiv.org/abs/2510.09741): sum marginals
"""

from __future__ import annotations

from typing import Any

from pmtools import _array, _checks, _kernel
from pmtools.interpolation import resample_axis
from pmtools.perception import CONSTANT_ULPS
from pmtools.settings import DEFAULTS, MARGINALS, WarpSettings
from pmtools.typing import Array

#: Least density, in units of the mean, that is undone within about a millionth of a pixel; a floor below it promises too much.
LEAST_DENSITY = 1e-6


def marginal(weights: Array, /, *, axis: int, reduce: str = "max") -> Array:
    """The map reduced to one axis.

    Parameters
    ----------
    weights : array of shape (..., h, w)
        Non-negative.
    axis : int
        Axis kept: -2 for rows (y), -1 for columns (x).
    reduce : {"max", "sum"}, optional
        "max" keeps thin objects and zooms a little more (the official implementation); "sum" is the marginal of the word.

    Returns
    -------
    array of shape (..., n)
        With `n = weights.shape[axis]`, in the widest float of the device.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    xp = _array.namespace(weights)
    other = -3 - axis
    values = _array.widen(weights)
    if _checks.choice(reduce, "marginal", MARGINALS) == "max":
        return xp.max(values, axis=other)
    peak = xp.max(values, axis=(-2, -1), keepdims=True)  # so that the sum of huge values stays finite
    return xp.sum(values / xp.where(peak > 0, peak, xp.ones_like(peak)), axis=other)


def upsampled_marginal(weights: Array, size: int, /, *, axis: int, reduce: str = "max") -> Array:
    """The marginal of the map interpolated linearly: to `size` cells along `axis`, continuously along the other one.

    No interpolated map is needed: continuous along the other axis, it has its maximum at the centre of a row of cells, and gives
    every row the same total weight. A map sampled in pixels misses most such maxima by a little; with 24 cells on 336 pixels
    its warp differs by up to about half a pixel. A map that is finer than `size` keeps its cells.

    Parameters
    ----------
    weights : array of shape (..., h, w)
        Non-negative.
    size : int
        Wanted number of cells along `axis`.
    axis : int
        Axis kept: -2 for rows (y), -1 for columns (x).
    reduce : {"max", "sum"}, optional

    Returns
    -------
    array of shape (..., max(size, n))
        With `n = weights.shape[axis]`.
    """
    size = max(size, weights.shape[axis])
    if reduce == "max":
        values = _array.widen(weights)
        if axis == -2:  # the long axis last: NumPy finds many short maxima ten times as fast along the first axis
            values = _array.namespace(values).matrix_transpose(values)
        compiled = _kernel.upsampled_greatest(values, size)
        if compiled is not None:
            return compiled
        return marginal(resample_axis(values, size, axis=-1), axis=-1, reduce=reduce)
    return resample_axis(marginal(weights, axis=axis, reduce=reduce), size, axis=-1)


def cdf(mass: Array, settings: WarpSettings = DEFAULTS, /, *, rounding: float | None = None) -> Array:
    r"""Cumulative floored and capped mass at the cell edges, from 0 to 1.

    $F_k = \sum_{j<k} p_j$, where $p$ is the floored, capped, normalised mass.

    Convention: cell `i` covers `[i, i + 1)`; edge `k` lies at `k`.

    Parameters
    ----------
    mass : array of shape (..., n)
        Non-negative, any scale.
    settings : WarpSettings, optional
        Its `floor` and `max_magnification` count.
    rounding : float, optional
        Rounding unit of the numbers behind `mass`; a marginal that varies less than 8 of them is constant.

    Returns
    -------
    array of shape (..., n + 1)
        Strictly increasing from 0 to 1; float64 where the device has it.

    Raises
    ------
    ValueError
        If the floor is so small for this map that the warp could not be undone.

    Examples
    --------
    >>> cdf(np.ones(4))
    array([0.  , 0.25, 0.5 , 0.75, 1.  ])
    """
    return _integral(_density(mass, settings, rounding), settings.floor)


def cdfs(
    mass_y: Array, mass_x: Array, settings: WarpSettings = DEFAULTS, /, *, rounding: float | None = None
) -> tuple[Array, Array]:
    """`cdf` of two axes; with `equal_peaks` a cap on the axis with the greater peak makes the peaks equal.

    Parameters
    ----------
    mass_y, mass_x : arrays of shape (..., n) and (..., m)
    settings, rounding
        As in `cdf`.

    Returns
    -------
    two arrays of shape (..., n + 1) and (..., m + 1)

    Raises
    ------
    ValueError
        As in `cdf`.
    """
    y, x = (_density(mass, settings, rounding) for mass in (mass_y, mass_x))
    if settings.equal_peaks:
        xp = _array.namespace(y)
        cap = xp.minimum(xp.max(y, axis=-1, keepdims=True), xp.max(x, axis=-1, keepdims=True))
        y, x = _cap(y, cap), _cap(x, cap)
    return _integral(y, settings.floor), _integral(x, settings.floor)


def _density(mass: Array, settings: WarpSettings, rounding: float | None) -> Array:
    """Floored and capped mass in units of the mean mass."""
    floor, cap = settings.floor, settings.max_magnification
    relative = _relative_mass(mass, _array.epsilon(mass) if rounding is None else rounding)
    relative = (1.0 - floor) * relative + floor  # exactly 1 where the mass is uniform, so that the CDF is exactly k / n
    return relative if cap is None else _cap(relative, cap)


def _integral(relative: Array, floor: float) -> Array:
    """Density to CDF, at the cell edges."""
    sums = _array.running_sums(relative)
    total = sums[..., -1:]
    scarce = _array.least(relative, -1) < LEAST_DENSITY * total / relative.shape[-1] * (1 - 1e-9)
    if _array.somewhere(scarce):
        raise ValueError(
            f"`floor` {floor:g} is too small for this map: cells compressed more than {1 / LEAST_DENSITY:.0e} times do not come "
            f"back from rounding; use at least {LEAST_DENSITY:g}"
        )
    return sums / total


def _relative_mass(mass: Array, rounding: float) -> Array:
    """Mass in units of the mean mass; exactly 1 everywhere if the mass is constant."""
    xp = _array.namespace(mass)
    peak = _array.greatest(mass, -1)
    constant = peak - _array.least(mass, -1) <= CONSTANT_ULPS * rounding * peak
    if _array.nowhere(constant):
        scaled = mass / peak
        return scaled / _array.mean(scaled, -1)
    if _array.requires_grad(mass):
        constant = peak <= 0  # a constant map that somebody learns has a gradient
    scaled = mass / xp.where(peak > 0, peak, xp.ones_like(peak))  # first, so that huge masses do not overflow
    mean = _array.mean(scaled, -1)
    relative = scaled / xp.where(peak > 0, mean, xp.ones_like(mean))
    return xp.where(constant, xp.ones_like(relative), relative)


def _cap(relative: Array, cap: Any) -> Array:
    """Clip to `cap` and hand the excess to the other cells in proportion to their mass, keeping the mean at 1.

    `cap` is a number, or an array of shape (..., 1).

    The result is `min(s * relative, cap)` for the one scale `s` that keeps the sum. With the m heaviest cells at the cap that is
    `s = (n - m cap) / (sum of the others)`, and the greatest of these is the one: a sum of minima is at most what any choice
    of m says. Taking it, instead of looking for the m that fits, leaves rounding no choice to spoil.
    """
    xp = _array.namespace(relative)
    n = relative.shape[-1]
    others = _array.running_sums(xp.sort(relative, axis=-1))[..., 1:]  # from the light end, so that nothing cancels
    heaviest = (n - 1) - _array.arange(n, relative)
    scale = xp.max((n - heaviest * cap) / others, axis=-1, keepdims=True)
    cap = cap + xp.zeros_like(relative)
    return xp.where(cap <= 1.0, xp.ones_like(relative), xp.minimum(scale * relative, cap))  # at 1 the identity, exactly
