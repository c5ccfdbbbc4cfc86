"""Files of whole records through warps: COCO data sets and annotations, JSON lines, YOLO rows.

What `pmtools.annotation` maps, from text to text; single rows in JSON and CSV are those of `files.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from pmtools import Warp, annotation
from pmtools.annotation import _fields, coco, yolo
from pmtools.cli.coordinates.files import CoordinateFileError, Kind, RowMap, map_json

LINES_SUFFIXES = (".jsonl", ".ndjson")
_BOXES = ("bbox", "box", "bboxes", "boxes", "bbox_2d")


def is_coco(document: Any) -> bool:
    """Whether a JSON document is a whole data set of COCO's."""
    lists = (document.get("images"), document.get("annotations")) if isinstance(document, dict) else (None,)
    return all(isinstance(part, list) for part in lists) and bool(document["images"])


def coco_box(record: Any) -> list[float]:
    """The box of a COCO annotation, x, y, width and height."""
    place = f"annotation {_id_of(record)}"
    if not isinstance(record, dict) or record.get("bbox") is None:
        raise CoordinateFileError(f"{place}: bbox must be x, y, width, height, got none")
    try:
        box, format = coco.box_of(record, place) or ([], "")
    except (ValueError, TypeError) as error:
        raise CoordinateFileError(str(error)) from None
    if format != "xywh" or max(map(abs, box)) > 1e300:
        came = f"{box} in the format {format}"
        raise CoordinateFileError(f"{place}: bbox must be x, y, width, height, got {came}; convert it first")
    return box


def map_coco(text: str, warp_of: Callable[[str], Warp], options: Mapping[str, Any], /) -> str:
    """A COCO file with everything in it mapped: a data set, or a list of annotations of one image.

    Parameters
    ----------
    text : str
    warp_of : callable
        From the file name of an image to its warp; "" where only annotations are there.
    options : dict
        Of `annotation.coco_annotations`.

    Returns
    -------
    str

    Raises
    ------
    CoordinateFileError
        If it is no such file, or a record says that it is another geometry.
    """
    try:
        document = json.loads(text)
        if is_coco(document):
            warps = {image["id"]: warp_of(str(image.get("file_name", ""))) for image in document["images"]}
            mapped: Any = annotation.coco_dataset(document, warps, **options)
        elif isinstance(document, list):
            mapped = annotation.coco_annotations(document, warp_of(""), **options)
            return "[\n" + ",\n".join(" " + json.dumps(item, ensure_ascii=False) for item in mapped) + "\n]\n"
        else:
            raise CoordinateFileError("must be a COCO data set with images and annotations, or a list of annotations")
    except CoordinateFileError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, ImportError) as error:
        raise CoordinateFileError(_message_of(error)) from None
    return json.dumps(mapped, ensure_ascii=False) + "\n"


def map_json_lines(text: str, kind: Kind, row_map: RowMap, /) -> str:
    """JSON lines with the boxes or points of every line mapped; a line stays a line.

    Raises
    ------
    CoordinateFileError
        With the number of the line.
    """
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            mapped = map_json(line, kind, row_map) if line.strip() else ""
            lines.append(json.dumps(json.loads(mapped), ensure_ascii=False) if mapped else line)
        except CoordinateFileError as error:
            raise CoordinateFileError(f"line {number}: {error}") from None
    return "".join(line + "\n" for line in lines)


def read_yolo(text: str, kind: str) -> list[list[float]]:
    """The rows of a YOLO label file; classes stay whole numbers."""
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split()
        if not cells:
            continue
        try:
            row = [int(cells[0]) if cells[0].lstrip("-").isdigit() else float(cells[0]), *map(float, cells[1:])]
        except ValueError:
            raise CoordinateFileError(f"line {number}: a row must be numbers, got {line.strip()[:40]!r}") from None
        try:
            rows.append(yolo.checked_row(row, kind, f"line {number}: a row"))
        except (ValueError, TypeError) as error:
            raise CoordinateFileError(str(error)) from None
    return rows


def map_yolo(text: str, warp: Warp, kind: str, options: Mapping[str, Any], /) -> str:
    """A YOLO label file mapped; its numbers are parts of the image, before and after.

    Raises
    ------
    CoordinateFileError
        If a row is not of that kind.
    """
    rows = read_yolo(text, kind)
    try:
        mapped = annotation.yolo_rows(rows, warp, kind=kind, **options)
    except (ValueError, TypeError) as error:
        raise CoordinateFileError(_message_of(error)) from None
    return "".join(" ".join(f"{number:.17g}" for number in row) + "\n" for row in mapped)


def refuse_whole_records(text: str) -> None:
    """Refuse JSON whose records say more of a geometry than rows of numbers: it would go stale."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return  # the reader of rows says what is wrong
    for item in document if isinstance(document, list) else [document]:
        if not isinstance(item, dict) or not any(name in item for name in _BOXES):
            continue
        stale = _fields.others(item)
        stale += ["area"] if item.get("area") and "bbox" in item else []
        if stale:
            raise CoordinateFileError(
                f"record {item.get('id')} has {', '.join(stale)} beside its box, which would not be mapped; if it is COCO's, say "
                "--format coco; otherwise leave it out, and map its points with --points"
            )


def warp_file_of(name: str) -> str:
    """What `magnify --warp FOLDER` calls the warp of an image."""
    return str(PurePath(name.replace("\\", "/")).with_suffix(".json"))


def _id_of(record: Any) -> Any:
    return record.get("id") if isinstance(record, dict) else record


def _message_of(error: BaseException) -> str:
    text = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
    return "is nested too deeply" if isinstance(error, RecursionError) else text
