"""Maps that should not help, made from those of another source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pmtools import _checks, heatmaps
from pmtools.adapters.heatmaps._source import HeatmapSource
from pmtools.adapters.prompts import Prompts
from pmtools.typing import Heatmap


@dataclass(frozen=True)
class ControlHeatmap:
    """A source whose maps should not help: those of another source, made uniform, shuffled, rolled or centred.

    Attributes
    ----------
    control : {"uniform", "shuffled", "rolled", "centred"}
        See `pmtools.heatmaps.CONTROLS`.
    source : callable
        The source to spoil.
    seed : int, optional
        The same for every image, so that a batch equals its rows.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """

    control: str
    source: HeatmapSource
    seed: int = 0

    def __post_init__(self) -> None:
        _checks.choice(self.control, "control", heatmaps.CONTROLS)

    @property
    def perceptual(self) -> bool:
        """Whether the source's maps are final."""
        return bool(getattr(self.source, "perceptual", False))

    def __call__(self, prompts: Prompts, /) -> list[list[Heatmap]]:
        """Heatmaps of the images of each prompt."""
        change = heatmaps.CONTROLS[self.control]
        return [
            [change(heatmap, rng=np.random.default_rng(self.seed)) for heatmap in row] for row in self.source(prompts)
        ]
