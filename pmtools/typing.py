"""Names for what the functions take and return; aliases only, nothing is checked here."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

#: Any array of the array API standard; tests run on NumPy (read-only), PyTorch and array-api-strict.
Array: TypeAlias = Any
#: NumPy array, where no other will do.
Ndarray: TypeAlias = np.ndarray[Any, np.dtype[Any]]
#: Array of shape (..., h, w), non-negative, any scale.
Heatmap: TypeAlias = Any
#: PIL image, or array of shape (H, W), (..., H, W, C) (NumPy and its like) or (..., C, H, W) (PyTorch).
Image: TypeAlias = Any
#: Array of shape (..., 2): x, y in pixels from the top-left corner.
PointsXY: TypeAlias = Any
#: Array of shape (..., 4): x0, y0, x1, y1 in pixels from the top-left corner.
BoxesXYXY: TypeAlias = Any
#: (height, width) in pixels.
SizeHW: TypeAlias = tuple[int, int]
