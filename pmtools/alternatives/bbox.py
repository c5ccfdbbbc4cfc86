"""Bounding box: a frame drawn around what matters.

An alternative of https://arxiv.org/abs/2503.10183.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pmtools import _checks
from pmtools.alternatives.edited import Edited, box_above, edit_colours, greatest_value
from pmtools.typing import Array, Image, Ndarray


def bbox(
    image: Image,
    perception_map: Array,
    /,
    *,
    threshold: float = 0.5,
    color: Sequence[float] | None = None,
    width: int | None = None,
    channel_axis: int | None = None,
) -> Edited:
    """Draw a box around the heaviest connected region that the map marks.

    Parameters
    ----------
    image : PIL image or array
    perception_map : array of shape (h, w)
        In [0, 1].
    threshold : float, optional
        Pixels whose map value exceeds this belong to a region. Where none does, nothing is drawn.
    color : sequence of numbers, optional
        One per channel (without alpha, in a PIL image with alpha). Default: the first channel at the greatest value of its
        dtype and the others at 0, red in RGB. Of floats that is 1, or what the image has where it has more.
    width : int, optional
        Of the line, in pixels. Default: 1 % of the longer side, at least 2.
    channel_axis : int, optional
        Which axis holds the channels. Default: last for NumPy, first for PyTorch.

    Returns
    -------
    Edited
        With the identity as frame.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    threshold = _checks.real_number(threshold, "threshold", minimum=0.0, maximum=1.0)
    line = None if width is None else _checks.whole_number(width, "width")

    def edit(colours: Ndarray, where: Ndarray) -> Ndarray:
        height, image_width, channels = colours.shape
        if not (where > threshold).any():
            return colours
        x0, y0, x1, y1 = box_above(where[..., 0], threshold, heaviest=True)
        thick = max(2, round(0.01 * max(height, image_width))) if line is None else line
        ink = np.zeros(channels, colours.dtype)
        ink[0] = greatest_value(image, channel_axis)
        if color is not None:
            values = np.asarray(color, dtype=colours.dtype)
            if values.shape not in ((channels,), (channels - 1,)):
                raise ValueError(f"`color` must be one number per channel, {channels} of them, got {color!r}")
            ink[: values.size] = values
        out = colours.copy()
        out[max(y0 - thick, 0) : y1 + thick, max(x0 - thick, 0) : x1 + thick] = ink
        out[y0:y1, x0:x1] = colours[y0:y1, x0:x1]
        return out

    return edit_colours(image, perception_map, edit, channel_axis)
