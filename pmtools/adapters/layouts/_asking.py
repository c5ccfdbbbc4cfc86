"""A processor, asked: what it writes into a prompt and makes of the pixels, for pictures of any size.

Knows no family: the mark of an image in a text and the id of its tokens are found by trying.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MARKS = ("image_token", "boi_token", "start_image_token", "image_mark")
_IDS = ("image_token_id", "image_token_index", "image_patch_id", "media_placeholder_token_id")
#: Configurations that hold another one which says how images are read: Qwen-Omni's thinker.
_INNER = ("thinker_config",)


def token_ids(model: Any, processor: Any, /) -> list[int]:
    """What the configuration and the processor may mean by an image token, the likeliest first."""
    holders = [model.config, *(getattr(model.config, name, None) for name in _INNER), processor]
    found = (getattr(holder, name, None) for holder in holders for name in _IDS)
    return list(dict.fromkeys(int(token) for token in found if isinstance(token, int)))


@dataclass(frozen=True)
class Asked:
    """What a processor made of the images of one prompt.

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
        """First place and length of each run of a token."""
        places = [place for place, found in enumerate(self.ids) if found == token]
        starts = [place for place in places if not place or self.ids[place - 1] != token]
        stops = [place + 1 for place in places if place + 1 == len(self.ids) or self.ids[place + 1] != token]
        return [(start, stop - start) for start, stop in zip(starts, stops, strict=True)]


@dataclass(frozen=True)
class Asker:
    """A processor with the options of its calls, and the text that stands for an image in its prompts."""

    processor: Any
    token: int
    mark: str
    options: Mapping[str, Any]

    def __call__(self, images: Sequence[Any], /) -> Asked:
        """What the processor makes of one prompt with these images."""
        return _asked(self.processor, self.mark, images, self.options)


def asker(model: Any, processor: Any, options: Mapping[str, Any], /) -> Asker:
    """The processor, ready to be asked.

    Raises
    ------
    ValueError
        If no way is found to write an image into a prompt.
    """
    from PIL import Image

    blank, reasons = Image.new("RGB", (64, 64), (127, 127, 127)), []
    tokens = token_ids(model, processor)
    for mark in dict.fromkeys(_marks(processor)):
        try:
            written = _asked(processor, mark, [blank], options).ids
        except Exception as reason:  # whatever a processor says of a text that is not its own
            reasons.append(f"{mark!r}: {type(reason).__name__}: {reason}")
            continue
        if token := max(tokens, key=written.count, default=0):
            if written.count(token):
                return Asker(processor, token, mark, options)
        reasons.append(f"{mark!r}: none of the tokens {tokens} was written")
    raise ValueError("no prompt with an image could be made (" + "; ".join(reasons)[:500] + ")")


def _marks(processor: Any) -> Iterator[str]:
    for name in _MARKS:
        if isinstance(mark := getattr(processor, name, None), str):
            yield mark
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": "?"}]
        yield str(processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True))
    yield "<image>"


def _asked(processor: Any, mark: str, images: Sequence[Any], options: Mapping[str, Any]) -> Asked:
    inputs = processor(images=[list(images)], text=[mark * len(images)], return_tensors="pt", **options)
    return Asked(inputs["input_ids"][0].tolist(), inputs)
