"""Tokenizers that threads share: one call at a time.

A fast tokenizer keeps the padding and truncation of a call where all threads see them, and so do copies of it.

This file knows nothing about images.
"""

from __future__ import annotations

import copy
import threading
from typing import Any

_TOKENIZING = threading.Lock()


class InTurn:
    """A tokenizer whose texts become tokens for one thread at a time.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        Everything else is its own.
    """

    def __init__(self, tokenizer: Any, /) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Tokens of texts."""
        with _TOKENIZING:
            return self._tokenizer(*arguments, **options)

    def encode(self, *arguments: Any, **options: Any) -> Any:
        """Token ids of a text."""
        with _TOKENIZING:
            return self._tokenizer.encode(*arguments, **options)

    def tokenize(self, *arguments: Any, **options: Any) -> Any:
        """Tokens of a text as strings."""
        with _TOKENIZING:
            return self._tokenizer.tokenize(*arguments, **options)


def in_turn(processor: Any, /) -> Any:
    """A copy of a transformers processor for one call, separate from those of other threads."""
    own = copy.copy(processor)
    own.tokenizer = InTurn(processor.tokenizer)
    return own
