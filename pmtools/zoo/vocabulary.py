"""The words that the demo model knows, and the one rule that turns a question into tokens.

The rule is written twice, as a function for training and as a standard `tokenizer.json` for everyone else; a test
compares them. This file knows no model.
"""

from __future__ import annotations

import re

from pmtools.evaluation.scenes.drawing import COLORS, SHAPES
from pmtools.evaluation.scenes.questions import NUMBERS, RELATIONS

__all__ = ["ANSWERS", "DROPPED", "IGNORED", "SINGULAR", "SPECIAL", "TOKENS", "TOKEN_IDS", "encode", "unknown_words"]

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>", "<image>")
_GRAMMAR = ("?", "yes", "no", "is", "are", "there", "how", "many", "what", "color", "shape", "or")
TOKENS = (*SPECIAL, *_GRAMMAR, *RELATIONS, *NUMBERS, *SHAPES, *COLORS)
"""All tokens, in the order of their numbers."""

TOKEN_IDS = {token: index for index, token in enumerate(TOKENS)}
ANSWERS = ("yes", "no", *RELATIONS, *NUMBERS, *SHAPES, *COLORS)
"""Every word that the model answers with."""

DROPPED = ("a", "an", "the", "of", "to", "in", "this", "image", "picture", "object", "objects")
"""Words without meaning here; the tokenizer drops them, which shortens the question by half."""

IGNORED = "please answer yes or no"
"""The instruction of MME's prompts: dropped too, the model answers such questions with yes or no anyway."""

_DROP = re.compile(rf"{IGNORED}\.?|\b(?:{'|'.join(DROPPED)})\b|,|\.")
SINGULAR = {("crosses" if shape == "cross" else f"{shape}s"): shape for shape in SHAPES}


def _words(text: str) -> list[str]:
    words = re.findall(r"\w+|[^\w\s]", _DROP.sub(" ", text.lower()))
    return [SINGULAR.get(word, word) for word in words]


def encode(text: str, /) -> list[int]:
    """Token numbers of a question, unknown words as `<unk>`.

    Examples
    --------
    >>> [TOKENS[i] for i in encode("Is there a red circle in this image?")]
    ['is', 'there', 'red', 'circle', '?']
    """
    return [TOKEN_IDS.get(word, TOKEN_IDS["<unk>"]) for word in _words(text)]


def unknown_words(text: str, /) -> list[str]:
    """Words of a question that the model does not know, in order."""
    return [word for word in _words(text.replace("<image>", " ")) if word not in TOKEN_IDS]
