"""Coordinates between marks: location tokens, points in XML, arguments of actions.

Each is a regular expression for the whole, one for what may become it at the end of a text that still grows, and a reader of
what was found. Knows no model; `formats` says which has which.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

from pmtools.answers.places import NUMBER, Span, Writer, Written, number

Reader: TypeAlias = Callable[[re.Match[str]], Iterator[Written]]

_NUMBER = re.compile(NUMBER)
#: Longest mark that is waited for, in characters.
_LONGEST = 20_000
#: Patches of Kosmos-2 along each side.
_PATCHES = 32


class Marked:
    """Finds places by regular expressions.

    Parameters
    ----------
    whole : re.Pattern
        What holds places.
    unfinished : re.Pattern
        What may become it, up to the end of the text.
    read : callable
        From a match of `whole` to its places.
    """

    def __init__(self, whole: re.Pattern[str], unfinished: re.Pattern[str], read: Reader) -> None:
        self.whole, self.unfinished, self.read = whole, unfinished, read
        self.settled = 0

    def feed(self, text: str, /, *, final: bool) -> list[Written]:
        """The places that are new in `text`, all of it so far; `final` where nothing follows."""
        waiting = None if final else self.unfinished.search(text, self.settled)
        end = waiting.start() if waiting else len(text)
        found = [place for match in self.whole.finditer(text, self.settled, end) for place in self.read(match)]
        self.settled = end
        return found


def location_tokens(whole: str, word: str, order: str, *, most: int, length: int) -> Marked:
    """Tokens such as `<loc0123>`, in runs: points, boxes and polygons of whole bins.

    Parameters
    ----------
    whole, word : str
        A regular expression for a token, with the number in a group, and how it is written: "<loc{:04d}>".
    order : str
        "xy" or "yx".
    most : int
        Largest number.
    length : int
        Longest token, in characters.
    """
    token = re.compile(whole)

    def write(_: Sequence[str], values: Sequence[float], __: int | None) -> list[str]:
        return [word.format(min(max(round(value), 0), most)) for value in values]

    def read(match: re.Match[str]) -> Iterator[Written]:
        tokens = list(token.finditer(match.string, *match.span()))
        if len(tokens) % 2 == 0:
            values = [float(part[1]) for part in tokens]
            spans = [part.span() for part in tokens]
            step = 4 if len(tokens) % 4 == 0 and len(tokens) != 8 else len(tokens)  # boxes, one after the other
            for i in range(0, len(tokens), step):
                yield _of(order, values[i : i + step], spans[i : i + step], write)

    run = f"(?:{whole.replace('(', '(?:')})"
    unfinished = f"{run}*(?:{_starts(word[:4])}[^<>\\s]{{0,{length}}}|)\\Z"
    return Marked(re.compile(f"{run}+"), re.compile(unfinished), read)


def patch_tokens() -> Marked:
    """Pairs of `<patch_index_0044>`, cells of a grid: where they share a row or a column its edges count, else their centres."""
    pair = r"<patch_index_(\d{4})><patch_index_(\d{4})>"

    def write(_: Sequence[str], values: Sequence[float], __: int | None) -> list[str]:
        x0, y0, x1, y1 = values
        cells = [(int(x0), int(y0)), (max(-int(-x1 // 1) - 1, int(x0)), max(-int(-y1 // 1) - 1, int(y0)))]
        return [
            "".join(
                f"<patch_index_{min(max(y, 0), _PATCHES - 1) * _PATCHES + min(max(x, 0), _PATCHES - 1):04d}>"
                for x, y in cells
            )
        ]

    def read(match: re.Match[str]) -> Iterator[Written]:
        (y0, x0), (y1, x1) = (divmod(int(index), _PATCHES) for index in match.groups())
        shift = (0.0, 1.0) if x0 == x1 or y0 == y1 else (0.5, 0.5)
        values = (x0 + shift[0], y0 + shift[0], x1 + shift[1], y1 + shift[1])
        yield Written("xyxy", values, (match.span(),), write)

    return Marked(
        re.compile(pair), re.compile(r"(?:<patch_index_\d{4}>)*(?:" + _starts("<pat") + r"[^<>\s]{0,16}|)\Z"), read
    )


def point_tags() -> Marked:
    """`<point x="61.5" y="40.4" alt="...">` and `<points x1="..." y1="..." x2="..." y2="...">`: a point for each pair."""
    attribute = re.compile(rf"""\b([xy])(\d*)\s*=\s*["']?\s*({NUMBER})""")

    def read(match: re.Match[str]) -> Iterator[Written]:
        by_number: dict[str, list[re.Match[str]]] = {}
        for part in attribute.finditer(match.string, *match.span()):
            by_number.setdefault(part[2], []).append(part)
        for pair in by_number.values():
            if sorted(part[1] for part in pair) == ["x", "y"]:
                axes = "".join(part[1] for part in pair)
                yield Written(axes, tuple(number(part[3]) for part in pair), tuple(part.span(3) for part in pair))

    tag = rf"(?:\s[^<>]{{0,{_LONGEST}}})?"
    return Marked(re.compile(rf"<points?{tag}>"), re.compile(rf"(?:<points?{tag}|{_starts('<points')})\Z"), read)


def pairs() -> Marked:
    """`(x,y)` as a point and `(x0,y0),(x1,y1)` as a box."""
    pair = r"\(\s{0,9}NUMBER\s{0,9},\s{0,9}NUMBER\s{0,9}\)".replace(
        "NUMBER", r"[-+\u2212]?(?:\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})(?:[eE][-+]?\d{1,3}(?!\w))?"
    )
    return Marked(
        re.compile(rf"(?<!\w){pair}(?:\s{{0,9}},\s{{0,9}}{pair})?"),
        re.compile(rf"(?<!\w)(?:{pair}\s{{0,9}}(?:,\s{{0,9}})?)*(?:\([-+\u2212\deE\s.,]{{0,60}}|)\Z"),
        partial(_numbers, order="xy"),
    )


def action_arguments() -> Marked:
    """`start_box='(x,y)'`, `point='<point>x y</point>'` and similar arguments, of two numbers or four."""
    name = r"\b(?:start_box|end_box|start_point|end_point|point|box|bbox)"
    return Marked(
        re.compile(rf"{name}\s{{0,4}}=\s{{0,4}}(?P<quote>['\"])(?P<body>[^'\"\n]{{0,200}})(?P=quote)"),
        re.compile(r"\b[a-z_]{1,12}\s{0,4}(?:=\s{0,4}(?:['\"][^'\"\n]{0,200})?)?\Z"),
        _arguments,
    )


def _arguments(match: re.Match[str]) -> Iterator[Written]:
    """The numbers between tags, where there is nothing else."""
    body = re.sub(r"<[^<>]*>", lambda tag: " " * len(tag[0]), match["body"])
    numbers = [(match.start("body") + n.start(), match.start("body") + n.end()) for n in _NUMBER.finditer(body)]
    if len(numbers) in (2, 4) and not _NUMBER.sub("", body).strip(" ,()[]"):
        yield _of("xy", [number(match.string[start:end]) for start, end in numbers], numbers)


def _numbers(match: re.Match[str], order: str) -> Iterator[Written]:
    """All numbers of a match."""
    found = list(_NUMBER.finditer(match.string, *match.span()))
    yield _of(order, [number(part[0]) for part in found], [part.span() for part in found])


def _of(order: str, values: Sequence[float], spans: Sequence[Span], write: Writer | None = None) -> Written:
    axes = order * (len(values) // 2)
    return Written(axes, tuple(values), tuple(spans), write) if write else Written(axes, tuple(values), tuple(spans))


def _starts(word: str) -> str:
    """A regular expression for the beginnings of a word."""
    return "(?:" + "|".join(re.escape(word[:n]) for n in range(len(word), 0, -1)) + ")"
