"""The page: the place of each control, and the method of `Session` that it calls. The other files compute.

Work on pictures waits in a separate queue, without a thread, so that everything else is answered immediately.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import gradio as gr
from gradio.utils import get_upload_folder

from pmtools.app import actions, views, words
from pmtools.app.actions import NO_LIMIT, SIZES, Settings
from pmtools.app.answers import DemoAnswers
from pmtools.app.budget import Budget
from pmtools.app.pictures import Limits, PageError
from pmtools.app.session import Session
from pmtools.settings import MARGINALS

_TOOLS = [("Point", "point"), ("Box", "box"), ("Brush", "brush"), ("Look", "look")]
_QUESTION = "Is there a red circle in this image?"
# of events: not a public API; each is one request with one answer. In gradio's queue answers come over a stream that
# browser and server close when nothing is left to answer: an event that starts just then is never answered
_EVENT: dict[str, Any] = {"api_visibility": "private", "queue": False}
_QUIET: dict[str, Any] = {**_EVENT, "show_progress": "hidden"}  # progress is seen on the pictures
_LATEST: dict[str, Any] = {**_QUIET, "trigger_mode": "always_last"}
# changes and files processed at a time, for all users: each holds several images in memory
_AT_A_TIME = 4
_log = logging.getLogger(__name__)


class _Controls(NamedTuple):
    """What the user works with."""

    upload: gr.File
    photograph: gr.Button
    scene: gr.Button
    tabs: gr.Tabs
    marking: gr.Tab
    asking: gr.Tab
    tool: gr.Radio
    brush: gr.Slider
    undo: gr.Button
    clear: gr.Button
    question: gr.Textbox
    ask: gr.Button
    sliders: list[Any]
    save_image: gr.Button
    save_warp: gr.Button


class _Shown(NamedTuple):
    """The components that events update.

    Pictures take long and the pointer does not wait: what belongs to the place it is at comes by itself, from the newest
    state, or an answer on its way would put an old place back.
    """

    views: list[gr.HTML]
    facts: gr.HTML
    answers: gr.HTML
    notice: gr.HTML
    numbers: gr.HTML

    def all(self) -> list[gr.HTML]:
        return [*self.views, self.facts, self.answers, self.notice]

    def places(self) -> list[gr.HTML]:
        return [*self.views, self.numbers]


def make_page(limits: Limits, /) -> gr.Blocks:
    """The whole page.

    Parameters
    ----------
    limits : Limits

    Returns
    -------
    gradio.Blocks
    """
    uploads, queued = Path(get_upload_folder()), _line(_AT_A_TIME)
    # uploads and downloads are gone after five minutes; every minute somebody looks
    with gr.Blocks(title="pmtools", analytics_enabled=False, fill_width=True, delete_cache=(60, 300)) as page:
        user = gr.State(None)
        controls, shown = _lay_out()
        new = partial(Session, limits, DemoAnswers(), uploads=uploads, budget=Budget(limits.memory_bytes))
        page.load(queued(partial(_begin, new)), None, [user, *shown.all()], **_QUIET)
        _connect(user, controls, shown, queued)
    page.state_session_capacity = 100  # users whose pictures are kept in memory; the oldest has to reload
    page.limiter = anyio.CapacityLimiter(16)  # threads of the other events; the server's own threads stay free
    # gradio looks at the paths that browsers send only in pages that it has launched itself
    page.has_launched = True
    return page


def _line(at_a_time: int) -> Callable[[Callable[..., Any]], Callable[..., Awaitable[Any]]]:
    """A queue: `queued(function)` runs in a thread, when fewer than `at_a_time` others of the queue are running."""
    limiter = anyio.CapacityLimiter(at_a_time)

    def queued(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        @wraps(getattr(function, "func", function))
        async def wait_and_run(*inputs: Any, **options: Any) -> Any:
            return await anyio.to_thread.run_sync(partial(function, *inputs, **options), limiter=limiter)

        if isinstance(function, partial):  # its own signature, not that of the function inside
            del wait_and_run.__wrapped__
        return wait_and_run

    return queued


# ------------------------------------------------------------------------------------------------------------ layout


def _lay_out() -> tuple[_Controls, _Shown]:
    gr.HTML(words.HEADER, elem_id="header")
    with gr.Row(elem_id="main"):
        with gr.Column(elem_id="where"):
            upload = gr.File(label="Your image", show_label=False, height=120, elem_id="upload")
            with gr.Row():
                photograph = gr.Button("Photograph", size="sm", elem_id="photograph", min_width=80)
                scene = gr.Button("Next scene", size="sm", elem_id="scene", min_width=80)
            with gr.Tabs(elem_id="tabs") as tabs:
                with gr.Tab("Mark", id="mark") as marking:
                    tool = gr.Radio(_TOOLS, value="box", label="On the original", elem_id="tool")
                    brush = _slider(
                        1, 20, value=5, step=0.5, label="Brush, % of the picture", elem_id="brush", visible=False
                    )
                    with gr.Row():
                        undo = gr.Button("Undo", size="sm", elem_id="undo", min_width=80)
                        clear = gr.Button("Clear", size="sm", elem_id="clear", min_width=80)
                with gr.Tab("Ask", id="ask") as asking:
                    question = gr.Textbox(
                        _QUESTION, label="Question to the demo model, which knows small shapes", elem_id="question"
                    )
                    ask = gr.Button("Ask", variant="primary", elem_id="ask")
                    answers = gr.HTML(elem_id="answers")
            notice = gr.HTML(elem_id="notice")
        with gr.Column(elem_id="pictures"):
            with gr.Row(elem_id="views"):
                seen = [views.make_view(name) for name in views.TITLES]
            with gr.Row(elem_id="below"):
                numbers = gr.HTML(words.NO_PLACE, elem_id="numbers")
                facts = gr.HTML(elem_id="facts")
            with gr.Row():
                save_image = gr.Button(
                    "Download the magnified image", size="sm", elem_id="download_image", min_width=140
                )
                save_warp = gr.Button("Download the warp", size="sm", elem_id="download_warp", min_width=140)
        with gr.Column(elem_id="how"):
            sliders = _lay_out_sliders()
    regions = (tabs, marking, asking, tool, brush, undo, clear, question, ask)
    controls = _Controls(upload, photograph, scene, *regions, sliders, save_image, save_warp)
    return controls, _Shown(seen, facts, answers, notice, numbers)


def _lay_out_sliders() -> list[Any]:
    """In the order of the fields of `Settings`."""
    usual = Settings()
    return [
        _slider(0, 100, usual.gain, step=0.5, label="Gain: contrast of the map", elem_id="gain"),
        _slider(1, 15, usual.kernel_size, step=2, label="Kernel: smoothing, in cells", elem_id="kernel"),
        gr.Radio(list(MARGINALS), value=usual.marginal, label="Marginal: the map along each axis", elem_id="marginal"),
        _slider(0.01, 1, usual.floor, step=0.01, label="Floor: least scale anywhere", elem_id="floor"),
        _slider(1, NO_LIMIT, NO_LIMIT, step=0.25, label=f"Magnify at most ({NO_LIMIT:g}: any)", elem_id="limit"),
        gr.Dropdown(
            list(SIZES), value=usual.size, label="Output size, height x width", allow_custom_value=True, elem_id="size"
        ),
    ]


def _slider(*limits: float, **options: Any) -> gr.Slider:
    """A slider that takes a number typed beyond its ends as that end, as it will show it; gradio's raises an error."""
    slider = gr.Slider(*limits, **options)  # no subclass: gradio writes a file beside the module of one
    read = slider.preprocess

    def read_within(number: float | None) -> Any:
        return read(slider.minimum if number is None else min(max(number, slider.minimum), slider.maximum))

    slider.preprocess = read_within
    return slider


# ------------------------------------------------------------------------------------------------------------ events


def _connect(user: gr.State, controls: _Controls, shown: _Shown, queued: Callable[..., Any]) -> None:
    c, everything = controls, shown.all()
    original = shown.views[0]
    asking, waiting = (
        {**_EVENT, "show_progress": "minimal", "show_progress_on": where} for where in (shown.answers, shown.facts)
    )

    def acting(change: Callable[..., object], *, new: bool = False) -> Callable[..., Awaitable[Any]]:
        return queued(partial(_act, change, new=new))  # type: ignore[no-any-return]

    changes = [
        c.upload.upload(acting(Session.open, new=True), [user, c.upload], everything, **_QUIET),
        c.photograph.click(queued(_open_photograph), user, [*everything, c.tabs, *c.sliders], **_QUIET),
        c.scene.click(queued(_open_scene), user, [*everything, c.tabs, *c.sliders, c.question], **_QUIET),
        c.marking.select(queued(_follow_marks), user, everything, **_QUIET),
        c.asking.select(acting(partial(Session.follow, asking=True)), user, everything, **_QUIET),
        original.mark(queued(_add_mark), user, everything, **_QUIET),
        c.undo.click(acting(Session.undo), user, everything, **_QUIET),
        c.clear.click(acting(Session.clear), user, everything, **_QUIET),
        c.ask.click(acting(Session.ask), [user, c.question], everything, **asking),
        c.question.submit(acting(Session.ask), [user, c.question], everything, **asking),
        *(control.input(acting(_set), [user, *c.sliders], everything, **_LATEST) for control in c.sliders),
    ]
    for change in changes:
        change.then(_places, user, shown.places(), **_QUIET)
    for name, view in zip(views.TITLES, shown.views, strict=True):
        view.look(_looker(name), user, shown.places(), **_LATEST)

    for listen in (c.tool.input, c.marking.select):
        listen(_use_tool, c.tool, [original, c.brush], **_LATEST)
    c.brush.input(lambda percent: gr.HTML(brush=percent / 100), c.brush, original, **_LATEST)
    c.asking.select(lambda: gr.HTML(tool="look"), None, original, **_QUIET)

    file = gr.DownloadButton(elem_id="file", visible="hidden")
    for button, writer in ((c.save_image, actions.save_image), (c.save_warp, actions.save_warp)):
        button.click(queued(partial(_save, writer)), user, [file, shown.notice], **waiting).success(
            None, None, None, js="() => document.querySelector('#file').click()", **_EVENT
        )


def _act(change: Callable[..., object], user: Session | None, *inputs: Any, new: bool = False) -> list[Any]:
    """Change one user's session and show the result, or show why it cannot be changed."""
    if user is None:
        return _nothing_but(words.problem(words.GONE))
    try:
        with user.lock:
            if user.released:
                return _nothing_but(words.problem(words.RELEASED))
            change(user, *inputs)
            return [
                *views.update_views(user, with_original=new),
                words.facts(user),
                words.answers(user),
                words.notice(user),
            ]
    except Exception as error:
        return _nothing_but(_error_text(error))


def _error_text(error: Exception) -> str:
    """The page's text for an error; errors that are not the user's fault are also logged."""
    if isinstance(error, PageError):
        return words.problem(str(error))
    _log.error("the page could not handle an event", exc_info=error)
    return words.failure(error)


def _nothing_but(notice: str) -> list[Any]:
    return [gr.skip()] * (len(views.TITLES) + 2) + [notice]


def _begin(new: Callable[[], Session]) -> list[Any]:
    try:
        user = new()
    except Exception as error:
        return [None, *_nothing_but(_error_text(error))]
    return [user, *_act(lambda _: None, user, new=True)]


def _follow_marks(user: Session | None) -> list[Any]:
    if user is None:  # gradio selects the first tab when the page opens, perhaps before the user is there
        return [gr.skip()] * (len(views.TITLES) + 3)
    return _act(partial(Session.follow, asking=False), user)


def _set(user: Session, *values: Any) -> None:
    user.set(Settings(*values))


def _use_tool(tool: str) -> list[Any]:
    return [gr.HTML(tool=tool), gr.Slider(visible=tool == "brush")]


def _add_mark(user: Session | None, event: gr.EventData) -> list[Any]:
    data = {name: getattr(event, name, None) for name in ("kind", "xy", "radius")}
    return _act(Session.add, user, data)


def _places(user: Session | None) -> list[Any]:
    """The pointer's place, on all views and in numbers."""
    if user is None:
        return [gr.skip()] * (len(views.TITLES) + 1)
    with user.lock:
        if user.released:
            return [gr.skip()] * len(views.TITLES) + [words.problem(words.RELEASED)]
        return [*views.update_places(user), words.numbers(user)]


def _looker(name: str) -> Callable[..., list[Any]]:
    """The handler for pointing at a view."""

    # gradio hands the event to a plain function with this annotation, to no partial
    def look(user: Session | None, event: gr.EventData) -> list[Any]:
        if user is not None:
            with user.lock, contextlib.suppress(PageError, AttributeError):  # a released session has nothing to look at
                user.look(getattr(event, "x", None), getattr(event, "y", None), magnified=views.is_magnified(name))
        return _places(user)

    return look


def _open_photograph(user: Session | None) -> list[Any]:
    shown = _act(Session.open_photograph, user, new=True)
    return [*shown, gr.Tabs(selected="mark"), *vars(Settings()).values()]


def _open_scene(user: Session | None) -> list[Any]:
    asked: list[str] = []
    shown = _act(lambda session: asked.append(session.open_scene()), user, new=True)
    if user is None or not asked:
        return [*shown, *[gr.skip()] * (2 + len(vars(Settings())))]
    return [*shown, gr.Tabs(selected="ask"), *vars(user.choice.settings).values(), asked[0]]


def _save(writer: Callable[..., Path], user: Session | None) -> list[Any]:
    if user is None:
        return [gr.skip(), words.problem(words.GONE)]
    try:
        with user.lock:
            if user.released:
                return [gr.skip(), words.problem(words.RELEASED)]
            picture, magnified, notice = user.choice.picture, user.magnified, words.notice(user)
        # outside the lock, since large files take seconds; gradio deletes what lies in its own folder, see `make_page`
        folder = Path(tempfile.mkdtemp(dir=get_upload_folder()))
        return [str(writer(picture, magnified, folder)), notice]
    except Exception as error:
        return [gr.skip(), _error_text(error)]
