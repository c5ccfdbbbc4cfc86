"""Mask: the background dimmed towards grey.

API, https://arxiv.org/abs/2409.17143, and an alternative of https://arxiv.org/abs/2503.10183.
"""

from __future__ import annotations

from typing import Any

from pmtools import _checks
from pmtools.alternatives.edited import Edited, edit_colours
from pmtools.typing import Array, Image, Ndarray


def mask(image: Image, perception_map: Array, /, *, gray: float = 0.0, channel_axis: int | None = None) -> Edited:
    """Dim what the map does not mark.

    `image * m + gray * (1 - m)`, with the map `m`.

    Parameters
    ----------
    image : PIL image or array
    perception_map : array of shape (h, w)
        In [0, 1].
    gray : float, optional
        What the background becomes, in units of the image's pixels.
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
    gray = _checks.real_number(gray, "gray")

    def edit(colours: Ndarray, where: Ndarray) -> Any:
        return colours * where + colours.dtype.type(gray) * (1 - where)

    return edit_colours(image, perception_map, edit, channel_axis)
