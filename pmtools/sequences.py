"""Sequences: warps of the frames of a video, smoothed over time.

Noise in a map moves the grid from frame to frame; a running mean of the warps is monotone again and holds it still.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pmtools import _array, _checks
from pmtools.axes import AxisMap, Piece
from pmtools.typing import Array
from pmtools.warp import Warp


def smooth_warps(warps: Iterable[Warp], /, *, half_life: float) -> Iterator[Warp]:
    r"""Warps of a sequence, each blended with those before it, as they come: an exponential running mean.

    $X_t = (1 - w) X_{t-1} + w X'_t$ with $w = 1 - 2^{-1 / h}$, at the edges of the source's pixels and linear between them.

    Parameters
    ----------
    warps : iterable of Warp
        One a frame, between images of the same sizes; a batch of warps counts as a sequence. After a cut, start a new sequence.
    half_life : float
        $h$, in frames, > 0: after so many the past weighs half. What moves lags behind by about 1.4 of them.

    Yields
    ------
    Warp
        As many as came, without waiting for the next.

    Raises
    ------
    TypeError, ValueError
        If something else than single warps of the same sizes comes, or `half_life` is out of range.

    Examples
    --------
    >>> from pmtools import frames
    >>> still, moved = frames.identity((8, 8)), frames.crop((8, 8), (4, 0, 12, 8))
    >>> [warp.points([4, 4]).tolist() for warp in smooth_warps([still, moved, moved], half_life=1)]
    [[4.0, 4.0], [2.0, 4.0], [1.0, 4.0]]
    """
    half_life = _checks.real_number(half_life, "half_life", minimum=0.0, exclusive_minimum=True)
    return _smoothed(warps, 1.0 - 2.0 ** (-1.0 / half_life))


def _smoothed(warps: Iterable[Warp], weight: float) -> Iterator[Warp]:
    sizes, means = None, None
    for i, warp in enumerate(warps):
        if not isinstance(warp, Warp) or warp.batch_shape:
            raise TypeError(
                f"`warps` must be single Warps, got {_checks.describe(warp)} at {i}; a batch is a sequence itself"
            )
        sizes = sizes or (warp.source_hw, warp.target_hw)
        if (warp.source_hw, warp.target_hw) != sizes:
            raise ValueError(
                f"`warps` must have the same sizes, got {warp} at {i} after {sizes[0]} -> {sizes[1]}; start a new sequence"
            )
        now = [_at_edges(axis) for axis in (warp.x, warp.y)]
        means = now if means is None else [old + weight * (new - old) for old, new in zip(means, now, strict=True)]
        x, y = (_through(axis, mean) for axis, mean in zip((warp.x, warp.y), means, strict=True))
        yield Warp(x=x, y=y)


def _at_edges(axis: AxisMap) -> Array:
    """Where the edges of the source's pixels land."""
    return axis.forward(_array.arange(axis.source_size + 1, axis.like))


def _through(axis: AxisMap, positions: Array) -> AxisMap:
    edges = _array.arange(axis.source_size + 1, axis.like)
    return AxisMap((Piece(edges, positions),), axis.source_size, axis.target_size, axis.window)
