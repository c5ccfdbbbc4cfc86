"""From what the vision tower is shown and how many tokens the processor writes for it to the grids that these may be.

Convention: boxes are fractions of the picture, `(x0, y0, x1, y1)`; beyond [0, 1] lies padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pmtools.adapters.layouts._layout import TokenGrid
from pmtools.adapters.layouts._views import View
from pmtools.typing import SizeHW


@dataclass(frozen=True)
class Reading:
    """How the tokens of an image follow from its views.

    Attributes
    ----------
    order : str
        Of the views among the tokens, by their order in the pixels: "as shown", "last first" or "first last".
    before, after : int
        Tokens before and after those of each view that show nothing.
    row_gap : int
        Tokens after each row that show nothing.
    """

    order: str = "as shown"
    before: int = 0
    after: int = 0
    row_gap: int = 0

    def grids(self, views: Sequence[View], tokens: int, runs: Sequence[int]) -> list[TokenGrid] | None:
        """The grids of `tokens` tokens, None if they cannot lie so.

        Parameters
        ----------
        views : sequence of View
        tokens : int
        runs : sequence of int
            Lengths of their runs in the prompt.
        """
        ordered = _ordered(views, self.order)
        shapes = self._shapes(ordered, tokens, runs)
        if shapes is None:
            return None
        grids, start = [], 0
        for view, (rows, columns) in zip(ordered, shapes, strict=True):
            grids.append(TokenGrid(start + self.before, (rows, columns), view.box_xyxy, self.row_gap))
            start += self.before + rows * (columns + self.row_gap) + self.after
        return grids if start == tokens else None

    def _shapes(self, views: Sequence[View], tokens: int, runs: Sequence[int]) -> list[SizeHW] | None:
        """Rows and columns of each view."""
        if len(views) == 1 and len(runs) > 1 and len(set(runs)) == 1:  # text between the rows
            by_rows = len(runs), runs[0] - self.row_gap
            return [by_rows] if _alike(by_rows, views[0].shape_hw) else None
        extra = self.before + self.after
        if len({view.shape_hw for view in views}) == 1:
            each, rest = divmod(tokens, len(views))
            shape = None if rest else _shape_of(each - extra, views[0].shape_hw, self.row_gap)
            return None if shape is None else [shape] * len(views)
        for merge in range(1, 17):  # of views that differ, in patches or pixels
            shapes = [(-(-view.shape_hw[0] // merge), -(-view.shape_hw[1] // merge)) for view in views]
            if sum(extra + rows * (columns + self.row_gap) for rows, columns in shapes) == tokens:
                return shapes
        return None


_ORDERS = ("as shown", "last first", "first last")
#: What is tried, the plainest first; within a group, what fits best.
GROUPS = tuple(
    tuple(Reading(order, *extra) for extra in extras for order in _ORDERS)
    for extras in (((0, 0, 0),), ((1, 0, 0), (0, 1, 0)), ((0, 0, 1),), ((1, 1, 0), (2, 0, 0), (0, 2, 0)))
)


def readings(views: Sequence[View], tokens: int, runs: Sequence[int], /) -> list[list[tuple[Reading, list[TokenGrid]]]]:
    """Every way in which the tokens may lie, with its grids, in the order and the groups of `GROUPS`; none twice."""
    seen: list[list[TokenGrid]] = []
    groups: list[list[tuple[Reading, list[TokenGrid]]]] = []
    for group in GROUPS:
        groups.append([])
        for reading in group:
            grids = reading.grids(views, tokens, runs)
            if grids is not None and grids not in seen:
                seen.append(grids)
                groups[-1].append((reading, grids))
    return groups


def _ordered(views: Sequence[View], order: str) -> list[View]:
    views = list(views)
    return {"as shown": views, "last first": views[-1:] + views[:-1], "first last": views[1:] + views[:1]}[order]


def _shape_of(tokens: int, like_hw: SizeHW, row_gap: int) -> SizeHW | None:
    """Rows and columns of a grid of so many tokens, gaps included, in the shape of a view."""
    found = [
        (rows, tokens // rows - row_gap)
        for rows in range(1, tokens + 1)
        if tokens % rows == 0 and tokens // rows > row_gap
    ]
    found = [shape for shape in found if _alike(shape, like_hw)]
    return min(found, key=lambda shape: abs(math.log(shape[0] * like_hw[1] / (shape[1] * like_hw[0]))), default=None)


def _alike(shape_hw: SizeHW, view_hw: SizeHW) -> bool:
    """Whether square cells, to less than one of them, make both shapes."""
    (rows, columns), (height, width) = shape_hw, view_hw
    return (rows - 1) * width < (columns + 1) * height and (columns - 1) * height < (rows + 1) * width
