"""Your own maps as a source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pmtools import _checks
from pmtools.adapters.prompts import Prompts
from pmtools.typing import Heatmap


@dataclass(frozen=True)
class GivenHeatmap:
    """Your own map: one for every image, or a function of the image.

    Attributes
    ----------
    heatmap : array of shape (h, w), or callable
        `heatmap(image)` with an RGB PIL image.
    """

    heatmap: Heatmap | Callable[[Any], Heatmap]

    def __post_init__(self) -> None:
        if not callable(self.heatmap):
            _checks.weights(self.heatmap, "heatmap")

    def __call__(self, prompts: Prompts, /) -> list[list[Heatmap]]:
        """Heatmaps of the images of each prompt."""
        given = self.heatmap
        return [
            [_checks.weights(given(image) if callable(given) else given, "heatmap") for image in row]
            for row in prompts.images
        ]
