"""The texts of the page, as HTML. Everything from outside is escaped here."""

from __future__ import annotations

from html import escape

from pmtools.app.session import Session

HEADER = (
    "<h1>pmtools</h1><p>Magnify what matters in an image, keep everything else in order, and undo it exactly. "
    "Everything happens on this computer.</p>"
)
NO_PLACE = "<p>Point at any of the pictures: a place has its counterpart on the other image.</p>"
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
    """The model's answers about both images."""
    choice = session.choice
    if not choice.asking or choice.reply is None:
        return ""
    rows = [("about the original", choice.reply.answer), ("about the magnified image", session.answer)]
    if choice.known is not None and choice.known[0] == choice.reply.question:
        rows.append(("true answer", choice.known[1]))
    return f"<p>{escape(choice.reply.question)}</p>" + _table([(name, escape(said)) for name, said in rows])


def numbers(session: Session, /) -> str:
    """The place that the user points at, on both images."""
    place = session.place
    if place is None:
        return NO_PLACE
    (x, y), (u, v), (across, down) = place.source_xy, place.target_xy, place.scale_xy
    rows = [
        ("on the original, x, y", f'<b id="source_xy">{x:.2f}, {y:.2f}</b>'),
        ("on the magnified image", f'<b id="target_xy">{u:.2f}, {v:.2f}</b>'),
        ("a pixel there becomes", f"{across:.2f} × {down:.2f}"),
    ]
    return _table(rows)


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
