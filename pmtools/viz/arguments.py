"""Arguments that the figures share: colours, lengths, a string for each of several things.

This file knows nothing about pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pmtools import _checks


def colour(value: Any, name: str = "color") -> tuple[int, ...]:
    """RGB of a colour that PIL knows."""
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(value)[:3]
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"`{name}` must be a colour such as 'red' or '#1f77b4', got {value!r}") from None


def positive(value: float | None, name: str, default: float) -> float:
    """`value` as a finite number above 0; `default` for None."""
    return default if value is None else _checks.real_number(value, name, minimum=0, exclusive_minimum=True)


def strings(values: Sequence[str], name: str, count: int, what: str) -> list[str]:
    """`values` as strings, one for each of the `count` things that `what` names."""
    if isinstance(values, str):
        raise TypeError(f"`{name}` must be a list of strings, got the string {values!r}; put it into brackets")
    texts = [str(value) for value in values]
    if len(texts) != count:
        raise ValueError(f"`{name}` must have one string for each of the {count} {what}, got {len(texts)}")
    return texts
