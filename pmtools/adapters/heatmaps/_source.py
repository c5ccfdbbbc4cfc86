"""The interface of heatmap sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pmtools.adapters.prompts import Prompts
from pmtools.typing import Heatmap


class HeatmapSource(Protocol):
    """`source(prompts)` returns, for each prompt, one heatmap (h, w) per image.

    A source whose maps are final, in [0, 1], has an attribute `perceptual = True`; others are heatmaps, and become
    perception maps by gain and smoothing. A source with an attribute `every_step = True` is called at each decoding
    step, `prompts.step`; others are called once, at the prompt.
    """

    def __call__(self, prompts: Prompts, /) -> Sequence[Sequence[Heatmap]]:
        """Heatmaps of the images of each prompt."""
