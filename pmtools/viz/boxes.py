"""Boxes on an image, each with its label.

This file knows images, boxes and words; no warp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pmtools import _checks
from pmtools.typing import BoxesXYXY, Image, Ndarray
from pmtools.viz import borrowed
from pmtools.viz.arguments import colour, positive, strings
from pmtools.viz.painting import paint
from pmtools.viz.rgb import as_rgb
from pmtools.viz.words import ink_on

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

# Okabe and Ito's colours, distinguishable with any colour vision, in an order that starts with those that stand out on
# photographs.
_PALETTE = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#F0E442", "#D55E00", "#0072B2")


def draw_boxes(
    image: Image,
    boxes_xyxy: BoxesXYXY,
    /,
    *,
    labels: Sequence[str] | None = None,
    color: str | None = None,
    width: float | None = None,
) -> PILImage:
    """Boxes on an image, each with its label.

    Convention: pixel-edge coordinates; the line is centred on the box's edge and stays inside the image.

    Parameters
    ----------
    image : PIL image or array
        One image, any mode, layout and dtype.
    boxes_xyxy : array of shape (n, 4) or (4,)
        x0, y0, x1, y1 in pixels, x0 <= x1 and y0 <= y1. Parts outside the image are not drawn.
    labels : sequence of str, optional
        One per box, written on a tag above it, or inside it if there is no room above.
    color : str, optional
        Any colour PIL knows, for all boxes. Default: in turn from a palette that is distinguishable with any colour
        vision.
    width : float, optional
        Width of the lines in pixels. Default: a 200th of the longer side, at least 2.

    Returns
    -------
    PIL image, mode RGB
        Of the size of `image`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    ImportError
        If there are labels and Matplotlib is not installed.

    Examples
    --------
    >>> draw_boxes(np.zeros((40, 60, 3), dtype=np.uint8), [10, 5, 30, 25]).getpixel((10, 15))
    (230, 159, 0)
    """
    picture = as_rgb(image)
    boxes = _checks.boxes(boxes_xyxy, "boxes_xyxy")
    names = [] if labels is None else strings(labels, "labels", len(boxes), "boxes")
    thickness = positive(width, "width", max(2.0, max(picture.size) / 200))
    inks = [colour(_PALETTE[i % len(_PALETTE)] if color is None else color) for i in range(len(boxes))]
    for box, ink in zip(boxes, inks, strict=True):
        paint(picture, _outline_bars(box, thickness), ink)
    for box, ink, name in zip(boxes, inks, names, strict=False):  # tags last: no line crosses a word
        _draw_tag(picture, box, name, ink, thickness)
    return picture


def _outline_bars(box: Ndarray, width: float) -> Ndarray:
    """(4, 4) boxes of the four sides, each centred on its edge."""
    x0, y0, x1, y1 = box
    half = width / 2
    return np.array(
        [
            [x0 - half, y0 - half, x1 + half, y0 + half],
            [x0 - half, y1 - half, x1 + half, y1 + half],
            [x0 - half, y0 - half, x0 + half, y1 + half],
            [x1 - half, y0 - half, x1 + half, y1 + half],
        ]
    )


def _draw_tag(picture: PILImage, box: Ndarray, label: str, ink: tuple[int, ...], thickness: float) -> None:
    """Write `label` on a filled tag at the top left corner of the box, moved so that it is inside the image."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    font = borrowed.font(max(11.0, max(picture.size) / 42))
    pad = max(2, round(font.size / 4))
    _, ascent_top, text_width, bottom = draw.textbbox((0, 0), label, font=font)
    tag_width, tag_height = text_width + 2 * pad, bottom + ascent_top // 2 + pad
    left = min(box[0] - thickness / 2, picture.width - tag_width)
    above = box[1] - thickness / 2 - tag_height
    top = above if above >= 0 else box[1] - thickness / 2
    left, top = round(max(0.0, left)), round(min(max(0.0, top), picture.height - tag_height))
    draw.rectangle((left, top, left + tag_width - 1, top + tag_height - 1), fill=ink)
    draw.text((left + pad, top + pad // 2), label, font=font, fill=ink_on(ink))
