"""An image beside its magnified version, with the same boxes on both.

This file knows images, boxes, and only `boxes` of a warp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pmtools.typing import BoxesXYXY, Image
from pmtools.viz.boxes import draw_boxes
from pmtools.viz.rgb import as_rgb
from pmtools.viz.row import side_by_side

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


def compare(
    original: Image,
    magnified: Image,
    /,
    *,
    boxes: BoxesXYXY | None = None,
    warp: Any = None,
    labels: Sequence[str] | None = None,
    height: int | None = None,
) -> PILImage:
    """An image beside its magnified version, with the same boxes on both.

    Convention: pixel-edge coordinates of the original.

    Parameters
    ----------
    original, magnified : PIL image or array
        One image each, any mode, layout and dtype.
    boxes : array of shape (n, 4) or (4,), optional
        x0, y0, x1, y1 on the original, drawn there.
    warp : Warp, optional
        From the original to the magnified image: the boxes are drawn there too.
    labels : sequence of str, optional
        One per box.
    height : int, optional
        Height of both images in pixels, as in `side_by_side`.

    Returns
    -------
    PIL image, mode RGB

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or there is a warp or labels without boxes.
    ImportError
        If Matplotlib, whose font the titles take, is not installed.

    Examples
    --------
    >>> import pmtools
    >>> image = np.zeros((40, 60, 3), dtype=np.uint8)
    >>> warp = pmtools.zoom_warp([10, 5, 20, 15], source_hw=(40, 60), zoom=1.5)
    >>> compare(image, warp.image(image), boxes=[10, 5, 20, 15], warp=warp, height=40).mode
    'RGB'
    """
    if boxes is None and (warp is not None or labels is not None):
        raise ValueError("`warp` and `labels` must come with `boxes`, got no boxes; `side_by_side` shows images alone")
    pictures = [as_rgb(original, "original"), as_rgb(magnified, "magnified")]
    if boxes is not None:
        pictures[0] = draw_boxes(pictures[0], boxes, labels=labels)
        if warp is not None:
            pictures[1] = draw_boxes(pictures[1], warp.boxes(boxes), labels=labels)
    return side_by_side(pictures, titles=["original", "magnified"], height=height)
