"""Pictures that stand in a row are stacked on a narrow screen.

A picture that `pmtools.viz.side_by_side` drew is cut at its gaps, which are white and as wide as its margins. Anything
else is left as it is, to be scrolled.
"""

from __future__ import annotations

import io
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page
    from PIL.Image import Image

ROW = re.compile(r'<img(?=[^>]*class="[^"]*\bshown\b)[^>]*\bsrc="(?P<src>[^"]+\.jpg)"[^>]*>')
NARROW = "(max-width: 44rem)"
WHITE, SAME = 250, 4  # of 255, what JPEG leaves of a white column; pixels by which a gap may differ from the margin


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files, **_: Any) -> str:
    """Offer the stacked picture to narrow screens."""
    from PIL import Image

    def stack(found: re.Match[str]) -> str:
        file = files.get_file_from_path(posixpath.normpath(posixpath.join(page.url, found["src"])))
        if file is None:
            return found[0]
        data = Path(file.abs_src_path).read_bytes() if file.abs_src_path else file.content_bytes
        with Image.open(io.BytesIO(data)) as picture:
            parts = panels(picture)
        if len(parts) < 2:
            return found[0]
        stream = io.BytesIO()
        stacked(parts).save(stream, "JPEG", quality=88)
        uri = file.src_uri.removesuffix(".jpg") + "_stacked.jpg"
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, content=stream.getvalue()))
        source = found["src"].removesuffix(".jpg") + "_stacked.jpg"
        image = found[0].replace(" wide", "")
        return f'<picture><source media="{NARROW}" srcset="{source}">{image}</picture>'

    return ROW.sub(stack, content)


def panels(picture: Image) -> list[Image]:
    """The pictures of a row, each with its title; the whole where it is no row."""
    white = np.asarray(picture.convert("L")).mean(axis=0) >= WHITE
    edges = np.flatnonzero(np.diff(np.concatenate([[False], white, [False]]).astype(int))).reshape(-1, 2)
    if len(edges) < 3 or edges[0, 0] != 0 or edges[-1, 1] != len(white):
        return [picture]
    margin = edges[0, 1]
    if any(abs(stop - start - margin) > SAME for start, stop in edges):
        return [picture]
    sides = edges.ravel()[1:-1].reshape(-1, 2)
    return [picture.crop((int(left), 0, int(right), picture.height)) for left, right in sides]


def stacked(parts: list[Image]) -> Image:
    """Pictures below each other, centred on white."""
    from PIL import Image

    whole = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        whole.paste(part, ((whole.width - part.width) // 2, top))
        top += part.height
    return whole
