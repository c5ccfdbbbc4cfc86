"""The image that is sent: as large as the budget allows, magnified where it matters; and the way back from an answer.

Knows images, warps and formats of answers; no messages, no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pmtools import _checks, frames
from pmtools.adapters.pixels import as_pil
from pmtools.answers import Format, Undoing, Undone, undo
from pmtools.answers.formats import named
from pmtools.answers.looking import fitted_hw
from pmtools.typing import BoxesXYXY, Image, Ndarray, SizeHW
from pmtools.warp import Warp
from pmtools.zoom import zoom_warp

#: Default for the most pixels to send: 1280 tokens of 28 by 28 pixels.
MAX_PIXELS = 1280 * 28 * 28


@dataclass(frozen=True, eq=False)
class View:
    """An image as it is sent.

    Attributes
    ----------
    image : PIL image
        Of 8-bit RGB.
    warp : Warp
        From the original to it.
    boxes_xyxy : float64 array of shape (n, 4)
        The magnified boxes, in pixels of the original.
    format : Format
        How the model that sees it writes places.
    """

    image: Any
    warp: Warp
    boxes_xyxy: Ndarray
    format: Format

    def undo(self, text: str, /, **options: Any) -> Undone:
        """An answer about this view, in coordinates of the original; options as for `pmtools.answers.undo`.

        Parameters
        ----------
        text : str

        Returns
        -------
        Undone
        """
        return undo(text, warp=self.warp, format=self.format, **options)

    def undoing(self, **options: Any) -> Undoing:
        """The same for an answer that comes in pieces.

        Returns
        -------
        Undoing
        """
        return Undoing(warp=self.warp, format=self.format, **options)


def view(
    image: Image,
    boxes_xyxy: BoxesXYXY | None = None,
    /,
    *,
    format: str | Format = "json",
    max_pixels: int = MAX_PIXELS,
    zoom: float | None = None,
) -> View:
    """An image in the size that a server keeps, with boxes magnified.

    Parameters
    ----------
    image : PIL image or array of shape (H, W) or (H, W, C)
    boxes_xyxy : array of shape (4,) or (n, 4), optional
        x0, y0, x1, y1 in pixels of the image. None or an empty list: nothing is magnified.
    format : str or Format, optional
        How the model writes places, a name in `pmtools.answers.FORMATS`; it also says which sides the model's processor keeps.
    max_pixels : int, optional
        The budget: most pixels to send. An image with fewer is not enlarged.
    zoom : float, optional
        How many times larger than on a plain resize the boxes become. Default: as much as leaves the rest of the image a fifth of
        its height and width.

    Returns
    -------
    View

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above, or the zoom does not fit.

    Examples
    --------
    >>> shown = view(np.zeros((1080, 1920, 3), np.uint8), [900, 500, 1000, 560], format="qwen3-vl")
    >>> shown.image.size, shown.warp.report(shown.boxes_xyxy).zoom.round(2)
    ((1312, 736), array([9.79]))
    """
    picture = as_pil(image, name="image")
    source_hw = (picture.height, picture.width)
    warp, boxes = view_warp(source_hw, boxes_xyxy, format=format, max_pixels=max_pixels, zoom=zoom)
    return View(warp.image(picture), warp, boxes, named(format))


def view_warp(
    source_hw: SizeHW,
    boxes_xyxy: BoxesXYXY | None = None,
    /,
    *,
    format: str | Format = "json",
    max_pixels: int = MAX_PIXELS,
    zoom: float | None = None,
) -> tuple[Warp, Ndarray]:
    """The warp of a view, by the size of its image alone.

    Parameters
    ----------
    source_hw : (int, int)
        Height and width of the image.
    boxes_xyxy, format, max_pixels, zoom
        As for `view`.

    Returns
    -------
    (Warp, float64 array of shape (n, 4))
        From the original to the view, and the magnified boxes.

    Raises
    ------
    TypeError, ValueError
        As `view`.
    """
    target_hw = fitted_hw(source_hw, max_pixels=max_pixels, multiple=named(format).multiple)
    boxes = np.empty((0, 4)) if boxes_xyxy is None else _checks.boxes_on(boxes_xyxy, "boxes_xyxy", source_hw)
    return _warp(boxes, source_hw, target_hw, zoom), boxes


def _warp(boxes: Ndarray, source_hw: SizeHW, target_hw: SizeHW, zoom: float | None) -> Warp:
    if not len(boxes):
        return frames.resize(source_hw, target_hw)
    try:
        return zoom_warp(boxes, source_hw=source_hw, target_hw=target_hw, zoom=zoom)
    except ValueError:
        if zoom is not None:
            raise
        return frames.resize(source_hw, target_hw)  # the boxes cover a whole axis, so nothing can shrink
