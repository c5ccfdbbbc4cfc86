"""The methods that benchmarks compare: how each is made for a batch of items. A new row adds a method.

The table has the decoding methods, ablations of the Perception Magnifier, the alternatives and ViCrop's window on its
map, and two kinds of maps that no method makes: those of the true boxes, and controls, which spoil the Perception
Magnifier's own map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools import decoding, heatmaps
from pmtools.alternatives import ALTERNATIVES
from pmtools.evaluation.batch import Batch
from pmtools.typing import Ndarray

if TYPE_CHECKING:
    from pmtools.adapters.heatmaps import HeatmapSource
    from pmtools.adapters.prompts import Prompts

__all__ = ["COMPARED", "METHODS", "TRUE_BOXES", "USUAL", "ControlMaps", "TrueMaps", "truth_map"]

Make = Callable[[Batch], decoding.DecodingMethod]


# ---------------------------------------------------------------------------------------------- maps of no method


def truth_map(item: Any, /) -> Ndarray:
    """The map of an item's true boxes, a fifth larger on every side; all ones if there are none.

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


@dataclass(frozen=True)
class TrueMaps:
    """A `HeatmapSource` for one batch: maps of the true boxes, unchanged.

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
    """A `HeatmapSource` for one batch: maps of another source, spoiled by a control.

    Each item has its own random stream, so the batches do not matter.

    Attributes
    ----------
    control : str
        A key of `pmtools.heatmaps.CONTROLS`.
    source : HeatmapSource
    items : sequence
        With `index`, in the order of the prompts.
    seed : int
    """

    control: str
    source: HeatmapSource
    items: Sequence[Any]
    seed: int

    def __call__(self, prompts: Prompts, /) -> list[list[Any]]:
        """The spoiled maps of the images of each prompt."""
        change = heatmaps.CONTROLS[self.control]
        streams = [np.random.default_rng((self.seed, item.index)) for item in self.items]
        rows = zip(self.source(prompts), streams, strict=True)
        return [[change(heatmap, rng=stream) for heatmap in row] for row, stream in rows]


# -------------------------------------------------------------------------------------------------------- the table


class _Window(decoding.ViCrop):
    """ViCrop's window without the original beside it."""

    def shown(self, image: Any, heatmap: Any) -> tuple[list[Any], Any]:
        shown, frame = super().shown(image, heatmap)
        return shown[1:], frame


def _published(name: str) -> Make:
    """A decoding method with its own defaults."""
    return lambda batch: decoding.METHODS[name](batch.processor)


def _magnifier(**options: Any) -> Make:
    return lambda batch: decoding.PerceptionMagnifier(batch.processor, **{**batch.settings, **options})


def _alternative(name: str, **ablation: Any) -> Make:
    return lambda batch: batch.showing(name, batch.attention(**ablation))


def _control(name: str) -> Make:
    return lambda batch: batch.showing("magnify", ControlMaps(name, batch.attention(), batch.items, batch.seed))


def _by_true_boxes(alternative: str) -> Make:
    return lambda batch: batch.showing(alternative, TrueMaps(batch.items))


#: The alternatives that the Perception Magnifier, which magnifies, is compared with.
COMPARED = tuple(name for name in ALTERNATIVES if name != "magnify")

_usual: dict[str, Make] = {
    "greedy": _published("greedy"),
    "pm": _magnifier(),
    "pm-no-refinement": _magnifier(refine="none"),
    "pm-single-layer": _alternative("magnify", layers="single"),
    "pm-neither": _alternative("magnify", layers="single", refine="none"),
    **{name: _alternative(name) for name in COMPARED},
    "window": lambda batch: _Window(batch.processor, heatmap=batch.attention()),
    "window+original": lambda batch: decoding.ViCrop(batch.processor, heatmap=batch.attention()),
    **{name: _control(name) for name in ("uniform", "shuffled", "rolled")},
    "true-boxes": _by_true_boxes("magnify"),
    "true-boxes-crop": _by_true_boxes("crop"),
}

#: The ablations of the Perception Magnifier.
USUAL = tuple(_usual)

#: Methods that need the true boxes.
TRUE_BOXES = ("true-boxes", "true-boxes-crop")

#: How each method is made for a batch, by name.
METHODS: dict[str, Make] = {
    **{name: _alternative(name) if name in ALTERNATIVES else _published(name) for name in decoding.METHODS},
    **_usual,
    "pm-official": lambda batch: decoding.OfficialMagnifier(batch.processor, preset=batch.preset),
    "vcd": lambda batch: decoding.VCD(batch.processor, seed=batch.seed),
    "api-c": lambda batch: decoding.API(batch.processor, heatmap=batch.relevance()),
}
METHODS = {name: METHODS[name] for name in dict.fromkeys((*USUAL, *METHODS))}  # the usual ones first
