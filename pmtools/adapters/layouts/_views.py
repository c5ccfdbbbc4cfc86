"""What a processor shows a model of a picture, read off the pixels.

One picture of colour ramps goes in, and wherever its colours come out, they say which part of the picture that is. Red rises
from left to right, green from top to bottom, blue is full everywhere, so that padding is what has none. Resizing, padding,
cropping and cutting into tiles, in any order and of any number, need no rule of their own.

Convention: boxes are fractions of the picture, `(x0, y0, x1, y1)`; beyond [0, 1] lies padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools.adapters.layouts._asking import BLANK_HW
from pmtools.typing import Ndarray, SizeHW

if TYPE_CHECKING:
    import torch

_LARGEST_PATCH = 32  # pixels; input images are larger
_NEAR = 0.006  # of the picture: how far a box that was read off may be from where it is


@dataclass(frozen=True)
class View:
    """A rectangle of pixels or patches that the vision tower is shown, and the part of the picture that it covers.

    Attributes
    ----------
    shape_hw : (int, int)
        Rows and columns, in pixels or in patches.
    box_xyxy : (float, float, float, float)
    in_patches : bool
    """

    shape_hw: SizeHW
    box_xyxy: tuple[float, float, float, float]
    in_patches: bool


def ramps(size_hw: SizeHW, /) -> Any:
    """The picture that says where it comes from."""
    from PIL import Image

    height, width = size_hw
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[..., 0] = np.round((np.arange(width) + 0.5) / width * 255)
    picture[..., 1] = np.round((np.arange(height) + 0.5) / height * 255)[:, None]
    return Image.fromarray(picture)


@dataclass(frozen=True)
class Colours:
    """Where a pixel input has red, green and blue, and its values for none and full: each (3, depth)."""

    shares: Ndarray
    low: Ndarray
    high: Ndarray

    @classmethod
    def of(cls, processed: Callable[[Any], Mapping[str, Any]], /) -> Colours:
        """From single-coloured pictures."""
        from PIL import Image

        black, *full = (
            np.concatenate(_entries(processed(Image.new("RGB", BLANK_HW[::-1], colour))))
            for colour in ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))
        )  # each (entries, depth)
        shown = np.any([np.abs(item - black).max(1) > 0 for item in full], axis=0)  # not padding
        low, change = black[shown].mean(0), np.stack([(item - black)[shown].mean(0) for item in full])
        mine = np.abs(change) == np.abs(change).max(0)
        shares = mine * (np.abs(change) > 0.5 * np.abs(change).max(1, keepdims=True))
        return cls(shares / np.maximum(shares.sum(1, keepdims=True), 1), low, low + change)

    def read(self, entries: Ndarray, /) -> Ndarray:
        """The three colours of pixels or patches, (n, depth) to (n, 3), each in [0, 1]."""
        span = np.where(self.shares > 0, self.high - self.low, 1.0)
        weights = self.shares / span  # (3, depth)
        found: Ndarray = entries @ weights.T - (weights * self.low).sum(1)
        return found


def views(colours: Colours, inputs: Mapping[str, Any], images: int, /) -> list[View]:
    """The views of the equal pictures of ramps that `inputs` were made from; those of padding alone left out.

    Parameters
    ----------
    colours : Colours
    inputs : mapping
        What the processor returned.
    images : int
        How many pictures there were.

    Raises
    ------
    ValueError
        If there are no pixels, or their order is unknown.
    """
    found = []
    entries = _entries(inputs)
    shapes = _shapes(inputs)
    if len(entries) == 1 and shapes == [None]:  # the patches of all views in one row
        entries = _split(inputs, entries[0], images)
        shapes = shapes * len(entries)
    for index, (shape, item) in enumerate(zip(shapes, entries, strict=True)):
        read = colours.read(item)
        view = _pixel_view(shape, read) if shape else _patch_view(inputs, index, read)
        if view is not None:
            found.append(view)
    return found


# -------------------------------------------------------------------------------------------------- the pixel input


def _pixels(inputs: Mapping[str, Any]) -> torch.Tensor:
    import torch

    named = {name: value for name, value in inputs.items() if name.startswith("pixel_") and not name.endswith("mask")}
    value = named.get("pixel_values", next(iter(named.values()), None))
    if isinstance(value, list | tuple):
        value = torch.stack([torch.as_tensor(item) for item in value])
    if value is None:
        raise ValueError(f"the processor returned no pixels, but {sorted(inputs)}")
    found: torch.Tensor = value.float()
    return _apart(found) if found.ndim > 3 else found


def _split(inputs: Mapping[str, Any], patches: Ndarray, images: int) -> list[Ndarray]:
    """Patches by view: as a grid for each says, or equally."""
    for value in _grids(inputs):
        counts = value.prod(-1).tolist()
        if sum(counts) == len(patches):
            return np.split(patches, np.cumsum(counts)[:-1])
    return np.split(patches, images) if len(patches) % images == 0 else [patches]


def _grids(inputs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """Integers that a processor returned, two or three for each view."""
    for name, value in inputs.items():
        if name.startswith("pixel_") or not hasattr(value, "is_floating_point") or value.is_floating_point():
            continue
        if value.ndim == 2 and value.shape[-1] in (2, 3):
            yield value


def _apart(pixels: torch.Tensor) -> torch.Tensor:
    """Patches that lie side by side in one long row, (1, 3, p, n p), as (n, 3, p, p); all else as it is."""
    side, length = pixels.shape[-2:]
    if pixels.shape[:-2].numel() != 3 or side > _LARGEST_PATCH or length <= _LARGEST_PATCH or length % side:
        return pixels
    return pixels.reshape(3, side, length // side, side).permute(2, 0, 1, 3)


def _is_images(pixels: torch.Tensor) -> bool:
    return pixels.ndim > 3 and pixels.shape[-3] == 3 and max(pixels.shape[-2:]) > _LARGEST_PATCH


def _shapes(inputs: Mapping[str, Any]) -> list[SizeHW | None]:
    """The shape of each view in pixels, None where it comes in patches."""
    pixels = _pixels(inputs)
    if _is_images(pixels):
        return [(pixels.shape[-2], pixels.shape[-1])] * math.prod(pixels.shape[:-3])
    return [None] * (pixels.shape[0] if pixels.ndim == 3 else 1)


def _entries(inputs: Mapping[str, Any]) -> list[Ndarray]:
    """The pixels or patches of each view: (n, depth)."""
    pixels = _pixels(inputs)
    if _is_images(pixels):
        pixels = pixels.flatten(0, -4).flatten(2).mT  # (views, H * W, 3)
    elif pixels.ndim != 3:  # (patches, ...)
        pixels = pixels.flatten(1)[None]
    return [item.double().numpy() for item in pixels]


# ------------------------------------------------------------------------------------------------------- one view


def _pixel_view(shape_hw: SizeHW, read: Ndarray) -> View | None:
    """A view whose colours are (H * W, 3)."""
    x, y, shown = (read[:, colour].reshape(shape_hw) for colour in range(3))
    content = shown > 0.98
    if content.sum() < 4:
        return None
    x0, x1 = _span(x, content, axis=0)
    y0, y1 = _span(y, content, axis=1)
    return View(shape_hw, _tidied(x0, y0, x1, y1), in_patches=False)


def _span(values: Ndarray, content: Ndarray, axis: int) -> tuple[float, float]:
    """What the edges of a view are, by a line through the means of its columns (axis 0) or rows (axis 1)."""
    weight = content.sum(axis)
    places = np.flatnonzero(weight)
    means = np.where(content, values, 0).sum(axis)[places] / weight[places]
    inner = slice(len(places) // 16, len(places) - len(places) // 16)  # resizing bends the ramp at the edges
    slope, offset = np.polyfit(places[inner] + 0.5, means[inner], 1)
    return float(offset), float(offset + slope * len(weight))


def _patch_view(inputs: Mapping[str, Any], index: int, read: Ndarray) -> View | None:
    """A view whose colours are (patches, 3), the order found by trying."""
    for shape in _patch_shapes(inputs, index, read):
        count = shape[0] * shape[1]
        whole = read[:count, 2] > 0.98
        if not whole.any():
            return None
        merges = {1, *(m for m in range(2, 9) if shape[0] % m == shape[1] % m == 0)}
        for merge in sorted(merges):
            rows, columns = _patch_places(shape, merge)
            x, y = (_fit(places[whole], read[:count][whole, colour]) for colour, places in enumerate((columns, rows)))
            if x and y:
                box = x[0], y[0], x[0] + x[1] * shape[1], y[0] + y[1] * shape[0]
                return View(shape, _tidied(*box), in_patches=True)
    raise ValueError(f"{len(read)} patches of a picture lie in no order that is known")


def _patch_shapes(inputs: Mapping[str, Any], index: int, read: Ndarray) -> Iterator[SizeHW]:
    """Rows and columns that the patches of a view may have: from grids that the processor returned, then by counting."""
    shown = int((read[:, 2] > 0.5).sum())
    for value in _grids(inputs):
        if index < len(value):
            rows, columns = (int(item) for item in value[index][-2:])
            if 0 < rows * columns <= len(read) and rows * columns >= shown:
                yield rows, columns
    for count in (len(read), shown):
        levels = np.sort(read[:count, 1])
        steps = np.diff(levels)
        rows = 1 + int((steps > 0.5 * steps.max()).sum()) if len(steps) and steps.max() > 1e-3 else 1
        if count % rows == 0:
            yield rows, count // rows


def _patch_places(shape_hw: SizeHW, merge: int) -> tuple[Ndarray, Ndarray]:
    """Row and column of each patch, in squares of `merge` x `merge` one after the other."""
    height, width = shape_hw
    places = np.arange(height * width).reshape(height // merge, merge, width // merge, merge).swapaxes(1, 2).ravel()
    return places // width, places % width


def _fit(places: Ndarray, values: Ndarray) -> tuple[float, float] | None:
    """Start and step of values that lie on a line over the cells at `places`, if they do."""
    if np.ptp(places) == 0:
        return (0.0, 1.0 / (places.max() + 1)) if np.ptp(values) < 0.02 else None
    slope, offset = np.polyfit(places + 0.5, values, 1)
    wrong = np.abs(offset + slope * (places + 0.5) - values).max()
    return (float(offset), float(slope)) if wrong < 0.5 * abs(slope) + 0.004 else None


def _tidied(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    x0, x1 = _tidied_span(x0, x1)
    y0, y1 = _tidied_span(y0, y1)
    return x0, y0, x1, y1


def _tidied_span(low: float, high: float) -> tuple[float, float]:
    """The fraction 1 / N of the picture that a view nearly is, for an integer N; otherwise what was read off, edges kept."""
    parts = max(1, round(1 / max(high - low, 1e-3)))
    place = round(low * parts)
    exact = place / parts, (place + 1) / parts
    near = abs(exact[0] - low) < _NEAR and abs(exact[1] - high) < _NEAR
    if near:
        return exact
    return 0.0 if abs(low) < _NEAR else low, 1.0 if abs(high - 1) < _NEAR else high
