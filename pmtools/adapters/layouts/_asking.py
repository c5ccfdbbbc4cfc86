"""Asking a processor what it writes into a prompt and does to the pixels, for pictures of any size.

This file knows no family: the mark of an image in a text and the id of its tokens are found by trying.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pmtools.adapters.tokenizing import in_turn

_MARKS = ("image_token", "boi_token", "start_image_token", "image_mark")
_IDS = ("image_token_id", "image_token_index", "image_patch_id", "media_placeholder_token_id")
#: Of single-coloured pictures: whole patches of 14 and 16 pixels, merged or not.
BLANK_HW = (224, 224)
#: Configurations that contain the one for images, for example Qwen-Omni's thinker.
_INNER = ("thinker_config",)


def token_ids(model: Any, processor: Any, /) -> list[int]:
    """Possible image tokens from the configuration and the processor, the likeliest first."""
    holders = [model.config, *(getattr(model.config, name, None) for name in _INNER), processor]
    found = (getattr(holder, name, None) for holder in holders for name in _IDS)
    return list(dict.fromkeys(int(token) for token in found if isinstance(token, int)))


@dataclass(frozen=True)
class Asked:
    """A processor's result for the images of one prompt.

    Attributes
    ----------
    ids : list of int
        The prompt.
    inputs : mapping
        Everything it returned.
    """

    ids: list[int]
    inputs: Mapping[str, Any]

    def runs(self, token: int) -> list[tuple[int, int]]:
        """Start and length of each run of a token."""
        places = [place for place, found in enumerate(self.ids) if found == token]
        starts = [place for place in places if not place or self.ids[place - 1] != token]
        stops = [place + 1 for place in places if place + 1 == len(self.ids) or self.ids[place + 1] != token]
        return [(start, stop - start) for start, stop in zip(starts, stops, strict=True)]


@dataclass(frozen=True)
class Question:
    """How an image is written into a prompt.

    Attributes
    ----------
    mark : str
        The text that stands for it.
    token : int
        The token that it is replaced by, repeated.
    opening, closing : tuple of int
        Special tokens that the processor writes immediately before and after them.
    """

    mark: str
    token: int
    opening: tuple[int, ...] = ()
    closing: tuple[int, ...] = ()


@dataclass(frozen=True)
class Asker:
    """A processor that is called with some options."""

    processor: Any
    question: Question
    options: Mapping[str, Any]

    @property
    def token(self) -> int:
        """The id of an image token."""
        return self.question.token

    def __call__(self, images: Sequence[Any], /) -> Asked:
        """The processor's result for one prompt with these images."""
        return _asked(self.processor, self.question.mark, images, self.options)


def question(model: Any, processor: Any, options: Mapping[str, Any], /) -> Question:
    """How images are written into this processor's prompts, found by trying.

    Raises
    ------
    ValueError
        If no way is found.
    """
    from PIL import Image

    blank, reasons = Image.new("RGB", BLANK_HW[::-1], (127, 127, 127)), []
    tokens = token_ids(model, processor)
    for bare, mark in _marks(processor):
        try:
            asked = _asked(processor, mark, [blank], options)
        except Exception as reason:  # whatever a processor raises for a text that is not its own
            reasons.append(f"{mark!r}: {type(reason).__name__}: {reason}")
            continue
        token = max(tokens, key=asked.ids.count, default=-1)
        if asked.ids.count(token):
            return Question(mark, token, *_around(asked, token, processor.tokenizer if bare else None))
        reasons.append(f"{mark!r}: none of the tokens {tokens} was written")
    raise ValueError("no prompt with an image could be made (" + "; ".join(reasons)[:500] + ")")


def own_processor(processor: Any, options: Mapping[str, Any] | None, /) -> tuple[Any, Mapping[str, Any]]:
    """The model's own processor and the options of its calls: a decoding method's has one inside, and may set some."""
    if not hasattr(processor, "inner"):
        return processor, options or {}
    if not processor.options:
        return processor.inner, options or {}
    own = copy.copy(processor.inner)
    own.image_processor = processor.image_processor  # a layout reads its settings
    return own, {"images_kwargs": dict(processor.options), **(options or {})}


def _marks(processor: Any) -> Iterator[tuple[bool, str]]:
    """Texts that may mark an image, and whether they hold only the mark."""
    marks = [getattr(processor, name, None) for name in _MARKS]
    for mark in dict.fromkeys(mark for mark in marks if isinstance(mark, str)):
        yield True, mark
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": "?"}]
        turn = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        yield False, str(turn)


def _around(asked: Asked, token: int, tokenizer: Any | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the processor writes around an image, if the mark alone was the text; Gemma 3 writes line breaks."""
    if tokenizer is None:
        return (), ()
    runs = asked.runs(token)
    before, after = asked.ids[: runs[0][0]], asked.ids[sum(runs[-1]) :]
    sentence = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    opening = tuple(itertools.takewhile(lambda token: token not in sentence, reversed(before)))[::-1]
    return opening, tuple(itertools.takewhile(lambda token: token not in sentence, after))


def _asked(processor: Any, mark: str, images: Sequence[Any], options: Mapping[str, Any]) -> Asked:
    text = " ".join([mark] * len(images))
    inputs = in_turn(processor)(images=[list(images)], text=[text], return_tensors="pt", **options)
    return Asked(inputs["input_ids"][0].tolist(), inputs)
