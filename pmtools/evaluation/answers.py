"""The meaning of a model's reply: yes or no by MME's rule, or one of a question's possible words.

Pure functions of text; an unreadable reply is a wrong answer, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["read_word", "read_yes_no"]

_DIGITS = dict(zip("0123456", ("zero", "one", "two", "three", "four", "five", "six"), strict=True))


def read_yes_no(reply: str, /) -> str | None:
    """`"yes"`, `"no"` or None, by MME's rule: an exact word, otherwise the one in the first four characters, `yes` first.

    Parameters
    ----------
    reply : str

    Returns
    -------
    str or None

    References
    ----------
    - MME, [arXiv:2306.13394](https://arxiv.org/abs/2306.13394), its published scoring

    Examples
    --------
    >>> read_yes_no("Yes, there is."), read_yes_no("No"), read_yes_no("The cross is red.")
    ('yes', 'no', None)
    """
    text = reply.lower()
    if text in {"yes", "no"}:
        return text
    return next((word for word in ("yes", "no") if word in text[:4]), None)


def read_word(reply: str, options: Collection[str], /) -> str | None:
    """The option that a reply names, or None where it names none or several.

    Case, punctuation and plurals do not matter; digits count as words.

    Parameters
    ----------
    reply : str
    options : collection of str
        Lower-case words.

    Returns
    -------
    str or None

    Examples
    --------
    >>> read_word("There are 3.", ["two", "three"]), read_word("Red or blue.", ["red", "blue"])
    ('three', None)
    """
    named = set()
    for word in re.findall(r"[a-z]+|\d+", reply.lower()):
        word = _DIGITS.get(word, word)
        for ending in ("", "es", "s"):
            stem = word.removesuffix(ending) if ending else word
            if stem in options:
                named.add(stem)
                break
    return named.pop() if len(named) == 1 else None
