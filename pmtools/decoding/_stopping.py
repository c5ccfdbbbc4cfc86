"""Where an answer stops: at given strings, for any tokenizer.

transformers' own criterion splits the vocabulary, which fails for word tokenizers such as the demo model's; this one
reads the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pmtools import _checks

if TYPE_CHECKING:
    import torch


class StopsAtStrings:
    """A stopping criterion: whether one of some strings has appeared in the answer.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    stop_strings : str or sequence of str
    prompt_length : int
        Tokens before the answer.

    Raises
    ------
    TypeError, ValueError
        If a stop string is not a string, or is empty.
    """

    def __init__(self, tokenizer: Any, stop_strings: str | Sequence[str], prompt_length: int, /) -> None:
        listed = isinstance(stop_strings, Iterable) and not isinstance(stop_strings, (str, bytes))
        strings = list(stop_strings) if listed else [stop_strings]
        for text in strings:
            if not isinstance(text, str):
                raise TypeError(f"`stop_strings` must be a string or a list of them, got {_checks.describe(text)}")
            if not text:
                raise ValueError(
                    "`stop_strings` must not be empty strings, which every answer begins with; leave them out"
                )
        self.tokenizer, self.strings, self.prompt_length = tokenizer, strings, prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
        """For each sequence, whether it stops: bool tensor of shape (B,)."""
        # behind the prompt's last token: some tokenizers strip the space at the start of what they decode
        start = max(self.prompt_length - 1, 0)
        befores = self.tokenizer.batch_decode(input_ids[:, start : self.prompt_length])
        wholes = self.tokenizer.batch_decode(input_ids[:, start:])
        texts = [whole.removeprefix(before) for before, whole in zip(befores, wholes, strict=True)]
        return input_ids.new_tensor([any(stop in text for stop in self.strings) for text in texts]).bool()
