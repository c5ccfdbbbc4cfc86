"""Answers undone: places that a model names on a magnified image, found in its text and rewritten in coordinates of the original.

See [Take answers back](../howto/undo_answers.md).
"""

from __future__ import annotations

from pmtools.answers.formats import FORMATS, Format
from pmtools.answers.undoing import Place, Undoing, Undone, undo

__all__ = ["FORMATS", "Format", "Place", "Undoing", "Undone", "undo"]
