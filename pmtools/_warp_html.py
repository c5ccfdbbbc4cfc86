"""A warp as a notebook shows it: sizes, greatest magnification, and where a regular grid goes.

This file knows `points`, `local_magnification` and the sizes of a warp. The picture is SVG, drawn in the page's own colour.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pmtools import _array

_LINES = 16  # cells of the grid along the longer side
_SIDE = 160  # of the picture, in pixels


def as_html(warp: Any) -> str:
    """A table and a grid; of a batch, its first."""
    one = warp[0] if warp.batch_shape else warp
    spread = (float(_array.to_numpy(axis).max()) for axis in one.local_magnification())
    (height, width), (out_height, out_width) = one.source_hw, one.target_hw
    rows = {
        "source": f"{height} x {width} (height x width)",
        "magnified": f"{out_height} x {out_width}",
        "greatest": "{:.2f} along x, {:.2f} along y, in output pixels per source pixel".format(*spread),
    }
    if warp.batch_shape:
        rows["batch"] = f"{len(warp)} warps; this is the first"
    table = "".join(f"<tr><th>{name}</th><td>{text}</td></tr>" for name, text in rows.items())
    return f'<div style="display:flex;gap:1em;align-items:center">{_grid(one)}<table>{table}</table></div>'


def _grid(warp: Any) -> str:
    """The regular grid of the source, where it lands."""
    (height, width), (out_height, out_width) = warp.source_hw, warp.target_hw
    step = max(height, width) / _LINES
    count_x, count_y = max(1, round(width / step)), max(1, round(height / step))
    # along x and along y a grid line stays a line, so the diagonal's points have all there is to know
    ends = np.zeros((max(count_x, count_y) + 1, 2))
    ends[: count_x + 1, 0] = np.linspace(0, width, count_x + 1)
    ends[: count_y + 1, 1] = np.linspace(0, height, count_y + 1)
    landed = _array.to_numpy(warp.points(ends))
    paths = [f"M{x:.1f} 0V{out_height}" for x in landed[: count_x + 1, 0]]
    paths += [f"M0 {y:.1f}H{out_width}" for y in landed[: count_y + 1, 1]]
    scale = _SIDE / max(out_height, out_width)
    return (
        f'<svg width="{max(1, round(out_width * scale))}" height="{max(1, round(out_height * scale))}" '
        f'viewBox="0 0 {out_width} {out_height}" role="img" aria-label="where a regular grid goes" '
        f'style="border:1px solid currentColor"><path d="{"".join(paths)}" stroke="currentColor" fill="none" '
        f'vector-effect="non-scaling-stroke" stroke-width="1"/></svg>'
    )
