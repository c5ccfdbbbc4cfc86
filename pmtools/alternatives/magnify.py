"""Magnify: the perception map as a warp, everything stays in the image.

https://arxiv.org/abs/2503.10183
"""

from __future__ import annotations

from pmtools import _array, _images
from pmtools._magnify import warp_from_perception
from pmtools.alternatives.edited import Edited, one_map
from pmtools.settings import DEFAULTS, WarpSettings
from pmtools.typing import Array, Image, SizeHW


def magnify(
    image: Image,
    perception_map: Array,
    /,
    *,
    size_hw: SizeHW | None = None,
    antialias: bool = True,
    marginal: str = DEFAULTS.marginal,
    floor: float = DEFAULTS.floor,
    max_magnification: float | None = DEFAULTS.max_magnification,
    equal_peaks: bool = DEFAULTS.equal_peaks,
    channel_axis: int | None = None,
) -> Edited:
    """Magnify what the map marks.

    Parameters
    ----------
    image : PIL image or array
    perception_map : array of shape (h, w)
        In [0, 1].
    size_hw : (int, int), optional
        Height and width of the result. Default: those of the image.
    antialias, marginal, floor, max_magnification, equal_peaks, channel_axis
        As in `pmtools.magnify`.

    Returns
    -------
    Edited
    """
    pixels = _images.unpack(image, channel_axis=channel_axis)
    source_hw = (int(pixels.values.shape[1]), int(pixels.values.shape[2]))
    perception_map = _array.asarray_like(one_map(perception_map, pixels), pixels.values)
    settings = WarpSettings(
        marginal=marginal, floor=floor, max_magnification=max_magnification, equal_peaks=equal_peaks
    )
    warp = warp_from_perception(perception_map, settings, source_hw=source_hw, target_hw=size_hw)
    return Edited(warp.image(image, antialias=antialias, channel_axis=channel_axis), warp)
