r"""Boxes of the formats that detectors write, and keypoints, through a warp.

Upright boxes are mapped exactly. So are quadrilaterals, whose corners are points. A rectangle with an angle becomes a
quadrilateral in general, of which the rectangle along its longer midline with the same area is given.

Knows formats and warps; no records, no files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from pmtools import _array, _checks
from pmtools.turns import Turned
from pmtools.typing import Array
from pmtools.warp import Warp

#: Columns of each format, named as torchvision names them. Angles are in degrees, against the clock on the screen.
FORMATS: dict[str, str] = {
    "xyxy": "x0, y0, x1, y1",
    "xywh": "x0, y0, width, height",
    "cxcywh": "centre x, centre y, width, height",
    "xyxyxyxy": "four corners x, y in turn",
    "cxcywhr": "centre x, centre y, width, height, degrees",
    "xywhr": "first corner x, y, width, height, degrees",
}
_UPRIGHT = ("xyxy", "xywh", "cxcywh")


def boxes(boxes: Any, warp: Warp | Turned, /, *, format: str = "xyxy", clip: bool = False) -> Any:
    """Boxes of any format through a warp, in the same format.

    Parameters
    ----------
    boxes : array of shape (..., n), or a sequence of arrays for a batch of warps
        In pixels, with the columns of `format`. A batch of warps takes one array per warp, of any lengths, or one array
        (b, ..., n). A tensor that knows its format and the size of its image (torchvision's `BoundingBoxes`) is taken at its
        word, and comes back as such; so is each of a list, also for one warp.
    warp : Warp or Turned
        `warp.inverse()` undoes it.
    format : {"xyxy", "xywh", "cxcywh", "xyxyxyxy", "cxcywhr", "xywhr"}, optional
        See `FORMATS`. Upright boxes and four corners are exact. An angle is not kept by a warp: the rectangle given is that
        along the longer midline of the quadrilateral, of its area; convert to "xyxyxyxy" first where that matters.
    clip : bool, optional
        Cut upright boxes to what the result shows of the source.

    Returns
    -------
    array of the same shape, or a list of arrays
        Namespace and device of `boxes`, dtype as for `Warp.boxes`.

    Raises
    ------
    TypeError, ValueError
        If `boxes` are not as described above, or boxes that are not upright are to be clipped.

    Examples
    --------
    >>> from pmtools import frames
    >>> boxes([[10, 10, 20, 30]], frames.resize((100, 100), (200, 50)), format="cxcywh")
    array([[ 5., 20., 10., 60.]])
    """
    return _mapped(boxes, warp, _checks.choice(format, "format", FORMATS), clip=_checks.flag(clip, "clip"))


def convert(boxes: Any, old: str, new: str, /) -> Array:
    """Boxes in another format: upright ones into any, others into one that has an angle or corners.

    Parameters
    ----------
    boxes : array of shape (..., n)
        With the columns of the format `old`.
    old, new : str
        Of `FORMATS`.

    Returns
    -------
    array of shape (..., m)

    Raises
    ------
    TypeError, ValueError
        If a format is unknown, `boxes` has other columns or knows another format, or boxes with an angle were to become upright.

    Examples
    --------
    >>> convert([10, 20, 30, 40], "xyxy", "cxcywh")
    array([20., 30., 20., 20.])
    """
    old, new = _checks.choice(old, "old", FORMATS), _checks.choice(new, "new", FORMATS)
    if new in _UPRIGHT and old not in _UPRIGHT:
        raise ValueError(f"`new` must have an angle or four corners for boxes in {old}, got {new!r}; use 'xyxyxyxy'")
    array = _checked(boxes, old)
    wide = _array.widen(array)
    if new in _UPRIGHT:
        result = _from_corners(_to_corners(wide, old), new)
    else:
        quads = _quads_of_corners(_to_corners(wide, old)) if old in _UPRIGHT else _to_quads(wide, old)
        result = _from_quads(quads, new)
    return _array.coordinate_like(result, array)


def visible_share(boxes: Any, warp: Warp | Turned, /, *, format: str = "xyxy") -> Array:
    """How much of each box a warp shows, in [0, 1]: 1 for all of it, 0 for what a crop has cut off.

    Parameters
    ----------
    boxes : array of shape (..., n)
        On the source, in pixels.
    warp : Warp or Turned
    format : str, optional
        Of `FORMATS`. What is not upright is judged by the upright box around it.

    Returns
    -------
    array of shape (...)
        The share of its area on the result. A box without an area counts by its sides, or whether it is inside.

    Examples
    --------
    >>> from pmtools import frames
    >>> visible_share([[0, 0, 10, 10], [50, 50, 70, 60]], frames.crop((100, 100), (5, 0, 60, 60)))
    array([0.5, 0.5])
    """
    format = _checks.choice(format, "format", FORMATS)
    array = _checked(boxes, format)
    corners = _to_corners(array, format) if format in _UPRIGHT else _around(_to_quads(_array.widen(array), format))
    mapped = _array.widen(warp.boxes(corners))
    shown = _clipped(mapped, warp)
    xp = _array.namespace(mapped)
    shares = []
    for i in (0, 1):
        whole, part = mapped[..., i + 2] - mapped[..., i], shown[..., i + 2] - shown[..., i]
        inside = _array.widen((shown[..., i] == mapped[..., i]) & (shown[..., i + 2] == mapped[..., i + 2]))
        shares.append(xp.where(whole > 0, part / xp.where(whole > 0, whole, xp.ones_like(whole)), inside))
    return shares[0] * shares[1]


def keypoints(keypoints: Any, warp: Warp | Turned, /, *, clip: bool = False) -> Any:
    """Keypoints with or without a visibility, through a warp.

    Parameters
    ----------
    keypoints : array of shape (..., k, 3) or (..., k, 2), or a sequence of arrays for a batch of warps
        x, y in pixels and a visibility or confidence, which stays. Where it is 0, a keypoint at (0, 0) is not there (COCO), and
        stays where it is. For the points of flips, left and right are for the caller to exchange.
    warp : Warp or Turned
        `warp.inverse()` undoes it.
    clip : bool, optional
        With a third column: make keypoints that the result does not show absent, (0, 0, 0).

    Returns
    -------
    array of the same shape, or a list of arrays

    Raises
    ------
    TypeError, ValueError
        If `keypoints` is not as described above.

    Examples
    --------
    >>> from pmtools import frames
    >>> keypoints([[[10, 10, 2], [0, 0, 0]]], frames.pad((50, 50), left=5))
    array([[[15., 10.,  2.],
            [ 0.,  0.,  0.]]])
    """
    clip = _checks.flag(clip, "clip")
    if warp.batch_shape and isinstance(keypoints, (list, tuple)):
        return _ragged(keypoints, warp, "keypoints", lambda rows, one: _keypoints(rows, one, clip=clip))
    return _keypoints(keypoints, warp, clip=clip)


def shown_window(warp: Warp | Turned) -> tuple[Array, Array]:
    """What the result shows of the source along x and along y: arrays (..., 2) of pixels of the result."""
    if not isinstance(warp, Turned):
        back = warp.inverse()
        return back.x.window, back.y.window
    x, y = shown_window(warp.warp)
    x, y = (y, x) if warp.transpose else (x, y)
    height, width = warp.target_hw
    xp = _array.namespace(x)
    return width - xp.flip(x, axis=-1) if warp.flip_x else x, height - xp.flip(y, axis=-1) if warp.flip_y else y


# ------------------------------------------------------------------------------------------------------- mapping


def _mapped(boxes: Any, warp: Warp | Turned, format: str, *, clip: bool) -> Any:
    """Boxes in the format that they know, or in `format`; lists of those that know theirs one by one."""
    known = _format_of(boxes)
    if known is not None:
        return _like_torchvision(boxes, warp, *known, clip=clip)
    if isinstance(boxes, (list, tuple)) and (warp.batch_shape or any(map(_format_of, boxes))):
        warps = warp if warp.batch_shape else [warp] * len(boxes)
        return _ragged(boxes, warps, "boxes", lambda rows, one: _mapped(rows, one, format, clip=clip))
    if clip and format not in _UPRIGHT:
        raise ValueError(
            f"`clip` must be False for {format}, which would have more corners; use visible_share to drop what has gone"
        )
    return _boxes(boxes, warp, format, clip=clip)


def _boxes(boxes: Any, warp: Warp | Turned, format: str, *, clip: bool) -> Array:
    array = _checked(boxes, format)
    if format not in _UPRIGHT:
        quads = _to_quads(_array.widen(array), format)
        return _array.coordinate_like(_from_quads(warp.points(quads), format), array)
    mapped = warp.boxes(_to_corners(_array.widen(array), format))
    if clip:
        mapped = _clipped(mapped, warp)
    return _array.coordinate_like(_from_corners(mapped, format), array)


def _clipped(corners: Array, warp: Warp | Turned) -> Array:
    """Corners (..., 4) of the result, cut to what it shows of the source."""
    xp = _array.namespace(corners)
    columns, windows = [], shown_window(warp)
    for i in range(4):
        window = _array.asarray_like(windows[i % 2], corners)
        low, high = window[..., 0], window[..., 1]
        if warp.batch_shape:  # (b,) beside (b, ...)
            shape = (-1, *(1,) * (corners.ndim - 2))
            low, high = xp.reshape(low, shape), xp.reshape(high, shape)
        columns.append(xp.minimum(xp.maximum(corners[..., i], low), high))
    return xp.stack(columns, axis=-1)


def _keypoints(keypoints: Any, warp: Warp | Turned, *, clip: bool) -> Array:
    array = _array.asarray(keypoints, "keypoints")
    last = 3 if array.ndim and array.shape[-1] == 3 else 2
    array = _checks.coordinates(keypoints, "keypoints", last=last, columns="x, y" + ", visibility" * (last == 3))
    if last == 2:
        if clip:
            raise ValueError("`clip` needs a visibility to set to 0, got keypoints (..., 2); append a column of it")
        return warp.points(array)
    wide = _array.widen(array)
    xp = _array.namespace(wide)
    mapped = warp.points(wide[..., :2])
    absent = xp.all(wide == 0, axis=-1)
    if clip:
        corners = xp.concat([mapped, mapped], axis=-1)
        absent = absent | xp.any(_clipped(corners, warp) != corners, axis=-1)
    result = xp.concat([mapped, wide[..., 2:]], axis=-1)
    return _array.coordinate_like(xp.where(absent[..., None], xp.zeros_like(result), result), array)


def _ragged(
    values: Sequence[Any], warps: Warp | Turned | list[Warp | Turned], name: str, one: Callable[[Any, Any], Any]
) -> list[Any]:
    if len(values) != len(warps):
        raise ValueError(
            f"`{name}` must have an entry for each of the {len(warps)} warps, got {len(values)}; use warp[i] for one of them"
        )
    return [one(value, item) for value, item in zip(values, warps, strict=True)]


# ------------------------------------------------------------------------------------------------------- formats


def _checked(boxes: Any, format: str) -> Array:
    count = {"xyxyxyxy": 8, "cxcywhr": 5, "xywhr": 5}.get(format, 4)
    return _checks.coordinates(boxes, "boxes", last=count, columns=FORMATS[format], format=format)


def _to_corners(array: Array, format: str) -> Array:
    if format == "xyxy":
        return array
    xp, array = _array.namespace(array), _array.widen(array)
    low, size = array[..., :2], array[..., 2:]
    if format == "cxcywh":
        low = low - size / 2
    return xp.concat([low, low + size], axis=-1)


def _from_corners(corners: Array, format: str) -> Array:
    if format == "xyxy":
        return corners
    xp = _array.namespace(corners)
    low, size = corners[..., :2], corners[..., 2:] - corners[..., :2]
    return xp.concat([low + size / 2 if format == "cxcywh" else low, size], axis=-1)


def _quads_of_corners(corners: Array) -> Array:
    xp = _array.namespace(corners)
    ends = ((0, 1), (2, 1), (2, 3), (0, 3))
    return xp.stack([xp.stack([corners[..., i], corners[..., j]], axis=-1) for i, j in ends], axis=-2)


def _to_quads(array: Array, format: str) -> Array:
    """Corners (..., 4, 2) in turn, of boxes that are not upright."""
    xp = _array.namespace(array)
    if format == "xyxyxyxy":
        return xp.reshape(array, (*array.shape[:-1], 4, 2))
    along, down = _sides(array[..., 2], array[..., 3], array[..., 4] * (math.pi / 180))
    first = array[..., :2]
    if format == "cxcywhr":
        first = first - (along + down) / 2
    return xp.stack([first, first + along, first + along + down, first + down], axis=-2)


def _sides(width: Array, height: Array, angle: Array) -> tuple[Array, Array]:
    """The two sides (..., 2) of a rectangle turned against the clock on the screen, where y points down."""
    xp = _array.namespace(width)
    cos, sin = xp.cos(angle), xp.sin(angle)
    return xp.stack([width * cos, -width * sin], axis=-1), xp.stack([height * sin, height * cos], axis=-1)


def _from_quads(quads: Array, format: str) -> Array:
    """The format's columns for corners (..., 4, 2): along the longer midline, with the area of the quadrilateral."""
    xp = _array.namespace(quads)
    if format == "xyxyxyxy":
        return xp.reshape(quads, (*quads.shape[:-2], 8))
    a, b, c, d = (quads[..., i, :] for i in range(4))
    along, down = (b + c - a - d) / 2, (c + d - a - b) / 2
    area = xp.abs(along[..., 0] * down[..., 1] - along[..., 1] * down[..., 0])
    long, high = xp.linalg.vector_norm(along, axis=-1), xp.linalg.vector_norm(down, axis=-1)
    wider = long >= high
    length = xp.where(wider, long, high)
    other = area / xp.where(length > 0, length, xp.ones_like(length))
    width, height = xp.where(wider, long, other), xp.where(wider, other, high)
    angle = xp.where(wider, xp.atan2(-along[..., 1], along[..., 0]), xp.atan2(down[..., 0], down[..., 1]))
    first = (a + b + c + d) / 4
    if format == "xywhr":
        along, down = _sides(width, height, angle)
        first = first - (along + down) / 2
    return xp.concat([first, xp.stack([width, height, angle * (180 / math.pi)], axis=-1)], axis=-1)


def _around(quads: Array) -> Array:
    xp = _array.namespace(quads)
    return xp.concat([xp.min(quads, axis=-2), xp.max(quads, axis=-2)], axis=-1)


# --------------------------------------------------------------------------------------------------- torchvision


def _format_of(value: Any) -> tuple[str, tuple[int, int]] | None:
    """Format and image size of boxes that know them, as torchvision's do."""
    name = getattr(getattr(value, "format", None), "value", None)
    canvas = getattr(value, "canvas_size", None)
    return (name.lower(), tuple(canvas)) if isinstance(name, str) and canvas is not None else None


def _like_torchvision(boxes: Any, warp: Warp | Turned, format: str, canvas_hw: tuple[int, int], *, clip: bool) -> Any:
    from torchvision import tv_tensors

    if canvas_hw != warp.source_hw:
        raise ValueError(
            f"`boxes` must be on an image of {warp.source_hw}, the source of the warp, got canvas_size {canvas_hw}; fit the "
            "warp for that size"
        )
    mapped = _boxes(boxes, warp, _checks.choice(format, "format", FORMATS), clip=clip)
    return tv_tensors.wrap(mapped, like=boxes, canvas_size=warp.target_hw)
