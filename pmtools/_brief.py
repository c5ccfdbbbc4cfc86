"""Results that hold arrays, printed on a line or two: large arrays by what they are, not by what is in them."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from pmtools import _array

_FEW = 8  # values of an array, or entries of a list, that are shown


def brief(result: Any) -> str:
    """`Name(field=value, ...)` of a dataclass or named tuple."""
    names = getattr(result, "_fields", None) or [one.name for one in fields(result) if one.repr]
    return f"{type(result).__name__}({', '.join(f'{name}={_value(getattr(result, name))}' for name in names)})"


def _value(value: Any) -> str:
    if _array.is_array(value):
        if math.prod(value.shape) <= _FEW:
            return " ".join(repr(value).split())
        return f"<{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}>"
    if type(value) in (list, tuple):
        left, right = "[]" if isinstance(value, list) else "()"
        more = f", ... {len(value)} in all" if len(value) > _FEW else ""
        return left + ", ".join(map(_value, value[:_FEW])) + more + right
    return repr(value)
