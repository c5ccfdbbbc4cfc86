"""What the official code compares magnification with, on the same 8-bit map: mask, blur, crop, box and arrow."""

from __future__ import annotations

from typing import Any

import numpy as np

from pmtools import _checks
from pmtools.compat._arguments import image_and_map, like
from pmtools.typing import Heatmap, Image, Ndarray, SizeHW

_RED = (255, 0, 0)
_MIN_REGION_PIXELS = 1600  # 40 x 40: smaller regions get no box
_ARROW_LENGTH = 50
_ARROW_TIP = 11  # 0.3 of the length, at 45 degrees: 0.3 * 50 / sqrt(2) = 10.6, rounded
_BRUSH_RADIUS = 2


def official_mask(image: Image, perception_map_u8: Heatmap, /, *, gray: float = 0) -> Image:
    """Image dimmed by the map: `image * m + gray * (1 - m)` with `m = map / 255`, in float32, truncated.

    Parameters
    ----------
    image : PIL image or uint8 array of shape (H, W, 3)
        PIL images are converted to RGB.
    perception_map_u8 : uint8 array of shape (H, W)
        From `official_perception_map`, at the size of the image.
    gray : float, optional
        Grey level behind the mask, in [0, 255].

    Returns
    -------
    PIL image or uint8 array of shape (H, W, 3)
        Of the kind of `image`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the sizes differ.

    References
    ----------
    - API, [arXiv:2409.17143](https://arxiv.org/abs/2409.17143)

    Examples
    --------
    >>> image = np.full((1, 2, 3), 200, dtype=np.uint8)
    >>> official_mask(image, np.array([[0, 128]], dtype=np.uint8))[..., 0]
    array([[  0, 100]], dtype=uint8)
    """
    pixels, weights = image_and_map(image, perception_map_u8)
    level = np.float32(_checks.real_number(gray, "gray", minimum=0, maximum=255))
    share = (weights / np.float32(255))[..., np.newaxis]  # (H, W, 1)
    masked = pixels * share + level * (np.float32(1) - share)
    return like(masked.astype(np.uint8), image)


def official_blur(image: Image, perception_map_u8: Heatmap, /, *, radius: float = 100) -> Image:
    """Image with everything blurred where the map is at most one half.

    Parameters
    ----------
    image : PIL image or uint8 array of shape (H, W, 3)
        PIL images are converted to RGB.
    perception_map_u8 : uint8 array of shape (H, W)
        From `official_perception_map`, at the size of the image.
    radius : float, optional
        Standard deviation of PIL's `GaussianBlur` in pixels, >= 0.

    Returns
    -------
    PIL image or uint8 array of shape (H, W, 3)
        Of the kind of `image`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the sizes differ.

    Examples
    --------
    >>> image = np.array([[[0, 0, 0], [240, 240, 240]]], dtype=np.uint8)
    >>> official_blur(image, np.array([[255, 0]], dtype=np.uint8))[..., 0]
    array([[  0, 120]], dtype=uint8)
    """
    from PIL import Image as PILImage
    from PIL import ImageFilter

    pixels, weights = image_and_map(image, perception_map_u8)
    sigma = _checks.real_number(radius, "radius", minimum=0)
    blurred = np.asarray(PILImage.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))
    return like(np.where(_above_half(weights)[..., np.newaxis], pixels, blurred), image)


def official_crop(image: Image, perception_map_u8: Heatmap, /) -> Image:
    """Image that is black where the map is at most one half; the official "crop" cuts nothing off.

    Parameters
    ----------
    image : PIL image or uint8 array of shape (H, W, 3)
        PIL images are converted to RGB.
    perception_map_u8 : uint8 array of shape (H, W)
        From `official_perception_map`, at the size of the image.

    Returns
    -------
    PIL image or uint8 array of shape (H, W, 3)
        Of the kind and size of `image`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the sizes differ.

    Examples
    --------
    >>> image = np.full((1, 2, 3), 9, dtype=np.uint8)
    >>> official_crop(image, np.array([[127, 128]], dtype=np.uint8))[..., 0]
    array([[0, 9]], dtype=uint8)
    """
    pixels, weights = image_and_map(image, perception_map_u8)
    return like(np.where(_above_half(weights)[..., np.newaxis], pixels, np.uint8(0)), image)


def official_bbox(image: Image, perception_map_u8: Heatmap, /) -> Image:
    """Image with a red rectangle, and an arrow at it, around the heaviest region of the map above one half.

    Unchanged where no region has 1600 pixels. Regions lie one pixel too far down and right, as an even-sized
    morphological kernel leaves them. The arrow is 50 pixels long and comes from the left where that fits, otherwise
    from the right, where it may be cut off.

    The golden arrays fix the rectangle, the line width and the arrow's shape. They leave open how the arrow's side is
    chosen when both sides have room, and whether weight or size picks the region when the two disagree: weight (the sum
    of the map) and "left where it fits" are the readings taken here.

    Parameters
    ----------
    image : PIL image or uint8 array of shape (H, W, 3)
        PIL images are converted to RGB.
    perception_map_u8 : uint8 array of shape (H, W)
        From `official_perception_map`, at the size of the image.

    Returns
    -------
    PIL image or uint8 array of shape (H, W, 3)
        Of the kind of `image`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the sizes differ.

    Examples
    --------
    >>> image, weights = np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint8)
    >>> weights[10:55, 20:65] = 255
    >>> red = official_bbox(image, weights)[..., 0] > 0
    >>> red[30].nonzero()[0][:5]
    array([19, 20, 21, 22, 23])
    """
    pixels, weights = image_and_map(image, perception_map_u8)
    box = _heaviest_region(weights)
    marked = pixels.copy()
    if box is not None:
        marked[_box_and_arrow(box, weights.shape)] = _RED
    return like(marked, image)


def _above_half(weights: Ndarray) -> Ndarray:
    return weights > 127  # m / 255 > 0.5


def _heaviest_region(weights: Ndarray) -> tuple[int, int, int, int] | None:
    """(x0, y0, x1, y1) of the region above one half with the largest sum of the map, of those with enough pixels."""
    from scipy import ndimage

    # A closing whose even window {i - 1, i} is not mirrored in between moves everything by one pixel; the border is
    # neutral, so a region that touches the top or left border grows instead of moving.
    spread = ndimage.maximum_filter(_above_half(weights), size=2, mode="constant", cval=0)
    closed = ndimage.minimum_filter(spread, size=2, mode="constant", cval=1)
    labels, count = ndimage.label(closed, structure=np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    large = numbers[np.bincount(labels.ravel(), minlength=count + 1)[1:] >= _MIN_REGION_PIXELS]
    if large.size == 0:
        return None
    heaviest = large[np.argmax(ndimage.sum_labels(weights, labels, large))]
    rows, columns = ndimage.find_objects(labels)[heaviest - 1]
    return columns.start, rows.start, columns.stop, rows.stop


def _box_and_arrow(box: tuple[int, int, int, int], size_hw: SizeHW) -> Ndarray:
    """Mask of the rectangle through the box's corners and of the arrow, drawn with a diamond brush 5 pixels wide."""
    from scipy import ndimage

    height, width = size_hw
    x0, y0, x1, y1 = box
    margin = _ARROW_LENGTH + _BRUSH_RADIUS  # room for what is drawn outside and cut off at the end
    path = np.zeros((height + 2 * margin, width + 2 * margin), dtype=bool)

    def stroke(ys: Any, xs: Any) -> None:
        path[np.asarray(ys) + margin, np.asarray(xs) + margin] = True

    across, down = np.arange(x0, x1 + 1), np.arange(y0, y1 + 1)
    for y in (y0, y1):
        stroke(y, across)
    for x in (x0, x1):
        stroke(down, x)
    from_left = x0 >= _ARROW_LENGTH
    tip_x, tip_y, away = (x0, (y0 + y1) // 2, -1) if from_left else (x1, (y0 + y1) // 2, 1)
    stroke(tip_y, tip_x + away * np.arange(_ARROW_LENGTH + 1))
    barb = np.arange(_ARROW_TIP + 1)
    stroke(tip_y - barb, tip_x + away * barb)
    stroke(tip_y + barb, tip_x + away * barb)

    diamond = ndimage.generate_binary_structure(2, 1)
    drawn = ndimage.binary_dilation(path, structure=diamond, iterations=_BRUSH_RADIUS)
    return np.asarray(drawn[margin : margin + height, margin : margin + width])
