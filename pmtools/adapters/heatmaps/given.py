"""Your own maps as a source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pmtools import _array, _checks
from pmtools.adapters.prompts import Prompts
from pmtools.io import to_array
from pmtools.typing import Array, Heatmap


@dataclass(frozen=True)
class GivenHeatmap:
    """Your own map: one for every image, or a function of the image.

    Attributes
    ----------
    heatmap : array of shape (h, w), grey PIL image, or callable
        `heatmap(image)` with an RGB PIL image.
    """

    heatmap: Heatmap | Callable[[Any], Heatmap]

    def __post_init__(self) -> None:
        if not callable(self.heatmap):
            given_map(self.heatmap)

    def __call__(self, prompts: Prompts, /) -> list[list[Heatmap]]:
        """Heatmaps of the images of each prompt."""
        given = self.heatmap
        return [[given_map(given(image) if callable(given) else given) for image in row] for row in prompts.images]


def given_map(heatmap: Heatmap, /) -> Array:
    """A map of the caller's as an array of shape (h, w).

    Parameters
    ----------
    heatmap : array of shape (h, w), or grey PIL image
        Non-negative, any scale.

    Raises
    ------
    TypeError, ValueError
        If it is no map, or more than one.
    """
    weights = _checks.weights(to_array(heatmap) if _array.is_pil(heatmap) else heatmap, "heatmap")
    if len(weights.shape) != 2:
        raise ValueError(
            f"`heatmap` must be one 2-D map (h, w), got shape {tuple(weights.shape)}; give a grey one per image"
        )
    return weights
