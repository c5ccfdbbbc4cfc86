"""Sizes as people write them: height x width."""

from __future__ import annotations

import re

from pmtools.typing import SizeHW


def size_from_text(text: str, /) -> SizeHW | None:
    """Height and width from text such as "336x448", or None if it is not of this form.

    Examples
    --------
    >>> size_from_text("336x448"), size_from_text("336")
    ((336, 448), None)
    """
    match = re.fullmatch(r"\s*(\d{1,6})\s*[xX×]\s*(\d{1,6})\s*", text)
    return (int(match[1]), int(match[2])) if match else None
