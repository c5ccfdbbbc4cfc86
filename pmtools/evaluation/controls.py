"""Maps that are no method's: those of the true boxes, and controls, which spoil a method's own map.

Knows items and maps, not what is done with the maps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools import heatmaps

if TYPE_CHECKING:
    from pmtools.adapters.heatmaps import HeatmapSource
    from pmtools.adapters.prompts import Prompts

__all__ = ["ORACLES", "ControlMaps", "TrueMaps", "control_maps", "truth_map"]

ORACLES = ("oracle", "oracle-crop")
"""Methods that need the true boxes."""


def truth_map(item: Any, /) -> np.ndarray[Any, Any]:
    """The map of an item's true boxes, a fifth larger on every side; all ones where there is none.

    Parameters
    ----------
    item
        With `relevant_boxes_xyxy` and `image`.

    Returns
    -------
    array of shape (h, w)
        In {0, 1}.
    """
    boxes = item.relevant_boxes_xyxy
    if not len(boxes):
        return np.ones((1, 1))
    margin = 0.2 * (boxes[:, 2:] - boxes[:, :2])
    grown = np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)
    return heatmaps.from_boxes(grown, source_hw=(item.image.height, item.image.width))


def control_maps(name: str, maps: Iterable[Iterable[Any]], items: Sequence[Any], /, *, seed: int) -> list[list[Any]]:
    """Maps spoiled by a control; each item has its own random stream, so that batches do not matter.

    Parameters
    ----------
    name : str
        A key of `pmtools.heatmaps.CONTROLS`.
    maps : iterable of iterable of array
        Of each item, those of its pictures.
    items : sequence
        With `index`.
    seed : int

    Returns
    -------
    list of list of array
    """
    control = heatmaps.CONTROLS[name]
    streams = [np.random.default_rng((seed, item.index)) for item in items]
    return [[control(heat, rng=rng) for heat in row] for row, rng in zip(maps, streams, strict=True)]


@dataclass(frozen=True)
class TrueMaps:
    """A `HeatmapSource` for one batch: maps of the true boxes, as they are.

    Attributes
    ----------
    items : sequence
        As for `truth_map`, in the order of the prompts.
    """

    items: Sequence[Any]
    perceptual = True

    def __call__(self, prompts: Prompts, /) -> list[list[Any]]:
        """A map for each prompt's one image."""
        return [[truth_map(item)] for item in self.items]


@dataclass(frozen=True)
class ControlMaps:
    """A `HeatmapSource` for one batch: another's maps, spoiled by a control.

    Attributes
    ----------
    control : str
        A key of `pmtools.heatmaps.CONTROLS`.
    source : HeatmapSource
    items : sequence
        As for `control_maps`, in the order of the prompts.
    seed : int
    """

    control: str
    source: HeatmapSource
    items: Sequence[Any]
    seed: int

    def __call__(self, prompts: Prompts, /) -> list[list[Any]]:
        """The spoiled maps of the images of each prompt."""
        return control_maps(self.control, self.source(prompts), self.items, seed=self.seed)
