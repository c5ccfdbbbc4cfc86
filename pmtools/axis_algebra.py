"""Maps of one axis as values: equal, hashed, copied, put in a batch, blended.

Knows maps of one axis; what changes positions is in `axes.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from pmtools import _array
from pmtools.axes import AxisMap, Piece
from pmtools.typing import Array, Ndarray

#: Knots of a blend closer than this, in source pixels, are one: slopes between them would be rounding noise.
_SAME_KNOT = 1e-6


def numbers(axis: AxisMap) -> tuple[object, ...]:
    """All that an axis map is, as what can be compared and hashed; the same on every device and in every namespace."""
    arrays = (axis.window, *itertools.chain.from_iterable(axis.pieces))
    on_host = (np.asarray(_array.to_numpy(array), dtype=np.float64) + 0.0 for array in arrays)  # + 0.0: no -0.0
    return axis.source_size, axis.target_size, *((array.shape, array.tobytes()) for array in on_host)


def copied(axis: AxisMap) -> AxisMap:
    """A copy that shares nothing which can be written to; gradients reach the original."""

    def copy(array: Array) -> Array:
        return array if isinstance(array, np.ndarray) else _array.copy(array)

    pieces = tuple(Piece(copy(piece.before), copy(piece.after)) for piece in axis.pieces)
    return AxisMap(pieces, axis.source_size, axis.target_size, copy(axis.window))


def stacked(axes: Sequence[AxisMap]) -> AxisMap:
    """A batch of single maps of equal sizes: shorter chains get identities, shorter pieces more knots on their last line."""
    like = next((axis.like for axis in axes if not isinstance(axis.like, np.ndarray)), axes[0].like)
    xp = _array.namespace(like)
    moved = [axis.moved_like(like) for axis in axes]
    chains = []
    for axis in moved:
        still = _array.widen(_array.asarray_like(np.array([0.0, float(axis.target_size)]), like))
        missing = max(len(other.pieces) for other in moved) - len(axis.pieces)
        chains.append((*axis.pieces, *[Piece(still, still)] * missing))
    pieces = []
    for same_place in zip(*chains, strict=True):
        count = max(piece.after.shape[-1] for piece in same_place)
        before, after = (xp.stack([_with_knots(piece[i], count) for piece in same_place]) for i in (0, 1))
        pieces.append(Piece(before, after))
    window = xp.stack([axis.window for axis in moved])
    return AxisMap(tuple(pieces), axes[0].source_size, axes[0].target_size, window)


def blended(first: AxisMap, second: AxisMap, weight: float) -> AxisMap:
    """The map (1 - weight) first + weight second of two single ones, of one piece through the knots of both."""
    like = second.like if isinstance(first.like, np.ndarray) else first.like
    first, second = first.moved_like(like), second.moved_like(like)
    knots = np.union1d(source_knots(first), source_knots(second))
    knots = knots[np.diff(knots, prepend=-np.inf) > _SAME_KNOT]
    before = _array.widen(_array.asarray_like(knots, like))
    after = (1.0 - weight) * first.forward(before) + weight * second.forward(before)
    xp = _array.namespace(like)
    low = xp.maximum(first.window[:1], second.window[:1])
    high = xp.minimum(first.window[1:], second.window[1:])
    window = xp.concat([low, xp.maximum(low, high)])
    return AxisMap((Piece(before, after),), first.source_size, first.target_size, window)


def _with_knots(knots: Array, count: int) -> Array:
    """`count` knots: those that are missing divide the last line evenly."""
    missing = count - knots.shape[0]
    if not missing:
        return knots
    xp = _array.namespace(knots)
    share = (_array.arange(missing, knots) + 1.0) / (missing + 1)
    between = knots[-2] + share * (knots[-1] - knots[-2])
    return xp.concat([knots[:-1], between, knots[-1:]])


def source_knots(axis: AxisMap) -> Ndarray:
    """Where a chain of pieces bends, in pixels of the source; in no order."""
    before = (
        AxisMap(axis.pieces[:i], axis.source_size, axis.target_size, axis.window) for i in range(len(axis.pieces))
    )
    found = (chain.backward(piece.before) for chain, piece in zip(before, axis.pieces, strict=True))
    return np.concatenate([np.asarray(_array.to_numpy(knots), dtype=np.float64) for knots in found])
