"""Magnify what matters in an image, keep the rest in place, and undo it exactly."""

from pmtools import alternatives, compat, frames, heatmaps, io
from pmtools._magnify import fit_warp, magnify
from pmtools.highlight import highlight_mask
from pmtools.perception import perception_map
from pmtools.refinement import Refinement, refine
from pmtools.warp import LocalMagnification, Warp

__version__ = "0.1.0"

__all__ = [
    "LocalMagnification",
    "Refinement",
    "Warp",
    "__version__",
    "alternatives",
    "compat",
    "fit_warp",
    "frames",
    "heatmaps",
    "highlight_mask",
    "io",
    "magnify",
    "perception_map",
    "refine",
]
