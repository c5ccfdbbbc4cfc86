"""`--boxes FILE`: the boxes of many images, from one file or a folder, and which of them are an image's.

Knows COCO, JSON and JSON lines, CSV, and folders of YOLO rows; layouts of single boxes are those of `pmtools coords`.
"""

from __future__ import annotations

import csv
import io as stdio
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, TypeVar

import numpy as np

from pmtools import annotation, frames
from pmtools.cli.console import quoted, usage_error
from pmtools.cli.coordinates import files, records
from pmtools.cli.options import BoxFormat, Units
from pmtools.typing import SizeHW

Numbers: TypeAlias = np.ndarray[Any, np.dtype[Any]]
_T = TypeVar("_T")

#: Fields or columns that say which image a box is on.
_IMAGE_NAMES = ("image", "file_name", "filename", "file", "path", "image_path")


class BoxList:
    """The boxes of each image, by its name.

    Attributes
    ----------
    path : Path
        The file or folder they come from.
    """

    def __init__(self, path: Path, units: Units, box_format: BoxFormat) -> None:
        self.path = path
        self._units = units
        self._kind = files.boxes(as_sizes=box_format is BoxFormat.XYWH)
        self._folder = path.is_dir()
        self._found: dict[str, list[list[float]]] = {}
        if self._folder:
            self._labels = {
                file.relative_to(path).with_suffix("").as_posix(): file for file in sorted(path.rglob("*.txt"))
            }
            if not self._labels:
                raise usage_error(f"{quoted(path)} holds no .txt file of YOLO rows", "--boxes")
            return
        try:
            self._read(path.read_text("utf-8-sig"))
        except (files.CoordinateFileError, UnicodeDecodeError, OSError) as error:
            raise usage_error(f"{quoted(path)}: {error}", "--boxes") from None
        if not self._found:
            raise usage_error(f"{quoted(path)} names no image", "--boxes")

    def boxes_for(self, source: Path, image_hw: SizeHW) -> Numbers:
        """The corners, of shape (n, 4) in pixels, of the boxes on one image; a ValueError where nothing names it."""
        if self._folder:
            return self._yolo_boxes(namesake(self._labels, source.with_suffix("")), source, image_hw)
        found = namesake(self._found, source)
        if found is None:
            raise ValueError(f"is not named in {quoted(self.path)}; an image without boxes has an empty list there")
        boxes: Numbers = self._units.frame(image_hw).inverse_boxes(np.reshape(found, (-1, 4)))
        return boxes

    def file_of(self, source: Path) -> Path | None:
        """The file that an image's boxes come from."""
        return namesake(self._labels, source.with_suffix("")) if self._folder else self.path

    def _yolo_boxes(self, file: Path | None, source: Path, image_hw: SizeHW) -> Numbers:
        if file is None:
            raise ValueError(
                f"has no boxes {quoted(source.stem + '.txt')} in {quoted(self.path)}; an empty file says none"
            )
        try:
            rows = records.read_yolo(file.read_text("utf-8"), "boxes")
        except (files.CoordinateFileError, UnicodeDecodeError) as error:
            raise ValueError(f"{quoted(file)}: {error}") from None
        shares = annotation.convert(np.reshape([row[1:5] for row in rows], (-1, 4)), "cxcywh", "xyxy")
        boxes: Numbers = frames.normalized(image_hw).inverse_boxes(shares)
        return boxes

    def _read(self, text: str) -> None:
        suffix = self.path.suffix.lower()
        if suffix == ".csv":
            return self._read_csv(text)
        if suffix in records.LINES_SUFFIXES:
            return self._read_items(json.loads(line) for line in text.splitlines() if line.strip())
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise files.CoordinateFileError(f"is neither CSV, JSON lines nor JSON: {error}") from None
        if records.is_coco(document):
            return self._read_coco(document)
        return self._read_items(document if isinstance(document, list) else [document])

    def _read_items(self, items: Iterable[Any]) -> None:
        try:
            for i, item in enumerate(items):
                name = (
                    next((item[key] for key in _IMAGE_NAMES if key in item), None) if isinstance(item, dict) else None
                )
                if not isinstance(name, str):
                    raise files.CoordinateFileError(
                        f"[{i}]: an item must be an object that names its image, as one of {', '.join(_IMAGE_NAMES)}"
                    )
                self._add(name, self._corners(item, f"[{i}]"))
        except files.CoordinateFileError:
            raise
        except (ValueError, RecursionError) as error:
            raise files.CoordinateFileError(f"is not JSON lines: {error}") from None

    def _corners(self, item: Mapping[str, Any], place: str) -> Numbers:
        kept: list[Numbers] = []

        def keep(rows: Numbers) -> Numbers:
            kept.append(rows.copy())
            return rows

        try:
            files.map_json(json.dumps(item), self._kind, keep)
        except files.CoordinateFileError as error:
            raise files.CoordinateFileError(f"{place}: {error}") from None
        return np.concatenate(kept)

    def _read_coco(self, document: dict[str, Any]) -> None:
        names = {}
        self._units = Units.PIXELS
        for i, image in enumerate(document["images"]):
            kinds = {"id": int | str, "file_name": str}
            if not isinstance(image, dict) or not all(isinstance(image.get(key), kinds[key]) for key in kinds):
                raise files.CoordinateFileError(f"images[{i}]: an image must be an object with an id and a file_name")
            names[image["id"]] = image["file_name"]
            self._add(image["file_name"], np.empty((0, 4)))
        for record in document["annotations"]:
            box, image_id = records.coco_box(record), record.get("image_id")
            if not isinstance(image_id, int | str) or image_id not in names:
                raise files.CoordinateFileError(
                    f"annotation {record.get('id')}: image_id must be that of an image, got {image_id!r}"
                )
            self._add(names[image_id], annotation.convert(np.asarray([box], dtype=np.float64), "xywh", "xyxy"))

    def _read_csv(self, text: str) -> None:
        kept: list[Numbers] = []

        def keep(rows: Numbers) -> Numbers:
            kept.append(rows.copy())
            return rows

        files.map_csv(text, self._kind, keep)
        reader = csv.reader(stdio.StringIO(text))
        lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
        header = [cell.strip().lower() for cell in lines[0][1]] if lines else []
        column = next((header.index(name) for name in _IMAGE_NAMES if name in header), None)
        if column is None:
            raise files.CoordinateFileError(
                f"the header must name a column of images, as one of {', '.join(_IMAGE_NAMES)}"
            )
        for (number, row), box in zip(lines[1:], np.concatenate(kept), strict=True):
            if column >= len(row):
                raise files.CoordinateFileError(f"line {number}: names no image, in column {column + 1}")
            self._add(row[column], box[None])

    def _add(self, name: str, boxes: Numbers) -> None:
        key = PurePosixPath(name.replace("\\", "/")).as_posix().removeprefix("/")
        self._found.setdefault(key, []).extend(boxes.tolist())


def namesake(named: Mapping[str, _T], source: Path) -> _T | None:
    """What is named by the longest tail of a path: `b/c.png` before `c.png` for `/a/b/c.png`."""
    tails = ("/".join(source.parts[i:]) for i in range(len(source.parts)))
    return next((named[tail] for tail in tails if tail in named), None)
