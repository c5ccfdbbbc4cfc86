"""Files of boxes or points: find the coordinates in JSON or CSV, map them, leave everything else as it is.

Knows the layouts that detectors write; what is accepted is listed in docs/howto/command_line.md.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, MutableMapping, MutableSequence, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np

from pmtools.annotation import _fields

Numbers: TypeAlias = np.ndarray[Any, np.dtype[Any]]
#: From rows to rows of the same shape: (n, 4) boxes x0, y0, x1, y1, or (n, 2) points x, y.
RowMap: TypeAlias = Callable[[Numbers], Numbers]

_CORNER_NAMES = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
)
_SIZE_NAMES = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
# Numbers at the start of a line without names that may be four corners.
_FOUR_CORNERS = 8


@dataclass(frozen=True)
class Kind:
    """What the rows of a file are.

    Attributes
    ----------
    word : str
        "box" or "point", for errors.
    columns : str
        What a row holds, for errors.
    fields : tuple of str
        JSON fields that hold rows.
    names : tuple of tuples of str
        Names of the numbers, as JSON fields or CSV columns.
    as_sizes : bool
        Whether rows without names are x, y, width, height.
    """

    word: str
    columns: str
    fields: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    as_sizes: bool = False

    @property
    def count(self) -> int:
        """Numbers in a row."""
        return len(self.names[0])

    def named(self, available: Sequence[str]) -> tuple[str, ...] | None:
        """The names that stand for the numbers of a row, if they are among those `available`."""
        return next((names for names in self.names if set(names) <= set(available)), None)


def boxes(*, as_sizes: bool = False) -> Kind:
    """Boxes, x0, y0, x1, y1 or, with `as_sizes`, x, y, width, height where names do not tell."""
    columns = "x, y, width, height" if as_sizes else "x0, y0, x1, y1"
    return Kind("box", columns, ("box", "boxes", "bbox", "bboxes", "bbox_2d"), (*_CORNER_NAMES, *_SIZE_NAMES), as_sizes)


def points() -> Kind:
    """Points, x, y."""
    return Kind("point", "x, y", ("point", "points", "point_2d"), (("x", "y"),))


class CoordinateFileError(ValueError):
    """The file is not as described; the message says where and what is wanted, without naming the file."""


class _Row(NamedTuple):
    """Where the numbers of a row are: `container[keys[i]]`; and what to call the place in an error."""

    container: Any
    keys: tuple[Any, ...]
    as_sizes: bool
    place: str


def map_json(text: str, kind: Kind, row_map: RowMap, /) -> str:
    """The same JSON document with all its boxes or points mapped.

    Parameters
    ----------
    text : str
        A row of numbers, an object with named numbers, an object with one of `kind.fields`, or a list of these.
    kind : Kind
    row_map : callable
        From an array of shape (n, 4) or (n, 2) to one of the same shape.

    Returns
    -------
    str
        A list has one item per line.

    Raises
    ------
    CoordinateFileError
        If it is not JSON, or something else than a row is found where a row belongs.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise CoordinateFileError("is nested too deeply") from None
    except CoordinateFileError:
        raise
    except ValueError as error:  # a JSONDecodeError, or a number of too many digits
        raise CoordinateFileError(f"is not JSON: {error}") from None
    holder = [document]
    _map_rows(list(_json_rows(holder, 0, kind, "", depth=0)), kind, row_map)
    document = holder[0]
    if not isinstance(document, list) or not any(isinstance(item, (list, dict)) for item in document):
        return json.dumps(document, ensure_ascii=False) + "\n"
    return "[\n" + ",\n".join(" " + json.dumps(item, ensure_ascii=False) for item in document) + "\n]\n"


def map_csv(text: str, kind: Kind, row_map: RowMap, /) -> str:
    """The same CSV table with all its boxes or points mapped.

    Parameters
    ----------
    text : str
        Comma-separated. With a header, the columns are found by their names; without one, they come first.
    kind : Kind
    row_map : callable
        From an array of shape (n, 4) or (n, 2) to one of the same shape.

    Returns
    -------
    str
        With all other columns and the header as they were.

    Raises
    ------
    CoordinateFileError
        If columns are missing, or hold something else than numbers.
    """
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise CoordinateFileError(f"is not CSV: line {reader.line_num}: {error}") from None
    header = lines[0][1] if lines and not any(_is_number(cell) for cell in lines[0][1]) else None
    keys, as_sizes = _csv_columns(header, kind)
    rows = []
    for number, cells in lines[1:] if header else lines:
        place = f"line {number}"
        for key in keys:
            if key >= len(cells) or not _is_number(cells[key]):
                came = repr(cells[key]) if key < len(cells) else f"{len(cells)} columns"
                _refuse(place, kind, f"{came} in column {key + 1}")
        leading = cells[:_FOUR_CORNERS]
        if not header and kind.word == "box" and len(leading) == _FOUR_CORNERS and all(map(_is_number, leading)):
            raise CoordinateFileError(
                f"{place}: {_FOUR_CORNERS} numbers may be four corners; add a header that names the columns, x0,y0,x1,y1 and so "
                "on, or map corners as points"
            )
        numbers: list[Any] = list(cells)
        for key in keys:
            numbers[key] = float(cells[key])
        rows.append(_Row(numbers, keys, as_sizes, place))
    _map_rows(rows, kind, row_map)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows(([header] if header else []) + [row.container for row in rows])
    return table.getvalue()


def _map_rows(rows: Sequence[_Row], kind: Kind, row_map: RowMap) -> None:
    """Map all rows at once, in place."""
    values = np.array([[row.container[key] for key in row.keys] for row in rows], dtype=np.float64)
    values = values.reshape(-1, kind.count)
    sizes = np.array([row.as_sizes for row in rows], dtype=bool)
    if kind.word == "box":
        values[sizes, 2:] += values[sizes, :2]
        turned = np.flatnonzero((values[:, 2:] < values[:, :2]).any(axis=1))
        if len(turned):
            hint = "" if sizes[turned[0]] else "; for x, y, width, height use --box-format xywh"
            raise CoordinateFileError(f"{rows[turned[0]].place}: the box is turned around (x1 < x0 or y1 < y0){hint}")
    mapped = row_map(values)
    if kind.word == "box":
        mapped[sizes, 2:] -= mapped[sizes, :2]
    for row, numbers in zip(rows, mapped.tolist(), strict=True):
        for key, number in zip(row.keys, numbers, strict=True):
            row.container[key] = number


# --------------------------------------------------------------------------------------------------------- JSON


def _json_rows(
    container: MutableSequence[Any] | MutableMapping[str, Any], key: Any, kind: Kind, place: str, *, depth: int
) -> Iterator[_Row]:
    """The rows in `container[key]`: one, those of its items, or those of its fields."""
    value = container[key]
    if isinstance(value, dict):
        yield from _object_rows(value, kind, place, depth)
    elif isinstance(value, list) and any(_is_json_number(item) for item in value):
        if len(value) != kind.count or not all(_is_json_number(item) for item in value):
            _refuse(place, kind, _shortened(value))
        yield _Row(value, tuple(range(kind.count)), kind.as_sizes, place or "the list")
    elif isinstance(value, list) and depth < 3:
        for index in range(len(value)):
            yield from _json_rows(value, index, kind, f"{place}[{index}]", depth=depth + 1)
    else:
        _refuse(place, kind, _shortened(value))


def _object_rows(value: dict[str, Any], kind: Kind, place: str, depth: int) -> Iterator[_Row]:
    names = kind.named(list(value))
    fields = [field for field in kind.fields if field in value]
    if kind.word == "box" and (names is not None or fields):
        _refuse_turned(_fields.turned(value), place)
        kind = _kind_said(value, kind, place)
    if "rectanglelabels" in value:
        raise CoordinateFileError(
            f"{place or 'the document'}: Label Studio counts percent of the image; divide by 100, and use --units fractions"
        )
    if names is not None:
        for name in names:
            if not _is_json_number(value[name]):
                _refuse(f"{place}.{name}", kind, _shortened(value[name]))
        yield _Row(value, names, names in _SIZE_NAMES, place)
    elif fields and depth < 3:
        for field in fields:
            yield from _json_rows(value, field, kind, f"{place}.{field}", depth=depth + 1)
    else:
        came = f"an object with {', '.join(map(repr, value)) or 'nothing in it'}"
        _refuse(place, kind, f"{came}, none of {', '.join(kind.fields)}")


def _kind_said(value: dict[str, Any], kind: Kind, place: str) -> Kind:
    """The kind of an object's rows, by what it says of their format."""
    said = _fields.formats_said(value)
    formats = set(said.values())
    if not formats <= {"xyxy", "xywh"} or len(formats) > 1:
        raise CoordinateFileError(
            f"{place or 'the document'}: a box must be xyxy or xywh, got {_shortened({name: value[name] for name in said})}; "
            "convert it first"
        )
    return replace(kind, as_sizes="xywh" in formats) if formats else kind


def _is_json_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def _refuse_constant(name: str) -> NoReturn:
    raise CoordinateFileError(f"holds {name}, which is not a number in JSON; remove that item")


def _shortened(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _refuse_turned(turned: Sequence[str], place: str) -> None:
    """Refuse boxes with four corners or an angle, by the names of the fields or columns that say so."""
    if turned:
        raise CoordinateFileError(
            f"{place or 'the document'}: a box must be upright, got {', '.join(turned)}; give the upright box around it, or "
            "map its four corners as points"
        )


def _refuse(place: str, kind: Kind, came: str) -> NoReturn:
    raise CoordinateFileError(f"{place or 'the document'}: a {kind.word} must be {kind.columns}, got {came}")


# ---------------------------------------------------------------------------------------------------------- CSV


def _csv_columns(header: list[str] | None, kind: Kind) -> tuple[tuple[int, ...], bool]:
    """Where the numbers are, and whether they are x, y, width, height."""
    if header is None:
        return tuple(range(kind.count)), kind.as_sizes
    cleaned = [cell.strip().lower() for cell in header]
    names = kind.named(cleaned)
    if names is None:
        known = "; ".join(", ".join(names) for names in kind.names)
        raise CoordinateFileError(
            f"the header {', '.join(header)!r} names no {kind.word}; columns may be called {known}"
        )
    if kind.word == "box":
        _refuse_turned(
            [cell.strip() for cell in header if _fields.is_angle(cell) or _fields.is_corners(cell)], "the header"
        )
    return tuple(cleaned.index(name) for name in names), names in _SIZE_NAMES


def _is_number(cell: str) -> bool:
    try:
        return abs(float(cell)) < 1e300
    except ValueError:
        return False
