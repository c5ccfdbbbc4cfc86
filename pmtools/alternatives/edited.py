"""What the alternatives share: their result, their signature, and how a map becomes pixels or a box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pmtools import _array, _checks, _images
from pmtools._values import store_like
from pmtools.frames import identity
from pmtools.perception import upsample
from pmtools.typing import Array, Image, Ndarray
from pmtools.warp import Warp


@dataclass(frozen=True)
class Edited:
    """An edited image, and the frame that undoes what the edit did to coordinates.

    Attributes
    ----------
    image : PIL image or array
        The kind that came.
    frame : Warp
        From the source image to `image`; the identity where only colours changed.
    """

    image: Image
    frame: Warp


class Alternative(Protocol):
    """`alternative(image, perception_map, /, **options) -> Edited`, every option with a default."""

    def __call__(self, image: Image, perception_map: Array, /, *, channel_axis: int | None = None) -> Edited:
        """Edit one image as its perception map, of shape (h, w) in [0, 1], says."""


def one_map(perception_map: Array, pixels: _images.Pixels) -> Array:
    """The map of one image, (h, w) in [0, 1]."""
    values = _checks.weights(perception_map, "perception_map")
    if len(values.shape) != 2 or pixels.batch_shape:
        raise ValueError(
            f"one image and one `perception_map` (h, w) at a time, got a map of shape {tuple(values.shape)} "
            f"and images with batch axes {pixels.batch_shape}; loop over them"
        )
    if bool(_array.namespace(values).any(values > 1)):
        raise ValueError("`perception_map` must be in [0, 1]; pmtools.perception_map(heatmap) makes one of a heatmap")
    return values


def map_on_pixels(perception_map: Array, pixels: _images.Pixels) -> Ndarray:
    """The map of one image, upsampled to its pixels, (H, W) in float64."""
    values = _array.to_numpy(one_map(perception_map, pixels)).astype(np.float64)
    height, width = pixels.values.shape[1:3]
    return upsample(values, (int(height), int(width)))  # type: ignore[no-any-return]


def edit_colours(
    image: Image,
    perception_map: Array,
    edit: Callable[[Ndarray, Ndarray], Any],
    channel_axis: int | None,
) -> Edited:
    """`edit(colours (H, W, C), map (H, W, 1))` in floating point on the host, back in the kind of `image`.

    Alpha of a PIL image is kept as it is.
    """
    pixels = _images.unpack(image, channel_axis=channel_axis)
    where = map_on_pixels(perception_map, pixels)
    source = _array.to_numpy(pixels.values)[0]
    colours = source.astype(np.result_type(source.dtype, np.float32))  # 32-bit integers need float64
    edited = np.asarray(edit(colours, where[..., None].astype(colours.dtype)))
    if _array.is_pil(image) and image.mode in ("LA", "RGBA"):
        edited[..., -1] = colours[..., -1]
    result = _array.asarray_like(store_like(edited[None], source), pixels.values)
    return Edited(pixels.pack(result), identity((int(source.shape[0]), int(source.shape[1]))))


def greatest_value(image: Image, channel_axis: int | None) -> float:
    """The greatest value of the dtype of `image`; of floats 1, or what the image has where it has more."""
    values = _array.to_numpy(_images.unpack(image, channel_axis=channel_axis).values)
    if values.dtype.kind in "iu":
        return float(np.iinfo(values.dtype).max)
    return 1.0 if values.dtype.kind == "b" else float(values[np.isfinite(values)].max(initial=1.0))


def box_above(where: Ndarray, threshold: float, *, heaviest: bool) -> tuple[int, int, int, int]:
    """The box of whole pixels around what exceeds `threshold`: all of it, or its heaviest connected region.

    The whole image where nothing does.
    """
    above = where > threshold
    if not above.any():
        return 0, 0, where.shape[1], where.shape[0]
    if heaviest:
        from scipy import ndimage

        regions, count = ndimage.label(above)
        weight = ndimage.sum_labels(where, regions, np.arange(1, count + 1))
        above = regions == 1 + int(np.argmax(weight))
    ys, xs = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1
