"""Heatmaps from models, for batches of prompts: what the model itself attends to, and what others find for the question.

Every source is called with `Prompts` and returns, for each prompt, one map (h, w) per image, over the content of the
image: padding is cut off. Sources are interchangeable; controls and your own maps are sources too. Each has a file and,
if it needs only the model itself, a row in `SOURCES`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from pmtools import _array, _checks
from pmtools.adapters.heatmaps._source import HeatmapSource
from pmtools.adapters.heatmaps.asked import AskedHeatmap
from pmtools.adapters.heatmaps.attention import AttentionHeatmap
from pmtools.adapters.heatmaps.clip_relevance import CLIPRelevance
from pmtools.adapters.heatmaps.control import ControlHeatmap
from pmtools.adapters.heatmaps.detected import DetectorHeatmap, MaskHeatmap
from pmtools.adapters.heatmaps.given import GivenHeatmap, takes
from pmtools.adapters.heatmaps.relative import RelativeAttention
from pmtools.typing import Heatmap

#: The layer of API-L, as a share of the depth.
API_LAYER = 20 / 32
#: Sources that need a name behind this prefix: another model's folder or hub name, or a format of boxes.
NAMED: dict[str, Callable[[str], HeatmapSource]] = {
    "api-c:": CLIPRelevance.from_pretrained,
    "detector:": DetectorHeatmap.from_pretrained,
    "asked:": AskedHeatmap,
}

#: Sources that need only the model itself, by name.
SOURCES: dict[str, HeatmapSource] = {
    "attention": AttentionHeatmap(),
    "single-layer": AttentionHeatmap("single"),
    "refined": AttentionHeatmap(refine="exact"),
    "refined-single-layer": AttentionHeatmap("single", refine="exact"),
    "api-l": AttentionHeatmap(API_LAYER, heads="mean"),
    "relative": RelativeAttention(),
}


def heatmap_source(heatmap: str | Heatmap | HeatmapSource, /) -> HeatmapSource:
    """A source, from its name, a map, or a source itself.

    Parameters
    ----------
    heatmap : str, array of shape (h, w), or callable
        A name in `SOURCES`, or `api-c:NAME` for relevance by the CLIP of that folder or hub name, `detector:NAME` for what
        that open-vocabulary detector finds, `asked:FORMAT` for where a model that writes boxes in that format says it must
        look; a map for every image; or a source.

    Returns
    -------
    HeatmapSource

    Raises
    ------
    TypeError, ValueError
        If it is none of these.

    Examples
    --------
    >>> heatmap_source("api-l").heads
    'mean'
    >>> type(heatmap_source([[0.0, 1.0]])).__name__
    'GivenHeatmap'
    """
    if isinstance(heatmap, str):
        for prefix, load in NAMED.items():
            if heatmap.startswith(prefix):
                return load(heatmap.removeprefix(prefix))
        return SOURCES[_checks.choice(heatmap, "heatmap", [*SOURCES, *(f"{prefix}NAME" for prefix in NAMED)])]
    if callable(heatmap):
        if not takes(heatmap, 1):
            raise TypeError(
                "`heatmap` must be a source that takes (prompts), got a callable of "
                f"{inspect.signature(heatmap)}; put a function of (image) or (image, step) into GivenHeatmap"
            )
        return heatmap
    return GivenHeatmap(_array.asarray(heatmap, "heatmap"))


__all__ = [  # noqa: RUF022  in the order of the reference
    "HeatmapSource",
    "SOURCES",
    "heatmap_source",
    "AttentionHeatmap",
    "RelativeAttention",
    "CLIPRelevance",
    "DetectorHeatmap",
    "MaskHeatmap",
    "AskedHeatmap",
    "GivenHeatmap",
    "ControlHeatmap",
]
