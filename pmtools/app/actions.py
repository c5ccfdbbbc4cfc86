"""Actions of the page on a picture and a heatmap: magnify, draw what is seen, write files.

Plain functions on plain values; no gradio, no browser, no state.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pmtools import Warp, fit_warp, io, perception_map, viz
from pmtools._sizes import size_from_text
from pmtools.app.pictures import VIEW_SIDE, PageError, Picture, for_view
from pmtools.frames import resize
from pmtools.settings import DEFAULTS
from pmtools.typing import Image, SizeHW

#: Right end of the page's slider for the greatest magnification: at this value there is no limit.
NO_LIMIT = 16.0
#: Sizes that the page offers; any HxW may be typed.
AS_ORIGINAL = "as the original"
SIZES = (AS_ORIGINAL, "224x224", "336x336", "448x448", "672x672", "1024x1024")

# Of PNG files, which the user waits for: at 24 megapixels the default takes three times as long and saves a few per
# cent.
_COMPRESS_LEVEL = 4

_ARGUMENTS = {
    "floor": "the floor",
    "gain": "the gain",
    "kernel_size": "the kernel",
    "marginal": "the marginal",
    "max_magnification": "the greatest magnification",
    "question": "the question",
    "size_hw": "the output size",
}


@dataclass(frozen=True)
class Settings:
    """How to magnify: the page's sliders.

    Attributes
    ----------
    gain, kernel_size, marginal, floor
        As in `pmtools.magnify`.
    max_magnification : float
        As in `pmtools.magnify`; no limit from `NO_LIMIT` on.
    size : str
        Of the result: HxW, or `AS_ORIGINAL`.
    """

    gain: float = DEFAULTS.gain
    kernel_size: int = DEFAULTS.kernel_size
    marginal: str = DEFAULTS.marginal
    floor: float = DEFAULTS.floor
    max_magnification: float = NO_LIMIT
    size: str = AS_ORIGINAL


@dataclass(frozen=True)
class Magnified:
    """A picture that was magnified.

    Attributes
    ----------
    image : PIL image or array
        Of the same kind as the picture.
    warp : Warp
        From the picture to `image`.
    perception : array of shape (h, w)
        The perception map that the warp follows.
    """

    image: Image
    warp: Warp
    perception: np.ndarray[Any, Any]


def in_words(message: str, /) -> str:
    """A message of the library, with the names of the page's controls instead of argument names."""
    text = re.sub(r"`(\w+)`", lambda match: _ARGUMENTS.get(match[1], match[0]), message)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def read_size(text: str, /, *, source_hw: SizeHW, most_pixels: int) -> SizeHW:
    """Height and width of the result.

    Parameters
    ----------
    text : str
        HxW, such as "336x448", or `AS_ORIGINAL`.
    source_hw : (int, int)
        Of the picture.
    most_pixels : int
        Largest height times width.

    Returns
    -------
    (int, int)

    Raises
    ------
    PageError
        If it is not a size, or is too large.
    """
    if not isinstance(text, str) or text.strip() in ("", AS_ORIGINAL):
        return source_hw
    size = size_from_text(text) or (0, 0)
    if not all(size):
        raise PageError(f"The output size must be height x width in pixels, for example 336x448, got '{text[:40]}'.")
    if size[0] * size[1] > most_pixels:
        raise PageError(f"The output size must have up to {most_pixels} pixels, {text[:40]} has {size[0] * size[1]}.")
    return size


def magnify_picture(
    picture: Picture, heatmap: np.ndarray[Any, Any] | None, settings: Settings, /, *, most_pixels: int
) -> Magnified:
    """Magnify a picture by a heatmap.

    Parameters
    ----------
    picture : Picture
    heatmap : array of shape (h, w), or None
        None magnifies nothing.
    settings : Settings
    most_pixels : int
        Largest height times width of the result.

    Returns
    -------
    Magnified

    Raises
    ------
    PageError
        If a setting is out of range; the message uses the page's name for it.
    """
    target_hw = read_size(settings.size, source_hw=picture.size_hw, most_pixels=most_pixels)
    heat = np.ones((1, 1)) if heatmap is None else heatmap
    try:
        perception = perception_map(heat, gain=settings.gain, kernel_size=settings.kernel_size)
        warp = fit_warp(
            heat,
            source_hw=picture.size_hw,
            target_hw=target_hw,
            gain=settings.gain,
            kernel_size=settings.kernel_size,
            marginal=settings.marginal,
            floor=settings.floor,
            max_magnification=None if settings.max_magnification >= NO_LIMIT else settings.max_magnification,
        )
    except (TypeError, ValueError) as error:
        raise PageError(in_words(str(error))) from None
    return Magnified(warp.image(picture.image), warp, perception)


def views(picture: Picture, magnified: Magnified, /) -> dict[str, Any]:
    """The images for the browser, besides the picture itself.

    Parameters
    ----------
    picture : Picture
    magnified : Magnified

    Returns
    -------
    dict of PIL images
        "magnified" as `for_view` gives it; "map" and "grid", each with its longer side `VIEW_SIDE`.
    """
    seen = for_view(magnified.image)
    small = for_view(seen, most=VIEW_SIDE)
    to_small = resize(magnified.warp.target_hw, (small.height, small.width))
    return {
        "map": viz.overlay(for_view(picture.view, most=VIEW_SIDE), magnified.perception),
        "magnified": seen,
        "grid": viz.warp_grid(small, magnified.warp.then(to_small)),
    }


def save_image(picture: Picture, magnified: Magnified, folder: Path, /) -> Path:
    """Write the magnified image, with the colour profile, resolution and description of the picture.

    Parameters
    ----------
    picture : Picture
    magnified : Magnified
    folder : Path

    Returns
    -------
    Path
        A PNG; a TIFF if the picture has what PNG cannot hold: 32 bits per channel, or L*a*b* colours.
    """
    suffix = ".tiff" if getattr(picture.image, "mode", "") in ("I", "F", "LAB") else ".png"
    path = folder / f"{picture.name}_magnified{suffix}"
    like = picture.image if hasattr(picture.image, "convert") else None
    io.write_image(magnified.image, path, like=like, compress_level=_COMPRESS_LEVEL)
    return path


def save_warp(picture: Picture, magnified: Magnified, folder: Path, /) -> Path:
    """Write the warp in the format of `pmtools magnify --warp` and `pmtools unmagnify --warp`.

    Parameters
    ----------
    picture : Picture
    magnified : Magnified
    folder : Path

    Returns
    -------
    Path
        A JSON file.
    """
    path = folder / f"{picture.name}_warp.json"
    io.write_json(magnified.warp.to_dict(), path)
    return path
