"""Figures: a heatmap over its image, the grid of a warp, boxes, images side by side.

Everything returns an RGB PIL image. Lines are painted by the share of each pixel that they cover, so they are exact
between pixels too. Colour maps and the font come from Matplotlib; it is imported on call, and its global state (pyplot)
is not changed.

The package knows images, heatmaps and boxes, and only `points`, `boxes`, `source_hw` and `target_hw` of a warp.
"""

from __future__ import annotations

from pmtools.viz.boxes import draw_boxes
from pmtools.viz.grid import PointMap, warp_grid
from pmtools.viz.heat import overlay
from pmtools.viz.pair import compare
from pmtools.viz.row import side_by_side

__all__ = ["PointMap", "compare", "draw_boxes", "overlay", "side_by_side", "warp_grid"]
