"""Crop: only what matters, the rest is gone.

An alternative of https://arxiv.org/abs/2503.10183; ViCrop, https://arxiv.org/abs/2502.17422, searches its window instead.
"""

from __future__ import annotations

from pmtools import _checks, _images
from pmtools.alternatives.edited import Edited, box_above, map_on_pixels
from pmtools.frames import crop as crop_frame
from pmtools.frames import resize
from pmtools.typing import Array, Image, SizeHW


def crop(
    image: Image,
    perception_map: Array,
    /,
    *,
    threshold: float = 0.5,
    size_hw: SizeHW | None = None,
    antialias: bool = True,
    channel_axis: int | None = None,
) -> Edited:
    """Cut out the box around all that the map marks.

    Parameters
    ----------
    image : PIL image or array
    perception_map : array of shape (h, w)
        In [0, 1].
    threshold : float, optional
        The box holds every pixel whose map value exceeds this; where none does, it is the whole image.
    size_hw : (int, int), optional
        Resize the cut to this height and width. Default: leave its pixels as they are.
    antialias, channel_axis
        As in `pmtools.magnify`.

    Returns
    -------
    Edited
        With the crop (and resize) as frame.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    threshold = _checks.real_number(threshold, "threshold", minimum=0.0, maximum=1.0)
    pixels = _images.unpack(image, channel_axis=channel_axis)
    where = map_on_pixels(perception_map, pixels)
    frame = crop_frame((where.shape[0], where.shape[1]), box_above(where, threshold, heaviest=False))
    if size_hw is not None:
        frame = frame.then(resize(frame.target_hw, size_hw))
    return Edited(frame.image(image, antialias=antialias, channel_axis=channel_axis), frame)
