"""A place in a text: where its numbers stand, what they count along which axis, and how others replace them.

Knows text and numbers; no images, no warps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

#: Start and end in a text.
Span: TypeAlias = tuple[int, int]
#: From the words that stood in the spans, the new values and how many decimals are wanted (None: as before), to the new words.
Writer: TypeAlias = Callable[[Sequence[str], Sequence[float], int | None], list[str]]


def write_numbers(words: Sequence[str], values: Sequence[float], decimals: int | None) -> list[str]:
    """Numbers with as many decimals as those that they replace have, or as many as are asked for."""
    written = []
    for word, value in zip(words, values, strict=True):
        kept = len(word.partition(".")[2]) if decimals is None else decimals
        text = f"{value:.{kept}f}"
        written.append(text.removeprefix("-") if float(text) == 0 else text)
    return written


@dataclass(frozen=True)
class Written:
    """A point, a box or a polygon as it stands in a text.

    Attributes
    ----------
    axes : str
        "x" or "y" for each value: "xyxy" for a box, "yxyx" where y comes first; "w" and "h" are sizes, counted from the last
        x and y before them.
    values : tuple of float
        In the units of the format.
    spans : tuple of (int, int)
        What `write` replaces; as many as values, unless a word holds two.
    write : callable
    polygon : int or None
        What the corners of one polygon, each a place of its own in the text, have in common.
    """

    axes: str
    values: tuple[float, ...]
    spans: tuple[Span, ...]
    write: Writer = write_numbers
    polygon: int | None = None

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
