"""The front page's gallery of tutorials: each with its title, and a picture that the page itself drew.

`<!-- gallery -->` is where it goes. A tutorial whose first picture is not the one to show says which in its front
matter, `thumbnail: 2`.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

MARK = "<!-- gallery -->"
WIDTH_HEIGHT = (480, 320)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Put the gallery in the place of its mark."""
    if MARK not in markdown:
        return markdown
    cards = [
        f'<a href="{uri.removesuffix(".md")}/"><img src="{thumbnail(uri)}" alt="{title}, in a picture" loading="lazy">'
        f"<strong>{title}</strong></a>"
        for title, uri in tutorials(config)
    ]
    return markdown.replace(MARK, '<div class="cards">\n' + "\n".join(cards) + "\n</div>")


def on_env(env: Any, config: MkDocsConfig, files: Files) -> None:
    """Make the thumbnails, now that every page has run."""
    from PIL import Image, ImageOps

    if not any(file.page and MARK in file.content_string for file in files.documentation_pages()):
        return
    for _, uri in tutorials(config):
        file = files.get_file_from_path(uri)
        number = file.page.meta.get("thumbnail") if file is not None and file.page is not None else None
        drawn = re.compile(re.escape(uri.removesuffix(".md")) + rf"_{number or '[0-9]+'}\.jpg")
        pictures = [file for file in files if drawn.fullmatch(file.src_uri)]
        if not pictures:
            raise PluginError(f"{uri}: the gallery needs a picture of it; draw one, or name it: thumbnail: 2")
        with Image.open(io.BytesIO(pictures[0].content_bytes)) as picture:
            small = ImageOps.contain(picture, WIDTH_HEIGHT)
        stream = io.BytesIO()
        small.save(stream, "JPEG", quality=85)
        files.append(File.generated(config, thumbnail(uri), content=stream.getvalue()))


def tutorials(config: MkDocsConfig) -> list[tuple[str, str]]:
    """Title and path of every page in the section "Tutorials" of the navigation."""
    (section,) = (item["Tutorials"] for item in config.nav or [] if isinstance(item, dict) and "Tutorials" in item)
    return [pair for page in section for pair in page.items()]


def thumbnail(uri: str) -> str:
    """Where the thumbnail of a page is."""
    return uri.removesuffix(".md") + "_thumbnail.jpg"
