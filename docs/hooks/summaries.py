"""A table on top of each page of the reference: every name on the page, and the first line of its docstring.

It is made of the page's own `:::` lines. A module gives its public functions, classes and described constants. Where a
docstring says "as in `fit_warp`", the name becomes a link.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import griffe
from mkdocs.exceptions import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator, Set

    from mkdocs.structure.pages import Page

ENTRY = re.compile(r"^::: ([\w.]+)\n((?:    .*\n)*)", re.MULTILINE)
FEW = 3  # entries, which are seen without a table
AS_IN = re.compile(r"(\b[Aa]s(?: in| for)?|\b[Ss]ee) <code>([\w.]+)</code>")
REFERENCE = Path(__file__).parents[1] / "reference"


def on_page_content(content: str, page: Page, **_: Any) -> str:
    """Link what a docstring refers to."""

    def link(found: re.Match[str]) -> str:
        target = full_name(found[2], all_names())
        code = f"<code>{found[2]}</code>"
        return f"{found[1]} " + (f'<autoref identifier="{target}" optional>{code}</autoref>' if target else code)

    return AS_IN.sub(link, content) if page.file.src_uri.startswith("reference/") else content


@cache
def all_names() -> frozenset[str]:
    """Every name that the reference has."""
    pages = "".join(path.read_text("utf-8") for path in sorted(REFERENCE.glob("*.md")))
    return frozenset(anchor for entry in ENTRY.finditer(pages) for _, anchor, _ in described(entry[1], entry[2]))


def full_name(name: str, names: Set[str]) -> str | None:
    """The one name of the reference that this stands for; a method by the name of its class."""
    found = [known for known in names if known == name or known.endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    owner, _, method = name.rpartition(".")
    holder = full_name(owner, names) if owner else None
    return f"{holder}.{method}" if holder else None


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Put the table before the first entry and its heading."""
    if not page.file.src_uri.startswith("reference/"):
        return markdown
    try:
        rows = [row(*one) for entry in ENTRY.finditer(markdown) for one in described(entry[1], entry[2])]
    except KeyError as error:
        raise PluginError(f"{page.file.src_uri}: no such name in the package: {error}") from None
    if len(rows) < FEW:
        return markdown
    table = "\n".join(["| name | what it is |", "|---|---|", *rows])
    first = re.search(r"^(?:## |::: )", markdown, re.MULTILINE)
    at = first.start() if first else len(markdown)
    return f'{markdown[:at]}<div class="summary" markdown>\n\n{table}\n\n</div>\n\n{markdown[at:]}'


def described(name: str, options: str) -> Iterator[tuple[str, str, Any]]:
    """Shown name, anchor and object of each line of the table, for one `:::` line."""
    thing = package()[name.partition(".")[2]]
    if not thing.is_module:
        heading = re.search(r"heading: ([\w.]+)", options)
        yield heading[1] if heading else name, name, thing
        return
    listed = re.search(r"members: \[([^\]]*)\]", options)
    names = [part.strip() for part in listed[1].split(",")] if listed else list(thing.exports or thing.members)
    for member in names:
        one = thing.members[str(member)]
        if str(member)[0] == "_" or (one.is_alias and not (listed or thing.exports)):  # imported for its own use
            continue
        if one.docstring and not one.is_module:
            yield f"{name}.{member}", f"{name}.{member}", one


@cache
def package() -> Any:
    """Pmtools as griffe reads it, without importing it."""
    return griffe.load("pmtools", search_paths=["."])


def row(shown: str, anchor: str, thing: Any) -> str:
    """One line: the name as a link, without the package's, and the first line of the docstring."""
    first = thing.docstring.value.split("\n\n")[0].replace("\n", " ").replace("|", "\\|") if thing.docstring else ""
    return f"| [`{shown.removeprefix('pmtools.')}`][{anchor}] | {first} |"
