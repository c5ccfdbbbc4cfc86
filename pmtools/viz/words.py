"""Words on a picture: their ink, and how they fit into a width.

This file knows colours, strings and fonts; not where the words go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_MIDDLE_GREY = 0.18  # luminance at which black and white words have the same contrast


def ink_on(color: tuple[int, ...], /) -> str:
    """The more readable ink on a ground of this RGB colour: "black" or "white"."""
    return "black" if _luminance(color) > _MIDDLE_GREY else "white"


def wrapped(text: str, font: FreeTypeFont, width: int) -> str:
    """`text` with line breaks so that words fit into `width`; a word that is too long is broken with an ellipsis."""
    lines = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return "\n".join(_shortened(line, font, width) for line in lines)


def _shortened(line: str, font: FreeTypeFont, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"


def _luminance(color: tuple[int, ...]) -> float:
    """Relative luminance (ITU-R BT.709) of an sRGB colour, 0 for black, 1 for white."""
    linear = (np.asarray(color[:3]) / 255) ** 2.2
    return float(linear @ (0.2126, 0.7152, 0.0722))
