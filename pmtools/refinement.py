"""Iterative refinement: attend, hide the highlight, attend again; model-free.

What "attend" means is the caller's business: a function that is told which cells it may look at and returns a heatmap.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183), iterative refinement
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pmtools import _array, _checks
from pmtools._brief import brief
from pmtools.highlight import highlight_mask
from pmtools.typing import Array, Heatmap


@dataclass(frozen=True)
class Refinement:
    """What refinement found.

    Attributes
    ----------
    aggregate : array of shape (..., h, w)
        Per cell, the mean over the passes in which the cell was visible.
    maps : list of arrays of shape (..., h, w)
        One heatmap per pass, the first with everything visible.
    masks : list of bool arrays of shape (..., h, w)
        The cells each pass counts for: those visible in it. In a batch, False throughout an item that had stopped before.
    met_threshold : bool array of shape (...)
        Whether a threshold ended the loop, and not `max_iterations` or a map that nothing stands out of.
    """

    aggregate: Array
    maps: list[Array]
    masks: list[Array]
    met_threshold: Array

    def __repr__(self) -> str:
        return brief(self)


def refine(
    attend: Callable[[Array | None], Heatmap],
    /,
    *,
    visible: Array | None = None,
    threshold: float = 0.3,
    relative_threshold: float = 0.0,
    max_iterations: int = 8,
) -> Refinement:
    r"""Attend, hide what stood out, attend again, until little attention is left; then average.

    A pass ends the loop when the attention on the visible cells, $\sum_i h_i$, is at most `threshold`, or at most
    `relative_threshold` times that of the first pass; otherwise the high cluster of its visible cells is hidden as well, and the
    next pass runs. The aggregate is, per cell, the mean over the passes in which that cell was visible, the last pass too.

    Parameters
    ----------
    attend : callable
        `attend(visible)` returns a heatmap of shape (..., h, w): the layer mean of the attention, softmax scale. Its sum over
        the cells is the share of attention they get if heads were averaged; with the paper's maximum over heads it is not a
        share, may exceed 1, and the paper's thresholds may never be met: see `met_threshold`. `visible` is None in the
        first pass (everything), then a bool array of that shape. Leading axes are a batch whose items stop on their own;
        `attend` is still called with the last mask of items that have stopped, and what it returns for them is ignored.
    visible : bool array of shape (..., h, w), optional
        Cells that take part at all, padding and gaps left out. Default: every cell. The others count nowhere, and the aggregate
        is 0 there.
    threshold : float, optional
        Attention left at which to stop, >= 0. The paper uses 0.3 (its POPE script 0.4).
    relative_threshold : float, optional
        The same as a share of the first pass's attention, in [0, 1]; 0, the default, ends the loop only where nothing is left.
    max_iterations : int, optional
        Greatest number of passes with hidden cells, >= 0.

    Returns
    -------
    Refinement
        `aggregate`, the `maps` and `masks` of every pass, and `met_threshold`.

    Raises
    ------
    TypeError, ValueError
        If `attend` is not a function, returns something that is not a heatmap, or changes its shape; or an option is out of
        range.

    References
    ----------
    - Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)

    Examples
    --------
    >>> heat = np.array([[0.5, 0.3, 0.1]])
    >>> found = refine(lambda visible: heat if visible is None else heat * visible, threshold=0.3)
    >>> found.masks[-1]
    array([[False, False,  True]])
    >>> found.aggregate
    array([[0.5, 0.3, 0.1]])
    """
    if not callable(attend):
        raise TypeError(
            f"`attend` must be a function of the visible cells that returns a heatmap, got {_checks.describe(attend)}; of a map "
            "that is there already give lambda visible: heatmap"
        )
    threshold = _checks.real_number(threshold, "threshold", minimum=0.0)
    relative = _checks.real_number(relative_threshold, "relative_threshold", minimum=0.0, maximum=1.0)
    max_iterations = _checks.whole_number(max_iterations, "max_iterations", minimum=0)

    first = _checks.weights(attend(None), "attend(None)")
    xp = _array.namespace(first)
    visible = _checks.visible(visible, first)
    maps, masks = [first], [visible]
    running = xp.ones((*first.shape[:-2], 1, 1), dtype=xp.bool, device=_array.device(first))
    met, at_first = ~running, _left(first, visible)
    for _ in range(max_iterations):
        highlight = highlight_mask(maps[-1], visible=visible)
        left = _left(maps[-1], visible)
        enough = (left <= threshold) | (left <= relative * at_first)
        met = met | (running & enough)
        # a constant map has no highlight: there is nothing to hide
        running = running & ~enough & xp.any(highlight, axis=(-2, -1), keepdims=True)
        if not bool(xp.any(running)):
            break
        visible = visible & ~(highlight & running)
        heatmap = _checks.weights(attend(visible), "attend(visible)")
        if tuple(heatmap.shape) != tuple(first.shape):
            raise ValueError(
                f"`attend` must keep its shape {tuple(first.shape)}, got {tuple(heatmap.shape)}; "
                "hidden cells may hold anything >= 0"
            )
        maps.append(heatmap)
        masks.append(visible & running)
    return Refinement(_mean_where_visible(maps, masks), maps, masks, met[..., 0, 0])


def _left(heatmap: Array, visible: Array) -> Array:
    """The attention on the visible cells, of shape (..., 1, 1)."""
    xp = _array.namespace(heatmap)
    shown: Array = xp.sum(xp.where(visible, _array.widen(heatmap), 0.0), axis=(-2, -1), keepdims=True)
    return shown


def _mean_where_visible(maps: list[Array], masks: list[Array]) -> Array:
    """Per cell, the mean over the passes whose mask holds the cell; 0 where none does."""
    xp = _array.namespace(maps[0])
    total = passes = xp.zeros_like(_array.widen(maps[0]))
    for heatmap, mask in zip(maps, masks, strict=True):
        total = total + xp.where(mask, _array.widen(heatmap), 0.0)
        passes = passes + xp.astype(mask, passes.dtype)
    return _array.cast_like(total / xp.where(passes > 0, passes, 1.0), maps[0])
