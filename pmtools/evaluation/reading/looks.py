"""What each method shows the reader: each row of `METHODS` is a method. All inputs have one size, except in one control.

A method gets the place to look from the reader's own first look at the small image ("own-map"), or from the boxes of the
texts asked for ("boxes", as a user would draw them).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from pmtools import fit_mosaic, fit_warp, frames, heatmaps, perception_map, zoom_warp
from pmtools.alternatives import ALTERNATIVES
from pmtools.decoding.vicrop import best_window
from pmtools.evaluation.reading.reader import Reader
from pmtools.evaluation.reading.signs import Picture
from pmtools.perception import spread
from pmtools.typing import Ndarray, SizeHW
from pmtools.warp import Warp

__all__ = ["METHODS", "Case", "Look", "input_size"]

GRID = 48  # cells of a map, along the longer side
CAP = 3.0  # of a warp, where it is capped
ZOOMS = (2.0, CAP)  # at most
MARGIN = 0.3  # around a box, in its heights
PART = 0.3  # of a map's maximum, for a crop
#: Share of the picture that the own map may look at, for a gate: above every photograph for tuning (0.019 at most).
GATE = 0.05


@dataclass(frozen=True)
class Look:
    """One image that is shown, and where its boxes are on the original.

    Attributes
    ----------
    image : PIL image
    back : callable
        Boxes (n, 4) of the image, on the original.
    """

    image: Image.Image
    back: Callable[[Ndarray], Ndarray]


def input_size(image: Image.Image, longest: int, /) -> SizeHW:
    """The fixed input of an image: its longer side is `longest` pixels.

    Parameters
    ----------
    image : PIL image
    longest : int

    Returns
    -------
    (int, int)
        Height and width.
    """
    scale = longest / max(image.size)
    return max(32, round(image.height * scale)), max(32, round(image.width * scale))


class Case:
    """A picture at a fixed input, and what its methods share: the plain image, and the reader's map of it.

    Parameters
    ----------
    picture : Picture
    reader : Reader
    longest : int
        Longer side of the input, in pixels.
    seed : int
        Of the shuffled map.
    settings : dict
        Of the paper's warp, as `fit_warp` takes them.
    """

    def __init__(
        self, picture: Picture, reader: Reader, /, *, longest: int, seed: int, settings: dict[str, Any]
    ) -> None:
        self.settings = settings
        self.picture, self.image, self.longest, self.reader = picture, picture.image, longest, reader
        self.source_hw = (self.image.height, self.image.width)
        self.size_hw = input_size(self.image, longest)
        self.rng = np.random.default_rng([seed, picture.index])

    @cached_property
    def plain(self) -> Look:
        """The whole picture, resized."""
        return self.warped(frames.resize(self.source_hw, self.size_hw))

    @cached_property
    def own_map(self) -> Ndarray:
        """The greatest probability of text in each cell, by the reader's detector on the plain image."""
        values: Ndarray = np.asarray(self.reader.text_map(self.plain.image))
        cells = input_size(self.image, GRID)
        rows, columns = (np.arange(n) * m // n for n, m in zip(cells, values.shape, strict=True))
        pooled: Ndarray = np.maximum.reduceat(np.maximum.reduceat(values, rows, 0), columns, 1)
        return pooled

    @cached_property
    def boxes(self) -> Ndarray:
        """The boxes of what is asked for, with a margin, inside the picture."""
        boxes = self.picture.asked_boxes
        margin = MARGIN * (boxes[:, 3] - boxes[:, 1])[:, None] * np.array([-1, -1, 1, 1])
        height, width = self.source_hw
        grown: Ndarray = np.clip(boxes + margin, 0, [width, height, width, height])
        return grown

    def warped(self, warp: Warp) -> Look:
        """The picture through a warp."""
        return Look(warp.image(self.image), lambda boxes: np.asarray(warp.inverse_boxes(boxes)))

    def magnified(self, heatmap: Ndarray, **options: Any) -> list[Look]:
        """By the paper's warp."""
        warp = fit_warp(heatmap, source_hw=self.source_hw, target_hw=self.size_hw, **{**self.settings, **options})
        return [self.warped(warp)]

    def zoomed(self, most: float | None) -> list[Look]:
        """By the exact zoom: the largest that fits, or `most` where it does."""
        sizes: dict[str, Any] = {"source_hw": self.source_hw, "target_hw": self.size_hw}
        try:
            warp = zoom_warp(self.boxes, zoom=most, **sizes)
        except ValueError:  # so much does not fit
            warp = zoom_warp(self.boxes, **sizes)
        return [self.warped(warp)]

    def box_map(self) -> Ndarray:
        """A heatmap of the boxes."""
        return heatmaps.from_boxes(self.boxes, source_hw=self.source_hw)

    def cropped(self, box: Ndarray) -> list[Look]:
        """A part of the picture at the fixed input: not larger than the original, and with what is around it."""
        height, width = self.source_hw
        wide, high = self.size_hw[::-1]
        scale = max((box[2] - box[0]) / wide, (box[3] - box[1]) / high, 1.0)
        sides = np.minimum([scale * wide, scale * high], [width, height])
        corner = np.clip((box[:2] + box[2:] - sides) / 2, 0, np.array([width, height]) - sides)
        x0, y0, x1, y1 = (int(v) for v in np.rint([*corner, *(corner + sides)]))
        part = frames.crop(self.source_hw, (x0, y0, x1, y1))
        return [self.warped(part.then(frames.resize(part.target_hw, self.size_hw)))]


def _edited(name: str) -> Callable[[Case], list[Look]]:
    """The plain image, edited by an alternative with the reader's own map."""

    def edited(case: Case) -> list[Look]:
        where = perception_map(case.own_map, gain=case.settings["gain"], kernel_size=1)
        done = ALTERNATIVES[name](case.plain.image, where)
        return [Look(done.image, lambda boxes: case.plain.back(np.asarray(done.frame.inverse_boxes(boxes))))]

    return edited


def _zoomed(most: float) -> Callable[[Case], list[Look]]:
    return lambda case: case.zoomed(most)


def _own_crop(case: Case) -> list[Look]:
    rows, columns = np.nonzero(case.own_map >= PART * case.own_map.max())
    cell = np.array(case.source_hw[::-1]) / np.array(case.own_map.shape[::-1])
    return case.cropped(
        np.array([columns.min() - 1, rows.min() - 1, columns.max() + 2, rows.max() + 2]) * np.tile(cell, 2)
    )


def _window(case: Case) -> list[Look]:
    return case.cropped(np.array(best_window(case.own_map, source_hw=case.source_hw, window=min(case.size_hw))))


def _box_crop(case: Case) -> list[Look]:
    return case.cropped(np.concatenate([case.boxes[:, :2].min(0), case.boxes[:, 2:].max(0)]))


def _gated(case: Case) -> list[Look]:
    return [case.plain] if spread(case.own_map) > GATE else case.magnified(case.own_map)


def _mosaic(case: Case) -> list[Look]:
    mosaic = fit_mosaic(case.boxes, source_hw=case.source_hw, target_hw=case.size_hw)
    return [Look(mosaic.image(case.image), lambda boxes: np.asarray(mosaic.inverse_boxes(boxes).coordinates))]


def _tiles(case: Case) -> list[Look]:
    height, width = case.source_hw
    halves = [(x, y) for y in (0, height // 2) for x in (0, width // 2)]
    return [case.cropped(np.array([x, y, x + width // 2, y + height // 2]))[0] for x, y in halves]


def _twice(case: Case) -> list[Look]:
    return [case.warped(frames.resize(case.source_hw, input_size(case.image, 2 * case.longest)))]


#: What each method shows, by name. The reader's own map takes a first look by its detector, boxes are given.
METHODS: dict[str, Callable[[Case], list[Look]]] = {
    "plain": lambda case: [case.plain],
    "own-map": lambda case: case.magnified(case.own_map),
    "own-map-gated": _gated,
    "own-map-crop": _own_crop,
    "own-map-window": _window,
    "own-map-shuffled": lambda case: case.magnified(heatmaps.shuffled(case.own_map, rng=case.rng)),
    **{f"own-map-{name}": _edited(name) for name in ALTERNATIVES if name not in ("magnify", "crop")},
    "boxes": lambda case: case.magnified(case.box_map()),
    "boxes-capped": lambda case: case.magnified(case.box_map(), max_magnification=CAP, equal_peaks=True),
    "boxes-zoom": lambda case: case.zoomed(None),
    **{f"boxes-zoom-{most:g}": _zoomed(most) for most in ZOOMS},
    "boxes-crop": _box_crop,
    "boxes-mosaic": _mosaic,
    "plain-twice": _twice,
    "four-tiles": _tiles,
    "two-looks": lambda case: [case.plain, *case.magnified(case.own_map)],
}
