"""Matplotlib's colour maps and font.

Matplotlib is imported on call, and its global state (pyplot) is not changed. This file knows nothing about pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont


def colour_map(name: str) -> Any:
    """The colour map of this name, a function from values (n,) to RGBA (n, 4), all in [0, 1]."""
    matplotlib = _matplotlib()
    try:
        return matplotlib.colormaps[name]
    except (KeyError, TypeError, AttributeError):
        raise ValueError(
            f"`colormap` must be a function or the name of one of Matplotlib's colour maps, such as 'inferno' or "
            f"'viridis', got {name!r}"
        ) from None


def font(size: float) -> FreeTypeFont:
    """DejaVu Sans, which ships with Matplotlib and has Greek, Cyrillic and mathematical signs."""
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(_matplotlib().get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("this picture needs Matplotlib; install it with `pip install 'pmtools[viz]'`") from error
    return matplotlib
