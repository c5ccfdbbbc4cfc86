r"""Exact zoom: the warp that magnifies named boxes by a given factor, shapes kept, and the rest smoothly less.

Each axis is a density of output pixels over source pixels. In the spans of the boxes it is a constant $s$, the same along x and
y; beside a span of length $L$ it falls over `falloff` $L$ source pixels to a base $b$ along a cubic, and stays there. The
density's integral must be the output's length, which is linear in $s$ and $b$: with $A = \sum L_i + R_i / 2$, where $R_i$ are
the lengths of the falls, and $B$ = the length of the axis - $A$,

$$ s A + b B = M. $$

So $b$ follows from the zoom, and the largest zoom from the least $b$: nothing is searched.

Knows boxes and axes; no heatmaps, no pixels.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pmtools import _array, _checks
from pmtools.axes import AxisMap, axis_map
from pmtools.settings import ZOOM_FALLOFF
from pmtools.typing import Array, BoxesXYXY, Ndarray, PointsXY, SizeHW
from pmtools.warp import Warp

#: Least magnification outside the boxes, relative to a plain resize: what is around stays readable. It costs a box of a tenth
#: of a side little of its zoom, see docs/log.md.
ZOOM_FLOOR = 0.2

#: Gaps below this many source pixels are closed, so that slopes of knots are never rounding noise.
_CLOSED = 1e-3
#: Knots a fall has at most: steps of a thirtieth of it are not seen.
_FALL_KNOTS = 32
#: Zooms this close to a bound, relatively, meet it.
_MET = 1e-6


class _Spans(NamedTuple):
    """What one axis magnifies: disjoint spans in order.

    Attributes
    ----------
    low, high : float64 arrays of shape (k,)
        In source pixels.
    zoom : float64 array of shape (k,)
    box : int array of shape (k,)
        A box that each span belongs to.
    """

    low: Ndarray
    high: Ndarray
    zoom: Ndarray
    box: Ndarray


def zoom_warp(
    boxes_xyxy: BoxesXYXY,
    /,
    *,
    source_hw: SizeHW,
    target_hw: SizeHW | None = None,
    zoom: Any = None,
    margin: float = 0.0,
    floor: float = ZOOM_FLOOR,
    falloff: float = ZOOM_FALLOFF,
) -> Warp:
    r"""The warp that magnifies boxes by an exact factor, with the same scale along x and y: circles in them stay circles.

    In every box, output pixels per source pixel are $s = z \sqrt{(W' / W) (H' / H)}$ along both axes, so a box has $z^2$ times
    the pixels that a plain resize to `target_hw` gives it. Outside the boxes order is kept and the scale falls off smoothly.
    A warp has one scale per row and per column: rows and columns that boxes share are magnified for both, and where the columns
    of one box cross the rows of another, something else grows (`Warp.report` says how much).

    Convention: continuous pixel-edge coordinates; pixel `i` covers `[i, i + 1)`.

    Parameters
    ----------
    boxes_xyxy : array of shape (4,) or (n, 4)
        x0, y0, x1, y1 in pixels, `x0 <= x1` and `y0 <= y1`; they may overlap. Parts beyond the image do not count. A box
        narrower than a pixel counts as a pixel wide. No boxes give a plain resize.
    source_hw : (int, int)
        Height and width of the image to magnify.
    target_hw : (int, int), optional
        Height and width of the magnified image. Default: `source_hw`.
    zoom : float, or sequence of n floats, optional
        Magnification of the boxes relative to a plain resize, > 0; one for all, or one each, where boxes of different zoom share
        no rows and no columns. Default: the largest that fits, one for all.
    margin : float, optional
        Source pixels around every box that get its scale too, >= 0.
    floor : float, optional
        Least magnification per axis outside the boxes relative to a plain resize, in [0.001, 1]; the greatest, where a zoom
        below 1 or the shape of `target_hw` leaves space over, is `1 / floor`.
    falloff : float, optional
        Length over which the scale falls beside a box (or beside boxes that share rows or columns), in lengths of its side,
        >= 0; less where the border or the next box is nearer.

    Returns
    -------
    Warp
        In the namespace and on the device of `boxes_xyxy`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; if `zoom` does not fit, with the largest that does; if boxes of different
        zoom share rows or columns.

    Examples
    --------
    >>> warp = zoom_warp([40, 40, 50, 44], source_hw=(100, 100), zoom=4)
    >>> x0, y0, x1, y1 = warp.boxes([40, 40, 50, 44]).tolist()
    >>> round(x1 - x0, 6), round(y1 - y0, 6)
    (40.0, 16.0)
    """
    return zoom_to(
        boxes_xyxy,
        "boxes_xyxy",
        source_hw=source_hw,
        target_hw=target_hw,
        zoom=zoom,
        margin=margin,
        floor=floor,
        falloff=falloff,
    )


def zoom_to(
    boxes_xyxy: BoxesXYXY,
    name: str,
    /,
    *,
    source_hw: SizeHW,
    target_hw: SizeHW | None = None,
    zoom: Any = None,
    margin: float = 0.0,
    floor: float = ZOOM_FLOOR,
    falloff: float = ZOOM_FALLOFF,
) -> Warp:
    """`zoom_warp`, whose errors call the boxes by the `name` they came by."""
    like = _checks.coordinates(boxes_xyxy, name, last=4, columns="x0, y0, x1, y1")
    source_hw = _checks.size_hw(source_hw, "source_hw")
    target_hw = source_hw if target_hw is None else _checks.size_hw(target_hw, "target_hw")
    if _array.requires_grad(like):
        raise ValueError(f"`{name}` must not require gradients, which a zoom does not pass on; use {name}.detach()")
    boxes = _checks.boxes_on(like, name, source_hw)
    zooms = _checked_zooms(zoom, len(boxes))
    margin = _checks.real_number(margin, "margin", minimum=0.0)
    floor = _checks.real_number(floor, "floor", minimum=1e-3, maximum=1.0)
    falloff = _checks.real_number(falloff, "falloff", minimum=0.0)
    resize = np.array(target_hw[::-1]) / source_hw[::-1]  # output pixels per source pixel along x, y
    spans = [
        _spans(boxes[:, i] - margin, boxes[:, i + 2] + margin, zooms, n, "columns" if i == 0 else "rows")
        for i, n in enumerate(source_hw[::-1])
    ]
    profiles = [
        _Profile(part, float(np.sqrt(resize.prod())), n, m, falloff)
        for part, n, m in zip(spans, source_hw[::-1], target_hw[::-1], strict=True)
    ]
    factor = (
        _factor([profile.factors(floor) for profile in profiles], name, zoom, zooms, floor, falloff)
        if len(boxes)
        else 1.0
    )
    x, y = (profile.axis_map(factor, like) for profile in profiles)
    return Warp(x=x, y=y)


def boxes_of_points(points_xy: PointsXY, source_hw: SizeHW, /) -> Array:
    """A box without an area at each point of an image, shape (n, 4), for a margin to widen."""
    points = _checks.coordinates(points_xy, "points", last=2, columns="x, y")
    _checks.points_on(points, "points", source_hw)
    return _array.namespace(points).concat([points, points], axis=-1)


def boxes_of_mask(mask: Any, source_hw: SizeHW, /) -> Ndarray:
    """The box around each connected region of a mask of the image's size, diagonal neighbours connected, shape (n, 4)."""
    from scipy import ndimage

    array = _array.to_numpy(_checks.map_array(mask, "mask", labels=True))
    if array.shape != tuple(source_hw):
        way = (
            "make one mask of them first, for example with any()"
            if array.ndim > 2
            else "resize it, without interpolation"
        )
        raise ValueError(
            f"`mask` must have the height and width of the image, {source_hw}, got shape {array.shape}; {way}"
        )
    if not _array.is_real(array):
        raise TypeError(
            f"`mask` must hold real numbers or booleans, got dtype {array.dtype}; give mask > 0, for example"
        )
    if np.isnan(array).any():
        raise ValueError("`mask` must not hold NaN, got some; replace it, for example with 0")
    regions, _ = ndimage.label(array > 0, structure=np.ones((3, 3)))
    found = ndimage.find_objects(regions)
    return np.array([[x.start, y.start, x.stop, y.stop] for y, x in found], dtype=np.float64).reshape(-1, 4)


def _checked_zooms(zoom: Any, n: int) -> Ndarray:
    """One zoom per box; 1 for all where the largest is wanted."""
    if zoom is None:
        return np.ones(n)
    if not isinstance(zoom, (list, tuple)) and not getattr(zoom, "shape", ()):
        return np.full(n, _checks.real_number(zoom, "zoom", minimum=0.0, exclusive_minimum=True))
    zooms = [_checks.real_number(z, f"zoom[{i}]", minimum=0.0, exclusive_minimum=True) for i, z in enumerate(zoom)]
    if len(zooms) != n:
        raise ValueError(f"`zoom` must be a number, or one for each of the {n} boxes, got {len(zooms)} of them")
    return np.array(zooms)


def _spans(low: Ndarray, high: Ndarray, zooms: Ndarray, size: int, lines: str) -> _Spans:
    """The union of intervals, cut to the axis; intervals that overlap must have the same zoom."""
    low, high = np.clip(low, 0.0, size), np.clip(high, 0.0, size)
    narrow = high - low < 1.0
    middle = np.clip((low + high) / 2, 0.5, size - 0.5)
    low, high = np.where(narrow, middle - 0.5, low), np.where(narrow, middle + 0.5, high)
    low, high = np.where(low < _CLOSED, 0.0, low), np.where(high > size - _CLOSED, float(size), high)
    spans: list[list[Any]] = []
    for i in np.lexsort((high, low)):
        start, stop, zoom = low[i], high[i], zooms[i]
        last = spans[-1] if spans else None
        if last and start < last[1] + _CLOSED:
            if zoom == last[2]:
                last[1], last[3] = (stop, i) if stop > last[1] else last[1::2]
                continue
            if start < last[1] - _CLOSED:
                raise ValueError(
                    f"`zoom` must be the same for boxes that share {lines}, got {last[2]:g} for box {last[3]} and {zoom:g} "
                    f"for box {i}; give one zoom, or use pmtools.mosaic, where each has its own scale"
                )
            start = last[1]
        spans.append([start, stop, zoom, i])
    low, high, zooms, box = np.array(spans, dtype=np.float64).reshape(-1, 4).T
    return _Spans(low, high, zooms, box.astype(int))


class _Profile:
    """The density of one axis, up to the zoom's factor and the base that follows from it."""

    def __init__(self, spans: _Spans, unit: float, source_size: int, target_size: int, falloff: float) -> None:
        self.low, self.high = spans.low, spans.high
        self.scale = spans.zoom * unit
        self.source_size, self.target_size = source_size, target_size
        self.resize = target_size / source_size
        gaps = np.append(self.low, source_size) - np.append(0.0, self.high)  # (k + 1,)
        room = gaps / 2
        room[0], room[-1] = gaps[0], gaps[-1]  # at the borders there is one fall, between spans there are two
        longest = falloff * (self.high - self.low)
        falls = np.stack(
            [np.append(0.0, np.minimum(longest, room[1:])), np.append(np.minimum(longest, room[:-1]), 0.0)]
        )
        falls = np.where(falls < _CLOSED, 0.0, falls)  # (2, k + 1): at the start and at the end of each gap
        total = falls.sum(axis=0)
        nearly = (total > 0) & (gaps - total < _CLOSED)  # what is left between falls is closed too
        falls = falls * np.where(nearly, gaps / np.where(nearly, total, 1.0), 1.0)
        self.after, self.before = falls[0, 1:], falls[1, :-1]
        #: Source pixels that count with the scale of each span, and those that count with the base.
        self.area = self.high - self.low + (self.before + self.after) / 2
        self.rest = float(gaps.sum() - (self.before + self.after).sum() / 2) if gaps.sum() > 0 else 0.0

    def factors(self, floor: float) -> tuple[float, float]:
        """The least and the greatest factor of the zooms at which the base is in bounds."""
        weight = float((self.scale * self.area).sum())
        if self.rest == 0.0:  # the spans are all there is
            return self.target_size / weight, self.target_size / weight
        low = (self.target_size - self.resize / floor * self.rest) / weight
        high = (self.target_size - self.resize * floor * self.rest) / weight
        return max(low, floor * self.resize / float(self.scale.min())), high

    def axis_map(self, factor: float, like: Array) -> AxisMap:
        """The integral of the density through knots: exact in the spans, and at every knot of a fall."""
        scale = self.scale * factor
        base = (self.target_size - float((scale * self.area).sum())) / self.rest if self.rest else 0.0
        knots, steps = [0.0], [0.0]

        def extend(positions: Ndarray, mass: Ndarray) -> None:
            knots.extend(positions.tolist())
            steps.extend(mass.tolist())

        def fall_beside(span: int, length: float) -> tuple[Ndarray, Ndarray]:
            """Distances from the span, and the mass up to each."""
            u = np.linspace(0.0, 1.0, 1 + int(np.clip(math.ceil(4 * length), 4, _FALL_KNOTS)))
            kept = u - u**3 + u**4 / 2  # the integral of 1 - 3 u^2 + 2 u^3
            return length * u, length * (base * u + (scale[span] - base) * kept)

        edge = 0.0
        for i in range(len(scale)):
            flat = float(self.low[i] - self.before[i]) - edge
            if flat > _CLOSED / 4:
                extend(np.array([edge + flat]), np.array([base * flat]))
            if self.before[i]:
                distance, mass = fall_beside(i, float(self.before[i]))
                extend(self.low[i] - distance[-2::-1], -np.diff(mass[::-1]))
            extend(self.high[i : i + 1], scale[i : i + 1] * (self.high[i] - self.low[i]))
            if self.after[i]:
                distance, mass = fall_beside(i, float(self.after[i]))
                extend(self.high[i] + distance[1:], np.diff(mass))
            edge = float(self.high[i] + self.after[i])
        flat = self.source_size - edge
        if flat > _CLOSED / 4:
            extend(np.array([float(self.source_size)]), np.array([base * flat]))
        before, after = np.array(knots), np.cumsum(steps)
        before[-1], after = self.source_size, after * (self.target_size / after[-1])
        before, after = (_array.widen(_array.asarray_like(a, like)) for a in (before, after))
        return axis_map(before, after, self.source_size, self.target_size)


def _factor(
    bounds: list[tuple[float, float]], name: str, zoom: Any, zooms: Ndarray, floor: float, falloff: float
) -> float:
    """The factor of the zooms: 1 where they fit, the greatest where none is asked for."""
    low, high = max(low for low, _ in bounds), min(high for _, high in bounds)
    if low > high * (1 + _MET):
        raise ValueError(
            f"`{name}` cover too much of an axis: their scale cannot be the same along x and y in `target_hw`; choose a "
            "`target_hw` of the proportions of `source_hw`, or smaller boxes"
        )
    if zoom is None:
        return high
    if low * (1 - _MET) <= 1.0 <= high * (1 + _MET):
        return min(max(1.0, low), high)
    which, factor = ("largest", high) if high < 1.0 else ("smallest", low)
    fits = [float(f"{factor * z:.7g}") for z in zooms.tolist()]
    if low == high:
        why, way = "on an axis that the boxes cover whole nothing can make room, so", "ask for that, or leave a border"
    else:
        why, way = f"with `floor` {floor:g} and `falloff` {falloff:g}", "ask for that, or lower `floor`"
        way += " or `falloff`; pmtools.mosaic magnifies any boxes" if factor == high else ""
    raise ValueError(
        f"`zoom` must fit into `target_hw`, got {zoom}; {why} the {which} that does is {_listed(fits)}; {way}"
    )


def _listed(zooms: list[float]) -> str:
    return str(zooms[0]) if len(set(zooms)) == 1 else str(zooms)
