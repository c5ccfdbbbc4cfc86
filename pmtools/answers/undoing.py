"""Places in a model's answer, mapped to the original image, and the answer rewritten accordingly.

Knows texts and warps; which numbers are places, the formats know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from pmtools import _checks, frames
from pmtools.answers.formats import Format, named
from pmtools.answers.places import Span, Written
from pmtools.typing import Ndarray, SizeHW
from pmtools.warp import Warp

#: What numbers can be after `undo`.
UNITS = ("same", "pixels", "fractions")


@dataclass(frozen=True, eq=False)
class Place:
    """A point, a box or a polygon that an answer names.

    Attributes
    ----------
    kind : {"point", "box", "polygon"}
        By the number of its corners: one, two or more.
    points_xy : float64 array of shape (n, 2)
        x, y in pixels of the original image, not rounded; two opposite corners of a box.
    start, end : int
        Where its numbers stand in the answer that came.
    """

    kind: str
    points_xy: Ndarray
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Undone:
    """An answer in coordinates of the original image.

    Attributes
    ----------
    text : str
        The answer, rewritten.
    places : tuple of Place
        What it names, in order.
    """

    text: str
    places: tuple[Place, ...]

    @property
    def boxes_xyxy(self) -> Ndarray:
        """The boxes, x0, y0, x1, y1 in pixels of the original, float64 of shape (n, 4)."""
        boxes = [np.sort(place.points_xy, axis=0).ravel() for place in self.places if place.kind == "box"]
        return np.array(boxes, dtype=np.float64).reshape(-1, 4)

    @property
    def points_xy(self) -> Ndarray:
        """The single points, x, y in pixels of the original, float64 of shape (n, 2)."""
        points = [place.points_xy[0] for place in self.places if place.kind == "point"]
        return np.array(points, dtype=np.float64).reshape(-1, 2)


def undo(
    text: str,
    /,
    *,
    warp: Warp,
    format: str | Format,
    input_hw: SizeHW | None = None,
    outside: str = "clip",
    units: str = "same",
    decimals: int | None = None,
) -> Undone:
    """Find points, boxes and polygons in an answer about a magnified image, and rewrite them in coordinates of the original.

    Lists and named numbers are found by their keys in JSON, Python literals and calls, fenced or bare, also where the answer was
    cut off; tokens and tags by their form. All other text stays as it is, to the byte.

    Convention: numbers are of continuous pixel-edge coordinates, 0 the left or top edge of the image.

    Parameters
    ----------
    text : str
        The answer about an image that `warp` made.
    warp : Warp
        From the original image to the one that was sent.
    format : str or Format
        A name in `FORMATS`.
    input_hw : (int, int), optional
        Height and width of the image that pixels count in, where the model or its server resizes what is sent. Default:
        `warp.target_hw`.
    outside : {"clip", "refuse"}, optional
        What to do with numbers beyond the image.
    units : {"same", "pixels", "fractions"}, optional
        What the numbers are afterwards: the format's units, now of the original image (0 to 1000 stays 0 to 1000; pixels of the
        resized image become pixels of the original); or, in any format that writes numbers, pixels of the original, or fractions
        of its width and height.
    decimals : int, optional
        How many decimals are written. Default: four for fractions, otherwise as many as the answer has; `Place.points_xy` is not
        rounded.

    Returns
    -------
    Undone

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above, this is a batch of warps, or a number is refused.

    Examples
    --------
    >>> from pmtools import zoom_warp
    >>> warp = zoom_warp([40, 40, 60, 60], source_hw=(100, 100), zoom=2.5)
    >>> undone = undo('It is here: {"bbox_2d": [250, 250, 750, 750]}.', warp=warp, format="qwen3-vl")
    >>> undone.text, undone.boxes_xyxy.round(6)
    ('It is here: {"bbox_2d": [400, 400, 600, 600]}.', array([[40., 40., 60., 60.]]))
    """
    undoing = Undoing(warp=warp, format=format, input_hw=input_hw, outside=outside, units=units, decimals=decimals)
    if not isinstance(text, str):
        raise TypeError(f"`text` must be a string, got {_checks.describe(text)}")
    return Undone(undoing.feed(text) + undoing.finish(), undoing.places)


class Undoing:
    """`undo` for streamed text: it holds back what may still become part of a place.

    Parameters
    ----------
    warp, format, input_hw, outside, units, decimals
        As for `undo`.

    Raises
    ------
    TypeError, ValueError
        As for `undo`.

    Examples
    --------
    >>> from pmtools import zoom_warp
    >>> warp = zoom_warp([40, 40, 60, 60], source_hw=(100, 100), zoom=2.5)
    >>> undoing = Undoing(warp=warp, format="molmo")
    >>> [undoing.feed(piece) for piece in ('There: <point x="', '25" y="50"', ">it</point>")], undoing.finish()
    (['There: ', '', '<point x="40" y="50">it</point>'], '')
    """

    def __init__(
        self,
        *,
        warp: Warp,
        format: str | Format,
        input_hw: SizeHW | None = None,
        outside: str = "clip",
        units: str = "same",
        decimals: int | None = None,
    ) -> None:
        if not isinstance(warp, Warp) or warp.batch_shape:
            raise TypeError(f"`warp` must be a single Warp, got {_checks.describe(warp)}; of a batch use warp[i]")
        self.warp, self.format = warp, named(format)
        self.refuses = _checks.choice(outside, "outside", ("clip", "refuse")) == "refuse"
        self.units = _checks.choice(units, "units", UNITS)
        if units != "same" and self.format.tokens:
            raise ValueError(
                f"`units` must be 'same' for a format of tokens, got {units!r}; `points_xy` has the pixels"
            )
        if units == "same" and self.format.scale is None:
            self.units = "pixels"
        usual = 4 if units == "fractions" else None
        self.decimals = usual if decimals is None else _checks.whole_number(decimals, "decimals", minimum=0)
        input_hw = warp.target_hw if input_hw is None else _checks.size_hw(input_hw, "input_hw")
        self._unit_hw = input_hw if self.format.scale is None else (self.format.scale,) * 2
        self._to_units = warp.then(frames.resize(warp.target_hw, self._unit_hw))
        self._finders = [make() for make in self.format.finders]
        self._text, self._settled = "", 0
        self._found: list[tuple[int | None, Place]] = []
        self._waiting: list[tuple[Span, str]] = []

    @property
    def places(self) -> tuple[Place, ...]:
        """What has been found so far, in order."""
        found: list[Place] = []
        last = None
        for polygon, place in sorted(self._found, key=lambda pair: pair[1].start):
            if polygon is not None and polygon == last:
                corners = np.concatenate([found[-1].points_xy, place.points_xy])
                found[-1] = Place("polygon" if len(corners) > 2 else "box", corners, found[-1].start, place.end)
            else:
                found.append(place)
            last = polygon
        return tuple(found)

    def feed(self, piece: str, /) -> str:
        """Take the next piece, and return the text that is settled by now.

        Parameters
        ----------
        piece : str

        Returns
        -------
        str
        """
        return self._read(piece, final=False)

    def finish(self) -> str:
        """Return the rest, once no more text follows.

        Returns
        -------
        str
        """
        return self._read("", final=True)

    def _read(self, piece: str, *, final: bool) -> str:
        self._text += piece
        for finder in self._finders:
            for written in finder.feed(self._text, final=final):
                self._take(written)
        settled = len(self._text) if final else min(finder.settled for finder in self._finders)
        said, self._waiting = sorted(self._waiting), []
        parts = []
        for (start, end), word in said:
            if end > settled:
                self._waiting.append(((start, end), word))
            else:
                parts += [self._text[self._settled : start], word]
                self._settled = end
        if settled > self._settled:
            parts.append(self._text[self._settled : settled])
            self._settled = settled
        return "".join(parts)

    def _take(self, written: Written) -> None:
        """Note a place, and the words that replace its own."""
        axes, values = _corners(written)
        high = np.array([self._unit_hw["yx".index(axis)] for axis in axes], dtype=np.float64)
        position = np.array(values) / 100 * high if written.percent else np.array(values) + self.format.offset
        if self.refuses and ((position < 0) | (position > high)).any():
            self._refuse(written)
        back = self._by_axis(self._to_units, np.clip(position, 0.0, high), axes)
        edges = np.array([self.warp.source_hw["yx".index(axis)] for axis in axes], dtype=np.float64)
        back = np.clip(back, 0.0, edges)  # padding is beyond the original
        x, y = (back[[i for i, axis in enumerate(axes) if axis == which]] for which in "xy")
        points = np.stack([x[: len(y)], y[: len(x)]], axis=-1)
        kind = {1: "point", 2: "box"}.get(len(points), "polygon")
        self._found.append((written.polygon, Place(kind, points, written.start, written.end)))
        parts = back / edges
        if written.percent:
            new = 100 * parts
        else:
            new = {"pixels": back, "fractions": parts, "same": parts * high - self.format.offset}[self.units]
        new = np.array(_sizes(written.axes, new.tolist()))
        words = [self._text[start:end] for start, end in written.spans]
        self._waiting += zip(written.spans, written.write(words, new.tolist(), self.decimals), strict=True)

    @staticmethod
    def _by_axis(to_units: Warp, position: Ndarray, axes: str) -> Ndarray:
        """Positions in units of the answer as pixels of the original, each along its own axis."""
        back = to_units.inverse_points(np.stack([position, position], axis=-1))
        return np.array([back[i, "xy".index(axis)] for i, axis in enumerate(axes)])

    def _refuse(self, written: Written) -> NoReturn:
        shown = self._text[written.start : written.end]
        height, width = self._unit_hw
        raise ValueError(
            f"`text` must name places in the image, x in 0..{width} and y in 0..{height}, got {shown[:80]!r}; "
            "outside='clip' moves them to its edge, another `format` counts otherwise"
        )


_SIDES = str.maketrans("uvwh", "xyxy")


def _corners(written: Written) -> tuple[str, list[float]]:
    """Axes and values with centres and sizes as corners."""
    values = list(written.values)
    for size, start, centred in _sized(written.axes):
        if centred:
            values[start] -= values[size] / 2
        values[size] += values[start]
    return written.axes.translate(_SIDES), values


def _sizes(axes: str, values: list[float]) -> list[float]:
    """Corners as centres and sizes again."""
    for size, start, centred in _sized(axes):
        values[size] -= values[start]
        if centred:
            values[start] += values[size] / 2
    return values


def _sized(axes: str) -> list[tuple[int, int, bool]]:
    """Where the sizes stand, where what each counts from, and whether that is a centre."""
    found = []
    for i, axis in enumerate(axes):
        if axis in "wh":
            corner, centre = ("x", "u") if axis == "w" else ("y", "v")
            centred = corner not in axes
            found.append((i, axes.index(centre if centred else corner), centred))
    return found
