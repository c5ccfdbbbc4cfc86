"""One wording for all argument errors: the argument, what is wanted, what came, the way out.

Knows nothing of images or warps; every public door calls these before it computes anything.
"""

from __future__ import annotations

import difflib
import math
import numbers
import operator
import sys
from collections.abc import Collection
from typing import Any

import numpy as np

from pmtools import _array
from pmtools._describe import describe as describe
from pmtools.typing import Array, Ndarray, SizeHW

#: Largest image side times side that a size argument may ask for; beyond it the request is a slip, not an image.
MAX_PIXELS = 2**31 - 1
#: Sides of an image from which coordinates within its first pixel are a slip.
_LEAST_SIDE = 64


def whole_number(value: object, name: str, *, minimum: int = 1, maximum: int | None = None) -> int:
    """`value` as an int; booleans and fractions are refused."""
    span = f">= {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"`{name}` must be an integer {span}, got {describe(value)}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:  # arrays of several numbers, or of floats
        raise TypeError(f"`{name}` must be an integer {span}, got {describe(value)}") from None
    if number < minimum or (maximum is not None and number > maximum):
        raise ValueError(f"`{name}` must be an integer {span}, got {number}")
    return number


def odd_number(value: object, name: str) -> int:
    """`value` as an odd int >= 1: a window with a middle."""
    number = whole_number(value, name)
    if number % 2 == 0:
        raise ValueError(f"`{name}` must be odd, so that the window has a middle, got {number}; use {number + 1}")
    return number


def real_number(
    value: object,
    name: str,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    exclusive_minimum: bool = False,
    hint: str = "",
) -> float:
    """`value` as a finite float inside the given bounds."""

    def wanted() -> str:
        low = ("(" if exclusive_minimum or minimum == -math.inf else "[") + f"{minimum:g}"
        high = f"{maximum:g}" + (")" if maximum == math.inf else "]")
        return f"`{name}` must be a finite number in {low}, {high}"

    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        item = getattr(value, "item", None)
        if isinstance(value, bool) or item is None or getattr(value, "shape", None) != ():
            raise TypeError(f"{wanted()}, got {describe(value)}")
        value = item()
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:  # of whole numbers without bound
        raise ValueError(f"{wanted()}, got a number beyond all floats") from None
    below = number <= minimum if exclusive_minimum else number < minimum
    if not math.isfinite(number) or below or number > maximum:
        raise ValueError(f"{wanted()}, got {number:g}" + (f"; {hint}" if hint else ""))
    return number


def generator(value: object, name: str) -> np.random.Generator:
    """`value` as NumPy's generator of random numbers."""
    if not isinstance(value, np.random.Generator):
        raise TypeError(
            f"`{name}` must be a numpy.random.Generator, got {describe(value)}; for example numpy.random.default_rng(5)"
        )
    return value


def choice(value: object, name: str, options: Collection[str]) -> str:
    """`value` if it is one of `options`; the error names the nearest of them."""
    if not isinstance(value, str) or value not in options:
        near = difflib.get_close_matches(value.lower(), options, n=1) if isinstance(value, str) else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, options))}, got {value!r}{hint}")
    return value


def flag(value: object, name: str) -> bool:
    """`value` as a bool; words are refused, since "no" would count as True."""
    if not isinstance(value, (bool, np.bool_)) and not (isinstance(value, int) and value in (0, 1)):
        raise TypeError(f"`{name}` must be True or False, got {describe(value)}")
    return bool(value)


def size_hw(value: object, name: str) -> SizeHW:
    """`value` as (height, width), two integers >= 1."""
    wanted = f"`{name}` must be (height, width), two integers >= 1"
    try:
        sides: tuple[object, ...] = tuple(value)  # type: ignore[arg-type]
    except TypeError:
        sides = ()
    if len(sides) != 2 or isinstance(value, str):
        raise TypeError(f"{wanted}, got {describe(value)}")
    size = whole_number(sides[0], f"{name}[0]"), whole_number(sides[1], f"{name}[1]")
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"{wanted} of at most {MAX_PIXELS} pixels together, got {size[0]} x {size[1]}")
    return size


def map_array(value: object, name: str, *, labels: bool = False) -> Array:
    """`value` as an array, of which only a PIL image in colour is refused: its channels would count as cells.

    So would the numbers of its palette, unless they are `labels`.
    """
    if _array.is_pil(value):
        mode, channels = value.mode, len(value.getbands())  # type: ignore[attr-defined]
        if channels > 1 or (mode == "P" and not labels and _is_coloured(value)):
            raise ValueError(
                f'`{name}` must be 2-D (h, w), got a PIL image of mode {mode}; make it grey first, image.convert("L")'
            )
    return _array.asarray(value, name)


def _is_coloured(image: Any) -> bool:
    """Whether the numbers of a palette image are something else than its grey levels."""
    return not np.array_equal(np.asarray(image), np.asarray(image.convert("L")))


def weights(value: object, name: str, *, labels: bool = False) -> Array:
    """`value` as an array of shape (..., h, w): real, finite, non-negative, not empty.

    Lists, PIL grey-level images and NumPy subclasses become NumPy arrays; other namespaces keep their own.
    """
    array = map_array(value, name, labels=labels)
    shape = tuple(array.shape)
    if len(shape) < 2:
        raise ValueError(
            f"`{name}` must be 2-D (h, w), or batched (..., h, w), got shape {shape}; reshape it to its grid first"
        )
    if 0 in shape:
        raise ValueError(f"`{name}` must not be empty, got shape {shape}; give it at least one row and one column")
    if not _array.is_real(array):
        raise TypeError(f"`{name}` must hold real numbers or booleans, got dtype {array.dtype}")
    if _array.is_floating(array):
        xp = _array.namespace(array)
        if bool(xp.min(array) >= 0) and bool(xp.max(array) < math.inf):
            return array
        if not bool(xp.all(xp.isfinite(array))):
            raise ValueError(
                f"`{name}` must be finite, got NaN or infinity somewhere; replace those cells, for example with 0"
            )
    if _array.is_signed(array) and bool(_array.namespace(array).any(array < 0)):
        raise ValueError(f"`{name}` must be non-negative, got a negative value; clip or shift it first")
    return array


def visible(value: object, heatmap: Array) -> Array:
    """`value` as a bool array of the shape of `heatmap`, beside it; None stands for every cell."""
    shape = tuple(heatmap.shape)
    if value is None:
        xp = _array.namespace(heatmap)
        return xp.ones(shape, dtype=xp.bool, device=_array.device(heatmap))
    cells = _array.asarray_like(_array.asarray(value, "visible"), heatmap)
    if tuple(cells.shape) != shape or not _array.is_bool(cells):
        raise ValueError(f"`visible` must be a bool array of the heatmap's shape {shape}, got {describe(cells)}")
    return cells


def coordinates(value: object, name: str, *, last: int, columns: str, format: str = "xyxy") -> Array:
    """`value` as a real array of shape (..., last), as `columns` names it; boxes that know another format are refused."""
    array = _array.asarray(value, name)
    _refuse_other_formats(value, name, columns, format)
    if hasattr(array, "canvas_size"):  # torchvision's know the size of their image, which the result has not
        array = array.as_subclass(sys.modules["torch"].Tensor)
    if tuple(array.shape) == (0,):  # what a detector that found nothing gives
        array = _array.namespace(array).reshape(array, (0, last))
    shape = tuple(array.shape)
    if not shape or shape[-1] != last:
        raise ValueError(
            f"`{name}` must have shape (..., {last}), holding {columns}, got shape {shape}; {_reshaped(shape, last)}"
        )
    if not _array.is_real(array) or _array.is_bool(array):
        raise TypeError(f"`{name}` must hold real numbers, got dtype {array.dtype}; convert it to floats first")
    return array


def _reshaped(shape: tuple[int, ...], last: int) -> str:
    """What to do with an array of another shape."""
    if len(shape) > 1 and shape[-1] == 0:
        return "give [] where there are none"
    if shape and shape[-1] > last:
        return f"leave out what follows in each row, such as scores or classes: array[..., :{last}]"
    if last == 4 and shape[-2:] == (2, 2):
        return "put both corners in one row: array.reshape(-1, 4)"
    if last == 4 and len(shape) > 1 and shape[-1] == 2:
        return "of a polygon give the least and the greatest x and y"
    return f"give {last} numbers for each, one after the other"


def rows(value: object, name: str, *, last: int, columns: str) -> Ndarray:
    """`coordinates` as finite float64 NumPy of shape (n, last); a single row (last,) and an empty list are taken too."""
    array = coordinates(value, name, last=last, columns=columns)
    found: Ndarray = _array.to_numpy(array).astype("float64")
    found = found[None] if found.ndim == 1 else found
    if found.ndim != 2:
        raise ValueError(f"`{name}` must have shape ({last},) or (n, {last}), got shape {tuple(array.shape)}")
    _refuse_rows(~(abs(found) < math.inf).all(axis=1), found, f"`{name}` must be finite", "remove it, or repair it")
    return found


def boxes(value: object, name: str) -> Ndarray:
    """`rows` of boxes that are upright."""
    found = rows(value, name, last=4, columns="x0, y0, x1, y1")
    turned = (found[:, 2:] < found[:, :2]).any(axis=1)
    wanted = f"`{name}` must hold x0, y0, x1, y1 with x0 <= x1 and y0 <= y1"
    _refuse_rows(turned, found, wanted, "of x, y, width, height make corners: x, y, x + width, y + height")
    return found


def boxes_on(value: object, name: str, source_hw: SizeHW) -> Ndarray:
    """`boxes`, all of which touch an image of that size."""
    found = boxes(value, name)
    height, width = source_hw
    beyond = ((found[:, 2:] < 0) | (found[:, :2] > (width, height))).any(axis=1)
    wanted = f"`{name}` must touch the image of {height} x {width} pixels; is it in pixels, x before y?"
    _refuse_rows(beyond, found, wanted)
    refuse_parts(found, name, source_hw)
    return found


def points_on(value: object, name: str, source_hw: SizeHW) -> Ndarray:
    """`rows` of points, all of which lie in an image of that size."""
    found = rows(value, name, last=2, columns="x, y")
    height, width = source_hw
    beyond = ((found < 0) | (found > (width, height))).any(axis=1)
    wanted = f"`{name}` must lie in the image, 0..{width} along x and 0..{height} along y"
    _refuse_rows(beyond, found, wanted, "is it in pixels, x before y?")
    refuse_parts(found, name, source_hw)
    return found


def refuse_parts(found: Ndarray, name: str, source_hw: SizeHW) -> None:
    """Refuse coordinates that all lie within the first pixel of a larger image: parts of its sides, not pixels."""
    if len(found) and min(source_hw) >= _LEAST_SIDE and (found >= 0).all() and (found <= 1).all() and (found % 1).any():
        height, width = source_hw
        times = ", ".join(["width", "height"] * (found.shape[1] // 2))
        raise ValueError(
            f"`{name}` must be in pixels of the image of {height} x {width}, got {found[0].tolist()} at 0, which looks like "
            f"parts of its sides; multiply by ({times})"
        )


def _refuse_rows(wrong: Any, found: Ndarray, wanted: str, way: str = "") -> None:
    """Raise for the first row that is wrong."""
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(f"{wanted}; got {found[i].tolist()} at {i}" + (f"; {way}" if way else ""))


def _known_formats(value: object) -> list[str]:
    """The formats of boxes that know theirs, as torchvision's do, alone or in lists."""
    if isinstance(value, (list, tuple)):
        are_numbers = not value or isinstance(value[0], (int, float))
        return [] if are_numbers else [form for item in value for form in _known_formats(item)]
    form = getattr(getattr(value, "format", None), "value", None)
    return [form.lower()] if isinstance(form, str) and hasattr(value, "canvas_size") else []


def _refuse_other_formats(value: object, name: str, columns: str, format: str) -> None:
    """Boxes that know their format are not read as another."""
    for form in _known_formats(value):
        if form == format:
            continue
        way = f"say {form!r}"
        if format == "xyxy":
            way = "give them to pmtools.annotation.boxes, which keeps their format"
            way += f", or annotation.convert(boxes, {form!r}, 'xyxy') first" if form in ("xywh", "cxcywh") else ""
        raise ValueError(f"`{name}` must be {columns}, got boxes of format {form.upper()}; {way}")
