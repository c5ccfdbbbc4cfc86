"""Rows of YOLO's label files through a warp: a class, then parts of the image's width and height.

Knows rows of numbers; no text.

References
----------
- Ultralytics' formats, [docs.ultralytics.com](https://docs.ultralytics.com/datasets/)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pmtools import _checks, frames
from pmtools.annotation import formats, polygons
from pmtools.turns import Turned
from pmtools.typing import Ndarray
from pmtools.warp import Warp

#: What rows hold after the class.
KINDS: dict[str, str] = {
    "boxes": "centre x, centre y, width, height, and perhaps a confidence",
    "pose": "a box, then x, y, visibility of each keypoint",
    "polygons": "x, y of three vertices or more",
    "quads": "x, y of four corners: oriented boxes",
}


def yolo_rows(
    rows: Sequence[Sequence[float]],
    warp: Warp | Turned,
    /,
    *,
    kind: str = "boxes",
    clip: bool = False,
    min_visible: float | None = None,
    tolerance: float = polygons.TOLERANCE,
) -> list[list[float]]:
    """Rows of a YOLO label file through a warp.

    Parameters
    ----------
    rows : sequence of sequences of float, or array of shape (n, m)
        A class, then what `kind` says, in parts of the image's width and height.
    warp : Warp or Turned
        `warp.inverse()` undoes it.
    kind : {"boxes", "pose", "polygons", "quads"}, optional
        See `KINDS`; the numbers alone do not tell.
    clip : bool, optional
        Cut boxes and polygons to what the result shows of the source, and make keypoints beyond it absent.
    min_visible : float, optional
        Drop rows of which a smaller share of the box is shown, in [0, 1]; 0 drops what is not shown at all. Default: keep all.
    tolerance : float, optional
        Pixels that a side of a polygon may be off before it gets more vertices.

    Returns
    -------
    list of lists of float
        Classes and confidences as they came.

    Raises
    ------
    TypeError, ValueError
        If a row has other columns than `kind` says, or the numbers are pixels: larger than the image as parts of it, also after
        the warp, and within it as pixels.

    Examples
    --------
    >>> from pmtools import frames
    >>> yolo_rows([[3, 0.5, 0.5, 0.25, 0.5]], frames.pad((128, 128), right=128))
    [[3, 0.25, 0.5, 0.125, 0.5]]
    """
    kind = _checks.choice(kind, "kind", KINDS)
    if min_visible is not None:
        min_visible = _checks.real_number(min_visible, "min_visible", minimum=0.0, maximum=1.0)
    if warp.batch_shape:
        raise ValueError(f"rows go through one warp, this is a batch of {len(warp)}; use warp[i]")
    back = frames.normalized(warp.source_hw).inverse(), frames.normalized(warp.target_hw)
    clip = _checks.flag(clip, "clip")
    if isinstance(rows, (str, bytes)) or not hasattr(rows, "__iter__"):
        raise TypeError(f"`rows` must be a list of rows of numbers, got {_checks.describe(rows)}; split the text first")
    checked = [checked_row(row, kind, f"`rows[{i}]`") for i, row in enumerate(rows)]
    _refuse_pixels(checked, warp, kind)
    found = []
    for numbers in checked:
        pixels = back[0].points(_pairs(numbers, kind))
        if min_visible is not None:
            share = float(formats.visible_share(_box_around(pixels, kind), warp))
            if not share or share < min_visible:
                continue
        mapped = _mapped(pixels, warp, kind, clip=clip, tolerance=tolerance)
        if len(mapped):
            found.append(_row(numbers, back[1].points(mapped), kind))
    return found


def checked_row(row: Any, kind: str, place: str) -> list[Any]:
    """A row as a list of numbers, if it is of that kind."""
    numbers = row.tolist() if hasattr(row, "tolist") else row
    if not isinstance(numbers, (list, tuple)) or not all(
        isinstance(n, (int, float)) and abs(n) < 1e300 for n in numbers
    ):
        raise TypeError(f"{place} must hold finite numbers, got {_checks.describe(row)}")
    numbers = list(numbers)
    n = len(numbers)
    fits = {
        "boxes": n in (5, 6),
        "quads": n in (9, 10),
        "polygons": n >= 7,
        "pose": n >= 8 and (n - 5) % 3 == 0,
    }
    if not fits[kind]:
        raise ValueError(
            f"{place} must be a class and {KINDS[kind]}, got {n} numbers; is it of another kind: "
            f"{', '.join(name for name in KINDS if fits[name]) or 'none fits'}?"
        )
    if kind == "boxes" and n == 6 and not 0 <= numbers[5] <= 1 and (numbers[5] < 0 or numbers[5] % 1):
        raise ValueError(
            f"{place} must end in a confidence from 0 to 1 or a track's number, got {numbers[5]}; for an angle give four "
            "corners, as quads, or the upright box around them"
        )
    return numbers


def _refuse_pixels(rows: list[list[Any]], warp: Warp | Turned, kind: str) -> None:
    """Refuse rows in pixels. Parts of the image beyond it are fine: they come back, or are of objects that it shows a part of."""
    beyond = False
    height, width = warp.source_hw
    for numbers in rows:
        box = _box_around(_pairs(numbers, kind), kind)
        if min(box[2] - box[0], box[3] - box[1]) < 1 or box.min() < -1 or box[2] > width + 1 or box[3] > height + 1:
            return
        mapped = frames.normalized(warp.target_hw).boxes(
            warp.boxes(frames.normalized(warp.source_hw).inverse().boxes(box))
        )
        beyond |= all(one[:2].max() >= 1 or one[2:].min() <= 0 for one in (box, mapped))
    if beyond:
        raise ValueError(
            f"`rows` must be parts of the image's width and height, got pixels, {rows[0][1:5]} for one; divide x by {width} "
            f"and y by {height}"
        )


def _pairs(numbers: list[Any], kind: str) -> Ndarray:
    """Points (n, 2) of a row: two corners of a box and its keypoints, or vertices."""
    if kind in ("polygons", "quads"):
        return np.array(numbers[1 : len(numbers) - (len(numbers) % 2 == 0)], dtype=np.float64).reshape(-1, 2)
    corners = formats.convert(np.array(numbers[1:5], dtype=np.float64), "cxcywh", "xyxy").reshape(2, 2)
    points = np.array(numbers[5:], dtype=np.float64).reshape(-1, 3)[:, :2] if kind == "pose" else np.empty((0, 2))
    return np.concatenate([corners, points])


def _box_around(points: Ndarray, kind: str) -> Ndarray:
    corners = points if kind in ("polygons", "quads") else points[:2]
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def _mapped(points: Ndarray, warp: Warp | Turned, kind: str, *, clip: bool, tolerance: float) -> Ndarray:
    if kind == "polygons":
        return polygons.polygon(points, warp, tolerance=tolerance, clip=clip)
    mapped: Ndarray = warp.points(points)
    if kind in ("boxes", "pose"):
        mapped[:2] = formats.boxes(points[:2].reshape(4), warp, clip=clip).reshape(2, 2)
    if clip and kind == "pose":
        seen = formats.keypoints(np.insert(points[2:], 2, 1.0, axis=1), warp, clip=True)[:, 2] > 0
        mapped[2:][~seen] = np.nan
    return mapped


def _row(numbers: list[Any], points: Ndarray, kind: str) -> list[float]:
    rest = numbers[-1:] if kind in ("polygons", "quads") and len(numbers) % 2 == 0 else []
    if kind in ("polygons", "quads"):
        return [numbers[0], *points.ravel().tolist(), *rest]
    box = formats.convert(points[:2].reshape(4), "xyxy", "cxcywh").tolist()
    if kind == "boxes":
        return [numbers[0], *box, *numbers[5:]]
    row = [numbers[0], *box]
    for (x, y), old in zip(points[2:].tolist(), zip(*[iter(numbers[5:])] * 3, strict=True), strict=True):
        absent = tuple(old) == (0, 0, 0) or x != x
        row += [0.0, 0.0, type(old[2])(0)] if absent else [x, y, old[2]]
    return row
