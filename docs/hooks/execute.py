"""Run the Python blocks of a page while the site builds, and put what they show under them.

A block that starts with three backticks and `python exec` runs, in order, in one namespace a page, in an empty folder. As in a
notebook, what it prints is shown, and its last expression: a PIL image, a Matplotlib figure, or the repr of anything but None.
Any error ends the build with the page, the line and the traceback.

After `exec` may come `hide` (show the results only), `fold` (the code behind a click) and `alt="..."`, which says in words
what to see in the picture, and is its caption; a picture without it is an error.
"""

from __future__ import annotations

import ast
import contextlib
import html
import io
import re
import tempfile
import traceback
from typing import TYPE_CHECKING, Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

BLOCK = re.compile(r"^```python exec\b(?P<options>.*)\n(?P<code>(?:.*\n)*?)^```[ ]*$", re.MULTILINE)
OPTIONS = re.compile(r'\s*(?:(?P<word>hide|fold)|alt="(?P<alt>[^"]+)")')
#: A wider picture is scrolled on a narrow screen, not shrunk beyond recognition.
WIDE = 2.2


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files, **_: Any) -> str:
    """Replace every block that runs by its code and its results."""
    if "```python exec" not in markdown:
        return markdown
    lines_above = page.file.content_string.rstrip().count("\n") - markdown.rstrip().count("\n")  # the page's metadata
    namespace: dict[str, Any] = {"__name__": "__main__"}
    place = page.file.src_uri.removesuffix(".md")
    done: list[str] = []

    def execute(block: re.Match[str]) -> str:
        line = lines_above + markdown.count("\n", 0, block.start()) + 2  # the first line of code, counted from 1
        where = f"{page.file.src_uri}:{line - 1}"
        words, alt = _options(block["options"], where)
        try:
            printed, value = run(block["code"], namespace, page.file.abs_src_path or where, line)
        except Exception as error:
            raise PluginError(f"{where}: {traceback.format_exc(limit=-3)}") from error
        done.append(where)
        parts = [_listing(block["code"], words)]
        picture = _picture(value)
        if value is not None and picture is None:
            printed += f"{value!r}\n"
        if printed:
            parts.append(f"```{{.text .output}}\n{printed.rstrip()}\n```")
        if picture is not None:
            if alt is None:
                raise PluginError(f'{where}: say what the picture shows: ```python exec alt="..."')
            suffix, data, ratio = picture
            uri = f"{place}_{len(done)}.{suffix}"
            files.append(File.generated(config, uri, content=data))
            kind = " .wide" if ratio > WIDE else ""
            image = f"![{alt}]({uri.rsplit('/', 1)[-1]}){{ .shown{kind} loading=lazy }}"
            parts.append(f'<figure markdown="span">\n{image}\n<figcaption>{html.escape(alt)}.</figcaption>\n</figure>')
        return "\n\n".join(part for part in parts if part)

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        result = BLOCK.sub(execute, markdown)
    if len(done) != markdown.count("```python exec"):
        raise PluginError(f"{page.file.src_uri}: a block that should run is indented or has no end")
    return result


def run(code: str, namespace: dict[str, Any], filename: str, line: int) -> tuple[str, Any]:
    """What the code prints, and the value of its last expression; its lines are numbered from `line` on."""
    tree = ast.parse("\n" * (line - 1) + code, filename)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, filename, "exec"), namespace)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), filename, "eval"), namespace)
    return printed.getvalue(), value


def _options(text: str, where: str) -> tuple[set[str], str | None]:
    words, alt, end = set(), None, 0
    for match in OPTIONS.finditer(text.rstrip()):
        if match.start() != end:
            break
        end = match.end()
        if match["word"]:
            words.add(match["word"])
        else:
            alt = match["alt"]
    if text[end:].strip():
        raise PluginError(f'{where}: {text[end:].strip()!r} is none of hide, fold, alt="..."')
    return words, alt


def _listing(code: str, words: set[str]) -> str:
    block = f"```python\n{code}```"
    if "hide" in words:
        return ""
    if "fold" in words:
        return f'<details class="code" markdown><summary>The code of this figure</summary>\n\n{block}\n\n</details>'
    return block


def _picture(value: Any) -> tuple[str, bytes, float] | None:
    """Suffix, bytes and width over height of a PIL image or a Matplotlib figure, the same in every build."""
    from PIL.Image import Image

    stream = io.BytesIO()
    if isinstance(value, Image):
        value.convert("RGB").save(stream, "JPEG", quality=88, subsampling=0)
        return "jpg", stream.getvalue(), value.width / value.height
    if type(value).__module__ == "matplotlib.figure":
        import matplotlib

        with matplotlib.rc_context({"svg.hashsalt": "pmtools"}):
            value.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None})
        width, height = value.get_size_inches()
        return "svg", stream.getvalue(), width / height
    return None
