"""Magnify what matters in an image, keep everything else in order, and undo it exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pmtools._magnify import fit_warp, magnify
from pmtools.perception import perception_map
from pmtools.warp import LocalMagnification, Warp

if TYPE_CHECKING:
    from pmtools import alternatives, annotation, compat, frames, heatmaps, io
    from pmtools._mosaic import fit_mosaic, mosaic
    from pmtools._versions import show_versions
    from pmtools.highlight import highlight_mask
    from pmtools.refinement import Refinement, refine
    from pmtools.report import WarpReport
    from pmtools.sequences import smooth_warps
    from pmtools.tiles import Detections, Tiles, fit_tiles
    from pmtools.turns import Turned
    from pmtools.windows import Mosaic, Placed
    from pmtools.zoom import zoom_warp

__version__ = "0.1.0"

# what one call of `magnify` does not need comes when it is asked for: modules, and the names of others
_MODULES = (
    *("alternatives", "annotation", "compat", "frames", "heatmaps", "io"),
    *("adapters", "answers", "decoding", "evaluation", "testing", "viz", "zoo"),
)
_HOMES = {
    "Detections": "tiles",
    "Mosaic": "windows",
    "Placed": "windows",
    "Refinement": "refinement",
    "Tiles": "tiles",
    "Turned": "turns",
    "WarpReport": "report",
    "fit_mosaic": "_mosaic",
    "fit_tiles": "tiles",
    "highlight_mask": "highlight",
    "mosaic": "_mosaic",
    "refine": "refinement",
    "show_versions": "_versions",
    "smooth_warps": "sequences",
    "zoom_warp": "zoom",
}

__all__ = [  # noqa: RUF022  in the order of the pipeline
    "magnify",
    "fit_warp",
    "zoom_warp",
    "smooth_warps",
    "mosaic",
    "fit_mosaic",
    "Mosaic",
    "Placed",
    "fit_tiles",
    "Tiles",
    "Detections",
    "Warp",
    "Turned",
    "WarpReport",
    "LocalMagnification",
    "perception_map",
    "highlight_mask",
    "refine",
    "Refinement",
    "heatmaps",
    "frames",
    "annotation",
    "alternatives",
    "compat",
    "io",
    "show_versions",
    "__version__",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _MODULES:
        return importlib.import_module(f"pmtools.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(f"pmtools.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'pmtools' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_HOMES})
