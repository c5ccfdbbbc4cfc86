"""Ask a model behind an API through any `openai` client: the image goes magnified, the answer comes of the original.

The client does what clients do: addresses, keys, retries, time limits. Sync and async clients take the same steps; only who waits
differs.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from pmtools.adapters.pixels import as_pil
from pmtools.answers import Format, Place
from pmtools.api import messages
from pmtools.api.views import MAX_PIXELS, View, regions
from pmtools.api.wishes import Wish
from pmtools.typing import BoxesXYXY, Image, Ndarray
from pmtools.warp import Warp


@dataclass(frozen=True, eq=False)
class Reply:
    """An answer about an image.

    Attributes
    ----------
    text : str
        What the model said, in coordinates of the original image; "" where it called tools alone.
    said : str
        What it said, as it came: of the magnified image.
    places : tuple of pmtools.answers.Place
        What it names, in pixels of the original.
    message : dict
        The message with its tool calls, undone too.
    image : PIL image
        The original.
    magnified : PIL image
        What the model was shown.
    warp : Warp
        From the original to the magnified image.
    boxes_xyxy : float64 array of shape (n, 4)
        What was magnified, in pixels of the original.
    completion : object
        The client's own answer.
    """

    text: str
    said: str
    places: tuple[Place, ...]
    message: dict[str, Any]
    image: Any
    magnified: Any
    warp: Warp
    boxes_xyxy: Ndarray
    completion: Any


#: Requests out, completions in, a reply at the end.
_Steps: TypeAlias = Generator[dict[str, Any], Any, Reply]


def ask(
    client: Any,
    model: str,
    image: Image,
    question: str,
    /,
    *,
    boxes: BoxesXYXY | str | None = None,
    max_pixels: int = MAX_PIXELS,
    format: str | Format = "json",
    zoom: float | None = None,
    units: str = "same",
    **options: Any,
) -> Any:
    """Ask a model about an image in which boxes are magnified.

    Parameters
    ----------
    client : openai.OpenAI or openai.AsyncOpenAI
        Or whatever has their `chat.completions.create`.
    model : str
        The server's name for it.
    image : PIL image or array of shape (H, W) or (H, W, C)
    question : str
    boxes : array of shape (4,) or (n, 4), "ask" or None, optional
        What to magnify, in pixels of the image. "ask": the model is asked first, on a small overview, where to look. None:
        nothing; the image is only fitted into the budget.
    max_pixels : int, optional
        Most pixels to send, so that the server does not resize again.
    format : str or Format, optional
        How the model writes places, a name in `pmtools.answers.FORMATS`.
    zoom : float, optional
        As for `view`, where boxes are given.
    units : {"same", "pixels"}, optional
        As for `pmtools.answers.undo`.
    **options
        Of `chat.completions.create`: `temperature=0`, `tools=[...]`; for the answer, not for the question where to look.

    Returns
    -------
    Reply
        A coroutine of it, where the client is async.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what is said above. What the client raises goes through.
    """
    if options.get("stream"):
        raise ValueError("`stream` must be left out, since a reply is whole, got True; `pmtools proxy` serves streams")
    wish = Wish(boxes=boxes, format=format, max_pixels=max_pixels, zoom=zoom, units=units)
    steps = _steps(model, as_pil(image, name="image"), question, wish, options)
    create = client.chat.completions.create
    first = create(**next(steps))
    return (_run_async if inspect.isawaitable(first) else _run)(create, steps, first)


def _steps(model: str, picture: Any, question: str, wish: Wish, options: dict[str, Any]) -> _Steps:
    boxes = wish.boxes
    if wish.asks:
        overview = wish.overview(picture)
        completion = yield {"model": model, "messages": [messages.region_question(overview, question)]}
        boxes = regions(overview.undo(_text(_message(completion))), (picture.height, picture.width))
    seen = wish.view(picture, boxes)
    completion = yield {"model": model, "messages": [messages.user_message(seen.image, question)], **options}
    return _reply(picture, seen, completion, wish.units)


def _reply(picture: Any, seen: View, completion: Any, units: str) -> Reply:
    message = _message(completion)
    undone = seen.undo(_text(message), units=units)
    return Reply(
        text=undone.text,
        said=_text(message),
        places=undone.places,
        message=messages.undone_message(message, seen, units=units),
        image=picture,
        magnified=seen.image,
        warp=seen.warp,
        boxes_xyxy=seen.boxes_xyxy,
        completion=completion,
    )


def _message(completion: Any) -> dict[str, Any]:
    return dict(completion.choices[0].message.model_dump())


def _text(message: dict[str, Any]) -> str:
    return message.get("content") or ""


def _run(create: Any, steps: _Steps, completion: Any) -> Reply:
    while True:
        try:
            request = steps.send(completion)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        completion = create(**request)


async def _run_async(create: Any, steps: _Steps, completion: Any) -> Reply:
    while True:
        try:
            request = steps.send(await completion)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        completion = create(**request)
