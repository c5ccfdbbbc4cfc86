"""Ask a model behind an API through any `openai` client, and get its answer in coordinates of the original image.

The client handles addresses, keys, retries and time limits. Sync and async clients take the same steps.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pmtools.adapters.pixels import as_pil
from pmtools.answers import Format, Place
from pmtools.answers.looking import regions
from pmtools.api import messages
from pmtools.api.view_options import ViewOptions
from pmtools.api.views import MAX_PIXELS, View
from pmtools.typing import BoxesXYXY, Image, Ndarray
from pmtools.warp import Warp


@dataclass(frozen=True, eq=False)
class Reply:
    """An answer about an image.

    Attributes
    ----------
    text : str
        The answer, in coordinates of the original image; "" if the model only called tools.
    raw_text : str
        The answer as received, in coordinates of the magnified image.
    places : tuple of pmtools.answers.Place
        What it names, in pixels of the original.
    message : dict
        The message with its tool calls, in coordinates of the original.
    image : PIL image
        The original.
    magnified : PIL image
        The image that the model saw.
    warp : Warp
        From the original to the magnified image.
    boxes_xyxy : float64 array of shape (n, 4)
        The magnified boxes, in pixels of the original.
    completion : object
        The client's response.
    """

    text: str
    raw_text: str
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
        Or any object with their `chat.completions.create`, whose completions are Pydantic models, as theirs, or mappings,
        as those of `huggingface_hub.InferenceClient`.
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
    units : {"same", "pixels", "fractions"}, optional
        As for `pmtools.answers.undo`.
    **options
        Of `chat.completions.create`: `temperature=0`, `tools=[...]`; for the answer, not for the question where to look.

    Returns
    -------
    Reply
        For an async client, a coroutine that returns it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above, or the server answers without a choice. Errors of the client are passed on.
    """
    if options.get("stream"):
        raise ValueError("`stream` must be left out, since a reply is whole, got True; `pmtools proxy` serves streams")
    viewing = ViewOptions(boxes=boxes, format=format, max_pixels=max_pixels, zoom=zoom, units=units)
    steps = _steps(model, as_pil(image, name="image"), question, viewing, options)
    create = client.chat.completions.create
    first = create(**next(steps))
    return (_run_async if inspect.isawaitable(first) else _run)(create, steps, first)


def _steps(model: str, picture: Any, question: str, viewing: ViewOptions, options: dict[str, Any]) -> _Steps:
    boxes = viewing.boxes
    if viewing.asks_model:
        overview = viewing.overview(picture)
        completion = yield {"model": model, "messages": [messages.region_question(overview, question)]}
        seen = overview.undo(messages.text_of(_message(completion)))
        boxes = regions(seen, (picture.height, picture.width))
    shown = viewing.view(picture, boxes)
    completion = yield {"model": model, "messages": [messages.user_message(shown.image, question)], **options}
    return _reply(picture, shown, completion, viewing.units)


def _reply(picture: Any, shown: View, completion: Any, units: str) -> Reply:
    message = _message(completion)
    said = messages.text_of(message)
    undone = shown.undo(said, units=units)
    return Reply(
        text=undone.text,
        raw_text=said,
        places=undone.places,
        message=messages.undone_message(message, shown, units=units),
        image=picture,
        magnified=shown.image,
        warp=shown.warp,
        boxes_xyxy=shown.boxes_xyxy,
        completion=completion,
    )


def _message(completion: Any) -> dict[str, Any]:
    as_mapping = isinstance(completion, Mapping)
    choices = completion.get("choices") if as_mapping else getattr(completion, "choices", None)
    if not choices:
        raise ValueError(
            "`client` must get a completion with a choice, got none: a filter of the server may have refused the image or the "
            f"question; the server said {completion!r:.300}"
        )
    if as_mapping:
        return dict(choices[0]["message"])
    return dict(choices[0].message.model_dump(warnings=False))  # some servers answer in parts


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
