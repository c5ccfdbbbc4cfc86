"""The highlight: the high cluster of a two-means split of a heatmap.

In one dimension two-means has an exact answer: sort, and try every split.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183), iterative refinement
"""

from __future__ import annotations

from pmtools import _array, _checks
from pmtools.perception import CONSTANT_ULPS
from pmtools.typing import Array, Heatmap


def highlight_mask(heatmap: Heatmap, /, *, visible: Array | None = None) -> Array:
    r"""Cells of the high cluster when the visible cells are split in two with the least squared error.

    Minimises $\sum_{i \in low} (v_i - \bar v_{low})^2 + \sum_{i \in high} (v_i - \bar v_{high})^2$ over all thresholds; exact, so
    the result depends neither on the scale of the map nor on a starting point. Equal values are never parted.

    Parameters
    ----------
    heatmap : array of shape (..., h, w)
        Non-negative, any scale. Leading axes are a batch; each item is split on its own.
    visible : bool array of shape (..., h, w), optional
        Cells that take part. Default: all.

    Returns
    -------
    bool array of shape (..., h, w)
        False in hidden cells; False everywhere where the visible cells are constant, since then nothing stands out.

    Raises
    ------
    TypeError, ValueError
        If `heatmap` is not a non-negative, finite, non-empty array of two or more axes, or `visible` does not fit it.

    References
    ----------
    - Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)

    Examples
    --------
    >>> highlight_mask(np.array([[0.1, 0.2, 0.1], [0.1, 0.9, 0.8]]))
    array([[False, False, False],
           [False,  True,  True]])
    """
    heatmap = _checks.weights(heatmap, "heatmap")
    xp = _array.namespace(heatmap)
    shape = tuple(heatmap.shape)
    flat = (*shape[:-2], shape[-2] * shape[-1])
    shown = xp.reshape(_checks.visible(visible, heatmap), flat)
    values = _normalized(xp.reshape(heatmap, flat), shown)
    threshold, found = _best_split(values, shown)
    return xp.reshape(shown & (values > threshold) & found, shape)


def _normalized(cells: Array, shown: Array) -> Array:
    """Visible cells mapped to [0, 1], constant ones to 0; hidden cells to 2, where they sort last."""
    xp = _array.namespace(cells)
    rounding = CONSTANT_ULPS * _array.epsilon(cells)
    values = _array.widen(cells)
    zero = xp.zeros_like(values)
    high = xp.max(xp.where(shown, values, zero), axis=-1, keepdims=True)
    low = xp.min(xp.where(shown, values, zero + high), axis=-1, keepdims=True)
    constant = high - low <= rounding * high
    scale = xp.where(constant, xp.ones_like(high), high - low)
    values = xp.where(constant, zero, (values - low) / scale)
    return xp.where(shown, values, zero + 2.0)


def _best_split(values: Array, shown: Array) -> tuple[Array, Array]:
    """The greatest value of the low cluster, and whether there is a split at all; both of shape (..., 1)."""
    xp = _array.namespace(values)
    n = values.shape[-1]
    count = xp.sum(xp.astype(shown, values.dtype), axis=-1, keepdims=True)
    ordered = xp.sort(values, axis=-1)
    rank = _array.arange(n, values, offset=1.0)  # cells in the low cluster when it ends here
    inside = rank <= count
    running = xp.cumulative_sum(xp.where(inside, ordered, xp.zeros_like(ordered)), axis=-1)
    total = running[..., -1:]
    above = xp.where(rank < count, count - rank, xp.ones_like(running))
    # least squared error within = greatest squared error between, and that is this up to a constant
    score = running**2 / rank + (total - running) ** 2 / above
    following = xp.concat([ordered[..., 1:], ordered[..., -1:]], axis=-1)
    allowed = (rank < count) & (ordered < following)
    score = xp.where(allowed, score, xp.full_like(score, -1.0))
    best = xp.argmax(score, axis=-1, keepdims=True)
    return xp.take_along_axis(ordered, best, axis=-1), xp.any(allowed, axis=-1, keepdims=True)
