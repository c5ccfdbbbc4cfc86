"""The four pictures of the page as gradio components: shown, pointed at and drawn on in the browser.

gradio's own image component rounds a click to the nearest pixel *edge* of what is shown. Here coordinates are exact, in
pixels of the original image, and follow the moving pointer.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr

from pmtools.app import actions, marks
from pmtools.app.pictures import data_url
from pmtools.app.session import Session

_SCRIPT = Path(__file__).with_name("view.js").read_text("utf-8")

#: Name and title of each view. The first two show the picture, the others the magnified image.
TITLES = {"original": "original", "map": "map", "magnified": "magnified", "grid": "where the grid went"}


def make_view(name: str, /) -> gr.HTML:
    """An empty view.

    Parameters
    ----------
    name : str
        A key of `TITLES`; its id on the page.

    Returns
    -------
    gradio.HTML
        With the events `mark` (kind, xy, radius) and `look` (x, y).
    """
    title = TITLES[name]
    return gr.HTML(
        html_template=f'<figure class="view"><figcaption>{title}</figcaption><div class="stage" tabindex="0" '
        f'role="application" aria-label="{title}: arrow keys move the crosshair">'
        f'<img alt="{title}" draggable="false"><svg preserveAspectRatio="none" aria-hidden="true"></svg></div></figure>',
        js_on_load=_SCRIPT,
        apply_default_css=False,
        elem_id=name,
        image="",
        size=[1, 1],
        marks=[],
        place=None,
        tool="box" if name == "original" else None,
        brush=0.05,
    )


def update_views(session: Session, /, *, with_original: bool) -> list[Any]:
    """The current content of the views, in the order of `TITLES`.

    Parameters
    ----------
    session : Session
    with_original : bool
        Whether the picture itself is new; otherwise it need not be sent again.
    """
    choice, warp = session.choice, session.magnified.warp
    placed = () if choice.asking else choice.marks
    pictures: dict[str, Any] = actions.views(choice.picture, session.magnified)
    if with_original:
        pictures["original"] = choice.picture.view
    marked = {"original": placed, "magnified": marks.carried(placed, warp)}
    return [
        gr.HTML(
            **({"image": data_url(pictures[name])} if name in pictures else {}),
            size=_width_and_height(session, name),
            marks=[asdict(mark) for mark in marked.get(name, ())],
        )
        for name in TITLES
    ]


def update_places(session: Session, /) -> list[Any]:
    """Only where the crosshairs are, in the order of `TITLES`."""
    return [gr.HTML(place=_place(session, name)) for name in TITLES]


def is_magnified(name: str, /) -> bool:
    """Whether a view shows the magnified image."""
    return name in ("magnified", "grid")


def _width_and_height(session: Session, name: str) -> list[int]:
    warp = session.magnified.warp
    height, width = warp.target_hw if is_magnified(name) else warp.source_hw
    return [width, height]


def _place(session: Session, name: str) -> list[float] | None:
    if session.place is None:
        return None
    return list(session.place.target_xy if is_magnified(name) else session.place.source_xy)
