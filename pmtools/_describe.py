"""What came, in the words of error messages."""

from __future__ import annotations


def describe(value: object) -> str:
    """Shape and dtype of an array, otherwise the type and a short repr on one line."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{type(value).__name__} of shape {tuple(shape)} and dtype {dtype}"
    text = " ".join(repr(value).split())
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
