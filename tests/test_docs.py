"""The documents say what is so: code runs, commands exist, every public name has its place, links lead somewhere."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort
from PIL import Image

import pmtools

ROOT = Path(__file__).parent.parent
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(page: str, *languages: str) -> list[str]:
    """The fenced blocks of a page in these languages; those that the site runs are not among them."""
    text = (ROOT / page).read_text("utf-8")
    return [code for kind, code in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S) if kind in languages]


# ------------------------------------------------------------------------------------------------------ code and commands


def test_front_page_code_runs_as_it_stands(capsys):
    """The site's front page includes the same lines."""
    (code,) = blocks("README.md", "python")
    namespace: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), namespace)
    warp, patch = namespace["warp"], namespace["patch"]
    assert np.shape(namespace["magnified"]) == (512, 512, 3)
    np.testing.assert_allclose(np.ptp(np.reshape(namespace["box"], (2, 2)), axis=0), [3 * 78, 3 * 82], rtol=1e-6)
    np.testing.assert_allclose(warp.inverse_boxes(namespace["box"]), patch)
    assert "[128. 346. 206. 428.]" in capsys.readouterr().out
    assert '--8<-- "README.md:five_lines"' in (ROOT / "docs" / "index.md").read_text("utf-8")


def shares_not_in(text: str, evidence: str) -> list[str]:
    """Percentages that a text claims and the page of evidence does not have, as a share of three digits."""
    return [share for share in re.findall(r"(\d+\.\d) %", text) if f"{float(share) / 100:.3f}" not in evidence]


def test_readme_claims_only_what_the_page_of_evidence_has():
    evidence = (ROOT / "docs" / "evidence.md").read_text("utf-8")
    assert shares_not_in("34.0 % read, 12.3 % not", "0.340 of 300") == ["12.3"]
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(re.findall(r"\d+\.\d %", readme)) >= 6
    assert shares_not_in(readme, evidence) == []


def test_every_extra_is_on_the_page_that_says_how_to_install():
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = set(tomllib.load(file)["project"]["optional-dependencies"])
    for_work_on_pmtools = {"docs", "test", "test-browser", "pipelines", "wrapped", "bench", "dev"}
    page = (ROOT / "docs" / "install.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, re.M)) == extras - for_work_on_pmtools


def test_readme_commands_run(tmp_path, astronaut):
    Image.fromarray(astronaut).save(tmp_path / "photo.jpg")
    (tmp_path / "detections.json").write_text(json.dumps([{"box": [100, 120, 300, 320], "label": "patch"}]), "utf-8")
    lines = [line for block in blocks("README.md", "sh") for line in block.splitlines()]
    ours = [shlex.split(line)[1:] for line in lines if line.startswith(".venv/bin/pmtools ")]
    assert {arguments[0] for arguments in ours} == {"magnify", "coords"}
    for arguments in ours:
        result = subprocess.run(
            [sys.executable, "-m", "pmtools", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)[0]["label"] == "patch"


#: What must not be broken over two lines: code, mathematics, links, attributes.
WHOLE = re.compile(r"`+[^`]+`+|\\\(.+?\\\)|!?\[[^\]]*\]\([^)]*\)|\{[^}]*\}|<[^>]+>")


def long_lines(text: str, limit: int = 100) -> list[int]:
    """Numbers of the lines of prose that are longer than the limit and could have been broken before it."""
    prose = re.sub(r"^ *```.*?^ *```", lambda block: "\n" * block[0].count("\n"), text, flags=re.M | re.S)
    lines = [
        (number, line) for number, line in enumerate(prose.split("\n"), 1) if not re.match(r" *(\||members:)", line)
    ]
    return [
        number
        for number, line in lines
        if len(line) > limit and not any(m.start() <= limit <= m.end() for m in WHOLE.finditer(line))
    ]


def test_lines_of_prose_end_before_column_100():
    assert long_lines("a " * 60) == [1]
    assert long_lines("```\n" + "a " * 60 + "\n```\n| " + "a " * 60 + "\n" + "a" * 90 + " `" + "a " * 20 + "`") == []
    found = [ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")]
    assert {path.name: lines for path in found if (lines := long_lines(path.read_text("utf-8")))} == {}


def test_make_targets_and_files_that_pages_name_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        named = set(re.findall(r"(?:^|`)make ([\w-]+)", text, re.M))
        assert named <= targets, f"{page}: no such target {sorted(named - targets)}"
        files = set(re.findall(r"python ((?:examples|tests)/[\w/]+\.py)", text))
        missing = [name for name in files if not (ROOT / name).is_file()]
        assert not missing, f"{page}: no such file {missing}"


def test_readme_links_lead_to_files():
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / "README.md").read_text("utf-8"))
    inside = [link for link in links if not urlsplit(link).scheme]
    assert len(inside) >= 4
    assert [link for link in inside if not (ROOT / link).is_file()] == []


def private_names(text: str) -> list[str]:
    """Names with a leading underscore that a page teaches."""
    return re.findall(r"(?<![\w*])_[a-z]\w*", text)


def test_recipes_teach_public_names():
    assert private_names("from pmtools.decoding._contrast import contrast") == ["_contrast"]
    pages = [page for page in PAGES if "howto/add_" in page or page.endswith("contributing.md")]
    assert len(pages) == 4
    assert {page: found for page in pages if (found := private_names((ROOT / page).read_text("utf-8")))} == {}


def test_papers_in_the_code_are_credited():
    credits = (ROOT / "docs" / "credits.md").read_text("utf-8")
    for source in (ROOT / "pmtools").rglob("*.py"):
        for paper in re.findall(r"arxiv\.org/abs/(\d{4}\.\d{5})", source.read_text("utf-8")):
            assert paper in credits, f"{source.name} names arXiv:{paper}, docs/credits.md does not"


# ------------------------------------------------------------------------------------------------- pages that run


@pytest.fixture
def site(tmp_path):
    """Build a site of the given pages with the hook that runs code; gives the folder."""

    def make(**pages: str) -> Path:
        (tmp_path / "docs").mkdir(exist_ok=True)
        for name, text in pages.items():
            (tmp_path / "docs" / f"{name}.md").write_text(text, "utf-8")
        (tmp_path / "mkdocs.yml").write_text(
            f"site_name: test\nplugins: []\nhooks: [{json.dumps(str(ROOT / 'docs' / 'hooks' / 'execute.py'))}]\n"
            "markdown_extensions: [attr_list, md_in_html, pymdownx.superfences]\n",
            "utf-8",
        )
        build(load_config(str(tmp_path / "mkdocs.yml"), strict=True))
        return tmp_path / "site"

    return make


def test_a_block_shows_what_it_prints_and_its_value(site):
    page = site(
        index="# T\n\n```python exec\nprint('pri' + 'nted')\n40 + 2\n```\n\n```python exec hide\n'hid' + 'den'\n```\n"
    )
    html = (page / "index.html").read_text("utf-8")
    assert "printed\n42" in html
    assert "&#39;hidden&#39;" in html or "'hidden'" in html
    assert "'hid'" not in html


def test_pictures_are_files_and_the_same_in_every_build(site):
    text = """
```python exec alt="a grey square"
from PIL import Image
Image.new("L", (40, 40), 128)
```

```python exec alt="a line" fold
from matplotlib.figure import Figure
figure = Figure()
figure.subplots().plot([0, 1])
figure
```
"""
    first = {path.name: path.read_bytes() for path in site(index=text).glob("index_*")}
    again = {path.name: path.read_bytes() for path in site(index=text).glob("index_*")}
    assert sorted(first) == ["index_1.jpg", "index_2.svg"]
    assert first == again
    html = (site(index=text) / "index.html").read_text("utf-8")
    assert 'alt="a grey square"' in html
    assert "<figcaption>a grey square.</figcaption>" in html
    assert "<details" in html


def test_pages_have_namespaces_of_their_own_and_a_folder_for_their_files(site):
    before = os.getcwd()
    imports = "```python exec\nfrom pathlib import Path\n```\n\n"
    writes = (
        imports
        + "```python exec\nname = 'a'\nPath('f.txt').touch()\n```\n\n```python exec\nPath('f.txt').exists()\n```\n"
    )
    reads = imports + "```python exec\n'name' in globals(), list(Path().iterdir())\n```\n"
    page = site(a=writes, b=reads, index="# T\n")
    assert "True" in (page / "a" / "index.html").read_text("utf-8")
    assert "(False, [])" in (page / "b" / "index.html").read_text("utf-8").replace("&#39;", "'")
    assert os.getcwd() == before
    assert not list(page.rglob("f.txt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python exec\nx = 1\n1 / 0\n```\n", r"index.md:3: (?s:.*)line 5, in <module>(?s:.*)ZeroDivisionError"),
        ("```python exec\nx = = 1\n```\n", r"index.md:3: (?s:.*)SyntaxError"),
        ("```python exec\nassert 1 > 2\n```\n", r"index.md:3: (?s:.*)AssertionError"),
        (
            "```python exec\nfrom PIL import Image\nImage.new('L', (4, 4))\n```\n",
            r"index.md:3: say what the picture shows",
        ),
        ("```python exec hidden\n1\n```\n", r"index.md:3: 'hidden' is none of"),
        ("- item\n\n    ```python exec\n    1\n    ```\n", "indented or has no end"),
        ("```python exec\n1\n", "indented or has no end"),
    ],
)
def test_an_error_ends_the_build_with_page_and_line(site, text, message, caplog):
    with pytest.raises(Abort):
        site(index="# T\n\n" + text)
    assert re.search(message, caplog.text)


# ----------------------------------------------------------------------------------------------------- the reference


def test_parameters_on_one_line_keep_their_own_types_and_defaults(tmp_path):
    import griffe

    (tmp_path / "one.py").write_text(
        'def f(a: float = 1.5, b: int = 3, c: str = "x"):\n    """F.\n\n    Parameters\n    ----------\n'
        '    a, b\n        Numbers.\n    c : word, optional\n        A word.\n    """\n',
        "utf-8",
    )

    def described(*extensions: str) -> list[tuple[str, str, str]]:
        loaded = griffe.load_extensions(*(str(ROOT / "docs" / "hooks" / name) for name in extensions))
        module = griffe.load("one", search_paths=[tmp_path], docstring_parser="numpy", extensions=loaded)
        parameters = module["f"].docstring.parsed[1].value
        return [(p.name, str(p.annotation), str(p.value)) for p in parameters]

    wanted = [("a", "float", "1.5"), ("b", "int", "3"), ("c", "word", "'x'")]
    assert described("own_defaults.py") == wanted
    assert described() != wanted  # griffe does it by itself: drop the extension


# ------------------------------------------------------------------------------------------------------ the built site

UNFILLED = re.compile(r"--\s?8\s?<\s?--")  # a formatter once took the mark of an included file for Python


class Page(HTMLParser):
    """What a page says, links to, loads and offers as anchors."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.without_alt: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = {name: value or "" for name, value in attrs}
        self.anchors |= {at[name] for name in ("id", "name") if name in at}
        if tag == "a" and "href" in at:
            self.links.append(at["href"])
        if tag == "link" and "canonical" not in at.get("rel", ""):
            self.loads.append(at["href"])
        if "src" in at:
            self.loads.append(at["src"])
        if "srcset" in at:
            self.loads.append(at["srcset"])
        if tag == "img" and not at.get("alt"):
            self.without_alt.append(at.get("src", ""))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, Page]:
    """The site as `make docs` builds it: page by path."""
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return {path.relative_to(folder).as_posix(): Page(path.read_text("utf-8")) for path in folder.rglob("*.html")} | {
        path.relative_to(folder).as_posix(): Page("") for path in folder.rglob("*") if path.suffix != ".html"
    }


def documented_modules() -> list[str]:
    """The modules that the reference hands to mkdocstrings whole."""
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))
    names = re.findall(r"^::: ([\w.]+)$", pages, re.M)
    return [name for name in names if (ROOT / name.replace(".", "/")).is_dir() or _file(name).is_file()]


def _file(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


def public_names(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Functions and classes that a module offers as its own: by the module's name, and by that of the file they are in."""
    offered = getattr(module, "__all__", None)
    for name, value in vars(module).items():
        if name.startswith("_") or (offered is not None and name not in offered):
            continue
        if not (inspect.isfunction(value) or inspect.isclass(value)):
            continue
        if offered is not None or value.__module__ == module.__name__:
            yield f"{module.__name__}.{name}", f"{value.__module__}.{name}"


def wanted_names() -> list[tuple[str, ...]]:
    """Every public name that the reference must have, under one of its names."""
    top = [(f"pmtools.{name}",) for name in pmtools.__all__ if name != "__version__"]
    modules = [importlib.import_module(name) for name in documented_modules()]
    return top + [name for module in modules for name in public_names(module)]


def missing_names(pages: dict[str, Page], names: list[tuple[str, ...]]) -> list[str]:
    anchors = {anchor for path, page in pages.items() if path.startswith("reference/") for anchor in page.anchors}
    return [either[0] for either in names if not anchors.intersection(either)]


def dead_links(pages: dict[str, Page]) -> list[str]:
    """Links inside the site that lead nowhere: no such page, or no such anchor on it."""
    dead = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path == "404.html":  # 404.html is served from anywhere: absolute links
                continue
            target = os.path.normpath(os.path.join(os.path.dirname(path), unquote(parts.path))) if parts.path else path
            if target not in pages:
                target = os.path.normpath(os.path.join(target, "index.html"))
            if target not in pages:
                dead.append(f"{path}: {link}")
            elif parts.fragment and target.endswith(".html") and unquote(parts.fragment) not in pages[target].anchors:
                dead.append(f"{path}: {link} (no such anchor)")
    return dead


@pytest.mark.slow
def test_the_site(built: dict[str, Page]):
    """One test for all of it, since parallel workers would each build the site."""
    assert len(wanted_names()) > 60
    assert missing_names(built, wanted_names()) == []
    assert dead_links(built) == []
    for path, page in built.items():
        assert not [url for url in page.loads if urlsplit(url).netloc], f"{path} loads from the network"
        assert not page.without_alt, f"{path}: a picture without words"
        assert not UNFILLED.search(page.text), f"{path} shows the name of a file instead of the file"
    # the checkers can fail
    assert UNFILLED.search(Page('<code>--<b>8</b> &lt; --"examples/a.py"</code>').text)
    assert missing_names(built, [("pmtools.no_such_name",)]) == ["pmtools.no_such_name"]
    broken = {"index.html": Page('<a href="nowhere/">a</a><a href="#gone">b</a><img src="lost.png">')}
    assert len(dead_links(broken)) == 3


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = [page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")]
    assert [page for page in pages if f": {page}\n" not in text and f"- {page}\n" not in text] == ["log.md"]
    assert "(log.md)" in (ROOT / "docs" / "contributing.md").read_text("utf-8")  # the developers' own
