"""Magnify what matters in an image, keep everything else in order, and undo it exactly."""

from __future__ import annotations

from typing import Any

from pmtools import alternatives, annotation, compat, frames, heatmaps, io
from pmtools._magnify import fit_warp, magnify
from pmtools._mosaic import fit_mosaic, mosaic
from pmtools._versions import show_versions
from pmtools.highlight import highlight_mask
from pmtools.perception import perception_map
from pmtools.refinement import Refinement, refine
from pmtools.report import WarpReport
from pmtools.sequences import smooth_warps
from pmtools.tiles import Detections, Tiles, fit_tiles
from pmtools.turns import Turned
from pmtools.warp import LocalMagnification, Warp
from pmtools.windows import Mosaic, Placed
from pmtools.zoom import zoom_warp

__version__ = "0.1.0"

# these need extras, or take long to import: they come when they are asked for
_ON_CALL = ("adapters", "answers", "decoding", "evaluation", "testing", "viz", "zoo")

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
    if name in _ON_CALL:
        import importlib

        return importlib.import_module(f"pmtools.{name}")
    raise AttributeError(f"module 'pmtools' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_CALL})
