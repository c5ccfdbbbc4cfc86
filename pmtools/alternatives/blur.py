"""Blur: the background out of focus.

An alternative of https://arxiv.org/abs/2503.10183.
"""

from __future__ import annotations

import numpy as np

from pmtools import _checks
from pmtools.alternatives.edited import Edited, edit_colours
from pmtools.typing import Array, Image, Ndarray


def blur(
    image: Image,
    perception_map: Array,
    /,
    *,
    threshold: float = 0.5,
    sigma: float | None = None,
    channel_axis: int | None = None,
) -> Edited:
    """Blur what the map does not mark.

    Parameters
    ----------
    image : PIL image or array
    perception_map : array of shape (h, w)
        In [0, 1].
    threshold : float, optional
        Pixels whose map value is at most this are blurred.
    sigma : float, optional
        Standard deviation of the Gaussian in pixels, > 0. Default: a fifteenth of the longer side.
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
    if sigma is not None:
        sigma = _checks.real_number(sigma, "sigma", minimum=0.0, exclusive_minimum=True)

    def edit(colours: Ndarray, where: Ndarray) -> Ndarray:
        from scipy import ndimage

        spread = max(colours.shape[:2]) / 15 if sigma is None else sigma
        blurred = ndimage.gaussian_filter(colours, (spread, spread, 0), mode="nearest")
        return np.where(where > threshold, colours, blurred)

    return edit_colours(image, perception_map, edit, channel_axis)
