"""One axis of a warp: a chain of increasing piecewise linear maps from source pixels to target pixels.

A warp is two of these. Chaining keeps every map as it was given, so composition and inversion are exact: nothing is fitted,
merged or resampled.

Convention: continuous pixel-edge coordinates; pixel `i` covers `[i, i + 1)` and its centre is `i + 0.5`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pmtools import _array, _checks
from pmtools._brief import brief
from pmtools.interpolation import interpolate
from pmtools.typing import Array, Ndarray


class Piece(NamedTuple):
    """An increasing piecewise linear map through the knots (before, after), extended beyond them.

    Both have shape (k,), or (n, k) for a batch, in the widest float of their device.
    """

    before: Array
    after: Array

    def __repr__(self) -> str:
        return brief(self)


@dataclass(frozen=True, eq=False)
class AxisMap:
    """An increasing map between two axes of `source_size` and `target_size` pixels.

    Attributes
    ----------
    pieces : tuple of Piece
        Applied one after the other, source to target.
    source_size, target_size : int
        Pixels.
    window : Array of shape (2,) or (n, 2)
        The part of the source axis that is there to be seen: what a crop on the way has cut off stays off.
    """

    pieces: tuple[Piece, ...]
    source_size: int
    target_size: int
    window: Array

    def __repr__(self) -> str:
        return brief(self)

    def __post_init__(self) -> None:
        for name, value in (
            ("pieces", tuple(Piece(_readonly(piece.before), _readonly(piece.after)) for piece in self.pieces)),
            ("window", _readonly(self.window)),
        ):
            object.__setattr__(self, name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()  # pickled arrays can be written to again

    @property
    def batch_size(self) -> int | None:
        """Number of maps in a batch; None for a single one."""
        sizes = [piece.after.shape[0] for piece in self.pieces if piece.after.ndim == 2]
        return int(sizes[0]) if sizes else None

    @property
    def like(self) -> Array:
        """An array whose namespace and device are those of the map."""
        return self.pieces[0].after

    def forward(self, x: Array, *, out: Array | None = None) -> Array:
        """Target positions of the source positions `x`, of shape (q,), or (n, q) for a batch of maps; in NumPy into `out`."""
        for piece in self.pieces:
            x = interpolate(x, piece.before, piece.after, out=out)
        return x

    def backward(self, x: Array, *, out: Array | None = None) -> Array:
        """Source positions of the target positions `x`, of shape (q,), or (n, q) for a batch of maps; in NumPy into `out`."""
        for piece in reversed(self.pieces):
            x = interpolate(x, piece.after, piece.before, out=out)
        return x

    def inverse(self) -> AxisMap:
        """The same map read from target to source."""
        pieces = tuple(Piece(piece.after, piece.before) for piece in reversed(self.pieces))
        window = _array.clip(self.forward(self.window), 0.0, float(self.target_size))
        return AxisMap(pieces, self.target_size, self.source_size, window)

    def then(self, other: AxisMap) -> AxisMap:
        """This map followed by `other`, whose source is this one's target; on the device of the one that is not NumPy."""
        like = other.like if isinstance(self.like, np.ndarray) else self.like
        xp = _array.namespace(like)
        n = self.batch_size or other.batch_size
        first, second = self.moved_like(like).expanded(n), other.moved_like(like).expanded(n)
        seen = first.backward(second.window)
        low = xp.maximum(first.window[..., :1], seen[..., :1])
        high = xp.minimum(first.window[..., 1:], seen[..., 1:])
        window = xp.concat([low, xp.maximum(low, high)], axis=-1)
        return AxisMap((*first.pieces, *second.pieces), self.source_size, other.target_size, window)

    def expanded(self, n: int | None) -> AxisMap:
        """A batch of `n` equal maps; itself where it is a batch already, or `n` is None."""
        if n is None or self.batch_size is not None:
            return self
        xp = _array.namespace(self.like)

        def repeat(array: Array) -> Array:
            return xp.broadcast_to(array, (n, *array.shape))

        pieces = tuple(Piece(repeat(piece.before), repeat(piece.after)) for piece in self.pieces)
        return AxisMap(pieces, self.source_size, self.target_size, repeat(self.window))

    def item(self, index: int) -> AxisMap:
        """One map of a batch."""
        pieces = tuple(Piece(piece.before[index, ...], piece.after[index, ...]) for piece in self.pieces)
        return AxisMap(pieces, self.source_size, self.target_size, self.window[index, ...])

    def moved_like(self, like: Array) -> AxisMap:
        """The map in the namespace and on the device of `like`."""

        if isinstance(like, np.ndarray) and all(isinstance(piece.after, np.ndarray) for piece in self.pieces):
            return self

        def move(array: Array) -> Array:
            return _array.widen(_array.asarray_like(array, like))

        pieces = tuple(Piece(move(piece.before), move(piece.after)) for piece in self.pieces)
        return AxisMap(pieces, self.source_size, self.target_size, move(self.window))


def axis_map(before: Array, after: Array, source_size: int, target_size: int) -> AxisMap:
    """A single-piece map whose whole source is visible."""
    if isinstance(before, np.ndarray) and before.ndim == 1:
        return AxisMap((Piece(before, after),), source_size, target_size, np.array([0.0, source_size]))
    xp = _array.namespace(after)
    window = xp.stack([xp.zeros_like(before[..., 0]), xp.full_like(before[..., 0], float(source_size))], axis=-1)
    return AxisMap((Piece(before, after),), source_size, target_size, window)


def affine_map(scale: float, offset: float, source_size: int, target_size: int) -> AxisMap:
    """The map `x -> scale x + offset` in NumPy, `scale > 0`."""
    before = np.array([0.0, float(source_size)])
    return axis_map(before, scale * before + offset, source_size, target_size)


def _readonly(array: Array) -> Array:
    """NumPy's arrays as ones that cannot be written to; others as they are."""
    if not isinstance(array, np.ndarray) or not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def to_jsonable(axis: AxisMap) -> dict[str, Any]:
    """Plain lists and numbers; `from_jsonable` gives the map back, to the last bit."""
    return {
        "source_size": axis.source_size,
        "target_size": axis.target_size,
        "window": _array.to_numpy(axis.window).tolist(),
        "pieces": [
            {"before": _array.to_numpy(piece.before).tolist(), "after": _array.to_numpy(piece.after).tolist()}
            for piece in axis.pieces
        ],
    }


def from_jsonable(data: Any, name: str) -> AxisMap:
    """The map of `to_jsonable`, in NumPy; everything is checked, since files come from anywhere.

    Raises
    ------
    ValueError
        If it is incomplete, not increasing, too steep or flat to be undone, or its sizes contradict its knots.
    """
    try:
        pieces = tuple(Piece(_numbers(piece["before"]), _numbers(piece["after"])) for piece in data["pieces"])
        window = _numbers(data["window"])
        source_size, target_size = (
            _checks.whole_number(data[size], f"{name}.{size}", maximum=_checks.MAX_PIXELS)
            for size in ("source_size", "target_size")
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"axis {name!r} cannot be read: {error!r}") from None
    knots = [array for piece in pieces for array in piece]
    if not knots or {array.shape[:-1] for array in knots} != {window.shape[:-1]} or window.shape[-1:] != (2,):
        raise ValueError(f"axis {name!r} must hold knots of shape (k,) and a window of two numbers, or batches of both")
    if not all(before.shape == after.shape and _is_increasing(before, after) for before, after in pieces):
        raise ValueError(
            f"axis {name!r} must hold finite, strictly increasing knots, as many before as after, of slopes that float64 holds"
        )
    axis = AxisMap(pieces, source_size, target_size, window)
    if not _fits_its_sizes(axis):
        raise ValueError(
            f"axis {name!r} must have a window and knots that fit its sizes {source_size} -> {target_size}"
        )
    return axis


def _numbers(values: Any) -> Ndarray:
    """`values` as float64 of shape (k,) or (n, k); what is not a number is not read as one."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2):
        raise TypeError(f"must be a list of numbers, or a list of such lists, got {_checks.describe(values)}")
    return array.astype(np.float64)


def _is_increasing(before: Ndarray, after: Ndarray) -> bool:
    """Whether the map through the knots increases everywhere and can be undone."""
    with np.errstate(all="ignore"):  # what overflows is refused
        steps = np.diff(before, axis=-1), np.diff(after, axis=-1)
        slopes = steps[1] / steps[0], steps[0] / steps[1]
    return before.shape[-1] >= 2 and all(bool((np.isfinite(a) & (a > 0)).all()) for a in (*steps, *slopes))


def _fits_its_sizes(axis: AxisMap) -> bool:
    """Whether the window lies in the source, and a magnification, which has more than a frame's two knots, covers its image."""
    low, high = axis.window[..., 0], axis.window[..., 1]
    inside = (low >= 0) & (low <= high) & ((high <= axis.source_size) | (low == high))  # an empty one lies anywhere
    if not bool(np.all(inside & np.isfinite(high))):
        return False
    ends = (axis.pieces[0].before, axis.source_size), (axis.pieces[-1].after, axis.target_size)
    return all(knots.shape[-1] == 2 or np.allclose(knots[..., [0, -1]], [0, size], rtol=1e-6) for knots, size in ends)
