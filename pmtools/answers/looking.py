"""Ask a model where to look: the size of the overview, the question, and the regions that its answer names.

Knows texts and sizes; neither messages nor models.
"""

from __future__ import annotations

import math

import numpy as np

from pmtools import _checks, frames
from pmtools.answers.formats import Format, named
from pmtools.answers.undoing import Undone
from pmtools.typing import Ndarray, SizeHW

#: Most pixels of the overview: 512 tokens of 28 by 28 pixels.
OVERVIEW_PIXELS = 512 * 28 * 28
#: Margin on each side of a region that a model named on an overview, as a share of its sides: such boxes are rough.
_MARGIN = 0.25
#: Side of the region around a point, in sides of the image.
_AROUND_A_POINT = 0.125


def where_to_look(question: str, /, *, format: str | Format) -> str:
    """The question where in an image one sees what another question is about.

    Parameters
    ----------
    question : str
    format : str or Format
        How the model writes places, a name in `pmtools.answers.FORMATS`.

    Returns
    -------
    str
    """
    box = named(format).box_instruction
    return f"Where in the image must one look closely to answer this? {box}\n\n{question}"


def fitted_hw(source_hw: SizeHW, /, *, max_pixels: int, multiple: int = 1) -> SizeHW:
    """The size to send: within the budget, about the shape of the image, sides as the model's processor keeps them.

    Parameters
    ----------
    source_hw : (int, int)
        Height and width of the image.
    max_pixels : int
        Most pixels.
    multiple : int, optional
        What both sides are multiples of.

    Returns
    -------
    (int, int)
    """
    height, width = _checks.size_hw(source_hw, "source_hw")
    max_pixels = _checks.whole_number(max_pixels, "max_pixels", minimum=multiple**2)
    if multiple > 1:
        smallest = min(4 * multiple**2, max_pixels)
        return frames.smart_resize(source_hw, factor=multiple, min_pixels=smallest, max_pixels=max_pixels).target_hw
    scale = min(1.0, math.sqrt(max_pixels / (height * width)))
    return max(1, math.floor(height * scale)), max(1, math.floor(width * scale))


def regions(said: Undone, source_hw: SizeHW, /) -> Ndarray:
    """The boxes to magnify, from the answer to the question where to look.

    Parameters
    ----------
    said : Undone
        The answer about an overview.
    source_hw : (int, int)
        Height and width of the image.

    Returns
    -------
    float64 array of shape (n, 4)
        Its boxes and squares around its points, slightly enlarged, in pixels of the image; empty if it names none.
    """
    height, width = source_hw
    size = np.array([width, height], dtype=np.float64)
    boxes = said.boxes_xyxy
    margins = (boxes[:, 2:] - boxes[:, :2]) * _MARGIN
    around = np.tile(size * _AROUND_A_POINT / 2, (len(said.points_xy), 1))
    low = np.concatenate([boxes[:, :2] - margins, said.points_xy - around])
    high = np.concatenate([boxes[:, 2:] + margins, said.points_xy + around])
    return np.concatenate([np.clip(low, 0.0, size), np.clip(high, 0.0, size)], axis=1)
