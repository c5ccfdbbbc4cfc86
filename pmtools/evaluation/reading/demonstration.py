"""One photograph with three far-apart signs, read plain and magnified: the picture on README, and the end of `demo`.

The reader is pretrained OCR that never saw a warp; boxes say where the signs are. Where it read each word is taken back to
the photograph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from pmtools import viz
from pmtools.evaluation.reading.looks import METHODS, Case
from pmtools.evaluation.reading.photographs import find_photographs
from pmtools.evaluation.reading.reader import PaddleReader, Read
from pmtools.evaluation.reading.settings import SETTINGS
from pmtools.evaluation.reading.signs import sign_pictures

__all__ = ["SignsRead", "read_signs"]

NUMBER, SEED, INPUT = 7, 5, 336  # which picture; longer side of what the reader sees, in pixels
PANEL = 520  # height of a panel, in pixels


@dataclass(frozen=True)
class SignsRead:
    """What was read.

    Attributes
    ----------
    words : tuple of str
        On the signs.
    plain, magnified : tuple of str
        Words read from the small image, and from the magnified one of the same size.
    figure : PIL image
        Both inputs, and the photograph with the boxes of what was read.
    """

    words: tuple[str, ...]
    plain: tuple[str, ...]
    magnified: tuple[str, ...]
    figure: Image.Image


def read_signs() -> SignsRead:
    """Read the signs, plain and magnified.

    Returns
    -------
    SignsRead

    Raises
    ------
    ModuleNotFoundError
        If the reader or the photographs are not installed.
    """
    reader = PaddleReader()
    *_, picture = sign_pictures(find_photographs(), count=NUMBER + 1, seed=SEED)
    case = Case(picture, reader, longest=INPUT, seed=0, settings=SETTINGS)
    plain, magnified = (METHODS[name](case)[0] for name in ("plain", "boxes"))
    before, after = reader(plain.image), reader(magnified.image)
    back = [Read(read.text, magnified.back(read.box_xyxy[None])[0]) for read in after]
    panels = {
        f"{INPUT} pixels, plain. Read: {_listed(before)}": (plain.image, before),
        f"{INPUT} pixels, magnified. Read: {_listed(after)}": (magnified.image, after),
        f"Back on the original of {picture.image.width} pixels": (picture.image, back),
    }
    figure = viz.side_by_side([_framed(*panel) for panel in panels.values()], titles=list(panels), height=PANEL)
    return SignsRead(picture.texts, tuple(r.text for r in before), tuple(r.text for r in after), figure)


def _framed(image: Image.Image, found: list[Read]) -> Image.Image:
    """An image at the size of its panel, with a frame around each word."""
    shown = image.resize((PANEL, PANEL), Image.Resampling.LANCZOS)
    margin = np.array([-4, -4, 4, 4])
    boxes = np.reshape([read.box_xyxy * PANEL / image.width + margin for read in found], (-1, 4))
    return viz.draw_boxes(shown, boxes, color="magenta") if found else shown


def _listed(found: list[Read]) -> str:
    return ", ".join(read.text for read in found) or "nothing"
