"""OpenAI's chat completions: images in messages, texts and tool calls in answers, whole and in chunks.

Knows the JSON; no network.
"""

from __future__ import annotations

import base64
import binascii
import copy
import io
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pmtools.answers import Undoing
from pmtools.answers.looking import where_to_look
from pmtools.api.views import View
from pmtools.io import MAX_PIXELS, ImageFileError, read_image

#: What answers hold in text; models that think aloud name places there too.
_TEXTS = ("content", "reasoning_content", "reasoning")


class Where(NamedTuple):
    """An image among messages: the message, and the part of its content."""

    message: int
    part: int


def image_part(image: Any) -> dict[str, Any]:
    """A part of a message for a PIL image, as PNG: no blocks of JPEG on what was just magnified."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": url}}


def user_message(image: Any, question: str) -> dict[str, Any]:
    """A question about an image."""
    return {"role": "user", "content": [image_part(image), {"type": "text", "text": question}]}


def region_question(view: View, question: str) -> dict[str, Any]:
    """Asks on an overview where what the question is about can be seen."""
    return user_message(view.image, where_to_look(question, format=view.format))


def last_image(messages: Sequence[Mapping[str, Any]]) -> Where | None:
    """The last image that is in the messages themselves, as a data URL."""
    found = None
    for i, message in enumerate(messages):
        parts = message.get("content")
        for j, part in enumerate(parts if isinstance(parts, list) else []):
            if isinstance(part, dict) and str(_url(part))[:5].lower() == "data:":
                found = Where(i, j)
    return found


def _url(part: Mapping[str, Any]) -> Any:
    image = part.get("image_url")
    return image.get("url") if isinstance(image, dict) else image


def read_image_part(part: Mapping[str, Any], *, max_pixels: int = MAX_PIXELS) -> Any:
    """The image of a data URL.

    Raises
    ------
    ValueError
        If it is not an image, or has more pixels than `max_pixels`.
    """
    content = _content_of(str(_url(part)))
    try:
        return read_image(content, max_pixels=max_pixels)
    except ImageFileError as error:
        raise ValueError(f"`image_url` must be a data URL of an image in base64: it {error.problem}") from None


def _content_of(url: str) -> bytes:
    """The bytes of a data URL: its base64 may have line breaks, escapes of URLs and no padding, as encoders leave it."""
    head, comma, data = url.partition(",")
    wanted = "`image_url` must be a data URL of an image in base64, data:image/png;base64,..."
    if not comma or not head.lower().startswith("data:") or not head.lower().rstrip().endswith(";base64"):
        raise ValueError(f"{wanted}, got {head[:60]!r}; encode the image with base64")
    text = "".join(urllib.parse.unquote(data).split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"{wanted}, got text that is no base64 ({error}); encode the image again") from None


def with_image(messages: Sequence[Any], where: Where, image: Any) -> list[Any]:
    """Messages with another image at that place; whatever else its part says stays."""
    changed = list(messages)
    message = dict(changed[where.message])
    parts = list(message["content"])
    part, new = dict(parts[where.part]), image_part(image)["image_url"]["url"]
    part["image_url"] = {**part["image_url"], "url": new} if isinstance(part["image_url"], dict) else new
    parts[where.part] = part
    message["content"] = parts
    changed[where.message] = message
    return changed


def text_of(message: Mapping[str, Any]) -> str:
    """What a message says: its text, or that of its parts; "" if it has none."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "\n".join(texts)


def last_question(messages: Sequence[Mapping[str, Any]]) -> str:
    """What the user asked last, in text."""
    asked = (text_of(message) for message in reversed(messages) if message.get("role") == "user")
    return next(filter(None, asked), "")


def undone_message(message: Mapping[str, Any], view: View, **options: Any) -> dict[str, Any]:
    """An answer's message, its texts and the arguments of its tool calls in coordinates of the original image."""
    changed = copy.deepcopy(dict(message))
    for holder, key in _places(changed):
        holder[key] = view.undo(holder[key], **options).text
    return changed


def _places(message: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Where a message or a delta has text that may name places."""
    for key in _TEXTS:
        if isinstance(message.get(key), str):
            yield message, key
    content = message.get("content")
    for part in content if isinstance(content, list) else []:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            yield part, "text"
    calls = message.get("tool_calls")
    for call in [*(calls if isinstance(calls, list) else []), {"function": message.get("function_call")}]:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), str):
            yield function, "arguments"


class Chunks:
    """Undoes a streamed answer: each text and each tool call of each choice by itself.

    Parameters
    ----------
    undoing : callable
        Makes a new `Undoing`.
    """

    def __init__(self, undoing: Callable[[], Undoing]) -> None:
        self._new = undoing
        self._running: dict[tuple[int, str, int], Undoing] = {}
        self._last: dict[str, Any] = {}

    def feed(self, chunk: Mapping[str, Any], /) -> dict[str, Any]:
        """The chunk with all text that is settled by now."""
        changed = copy.deepcopy(dict(chunk))
        for choice in changed.get("choices") or []:
            index, delta = choice.get("index", 0), choice.get("delta")
            if isinstance(delta, dict):
                self._feed(index, delta)
            if choice.get("finish_reason") is not None:
                choice["delta"] = self._finished(index, delta if isinstance(delta, dict) else {})
        self._last = changed
        return changed

    def finish(self) -> dict[str, Any] | None:
        """A chunk with the text held back for unfinished choices, if there is any."""
        choices = [
            {"index": index, "delta": self._finished(index, {}), "finish_reason": None}
            for index in sorted({key[0] for key in self._running})
        ]
        choices = [choice for choice in choices if choice["delta"]]
        return {**self._last, "choices": choices} if choices else None

    def _feed(self, index: int, delta: dict[str, Any]) -> None:
        for name in _TEXTS:
            if isinstance(delta.get(name), str):
                delta[name] = self._undoing(index, name, 0).feed(delta[name])
        for number, call in enumerate(delta.get("tool_calls") or []):
            function = call.get("function") or {}
            if isinstance(function.get("arguments"), str):
                undoing = self._undoing(index, "tool_calls", call.get("index", number))
                function["arguments"] = undoing.feed(function["arguments"])

    def _undoing(self, index: int, name: str, number: int) -> Undoing:
        key = (index, name, number)
        if key not in self._running:
            self._running[key] = self._new()
        return self._running[key]

    def _finished(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        """The delta with all text held back for a choice."""
        for key in [key for key in self._running if key[0] == index]:
            rest = self._running.pop(key).finish()
            if not rest:
                continue
            _, name, number = key
            if name == "tool_calls":
                calls = delta.setdefault("tool_calls", [])
                same = next((call for call in calls if call.get("index") == number), None)
                if same is None:
                    calls.append({"index": number, "function": {"arguments": rest}})
                else:
                    same["function"]["arguments"] = (same["function"].get("arguments") or "") + rest
            else:
                delta[name] = (delta.get(name) or "") + rest
        return delta
