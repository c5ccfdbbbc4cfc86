"""The texts of the page, as HTML. Everything from outside is escaped here."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pmtools.app.session import Session

if TYPE_CHECKING:
    from pmtools.evaluation.scenes import SceneItem

HEADER = (
    "<h1>pmtools</h1><p>Magnify what matters in an image, keep everything else in order, and undo it exactly. "
    "Everything happens on this computer.</p>"
)
GONE = "This page is not ready yet, or older than the program behind it: try again, or reload it."
RELEASED = "The pictures of this page were dropped because other users needed the memory: reload it to start again."


def problem(message: str, /) -> str:
    """An error for the user: what cannot be done, and why."""
    return f'<p class="problem" role="alert">{escape(message)}</p>'


def failure(error: Exception, /) -> str:
    """The text for errors of the program itself."""
    return problem(
        f"That did not work, and nothing was changed ({type(error).__name__}). Try something else, or reload."
    )


def notice(session: Session, /) -> str:
    """The picture, and what to do next."""
    choice = session.choice
    hint = ""
    if choice.asking and choice.reply is None:
        hint = "Ask the model about it: the image is magnified where it looks."
    elif not choice.asking and not choice.marks:
        hint = "Mark on the original what you want to see larger."
    return f'<p role="status">{escape(choice.picture.note)} {hint}</p>'


def answers(session: Session, /) -> str:
    """The model's answers about both images, and which are right where that is known."""
    choice = session.choice
    if not choice.asking or choice.reply is None:
        return ""
    item = next((item for item in choice.items if item.question.text == choice.reply.question), None)
    said = {"about the original": choice.reply.answer, "about the magnified image": session.answer}
    rows = [(name, escape(answer) + _verdict(item, answer)) for name, answer in said.items()]
    if item is not None:
        rows.append(("true answer", escape(item.question.answer)))
    return f"<p>{escape(choice.reply.question)}</p>" + _table(rows)


def _verdict(item: SceneItem | None, answer: str) -> str:
    if item is None:
        return ""
    from pmtools.evaluation.scenes.benchmark import grade

    return ' <b class="right">✓ right</b>' if grade(item, answer) else ' <b class="wrong">✗ wrong</b>'


def facts(session: Session, /) -> str:
    """Sizes, and the range of the magnification."""
    warp = session.magnified.warp
    sizes = " → ".join(f"{width} × {height}" for height, width in (warp.source_hw, warp.target_hw))
    local = warp.local_magnification()
    rows = [("pixels, width × height", sizes)]
    for name, scale in (("across", local.x), ("down", local.y)):
        rows.append((f"magnification {name}", f"{float(scale.min()):.2f} to {float(scale.max()):.2f}"))
    return _table(rows)


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return f'<table class="numbers">{cells}</table>'
