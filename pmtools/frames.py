"""Frames: padding, cropping, resizing, token grids and normalised boxes, as warps.

What a model's preprocessing does to coordinates is the same kind of object as a magnification, so they chain with `then`, undo
with `inverse`, and take points, boxes, masks and images through all of it, images in one resampling. Flips and quarter turns
are not monotone maps: they are a `Turned`, a warp and a turn after it. Points beyond an image are extrapolated, never clamped;
pixels beyond it take `fill`.

Convention: continuous pixel-edge coordinates; pixel `i` covers `[i, i + 1)`. Sizes are `(height, width)`.

Examples
--------
>>> frame = pad_to_square((480, 640)).then(resize((640, 640), (336, 336)))
>>> frame.points(np.array([320.0, 240.0]))
array([168., 168.])
"""

from __future__ import annotations

import math

import numpy as np

from pmtools import _array, _checks
from pmtools.axes import affine_map
from pmtools.turns import Turned
from pmtools.typing import SizeHW
from pmtools.warp import Warp


def identity(size_hw: SizeHW, /) -> Warp:
    """The frame that changes nothing.

    Parameters
    ----------
    size_hw : (int, int)
        Height and width of the image.

    Returns
    -------
    Warp
    """
    return resize(size_hw, size_hw)


def resize(source_hw: SizeHW, target_hw: SizeHW, /) -> Warp:
    """Stretch the whole image to another size: $X = x\\, W' / W$.

    Parameters
    ----------
    source_hw, target_hw : (int, int)
        Height and width before and after.

    Returns
    -------
    Warp

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    (h, w), (th, tw) = _checks.size_hw(source_hw, "source_hw"), _checks.size_hw(target_hw, "target_hw")
    return Warp(x=affine_map(tw / w, 0.0, w, tw), y=affine_map(th / h, 0.0, h, th))


def resize_shortest_edge(source_hw: SizeHW, size: int, /) -> Warp:
    """Resize so that the shorter side becomes `size`, the longer one in proportion, rounded down, as image processors do.

    Parameters
    ----------
    source_hw : (int, int)
        Height and width of the image.
    size : int
        Wanted length of the shorter side.

    Returns
    -------
    Warp

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    (h, w), size = _checks.size_hw(source_hw, "source_hw"), _checks.whole_number(size, "size")
    target_hw = (size, max(size * w // h, 1)) if h <= w else (max(size * h // w, 1), size)
    return resize((h, w), target_hw)


def pad(source_hw: SizeHW, /, *, left: int = 0, top: int = 0, right: int = 0, bottom: int = 0) -> Warp:
    """Add pixels around the image.

    Parameters
    ----------
    source_hw : (int, int)
        Height and width of the image.
    left, top, right, bottom : int, optional
        Pixels to add on each side, >= 0. To take pixels away, use `crop`.

    Returns
    -------
    Warp

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    h, w = _checks.size_hw(source_hw, "source_hw")
    sides = {"left": left, "top": top, "right": right, "bottom": bottom}
    left, top, right, bottom = (_checks.whole_number(n, name, minimum=0) for name, n in sides.items())
    return crop((h, w), (-left, -top, w + right, h + bottom))


def pad_to_square(source_hw: SizeHW, /) -> Warp:
    """Centre the image on a square as large as its longer side, as LLaVA does; an odd pixel goes to the right or below.

    Parameters
    ----------
    source_hw : (int, int)
        Height and width of the image.

    Returns
    -------
    Warp

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    h, w = _checks.size_hw(source_hw, "source_hw")
    return _padded((h, w), (max(h, w), max(h, w)))


def crop(source_hw: SizeHW, box_xyxy: tuple[int, int, int, int], /) -> Warp:
    """Cut out a box of whole pixels; parts of it that lie beyond the image are padding.

    Parameters
    ----------
    source_hw : (int, int)
        Height and width of the image.
    box_xyxy : (int, int, int, int)
        x0, y0, x1, y1 in pixels, `x0 < x1` and `y0 < y1`; may reach beyond the image.

    Returns
    -------
    Warp

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    h, w = _checks.size_hw(source_hw, "source_hw")
    wanted = "`box_xyxy` must be four integers x0, y0, x1, y1 with x0 < x1 and y0 < y1"
    try:
        count = len(tuple(box_xyxy))
    except TypeError:
        raise TypeError(f"{wanted}, got {_checks.describe(box_xyxy)}") from None
    if count != 4:
        raise ValueError(f"{wanted}, got {_checks.describe(box_xyxy)}")
    least = -_checks.MAX_PIXELS
    try:
        x0, y0, x1, y1 = (_checks.whole_number(n, f"box_xyxy[{i}]", minimum=least) for i, n in enumerate(box_xyxy))
    except TypeError as error:  # a fraction, as detectors give them
        raise TypeError(f"{error}; pmtools.frames.covering makes whole pixels of a box") from None
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"{wanted}, got {(x0, y0, x1, y1)}")
    return Warp(x=affine_map(1.0, -x0, w, x1 - x0), y=affine_map(1.0, -y0, h, y1 - y0))


def center_crop(source_hw: SizeHW, size_hw: SizeHW, /) -> Warp:
    """Cut out the middle, padding where the image is smaller, as CLIP's image processor does; an odd pixel goes first.

    Parameters
    ----------
    source_hw, size_hw : (int, int)
        Height and width of the image and of its middle.

    Returns
    -------
    Warp

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    (h, w), (ch, cw) = _checks.size_hw(source_hw, "source_hw"), _checks.size_hw(size_hw, "size_hw")
    x0, y0 = (w - cw) // 2, (h - ch) // 2  # rounds down: of an odd padding the larger half comes first
    return crop((h, w), (x0, y0, x0 + cw, y0 + ch))


def _padded(source_hw: SizeHW, target_hw: SizeHW) -> Warp:
    """The image in the middle of a size that holds it; an odd pixel goes to the right or below."""
    (h, w), (th, tw) = source_hw, target_hw
    left, top = (tw - w) // 2, (th - h) // 2
    return pad(source_hw, left=left, top=top, right=tw - w - left, bottom=th - h - top)


def letterbox(source_hw: SizeHW, target_hw: SizeHW, /) -> Warp:
    """Resize as far as the image fits, then pad on both sides, as detectors do.

    Parameters
    ----------
    source_hw, target_hw : (int, int)
        Height and width before and after.

    Returns
    -------
    Warp

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    (h, w), (th, tw) = _checks.size_hw(source_hw, "source_hw"), _checks.size_hw(target_hw, "target_hw")
    scale = min(th / h, tw / w)
    fitted = (min(max(round(h * scale), 1), th), min(max(round(w * scale), 1), tw))
    return resize((h, w), fitted).then(_padded(fitted, (th, tw)))


def smart_resize(
    source_hw: SizeHW, /, *, factor: int = 28, min_pixels: int = 56 * 56, max_pixels: int = 14 * 14 * 4 * 1280
) -> Warp:
    r"""The resize of the Qwen-VL family: both sides multiples of `factor`, the area in bounds, the shape kept roughly.

    Sides are rounded to multiples of the factor; where the area then leaves $[p_{min}, p_{max}]$ both are scaled by
    $\sqrt{p / (h w)}$ first and rounded towards the bound's inside.

    Parameters
    ----------
    source_hw : (int, int)
        Height and width of the image; neither side may be 200 times the other.
    factor : int, optional
        Patch size times merge size: 28 for Qwen2-VL and Qwen2.5-VL, 32 for Qwen3-VL.
    min_pixels, max_pixels : int, optional
        Bounds of the area in pixels.

    Returns
    -------
    Warp

    Raises
    ------
    ValueError
        If the image is too elongated.

    References
    ----------
    - Qwen2-VL, [arXiv:2409.12191](https://arxiv.org/abs/2409.12191)
    """
    h, w = _checks.size_hw(source_hw, "source_hw")
    factor = _checks.whole_number(factor, "factor")
    min_pixels = _checks.whole_number(min_pixels, "min_pixels")
    max_pixels = _checks.whole_number(max_pixels, "max_pixels", minimum=min_pixels)
    if max(h, w) > 200 * min(h, w):
        raise ValueError(f"`source_hw` must not be more elongated than 200 : 1, got {h} x {w}; crop or pad it first")
    target = [round(side / factor) * factor for side in (h, w)]
    if target[0] * target[1] > max_pixels:
        shrink = math.sqrt(h * w / max_pixels)
        target = [max(factor, math.floor(side / shrink / factor) * factor) for side in (h, w)]
    elif target[0] * target[1] < min_pixels:
        grow = math.sqrt(min_pixels / (h * w))
        target = [math.ceil(side * grow / factor) * factor for side in (h, w)]
    return resize((h, w), (max(target[0], factor), max(target[1], factor)))


def flip_horizontal(source_hw: SizeHW, /) -> Turned:
    """Mirror the image, left to right. Left and right of what is in it are for the caller to exchange.

    Parameters
    ----------
    source_hw : (int, int)
        Height and width of the image.

    Returns
    -------
    Turned
    """
    return Turned(identity(source_hw), flip_x=True)


def flip_vertical(source_hw: SizeHW, /) -> Turned:
    """Mirror the image, top to bottom.

    Parameters
    ----------
    source_hw : (int, int)
        Height and width of the image.

    Returns
    -------
    Turned
    """
    return Turned(identity(source_hw), flip_y=True)


def quarter_turns(source_hw: SizeHW, turns: int, /) -> Turned:
    """Turn the image by quarters against the clock, as `numpy.rot90` does.

    Parameters
    ----------
    source_hw : (int, int)
        Height and width of the image.
    turns : int
        Any whole number; negative ones turn with the clock.

    Returns
    -------
    Turned
        From (h, w) to (w, h) where `turns` is odd.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.

    Examples
    --------
    >>> quarter_turns((40, 60), 1).boxes([10, 0, 20, 5])
    array([ 0., 40.,  5., 50.])
    """
    turns = _checks.whole_number(turns, "turns", minimum=-_checks.MAX_PIXELS) % 4
    return Turned(identity(source_hw), transpose=turns % 2 == 1, flip_x=turns >= 2, flip_y=turns in (1, 2))


def token_grid(source_hw: SizeHW, grid_hw: SizeHW, /) -> Warp:
    """From pixels to a model's token grid: token `i` covers `[i, i + 1)` of the result.

    Parameters
    ----------
    source_hw : (int, int)
        Height and width of the image that the grid covers.
    grid_hw : (int, int)
        Rows and columns of tokens.

    Returns
    -------
    Warp

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """
    return resize(source_hw, _checks.size_hw(grid_hw, "grid_hw"))


def normalized(source_hw: SizeHW, /, *, scale: int = 1) -> Warp:
    """From pixels to boxes and points in 0..1, or 0..1000 with `scale=1000`, as grounding models write them.

    Parameters
    ----------
    source_hw : (int, int)
        Height and width of the image.
    scale : int, optional
        What the far edges are called.

    Returns
    -------
    Warp
        `inverse_boxes` turns the model's boxes back to pixels.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.

    Examples
    --------
    >>> normalized((480, 640), scale=1000).inverse_boxes([250, 500, 500, 1000])
    array([160., 240., 320., 480.])
    """
    scale = _checks.whole_number(scale, "scale")
    return resize(source_hw, (scale, scale))


def covering(box_xyxy: object, source_hw: SizeHW, /) -> tuple[int, int, int, int]:
    """The smallest box of whole pixels, at least one and inside the image, that covers a box in pixels: what `crop` takes.

    Parameters
    ----------
    box_xyxy : array of shape (4,)
        x0, y0, x1, y1 in pixels.
    source_hw : (int, int)
        Height and width of the image.

    Returns
    -------
    (int, int, int, int)

    Raises
    ------
    TypeError, ValueError
        If `box_xyxy` is not four finite numbers.
    """
    h, w = _checks.size_hw(source_hw, "source_hw")
    box = _array.to_numpy(_checks.coordinates(box_xyxy, "box_xyxy", last=4, columns="x0, y0, x1, y1")).astype(float)
    if box.ndim != 1 or not np.isfinite(box).all():
        raise ValueError(f"`box_xyxy` must be four finite numbers x0, y0, x1, y1, got {_checks.describe(box_xyxy)}")
    x0, y0, x1, y1 = box.tolist()
    left, top = min(max(math.floor(x0), 0), w - 1), min(max(math.floor(y0), 0), h - 1)
    return left, top, min(max(math.ceil(x1), left + 1), w), min(max(math.ceil(y1), top + 1), h)
