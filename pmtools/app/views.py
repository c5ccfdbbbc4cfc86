"""The four pictures of the page as one gradio component: shown, pointed at and drawn on in the browser, by `view.js`.

gradio's own image component rounds a click to the nearest pixel *edge* of what is shown, and its slider of two images
takes them as files. Here coordinates are exact, in pixels of the original image, and follow the moving pointer.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr

from pmtools.app import actions
from pmtools.app.pictures import data_url
from pmtools.app.session import Session

_SCRIPT = Path(__file__).with_name("view.js").read_text("utf-8")


def _figure(name: str, title: str) -> str:
    return (
        f'<figure id="{name}"><figcaption>{title}</figcaption><div class="stage" tabindex="0" role="application" '
        f'aria-label="{title}: arrow keys move the crosshair, + and - zoom"><div class="canvas">'
        f'<img alt="{title}" draggable="false"><svg preserveAspectRatio="none" aria-hidden="true"></svg>'
        "</div></div></figure>"
    )


# nothing in it depends on the properties, so gradio never renders it again
_TEMPLATE = f"""<div class="views">
<div class="bar">
<label><input type="checkbox" id="compare"> Before / after</label>
<span><button type="button" id="zoom_out" aria-label="Zoom out">−</button><output>100 %</output>
<button type="button" id="zoom_in" aria-label="Zoom in">+</button>
<button type="button" id="zoom_all" aria-label="Show all">All</button></span>
</div>
<div class="pair">{_figure("original", "original")}{_figure("magnified", "magnified")}</div>
<input type="range" id="cut" min="0" max="100" value="50" step="0.5" aria-label="Left of here the original">
<p id="no_place">Point at any of the pictures: a place has its counterpart on the other image.</p>
<dl id="numbers" class="numbers" hidden>
<div><dt>original, x, y</dt><dd id="source_xy"></dd></div>
<div><dt>magnified</dt><dd id="target_xy"></dd></div>
<div><dt>a pixel there becomes</dt><dd id="scale_xy"></dd></div>
</dl>
<details id="more"><summary>Map and grid</summary>
<div class="pair">{_figure("map", "map")}{_figure("grid", "where the grid went")}</div></details>
</div>"""


def make_views() -> gr.HTML:
    """Empty views.

    Returns
    -------
    gradio.HTML
        With the events `mark` (kind, xy, radius) and `undo`.
    """
    return gr.HTML(
        html_template=_TEMPLATE,
        js_on_load=_SCRIPT,
        apply_default_css=False,
        elem_id="views",
        original="",
        magnified="",
        map="",
        grid="",
        warp=None,
        marks=[],
        asking=False,
        tool="box",
        brush=0.05,
    )


def update_views(session: Session, /, *, with_original: bool) -> gr.HTML:
    """The current content of the views.

    Parameters
    ----------
    session : Session
    with_original : bool
        Whether the picture itself is new; otherwise it need not be sent again.

    Returns
    -------
    gradio.HTML
    """
    choice, magnified = session.choice, session.magnified
    shown: dict[str, Any] = actions.views(choice.picture, magnified)
    if with_original:
        shown["original"] = choice.picture.view
    return gr.HTML(
        **{name: data_url(image) for name, image in shown.items()},
        warp=magnified.warp.to_dict(),
        marks=[asdict(mark) for mark in (() if choice.asking else choice.marks)],
        asking=choice.asking,
    )
