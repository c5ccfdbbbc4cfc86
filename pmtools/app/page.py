"""The page: the place of each control, and the method of `Session` that it calls. The other files compute.

Work on pictures waits in a separate queue, without a thread, so that everything else is answered immediately.
"""

from __future__ import annotations

import logging
import re
import tempfile
import weakref
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import gradio as gr
from gradio.utils import get_upload_folder

from pmtools.app import actions, answers, views, words
from pmtools.app.actions import NO_LIMIT, SIZES, Settings
from pmtools.app.answers import DemoAnswers
from pmtools.app.budget import Budget
from pmtools.app.pictures import Limits, PageError
from pmtools.app.session import Session
from pmtools.settings import MARGINALS

_TOOLS = [("Point", "point"), ("Box", "box"), ("Brush", "brush"), ("Look", "look")]
# of events: not a public API; each is one request with one answer. In gradio's queue answers come over a stream that
# browser and server close when nothing is left to answer: an event that starts just then is never answered
_EVENT: dict[str, Any] = {"api_visibility": "private", "queue": False}
_QUIET: dict[str, Any] = {**_EVENT, "show_progress": "hidden"}  # progress is seen on the pictures
_LATEST: dict[str, Any] = {**_QUIET, "trigger_mode": "always_last"}
# a name of the browser's tab, which a reload keeps; nobody else knows it
_TAB = """() => {
    try {
        const bytes = crypto.getRandomValues(new Uint8Array(16));
        sessionStorage.pmtools ??= Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
        return [sessionStorage.pmtools];
    } catch { return [""]; }
}"""
# changes and files processed at a time, for all users: each holds several images in memory
_AT_A_TIME = 4
_log = logging.getLogger(__name__)


class _Controls(NamedTuple):
    """What the user works with."""

    upload: gr.File
    photograph: gr.Button
    scene: gr.Button
    tabs: gr.Tabs
    tool: gr.Radio
    brush: gr.Slider
    undo: gr.Button
    clear: gr.Button
    question: gr.Textbox
    ask: gr.Button
    questions: gr.Dataset
    sliders: list[Any]
    save_image: gr.Button
    save_warp: gr.Button

    def kept(self) -> list[Any]:
        """Those that show what a session holds, in the order of `_held`."""
        return [self.tabs, self.question, self.questions, *self.sliders]


class _Shown(NamedTuple):
    """What shows the result."""

    views: gr.HTML
    facts: gr.HTML
    answers: gr.HTML
    notice: gr.HTML


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
    new = partial(Session, limits, DemoAnswers(), uploads=uploads, budget=Budget(limits.memory_bytes))
    # users by tab, so that a reload finds its own: gradio's state holds them, for an hour after their pages are closed
    users: MutableMapping[str, Session] = weakref.WeakValueDictionary()
    # uploads and downloads are gone after five minutes; every minute somebody looks
    with gr.Blocks(title="pmtools", analytics_enabled=False, fill_width=True, delete_cache=(60, 300)) as page:
        user, tab = gr.State(None), gr.Textbox(visible=False)
        controls, shown = _lay_out()
        begun = page.load(queued(partial(_begin, new, users)), tab, [user, *shown], js=_TAB, **_QUIET)
        begun.then(_held, user, controls.kept(), **_QUIET)
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
            upload = gr.File(label="Your image", show_label=False, height=100, elem_id="upload")
            with gr.Row():
                photograph = gr.Button("Photograph", size="sm", elem_id="photograph", min_width=80)
                scene = gr.Button("Next scene", size="sm", elem_id="scene", min_width=80)
            notice = gr.HTML(elem_id="notice")
        with gr.Column(elem_id="pictures"):
            seen = views.make_views()
        with gr.Column(elem_id="how"):
            with gr.Tabs(elem_id="tabs") as tabs:
                with gr.Tab("Mark", id="mark"):
                    tool = gr.Radio(_TOOLS, value="box", label="On the original", container=False, elem_id="tool")
                    brush = _slider(
                        1, 20, value=5, step=0.5, label="Brush, % of the picture", elem_id="brush", visible=False
                    )
                    with gr.Row():
                        undo = gr.Button("Undo", size="sm", elem_id="undo", min_width=80)
                        clear = gr.Button("Clear", size="sm", elem_id="clear", min_width=80)
                with gr.Tab("Ask", id="ask"):
                    question = gr.Textbox(
                        label="Question to the demo model, which knows small shapes", elem_id="question"
                    )
                    ask = gr.Button("Ask", variant="primary", elem_id="ask")
                    said = gr.HTML(elem_id="answers")
                    questions = gr.Dataset(
                        components=[question],
                        samples=[[text] for text in answers.QUESTIONS],
                        label="Or one of these",
                        layout="gallery",
                        elem_id="questions",
                    )
            sliders = _lay_out_sliders()
        with gr.Column(elem_id="result"):
            facts = gr.HTML(elem_id="facts")
            with gr.Row():
                save_image = gr.Button(
                    "Download the magnified image", size="sm", elem_id="download_image", min_width=140
                )
                save_warp = gr.Button("Download the warp", size="sm", elem_id="download_warp", min_width=140)
    asking = (question, ask, questions)
    controls = _Controls(
        upload, photograph, scene, tabs, tool, brush, undo, clear, *asking, sliders, save_image, save_warp
    )
    return controls, _Shown(seen, facts, said, notice)


def _lay_out_sliders() -> list[Any]:
    """In the order of the fields of `Settings`."""
    usual = Settings()
    gain = _slider(0, 100, usual.gain, step=0.5, label="How much", info="0 changes nothing.", elem_id="gain")
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        return [
            gain,
            _slider(1, 15, usual.kernel_size, step=2, label="Kernel", info="Smoothing, in cells.", elem_id="kernel"),
            gr.Radio(
                list(MARGINALS),
                value=usual.marginal,
                label="Marginal",
                info="What counts along a row: its peak, or all of it.",
                elem_id="marginal",
            ),
            _slider(0.01, 1, usual.floor, step=0.01, label="Floor", info="Least scale anywhere.", elem_id="floor"),
            _slider(
                1, NO_LIMIT, NO_LIMIT, step=0.25, label="At most", info=f"Times; {NO_LIMIT:g} is any.", elem_id="limit"
            ),
            gr.Dropdown(
                list(SIZES),
                value=usual.size,
                label="Output size",
                info="Height x width in pixels; any may be typed.",
                allow_custom_value=True,
                elem_id="size",
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
    c, everything = controls, list(shown)
    asking, waiting = (
        {**_EVENT, "show_progress": "minimal", "show_progress_on": where} for where in (shown.answers, shown.facts)
    )

    def acting(change: Callable[..., object], **how: Any) -> Callable[..., Awaitable[Any]]:
        return queued(partial(_act, change, **how))  # type: ignore[no-any-return]

    each = {**_QUIET, "trigger_mode": "multiple"}  # none of several in a row may be lost
    uploaded = c.upload.upload(acting(Session.open, new=True), [user, c.upload], everything, **_QUIET)
    uploaded.then(lambda: None, None, c.upload, **_QUIET)  # it is told in words; the next can be dropped
    photograph = c.photograph.click(acting(Session.open_photograph, new=True), user, everything, **_QUIET)
    scene = c.scene.click(acting(Session.open_scene, new=True), user, everything, **_QUIET)
    for opened in (uploaded, photograph, scene):  # afterwards: gradio 6.20 loses what comes with another tab
        opened.then(_held, user, c.kept(), **_QUIET)
    c.tabs.select(queued(_follow), user, everything, **_QUIET)  # of the user: not what `_held` selects
    shown.views.mark(queued(_add_mark), user, everything, **each)
    for undone in (c.undo.click, shown.views.undo):
        undone(acting(Session.undo), user, everything, **each)
    c.clear.click(acting(Session.clear), user, everything, **_QUIET)
    for asked in (c.ask.click, c.question.submit):
        asked(acting(Session.ask, problems="answers"), [user, c.question], everything, **asking)
    c.questions.click(queued(_ask_one_of), [user, c.questions], [*everything, c.question], **asking)
    for control in c.sliders:
        control.input(acting(_set), [user, *c.sliders], everything, **_LATEST)

    c.tool.input(_use_tool, c.tool, [shown.views, c.brush], **_LATEST)
    c.brush.input(lambda percent: gr.HTML(brush=percent / 100), c.brush, shown.views, **_LATEST)

    file = gr.DownloadButton(elem_id="file", visible="hidden")
    for button, writer in ((c.save_image, actions.save_image), (c.save_warp, actions.save_warp)):
        button.click(queued(partial(_save, writer)), user, [file, shown.notice], **waiting).success(
            None, None, None, js="() => document.querySelector('#file').click()", **_EVENT
        )


def _act(
    change: Callable[..., object], user: Session | None, *inputs: Any, new: bool = False, problems: str = "notice"
) -> list[Any]:
    """Change one user's session and show the result, or show why it cannot be changed.

    With `new`, the picture itself is another.
    """
    try:
        if user is None:
            raise PageError(words.GONE)
        with user.lock:
            if user.released:
                raise PageError(words.RELEASED)
            change(user, *inputs)
            seen = views.update_views(user, with_original=new)
            return [seen, words.facts(user), words.answers(user), words.notice(user)]
    except Exception as error:
        return [_error_text(error) if name == problems else gr.skip() for name in _Shown._fields]


def _error_text(error: Exception) -> str:
    """The page's text for an error; errors that are not the user's fault are also logged."""
    if isinstance(error, PageError):
        return words.problem(str(error))
    _log.error("the page could not handle an event", exc_info=error)
    return words.failure(error)


def _held(user: Session | None) -> list[Any]:
    """The controls as the session has them."""
    choice = getattr(user, "choice", None)  # a session that was let go has none
    if choice is None:
        return [gr.skip()] * (3 + len(vars(Settings())))
    asked = choice.questions[0] if choice.reply is None else choice.reply.question
    samples = gr.Dataset(samples=[[text] for text in choice.questions])
    return [gr.Tabs(selected="ask" if choice.asking else "mark"), asked, samples, *vars(choice.settings).values()]


def _begin(new: Callable[[], Session], users: MutableMapping[str, Session], tab: object) -> list[Any]:
    """The session of a tab, or a new one; and all of it."""
    name = tab if isinstance(tab, str) and re.fullmatch("[0-9a-f]{32}", tab) else None
    user = users.get(name) if name else None
    try:
        if user is None or user.released:
            user = new()
    except Exception as error:
        return [None, *([gr.skip()] * (len(_Shown._fields) - 1)), _error_text(error)]
    if name:
        users[name] = user
    return [user, *_act(lambda _: None, user, new=True)]


def _ask_one_of(user: Session | None, chosen: list[str]) -> list[Any]:
    return [*_act(Session.ask, user, chosen[0], problems="answers"), chosen[0]]


def _follow(user: Session | None, event: gr.SelectData) -> list[Any]:
    return _act(partial(Session.follow, asking=event.value == "Ask"), user)


def _set(user: Session, *values: Any) -> None:
    user.set(Settings(*values))


def _use_tool(tool: str) -> list[Any]:
    return [gr.HTML(tool=tool), gr.Slider(visible=tool == "brush")]


def _add_mark(user: Session | None, event: gr.EventData) -> list[Any]:
    data = {name: getattr(event, name, None) for name in ("kind", "xy", "radius")}
    return _act(Session.add, user, data)


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
