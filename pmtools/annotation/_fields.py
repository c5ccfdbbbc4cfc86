"""Fields beside a box: which say that it is not upright, that there is another geometry, or what its numbers are.

Knows the names that data sets, detectors and models write, in records, headers and answers; no numbers of boxes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

# Names as `_words` has them: "rotationAngle" and "Rotation Angle (deg)" are rotation_angle and rotation_angle_deg.
_ANGLE = re.compile(r"(?:.*_)?(?:angle|theta|rotation)s?(?:_?(?:deg|rad).*)?")
_CORNERS = re.compile(
    r"[xy]_?[34]|quads?|poly|obb|rbox|corners|(?:rotated?|oriented)_(?:b(?:nd)?box|box|bounding_box|rect|rectangle)(?:e?s)?"
)
_OTHERS = re.compile(r"segmentations?|keypoints|segments(?:_info)?|polygons?|geometry|mask|dp_(?:x|y|masks)")
_FORMAT = re.compile(r"(?:(?:b?box(?:es)?|coord(?:inate)?s?)(?:_2d)?_)?(?:format|mode)|b?box(?:es)?_type")
_BOX_FORMAT = re.compile(r"b?box(?:es)?_(?:format|mode)")
_MODE = re.compile(r"b?box(?:es)?_mode")
#: detectron2's BoxMode, as far as it is in pixels.
_MODES = {0: "xyxy", 1: "xywh", 4: "cxcywhr"}
#: What a format may be called, without what stands between the letters. Those not in pixels stand for themselves.
_FORMATS = {
    **dict.fromkeys(
        ("xyxy", "xyxyabs", "x0y0x1y1", "x1y1x2y2", "xminyminxmaxymax", "ltrb", "voc", "pascalvoc"), "xyxy"
    ),
    **dict.fromkeys(("xywh", "xywhabs", "xywidthheight", "ltwh", "tlwh", "coco"), "xywh"),
    **dict.fromkeys(("cxcywhr", "xywha", "xywhaabs"), "cxcywhr"),
    **{name: name for name in ("cxcywh", "xywhr", "xyxyxyxy", "yolo", "albumentations")},
}


def turned(record: Mapping[str, Any], /) -> list[str]:
    """Names of the fields of a record, or of its `attributes`, that say that its box is not upright."""
    return [name for name, value in _pairs(record) if is_angle(name, value) or (is_corners(name) and _says(value))]


def others(record: Mapping[str, Any], /) -> list[str]:
    """Names of the fields of a record that hold another geometry than its box; text, as a file's name, is none."""
    return [
        name
        for name, value in record.items()
        if _OTHERS.fullmatch(_words(name)) and not isinstance(value, str) and _says(value)
    ]


def is_angle(name: str, value: object = 1, /) -> bool:
    """Whether a field is an angle that is not 0, as a number or a text with one."""
    return _ANGLE.fullmatch(_words(name)) is not None and _says(value)


def is_corners(name: str, /) -> bool:
    """Whether a field is of boxes with four corners: two of them would be mapped, and the rest left."""
    return _CORNERS.fullmatch(_words(name)) is not None


def format_said(name: str, value: object, /) -> str | None:
    """The format of boxes that a field says, by its name in `annotation.FORMATS` where it has one; None where it says none."""
    if not _FORMAT.fullmatch(_words(name)):
        return None
    value = _plain(value)
    if isinstance(value, str):
        return _FORMATS.get(re.sub(r"[^a-z0-9]", "", value.lower()))
    is_mode = isinstance(value, (int, float)) and not isinstance(value, bool) and _MODE.fullmatch(_words(name))
    return _MODES.get(value) if is_mode else None  # type: ignore[call-overload]


def formats_said(record: Mapping[str, Any], /) -> dict[str, str | None]:
    """The formats of boxes that a record says, by field; None for one that is unknown."""
    said = {name: format_said(name, value) for name, value in record.items()}
    return {
        name: found
        for name, found in said.items()
        if found is not None or (_BOX_FORMAT.fullmatch(_words(name)) and record[name] is not None)
    }


@functools.lru_cache(maxsize=4096)
def _words(name: Any) -> str:
    """A name in small letters, its words joined by "_"."""
    return re.sub(r"[\W_]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(name))).strip("_").lower()


def _pairs(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fields, and those of `attributes`: a mapping, or a list of them, perhaps with a name and a value each."""
    yield from record.items()
    attributes = record.get("attributes")
    for one in attributes if isinstance(attributes, (list, tuple)) else [attributes]:
        if isinstance(one, Mapping):
            yield from [(str(one["name"]), one.get("value"))] if "name" in one else one.items()


def _says(value: object) -> bool:
    """Whether a value is there: a number that is not 0, a text or a list with one, anything else that is not empty."""
    value = _plain(value)
    if isinstance(value, str):
        return re.search("[1-9]", value) is not None
    return any(map(_says, value)) if isinstance(value, (list, tuple)) else bool(value)


def _plain(value: Any) -> Any:
    """NumPy's scalars, arrays and tensors as numbers and lists of Python."""
    return value.tolist() if hasattr(value, "tolist") else value
