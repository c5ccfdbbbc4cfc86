r"""Polygons through a warp: their vertices exactly, and more vertices where a straight side becomes a bent one.

Knows rings of points; no records.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pmtools import _array, _checks
from pmtools.annotation.formats import shown_window
from pmtools.turns import Turned
from pmtools.typing import Ndarray
from pmtools.warp import Warp

#: Pixels of the result that a side may be off before it gets more vertices.
TOLERANCE = 0.25

#: Positions at which a side is looked at, at most.
_STEPS = 4096


def polygon(points_xy: Any, warp: Warp | Turned, /, *, tolerance: float = TOLERANCE, clip: bool = False) -> Ndarray:
    """A polygon through a warp.

    Parameters
    ----------
    points_xy : array of shape (n, 2)
        Vertices x, y in pixels, in turn; the last side goes from the last to the first.
    warp : Warp or Turned
        `warp.inverse()` undoes it; vertices that were added stay, on the sides.
    tolerance : float, optional
        Pixels of the result that a side may be off before vertices are added, >= 0. `math.inf` adds none.
    clip : bool, optional
        Cut it to what the result shows of the source. The area is exact; a polygon in several parts stays one ring, joined
        along the border.

    Returns
    -------
    float64 array of shape (m, 2)
        Without rows where nothing is left.

    Raises
    ------
    TypeError, ValueError
        If `points_xy` is not as described above, or a batch of warps was given.

    Examples
    --------
    >>> from pmtools import frames
    >>> polygon([[0, 0], [10, 0], [10, 10]], frames.crop((20, 20), (0, 0, 5, 20)), clip=True)
    array([[0., 0.],
           [5., 0.],
           [5., 5.]])
    """
    tolerance = math.inf if tolerance == math.inf else _checks.real_number(tolerance, "tolerance", minimum=0.0)
    array = _checks.coordinates(points_xy, "points_xy", last=2, columns="x, y")
    ring = _array.to_numpy(array).astype(np.float64)
    if ring.ndim != 2 or not np.isfinite(ring).all():
        raise ValueError(f"`points_xy` must be finite and have shape (n, 2), got {_checks.describe(points_xy)}")
    if warp.batch_shape:
        raise ValueError(f"a polygon goes through one warp, this is a batch of {len(warp)}; use warp[i]")
    mapped: Ndarray = _bent(ring, warp, tolerance) if len(ring) > 1 and tolerance < math.inf else warp.points(ring)
    return _cut(mapped, warp) if clip and len(mapped) else mapped


def area(ring: Ndarray) -> float:
    """The area of a ring (n, 2)."""
    if len(ring) < 3:
        return 0.0
    x, y = (ring - ring[0]).T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def _bent(ring: Ndarray, warp: Warp | Turned, tolerance: float) -> Ndarray:
    """The ring's vertices mapped, and others between them where a side is further than `tolerance` from its chord."""
    from skimage.measure import approximate_polygon

    ends = np.roll(ring, -1, axis=0)
    mapped: Ndarray = warp.points(ring)
    mapped_ends = np.roll(mapped, -1, axis=0)
    # a knot of a warp is a pixel wide: a step of at most a pixel, before and after, sees every bend of more
    longest = np.maximum(np.abs(ends - ring), np.abs(mapped_ends - mapped)).max(axis=1)
    steps = np.clip(np.ceil(longest), 1, _STEPS).astype(int)
    side = np.repeat(np.arange(len(ring)), steps)
    first = np.cumsum(steps) - steps
    t = ((np.arange(len(side)) - first[side]) / steps[side])[:, None]
    curve = warp.points(ring[side] + t * (ends - ring)[side])
    curve[first] = mapped
    off = np.abs(curve - (mapped[side] + t * (mapped_ends - mapped)[side])).max(axis=1)
    if not len(off) or off.max() <= tolerance / 2:
        return mapped
    worst = np.maximum.reduceat(off, first)
    parts = []
    for i, start in enumerate(first):
        if worst[i] <= tolerance / 2:
            parts.append(mapped[i : i + 1])
            continue
        whole = np.concatenate([curve[start : start + steps[i]], mapped_ends[i : i + 1]])
        parts.append(approximate_polygon(whole, tolerance)[:-1])
    return np.concatenate(parts)


def _cut(ring: Ndarray, warp: Warp | Turned) -> Ndarray:
    """The part of the ring in what the warp shows: vertices where a side crosses a border, then all moved onto it.

    Moving what is outside to the nearest place of the rectangle gives it no area, so the area inside is exact.
    """
    windows = [_array.to_numpy(window) for window in shown_window(warp)]
    low, high = np.array(windows).T
    if ((low <= ring) & (ring <= high)).all():
        return ring if area(ring) > 0 else ring[:0]
    for axis, window in enumerate(windows):
        for border in window:
            ends = np.roll(ring, -1, axis=0)
            before, after = ring[:, axis] - border, ends[:, axis] - border
            crosses = before * after < 0
            share = before[crosses] / (before - after)[crosses]
            cuts = ring[crosses] + share[:, None] * (ends - ring)[crosses]
            cuts[:, axis] = border
            ring = np.insert(ring, np.flatnonzero(crosses) + 1, cuts, axis=0)
    ring = np.clip(ring, low, high)
    same = (ring == np.roll(ring, -1, axis=0)).all(axis=1)
    ring = ring[~same]
    return _without_flat(ring)


def _without_flat(ring: Ndarray) -> Ndarray:
    """The ring without vertices in the middle of a straight run along x or y; nothing where no area is left."""
    while len(ring) >= 3:
        before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
        flat = ((ring == before) & (ring == after)).any(axis=1)
        flat &= ~np.roll(flat, 1)  # neighbours one after the other
        if flat[0] and flat[-1]:
            flat[-1] = False
        if not flat.any():
            break
        ring = ring[~flat]
    return ring if area(ring) > 0 else ring[:0]
