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

_LARGEST_PATCH = 32  # pixels; input images of `BLANK_HW` are larger
_LEAST = 1e-3  # of a pixel or patch: less than that of a picture is padding
_FLAT = 0.02  # of the picture: pixels or patches that differ by less along an axis show one row or column of it
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


def blank(size_hw: SizeHW, /, colour: tuple[int, int, int] = (0, 0, 0)) -> Any:
    """A picture of one colour, black by default."""
    from PIL import Image

    return Image.new("RGB", size_hw[::-1], colour)


@dataclass(frozen=True)
class Colours:
    """Where a pixel input has red, green and blue, and its values for none and full: each (3, depth)."""

    shares: Ndarray
    low: Ndarray
    high: Ndarray

    @classmethod
    def of(cls, processed: Callable[[Any], Mapping[str, Any]], /) -> Colours:
        """From single-coloured pictures."""
        black, *full = (
            np.concatenate(_entries(processed(blank(BLANK_HW, colour))))
            for colour in ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))
        )  # each (entries, depth)
        shown = np.any([np.abs(item - black).max(1) > 0 for item in full], axis=0)  # not padding
        low, change = black[shown].mean(0), np.stack([(item - black)[shown].mean(0) for item in full])
        mine = np.abs(change) == np.abs(change).max(0)
        shares = mine * (np.abs(change) > 0.5 * np.abs(change).max(1, keepdims=True))
        return cls(shares / np.maximum(shares.sum(1, keepdims=True), 1), low, low + change)

    @property
    def depth(self) -> int:
        """Values of an entry: 3 of a pixel, more of a patch. So it is in every picture of a processor."""
        return int(self.low.shape[-1])

    def read(self, entries: Ndarray, /) -> Ndarray:
        """The three colours of pixels or patches, (n, depth) to (n, 3), each in [0, 1]."""
        span = np.where(self.shares > 0, self.high - self.low, 1.0)
        weights = self.shares / span  # (3, depth)
        found: Ndarray = entries @ weights.T - (weights * self.low).sum(1)
        return found

    def read_thin(self, entries: Ndarray, black: Ndarray, /) -> Ndarray:
        """As `read`, of entries that all share their place with padding: those that show most of the picture count as whole.

        Parameters
        ----------
        entries, black : arrays of shape (n, depth)
            Of a picture, and of a black one of its size.
        """
        read = self.read(entries) - self.read(black)
        share = read[:, 2:]
        most = share.max(initial=0.0)
        return np.where((share > 0.5 * most) & (most > _LEAST), read / np.where(share == 0, 1, share), 0.0)


def views(
    colours: Colours,
    inputs: Mapping[str, Any],
    images: int,
    /,
    black: Callable[[], Mapping[str, Any]] | None = None,
) -> list[View]:
    """The views of the equal pictures of ramps that `inputs` were made from; those of padding alone left out.

    Parameters
    ----------
    colours : Colours
    inputs : mapping
        What the processor returned.
    images : int
        How many pictures there were.
    black : callable, optional
        What the processor returns for as many black pictures of that size. Asked where a view shows no pixel or patch without
        padding: a picture a few pixels thin, or scaled down until it is thinner than one, can still be told by the difference.

    Raises
    ------
    ValueError
        If there are no pixels, or their order is unknown.
    """
    found = []
    entries = _views_of(inputs, inputs, colours.depth, images)
    shapes = _shapes(inputs, colours.depth)
    if len(shapes) < len(entries):
        shapes = shapes * len(entries)
    without: list[Ndarray] | None = None
    for index, (shape, item) in enumerate(zip(shapes, entries, strict=True)):
        view = _view(inputs, index, shape, colours.read(item))
        if view is None and black is not None:
            if without is None:
                without = _views_of(inputs, black(), colours.depth, images)
            view = _view(inputs, index, shape, colours.read_thin(item, without[index]))
        if view is not None:
            found.append(view)
    return found


def _view(inputs: Mapping[str, Any], index: int, shape: SizeHW | None, read: Ndarray) -> View | None:
    return _pixel_view(shape, read) if shape else _patch_view(inputs, index, read)


# -------------------------------------------------------------------------------------------------- the pixel input


def _pixels(inputs: Mapping[str, Any], depth: int | None) -> torch.Tensor:
    import torch

    named = {name: value for name, value in inputs.items() if name.startswith("pixel_") and not name.endswith("mask")}
    value = named.get("pixel_values", next(iter(named.values()), None))
    if isinstance(value, list | tuple):
        value = torch.stack([torch.as_tensor(item) for item in value])
    if value is None:
        raise ValueError(f"the processor returned no pixels, but {sorted(inputs)}")
    found: torch.Tensor = value.float()
    return _apart(found, depth) if found.ndim > 3 else found


def _views_of(like: Mapping[str, Any], inputs: Mapping[str, Any], depth: int, images: int) -> list[Ndarray]:
    """The entries of each view, told apart as those of `like`, from pictures of the same size."""
    entries = _entries(inputs, depth)
    one_row = len(entries) == 1 and _shapes(inputs, depth) == [None]  # the patches of all views
    return _split(like, entries[0], images) if one_row else entries


def _split(inputs: Mapping[str, Any], patches: Ndarray, images: int) -> list[Ndarray]:
    """Patches by view: as a grid for each says, or equally."""
    for value in _grids(inputs):
        counts = value.prod(-1).tolist()
        if sum(counts) == len(patches):
            return np.split(patches, np.cumsum(counts)[:-1])
    return np.split(patches, images) if len(patches) % images == 0 else [patches]


def _grids(inputs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """Integers that a processor returned, two or three for each view."""
    yield from (value for value in _integers(inputs) if value.ndim == 2 and value.shape[-1] in (2, 3))


def _integers(inputs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    for name, value in inputs.items():
        if not name.startswith("pixel_") and hasattr(value, "is_floating_point") and not value.is_floating_point():
            yield value


def _apart(pixels: torch.Tensor, depth: int | None) -> torch.Tensor:
    """Patches that lie side by side in one long row, (1, 3, p, n p), as (n, 3, p, p); all else as it is."""
    side, length = pixels.shape[-2:]
    if pixels.shape[:-2].numel() != 3 or length % side:
        return pixels
    if depth != 3 * side * side if depth else side > _LARGEST_PATCH or length <= _LARGEST_PATCH:
        return pixels
    return pixels.reshape(3, side, length // side, side).permute(2, 0, 1, 3)


def _is_images(pixels: torch.Tensor, depth: int | None) -> bool:
    """Whether an input holds images, not patches: by the depth of its entries, where that is known, or else by its size."""
    if pixels.ndim <= 3 or pixels.shape[-3] != 3:
        return False
    return depth == 3 if depth else max(pixels.shape[-2:]) > _LARGEST_PATCH


def _shapes(inputs: Mapping[str, Any], depth: int) -> list[SizeHW | None]:
    """The shape of each view in pixels, None where it comes in patches."""
    pixels = _pixels(inputs, depth)
    if _is_images(pixels, depth):
        return [(pixels.shape[-2], pixels.shape[-1])] * math.prod(pixels.shape[:-3])
    return [None] * (pixels.shape[0] if pixels.ndim == 3 else 1)


def _entries(inputs: Mapping[str, Any], depth: int | None = None) -> list[Ndarray]:
    """The pixels or patches of each view: (n, depth)."""
    pixels = _pixels(inputs, depth)
    if _is_images(pixels, depth):
        pixels = pixels.flatten(0, -4).flatten(2).mT  # (views, H * W, 3)
    elif pixels.ndim != 3:  # (patches, ...)
        pixels = pixels.flatten(1)[None]
    return [item.double().cpu().numpy() for item in pixels]


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
    if np.ptp(means[inner]) < _FLAT:  # a picture one pixel wide: all of it
        return _whole(places, len(weight))
    slope, offset = np.polyfit(places[inner] + 0.5, means[inner], 1)
    return float(offset), float(offset + slope * len(weight))


def _whole(places: Ndarray, cells: int) -> tuple[float, float]:
    """The edges of a view of `cells` cells whose content, at `places`, is all of the picture."""
    first, count = int(places.min()), int(np.ptp(places)) + 1
    return -first / count, (cells - first) / count


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
    for value in _integers(inputs):
        if value.ndim == 3 and value.shape[1:] == (len(read), 2):  # the place of each patch; Gemma 4's
            across, down = (value[index].amax(0) + 1).tolist()
            yield from ((down, across), (across, down))
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
    if np.ptp(values) < _FLAT:  # one row or column of the picture, or of patches: all of it
        low, high = _whole(places, 1)
        return low, high - low
    if np.ptp(places) == 0:
        return None
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
