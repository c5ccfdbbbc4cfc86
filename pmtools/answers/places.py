"""A place in a text: where its numbers stand, what they count along which axis, and how others replace them.

Knows text and numbers; no images, no warps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

#: A number as models write it, as a regular expression: -1, 0.5, 12., 2.5e1.
NUMBER = r"[-+\u2212]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3}(?!\w))?"
#: Start and end in a text.
Span: TypeAlias = tuple[int, int]
#: From the words that stood in the spans, the new values and how many decimals are wanted (None: as before), to the new words.
Writer: TypeAlias = Callable[[Sequence[str], Sequence[float], int | None], list[str]]


def number(word: str) -> float:
    """The value of a number as `NUMBER` finds it; beyond all floats it is infinite."""
    return float(word.replace("\u2212", "-"))


def write_numbers(words: Sequence[str], values: Sequence[float], decimals: int | None) -> list[str]:
    """Numbers with as many decimals as those that they replace have, or as many as are asked for."""
    written = []
    for word, value in zip(words, values, strict=True):
        kept = _decimals(word) if decimals is None else decimals
        text = f"{value:.{kept}f}"
        written.append(text.removeprefix("-") if float(text) == 0 else text)
    return written


def _decimals(word: str) -> int:
    """How many decimals a number shows; one in scientific notation means as many as its mantissa and exponent leave."""
    mantissa, _, exponent = word.lower().partition("e")
    return max(0, len(mantissa.partition(".")[2]) - int(exponent or 0))


@dataclass(frozen=True)
class Written:
    """A point, a box or a polygon as it stands in a text.

    Attributes
    ----------
    axes : str
        "x" or "y" for each value: "xyxy" for a box, "yxyx" where y comes first; "w" and "h" are sizes, counted from x and y, or
        from "u" and "v", which are a centre.
    values : tuple of float
        In the units of the format.
    spans : tuple of (int, int)
        What `write` replaces; as many as values, unless a word holds two.
    write : callable
    polygon : int or None
        What the corners of one polygon or box, each a place of its own in the text, have in common.
    percent : bool
        Whether the values are percentages of the image, whatever the format counts.
    """

    axes: str
    values: tuple[float, ...]
    spans: tuple[Span, ...]
    write: Writer = write_numbers
    polygon: int | None = None
    percent: bool = False

    @property
    def start(self) -> int:
        """Where it starts."""
        return self.spans[0][0]

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.spans[-1][1]


class Finder(Protocol):
    """Finds places in a text that grows; one for each text.

    Attributes
    ----------
    settled : int
        What stands before this is as it will be: no number in it is part of a place that is still to come.
    """

    settled: int

    def feed(self, text: str, /, *, final: bool) -> list[Written]:
        """The places that are new in `text`, all of it so far; `final` where nothing follows."""
        ...
