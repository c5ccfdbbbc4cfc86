"""A heatmap in colour over its image.

This file knows images, heatmaps and colour maps; no warp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools import _array, _checks
from pmtools.typing import Heatmap, Image, Ndarray
from pmtools.viz.borrowed import colour_map
from pmtools.viz.rgb import as_rgb

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

_LEVELS = 1024  # of heat: the colour map is evaluated at this many values, not at every pixel


def overlay(
    image: Image,
    heatmap: Heatmap,
    /,
    *,
    alpha: float = 0.75,
    saturation: float = 0.4,
    colormap: str | Callable[[Ndarray], Any] = "inferno",
) -> PILImage:
    """Heatmap in colour over its image: hot places are tinted, cold ones show the image.

    The heatmap is scaled to [0, 1] by its extremes and resized to the image (bicubic). Opacity grows with heat, from 0
    to `alpha`, so cold places stay visible; the image's own colours are muted, so that an orange spot is heat and not
    an orange.

    Parameters
    ----------
    image : PIL image or array
        One image, any mode, layout and dtype; see `side_by_side` for how values become 8 bits.
    heatmap : array of shape (h, w)
        Non-negative, any scale, any size: it covers the image. A constant one tints nothing.
    alpha : float, optional
        Opacity of the hottest place, in [0, 1].
    saturation : float, optional
        How much of the image's colour stays, from 0 (grey) to 1 (all).
    colormap : str or callable, optional
        Matplotlib's name, or a function from values (n,) to RGB(A) (n, 3 or 4), all in [0, 1]. Pick one whose lightness
        grows (inferno, magma, viridis, cividis), so that the order of the values can be seen.

    Returns
    -------
    PIL image, mode RGB
        Of the size of `image`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    ImportError
        If `colormap` is a name and Matplotlib is not installed.

    Examples
    --------
    >>> picture = overlay(np.full((40, 60), 200, dtype=np.uint8), np.eye(4))
    >>> picture.size, picture.mode
    ((60, 40), 'RGB')
    """
    from PIL import Image as PIL
    from PIL import ImageEnhance

    alpha = _checks.real_number(alpha, "alpha", minimum=0, maximum=1)
    saturation = _checks.real_number(saturation, "saturation", minimum=0, maximum=1)
    picture = ImageEnhance.Color(as_rgb(image)).enhance(saturation)
    level = _heat_levels(heatmap, picture.size)  # (H, W), index into both tables
    tint = PIL.fromarray(_colour_table(colormap)[level])
    # The exponent below 1 keeps fainter second peaks visible.
    opacity = np.rint(255 * alpha * np.linspace(0, 1, _LEVELS) ** 0.7).astype(np.uint8)
    return PIL.composite(tint, picture, PIL.fromarray(opacity[level]))


def _heat_levels(heatmap: Heatmap, size: tuple[int, int]) -> Ndarray:
    """Heatmap from 0 to `_LEVELS` - 1 at the size (width, height) of the image, (H, W)."""
    from PIL import Image as PIL

    values = _array.to_numpy(_checks.weights(heatmap, "heatmap")).astype(np.float64)
    if values.ndim != 2:
        raise ValueError(f"`heatmap` must be 2-D (h, w), got shape {values.shape}; draw one of the batch at a time")
    low, high = values.min(), values.max()
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    levels = PIL.fromarray((scaled * (_LEVELS - 1)).astype(np.float32)).resize(size, PIL.Resampling.BICUBIC)
    return np.asarray(np.rint(np.clip(np.asarray(levels), 0, _LEVELS - 1)).astype(np.uint16))  # bicubic overshoots


def _colour_table(colormap: str | Callable[[Ndarray], Any]) -> Ndarray:
    """The colours of all heat levels, uint8 (`_LEVELS`, 3)."""
    mapping = colormap if callable(colormap) else colour_map(colormap)
    table = np.asarray(mapping(np.linspace(0, 1, _LEVELS)), dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != _LEVELS or table.shape[1] not in (3, 4):
        raise ValueError(
            f"`colormap` must turn values (n,) into colours (n, 3 or 4), got {table.shape} for ({_LEVELS},)"
        )
    return np.rint(255 * np.clip(table[:, :3], 0, 1)).astype(np.uint8)
