"""Answers of the decoding methods, undone: each step records how it showed the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pmtools import frames
from pmtools.adapters.undone import undone_by
from pmtools.answers import Format, Undone
from pmtools.answers.formats import named
from pmtools.typing import SizeHW
from pmtools.warp import Warp


def undone_answers(
    answers: Sequence[str],
    steps: Sequence[Any],
    processor: Any,
    /,
    *,
    format: str | Format,
    source_hws: Sequence[SizeHW | None] | None = None,
    **options: Any,
) -> list[Undone]:
    """Answers of a decoding method, in coordinates of the original images.

    Parameters
    ----------
    answers : sequence of str
        What `method.generate` returned for a list of prompts.
    steps : sequence
        `method.last`, right after it.
    processor : transformers processor
        The model's; where pixels count in the image that it resizes, its bounds say to what size.
    format : str or Format
        How the model writes places, a name in `pmtools.answers.FORMATS`.
    source_hws : sequence of (int, int) or None, optional
        Height and width of the last image of each prompt, None for a prompt without one: answers about images that were shown as
        they are come in the same units then as all others.
    **options
        Of `pmtools.answers.undo`.

    Returns
    -------
    list of Undone
        Places are on the last image of each prompt. Without `source_hws`, methods that show images as they are leave answers as
        they are.

    Raises
    ------
    ValueError
        If the image was shown in several ways, one after the other or side by side, so that it is unclear which one a number
        refers to: `refresh="first"` magnifies once.
    """
    form = named(format)
    ways = [_way(steps, i, len(answers)) for i in range(len(answers))]
    if source_hws is not None:
        plain = [None if hw is None else frames.identity(hw) for hw in source_hws]
        ways = [same if way is None else way for way, same in zip(ways, plain, strict=True)]
    return [
        Undone(answer, ()) if way is None else undone_by(processor, answer, way, form, **options)
        for answer, way in zip(answers, ways, strict=True)
    ]


def _way(steps: Sequence[Any], i: int, count: int) -> Warp | None:
    """From the original image to the one that an answer is about; None where they are the same."""
    rows = [getattr(step, "warps", getattr(step, "frames", None)) for step in steps]
    ways = [row[i * len(row) // count][-1:] for row in rows if row]
    if not any(ways):
        return None
    shown = [step.shown[i][-1] for step in steps if hasattr(step, "shown")]
    if any(way != ways[0] for way in ways) or any(len(pictures) != 1 for pictures in shown):
        raise ValueError(
            "`steps` must show each image in one way for its answer to be undone, got several; use refresh='first', which "
            "magnifies once, and a method that shows one image"
        )
    way: Warp = ways[0][0]
    return way
