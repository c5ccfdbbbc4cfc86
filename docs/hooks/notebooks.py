"""Every page whose code runs is a Jupyter notebook too, made from the same source while the site builds.

A notebook has no results: it is there to be run and changed. What a notebook cannot follow is left out: attributes of
Markdown, and links to other pages.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

BLOCK = re.compile(r"^```python exec\b.*\n((?:.*\n)*?)^```[ ]*$", re.MULTILINE)
HEADING = re.compile(r"^# .*$", re.MULTILINE)
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)]*\)")
ATTRIBUTES = re.compile(r"\{[ .:][^}\n]*\}")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files, **_: Any) -> str:
    """Write the notebook of a page that runs, and link it below the page's title."""
    source = FRONT_MATTER.sub("", page.file.content_string)
    if not BLOCK.search(source):
        return markdown
    uri = page.file.src_uri.removesuffix(".md") + ".ipynb"
    files.append(File.generated(config, uri, content=json.dumps(notebook(source), indent=1) + "\n"))
    link = f"[Download this page as a notebook]({uri.rsplit('/', 1)[-1]}){{ .notebook download }}"
    return HEADING.sub(lambda title: f"{title[0]}\n\n{link}", markdown, count=1)


def notebook(markdown: str) -> dict[str, Any]:
    """The page as a notebook of format 4.5: its text, and the blocks that run, in their order."""
    cells: list[dict[str, Any]] = []
    for number, part in enumerate(BLOCK.split(markdown)):  # text and code in turn
        text = part if number % 2 else ATTRIBUTES.sub("", LINK.sub(r"\1", part))
        if not text.strip():
            continue
        cell = {"id": f"cell-{len(cells)}", "metadata": {}, "source": text.strip().splitlines(keepends=True)}
        code = {"cell_type": "code", "execution_count": None, "outputs": []}
        cells.append(cell | (code if number % 2 else {"cell_type": "markdown"}))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
