"""How much two boxes overlap: what counts as found, as placed, and as a right box."""

from __future__ import annotations

import numpy as np

from pmtools.typing import Ndarray

__all__ = ["iou"]


def iou(first: Ndarray, second: Ndarray, /) -> float:
    """Intersection over union of two boxes.

    Parameters
    ----------
    first, second : array of shape (4,)
        x0, y0, x1, y1.

    Returns
    -------
    float
    """
    sides = np.clip(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0, None)
    areas = [np.prod(np.clip(box[2:] - box[:2], 0, None)) for box in (first, second)]
    shared = float(np.prod(sides))
    return shared / max(float(sum(areas)) - shared, 1e-9)
