"""Magnify what matters in an image, keep the rest in place, and undo it exactly."""

from pmtools._magnify import fit_warp, magnify
from pmtools.highlight import highlight_mask
from pmtools.perception import perception_map
from pmtools.refinement import Refinement, refine
from pmtools.warp import Warp

__version__ = "0.1.0"

__all__ = ["Refinement", "Warp", "__version__", "fit_warp", "highlight_mask", "magnify", "perception_map", "refine"]
