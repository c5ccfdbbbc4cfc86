"""Items that are answered together, and the maps that their methods share. This file knows no method by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pmtools import decoding
from pmtools.adapters.heatmaps import AttentionHeatmap, HeatmapSource

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """Items that are answered together, and the maps that their methods share, each computed once.

    Attributes
    ----------
    items : sequence
    processor, settings, alternatives, seed, preset, relevance
        Those of `ModelAnswers`.
    maps : dict
        The model's attention to the items, by the `AttentionHeatmap` that computed it.
    """

    items: Sequence[Any]
    processor: Any
    settings: Mapping[str, Any]
    alternatives: Mapping[str, Mapping[str, Any]]
    seed: int
    preset: str
    relevance: Callable[[], HeatmapSource]
    maps: dict[AttentionHeatmap, Any]

    def attention(self, **ablation: Any) -> HeatmapSource:
        """The Perception Magnifier's heatmap under the settings.

        Parameters
        ----------
        **ablation
            Arguments of `AttentionHeatmap` that differ.

        Returns
        -------
        HeatmapSource
        """
        source = decoding.options_like_pm("magnify", self.settings)["heatmap"]
        return _Once(replace(source, **ablation), self.maps)

    def showing(self, alternative: str, source: HeatmapSource, /) -> decoding.ImagePrompting:
        """The method that shows an alternative by a source's map, with the gain, smoothing and warp of the settings.

        Parameters
        ----------
        alternative : str
            A name in `pmtools.alternatives.ALTERNATIVES`.
        source : HeatmapSource

        Returns
        -------
        ImagePrompting
        """
        options = decoding.options_like_pm(alternative, self.settings)
        options |= self.alternatives.get(alternative, {})
        return decoding.ImagePrompting(self.processor, alternative=alternative, **(options | {"heatmap": source}))


@dataclass(frozen=True)
class _Once:
    """A source that calls another one once per batch."""

    source: AttentionHeatmap
    maps: dict[AttentionHeatmap, Any]

    def __call__(self, prompts: Any, /) -> Any:
        if self.source not in self.maps:
            self.maps[self.source] = self.source(prompts)
        return self.maps[self.source]
