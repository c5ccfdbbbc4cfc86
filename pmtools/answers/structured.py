"""Coordinates in JSON, Python literals and calls, fenced or bare, within prose, complete or cut off.

A reader of tokens and brackets, since an answer is seldom a document: it starts anywhere, forgives what it does not know,
and goes on from chunk to chunk. Knows no model; `formats` says which keys, lists and order of axes each has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pmtools.annotation import _fields
from pmtools.answers.places import NUMBER, Span, Written, number

_TOKEN = re.compile(
    rf"(?P<space>\s+)|(?P<number>{NUMBER})"
    r"|(?P<word>[^\W\d]\w*)|(?P<open>[\[{(])|(?P<close>[\]})])|(?P<sets>[:=])|(?P<comma>,)|(?P<other>.)",
    re.DOTALL,
)
#: What may still become a longer number.
_UNFINISHED = re.compile(r"\.?|(?:\.\d*)?[eE][-+]?")
#: A number in quotes, or numbers in quotes: "25", "25, 25, 75, 75", "[25 25 75 75]".
_QUOTED = re.compile(rf"[\[(\s]*{NUMBER}%?(?:[,\s]\s*{NUMBER}%?)*[\])\s]*")
_NUMBERS = re.compile(NUMBER)
#: Longest string that is read as one, in characters or escapes; a quote with nothing like its match is a letter like others.
_LONGEST = 2000
_STRINGS = {quote: re.compile(rf"{quote}((?:[^{quote}\\\n]|\\[^\n]){{0,{_LONGEST}}}){quote}") for quote in "\"'"}
#: Most brackets that are open at once.
_DEEPEST = 64
_CLOSES = {"[": "]", "{": "}", "(": ")"}
#: Keys of points, boxes and polygons: bbox_2d, box, button_bbox, points, start_coordinate, ...
_KEY = re.compile(
    r"(?:.*[-_])?(?:b?box|bounding[-_ ]?box|point|polygon|segmentation|coord|coordinate|position|location|region|corner"
    r"|cent(?:er|re)|(?:top|bottom|upper|lower)[-_ ]?(?:left|right))(?:e?s)?(?:[-_]?2d|[-_](?:xyxy|xywh|cxcywh))?"
    r"|xyxy|xywh|cxcywh"
)
#: Keys whose pairs are the corners of one polygon, or of one box.
_POLYGON = re.compile(r"(?:.*[-_])?(?:polygon|segmentation|mask|b?box|bounding[-_ ]?box)s?(?:[-_]?2d)?")
#: Keys of boxes, which have four numbers, or corners.
_BOX = re.compile(r"(?:.*[-_])?(?:b?box|bounding[-_ ]?box)(?:e?s)?(?:[-_].*|2d)?")
#: Keys of points that a size beside them may count from.
_ANCHOR = re.compile(r".*(?:cent(?:er|re)|corner|left|right|position|location)s?")
#: Names of what makes another shape of a box or a point beside it.
_SIZE = re.compile(r"(?:.*[-_])?(?:radius|diameter|size|extent|dimension)s?")
_SHAPES = {"cxcywh": "uvwh", "xywh": "xywh"}
#: Names of single numbers, and the axis of each: x, y1, x_min, left, width, start_x, centre_x, ...
_NAME = re.compile(
    r"(?P<u>(?:c|cent(?:er|re))_?x|x_?(?:c|cent(?:er|re)))|(?P<v>(?:c|cent(?:er|re))_?y|y_?(?:c|cent(?:er|re)))|"
    r"(?:(?:start|end|from|to|begin)_?)?(?:(?P<x>x)|(?P<y>y))(?:\d|_?min|_?max)?"
    r"|(?P<x2>left|right)|(?P<y2>top|bottom)|(?P<w>w|width)|(?P<h>h|height)"
)


def _turns(name: str, value: object) -> bool:
    """Whether a field says that the box beside it has an angle, or is not two corners."""
    return _fields.is_angle(name, value) or _fields.format_said(name, value) not in (None, "xyxy")


def _axis(name: str) -> str | None:
    found = _NAME.fullmatch(name.lower())
    return found.lastgroup[0] if found and found.lastgroup else None


@dataclass
class _Frame:
    """An open bracket.

    Attributes
    ----------
    key : str or None
        The key that its content belongs to; None if it has none and only its shape says what it is.
    within : int
        Where the bracket around it starts.
    row : bool
        Whether it holds numbers and nothing else, so far.
    numbers : list of spans
    percents : int
        How many of them are followed by a percent sign.
    named : dict
        Spans of numbers by the names of their axes.
    word, name : str or None
        The last word, and the one after which a colon came.
    apart : bool
        Whether something stands between the last number and what comes.
    pending : list of (str or None, Written)
        Places within, with their keys, of which what follows may say that they are others than they look.
    turned, sized, mixed : bool
        Whether it names an angle that is not 0 or another format; a radius or the like; a number beside lists.
    """

    bracket: str
    start: int
    key: str | None = None
    within: int = 0
    row: bool = True
    numbers: list[Span] = field(default_factory=list)
    percents: int = 0
    named: dict[str, Span] = field(default_factory=dict)
    word: str | None = None
    name: str | None = None
    apart: bool = True
    pending: list[tuple[str | None, Written]] = field(default_factory=list)
    turned: bool = False
    sized: bool = False
    mixed: bool = False


class Structured:
    """Finds lists and named numbers by their keys.

    Parameters
    ----------
    order : str, optional
        "xy", or "yx" where y comes first in lists.
    orders : mapping, optional
        Of keys that differ.
    bare : collection of str, optional
        Lists without a key that are coordinates too: "[4" for four numbers in square brackets, "(2" for two in round ones.
    lists : str, optional
        Brackets that a list may have.
    """

    def __init__(
        self,
        *,
        order: str = "xy",
        orders: Mapping[str, str] | None = None,
        bare: frozenset[str] = frozenset({"[4"}),
        lists: str = "[(",
    ) -> None:
        self.order, self.orders, self.bare, self.lists = order, dict(orders or {}), bare, lists
        self.settled = self._at = 0
        self._stack = [_Frame("", 0, row=False)]

    def feed(self, text: str, /, *, final: bool) -> list[Written]:
        """The places that are new in `text`, all of it so far; `final` where nothing follows."""
        found: list[Written] = []
        while self._at < len(text):
            if (end := self._token(text, found, final)) is None:
                break
            self._at = end
        if final:
            for frame in self._stack:  # cut off: what was complete by then counts
                found += self._places(text, frame)
        self.settled = min(self._held(frame) for frame in self._stack)
        return found

    # ---------------------------------------------------------------------------------------------------- tokens

    def _token(self, text: str, found: list[Written], final: bool) -> int | None:
        """Take the next token; its end, or None where it may go on in what follows."""
        at, frame = self._at, self._stack[-1]
        if text[at] in _STRINGS and frame.bracket in ("[", "{"):
            if string := _STRINGS[text[at]].match(text, at):
                frame.turned |= frame.name is not None and _turns(frame.name, string[1])
                if not self._quoted(text, frame, string):
                    self._word(frame, string[1])
                return string.end()
            if not final and len(text) - at <= 2 * _LONGEST + 2 and "\n" not in text[at:]:
                return None
        token = next(_TOKEN.finditer(text, at))  # every character is one
        kind, end = token.lastgroup, token.end()
        unfinished = kind in ("number", "word") or token[0] in "-+\u2212."
        grows = kind == "number" and _UNFINISHED.fullmatch(text, end) is not None
        if not final and unfinished and (end == len(text) or grows):
            return None
        if kind == "number":
            self._number(text, frame, (at, end))
        elif kind == "word":
            self._word(frame, token[0])
        elif kind == "open":
            found += self._open(frame, token[0], at)
        elif kind == "close":
            found += self._close(text, token[0])
        elif kind == "sets":
            frame.row, frame.name, frame.word = False, frame.word, None
        elif kind == "comma":
            frame.apart, frame.name, frame.word = True, None, None
        elif kind == "space":
            frame.apart = True
        elif token[0] == "%" and frame.row and frame.numbers and frame.numbers[-1][1] == at:
            frame.percents += 1
        elif frame.bracket or token[0] not in "\"'`*":  # quotes and marks around keys in prose
            frame.row, frame.name, frame.word = False, None, None
        return end

    def _number(self, text: str, frame: _Frame, span: Span) -> None:
        name = (frame.name or "").lower()
        if name and frame.bracket in ("{", "(") and _axis(name):
            frame.named.setdefault(name, span)
        elif frame.row and frame.apart:
            frame.numbers.append(span)
        else:
            frame.row, frame.mixed = False, True
            frame.sized |= _SIZE.fullmatch(name) is not None
            frame.turned |= _turns(frame.name or "", number(text[slice(*span)]))
        frame.name, frame.word, frame.apart = None, None, False

    def _quoted(self, text: str, frame: _Frame, string: re.Match[str]) -> bool:
        """Take numbers in quotes: one as one of a list or with a name, several under a key of places as a list."""
        start, end = string.span(1)
        if not _QUOTED.fullmatch(text, start, end):
            return False
        spans = [part.span() for part in _NUMBERS.finditer(text, start, end)]
        if frame.name is not None and len(spans) > 1 and self._known(frame.name):
            inner = _Frame("[", start, frame.name, frame.start, numbers=spans, percents=text.count("%", start, end))
            frame.pending += [(inner.key, place) for place in self._row(text, inner)]
            self._word(frame, "")
        elif len(spans) == 1 and (end - start == spans[0][1] - spans[0][0]):
            self._number(text, frame, spans[0])
        else:
            return False
        return True

    @staticmethod
    def _word(frame: _Frame, text: str) -> None:
        frame.row, frame.word, frame.name = False, text, None

    def _open(self, frame: _Frame, bracket: str, at: int) -> list[Written]:
        key = frame.name if frame.name is not None else (frame.key if frame.bracket in ("[", "(") else None)
        frame.sized |= frame.name is not None and _SIZE.fullmatch(frame.name.lower()) is not None
        if not frame.bracket and not self._known(key):
            key = None  # in prose the word before a colon means nothing
        frame.row, frame.name, frame.word = False, None, None
        self._stack.append(_Frame(bracket, at, key, frame.start))
        return self._dropped(slice(1, -_DEEPEST))  # brackets that nothing closes

    def _close(self, text: str, bracket: str) -> list[Written]:
        matching = [i for i, frame in enumerate(self._stack) if _CLOSES.get(frame.bracket) == bracket]
        if not matching:
            return []
        frame = self._stack[matching[-1]]
        found = self._dropped(slice(matching[-1] + 1, None))
        self._stack.pop()
        parent = self._stack[-1]
        parent.apart = True
        parent.turned |= frame.turned and frame.key == "attributes"
        around = next(outer for outer in reversed(self._stack) if outer.bracket != "[")
        places = [] if around.turned else [*self._places(text, frame), *self._row(text, frame)]
        waits = parent.bracket == "{" and (frame.bracket != "{" or self._known(frame.key))
        corners = parent.bracket == "[" and frame.bracket != "{" and any(place.polygon is not None for place in places)
        if waits or corners:
            parent.pending += [(frame.key, place) for place in places]
            return found
        return found + places

    def _dropped(self, which: slice) -> list[Written]:
        """What is complete in brackets that nothing closes, which are forgotten."""
        found = [place for frame in self._stack[which] for _, place in frame.pending]
        del self._stack[which]
        return found

    # ---------------------------------------------------------------------------------------------------- places

    def _known(self, key: str | None) -> bool:
        return key is not None and (key.lower() in self.orders or _KEY.fullmatch(key.lower()) is not None)

    def _places(self, text: str, frame: _Frame) -> list[Written]:
        """What a bracket holds beside its own row: lists, and numbers with names."""
        if frame.turned or (frame.mixed and frame.bracket == "["):
            return []
        sized = frame.sized or any(_axis(name) in ("w", "h") for name in frame.named)
        lists = [
            place
            for key, place in frame.pending
            if not (sized and len(place.values) == 2 and key is not None and _ANCHOR.fullmatch(key.lower()))
        ]
        return [*lists, *self._named(text, frame)]

    def _row(self, text: str, frame: _Frame) -> list[Written]:
        """The numbers of a list, where they are coordinates."""
        count = len(frame.numbers)
        if not frame.row or frame.bracket not in self.lists or not count or count % 2 or frame.percents % count:
            return []
        if not (self._known(frame.key) if frame.key is not None else f"{frame.bracket}{count}" in self.bare):
            return []
        key = (frame.key or "").lower()
        order = self.orders.get(key, self.order)
        corner = count == 2 and _POLYGON.fullmatch(key) is not None
        axes = order * (count // 2)
        if _BOX.fullmatch(key) and count != 2 and count % 4:
            return []  # with a score and a class
        if shape := next((shape for name, shape in _SHAPES.items() if key.endswith(name)), None):
            if count != 4:
                return []
            axes = shape
        written = replace(_written(text, axes, frame.numbers), percent=frame.percents > 0)
        return [replace(written, polygon=frame.within) if corner else written]

    def _named(self, text: str, frame: _Frame) -> list[Written]:
        """The numbers with names, where there are both x and y; sizes count from the corner or the centre that is there."""
        axes = {name: _axis(name) or "" for name in frame.named}
        sizes = [name for name in axes if axes[name] in ("w", "h")]
        found = []
        for which in ("xy", "uv"):
            names = [name for name in axes if axes[name] in which]
            if {axes[name] for name in names} != set(which) or (frame.sized and len(names) == 2):
                continue
            if len(names) == 2 and len(sizes) == 2:
                names, sizes = [*names, *sizes], []
            elif len(names) == 2 and sizes:
                continue
            elif which == "uv":
                axes |= {name: "xy"["uv".index(axes[name])] for name in names}
            found.append(_written(text, "".join(axes[name] for name in names), [frame.named[name] for name in names]))
        return found

    def _held(self, frame: _Frame) -> int:
        """Where a place starts that may be in this frame, or how far the text is read."""
        if frame.row and frame.bracket and frame.bracket in self.lists:
            bare = any(shape.startswith(frame.bracket) for shape in self.bare)
            return frame.start if (self._known(frame.key) if frame.key is not None else bare) else self._at
        starts = [start for start, _ in frame.named.values()] + [place.start for _, place in frame.pending]
        return min(starts, default=self._at)


def _written(text: str, axes: str, spans: list[Span]) -> Written:
    return Written(axes, tuple(number(text[start:end]) for start, end in spans), tuple(spans))
