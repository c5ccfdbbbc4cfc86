"""Grey levels and colours of any range as 8 bits: what figures are drawn on and what models see.

Knows dtypes and PIL's modes; nothing of channels, alpha or of what the 8 bits are for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools.typing import Ndarray

if TYPE_CHECKING:
    from typing import TypeGuard

    from PIL.Image import Image as PILImage


def is_deep(image: Any) -> TypeGuard[PILImage]:
    """Whether a PIL image holds more than 8 bits a channel: `convert` would clip what is above 255, not scale it."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def value_range(values: Ndarray, name: str) -> tuple[float, float] | None:
    """The values that stand for black and for white; None where neither dtype nor values tell.

    bool, uint8 and uint16 have those of their dtype. Floats within 0 and 1 have these; all else within 0 and 255 has those.
    """
    if values.dtype == np.bool_:
        return 0.0, 1.0
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:  # in either byte order
        return 0.0, float(np.iinfo(values.dtype).max)
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError(
            f"`{name}` must be finite, got NaN or infinity somewhere; replace those pixels, for example with 0"
        )
    if low < 0 or high > 255:
        return None
    return (0.0, 1.0) if values.dtype.kind == "f" and high <= 1 else (0.0, 255.0)


def eight_bits(values: Ndarray, black: float, white: float) -> Ndarray:
    """Values from `black` to `white` as uint8, rounded; themselves where they are that already, 0 where both are one."""
    if values.dtype == np.uint8 and (black, white) == (0, 255):
        return values
    scaled: Ndarray = (values.astype(np.float64) - black) * (255 / ((white - black) or 1))
    return np.rint(scaled).astype(np.uint8)
