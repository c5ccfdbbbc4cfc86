"""What the site is made with: notebooks, charts, stacked pictures, summary tables."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from pmtools import viz

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'pmtools[docs]'")
ROOT = Path(__file__).parent.parent


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_hook_{name}", ROOT / "docs" / "hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------------------------------------------ notebooks

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_every_tutorial_is_a_notebook_with_the_code_of_the_page(path):
    text = path.read_text("utf-8")
    made = hook("notebooks").notebook(text)
    code = ["".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "code"]
    assert len(code) == text.count("```python exec") > 0
    for one in code:
        compile(one, path.name, "exec")
        assert one in text
    words = "".join("".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "markdown")
    assert "```python exec" not in words
    assert not re.search(r"\]\((?!https?:)", words), "a link that a notebook cannot follow"
    assert len({cell["id"] for cell in made["cells"]}) == len(made["cells"])
    assert json.loads(json.dumps(made)) == made


def test_notebooks_are_valid():
    import nbformat

    for path in TUTORIALS:
        nbformat.validate(nbformat.reads(json.dumps(hook("notebooks").notebook(path.read_text("utf-8"))), 4))


def test_a_notebook_runs(tmp_path, monkeypatch, capsys):
    made = hook("notebooks").notebook((ROOT / "docs" / "tutorials" / "magnify_photograph.md").read_text("utf-8"))
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for cell in made["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), namespace)
    assert "and back:          [128. 346. 206. 428.]" in capsys.readouterr().out


def test_links_to_other_pages_and_attributes_are_left_out_of_notebooks():
    text = '# T\n\n[a](b.md#c), [d](https://e.f).{ .shown }\n\n```python exec alt="x"\n1\n```\n'
    words, code = hook("notebooks").notebook(text)["cells"]
    assert words["source"] == ["# T\n", "\n", "a, [d](https://e.f)."]
    assert (code["source"], code["outputs"]) == (["1"], [])


# -------------------------------------------------------------------------------------------------------- charts

TABLE = "| shown | read | 95 % |\n|---|---|---|\n| `plain` | 0.340 | 0.289 to 0.389 |\n| magnified | 0.500 | |\n"
PAGE = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))


def test_a_chart_is_drawn_from_the_table_below_it():
    html = hook("charts").on_page_markdown(f"a\n\n<!-- chart: read -->\n\n{TABLE}\nb\n", PAGE)
    assert re.findall(r'<b style="width:([\d.]+)%', html) == ["34.0", "50.0"]
    assert re.findall(r'<i style="left:([\d.]+)%;width:([\d.]+)%', html) == [("28.9", "10.0")]
    assert "<span>plain</span>" in html
    assert TABLE in html
    half = hook("charts").on_page_markdown(f"<!-- chart: read, up to 0.68 -->\n\n{TABLE}", PAGE)
    assert re.findall(r'<b style="width:([\d.]+)%', half) == ["50.0", "73.5"]


def test_a_chart_of_times_with_ratios_behind_them():
    table = "| mode | 336 -> 336 |\n|---|---|\n| greedy | 20.0 (1.0) |\n| exact | 80.0 (4.0) |\n| untimed | |\n"
    html = hook("charts").on_page_markdown(f"<!-- chart: 336 -> 336, up to 100 -->\n\n{table}", PAGE)
    assert re.findall(r'<b style="width:([\d.]+)%', html) == ["20.0", "80.0"]
    assert "<span>80.0</span>" in html
    assert "<span>untimed</span>" not in html


@pytest.mark.parametrize(
    ("mark", "message"),
    [("wrong", "a chart of 'wrong'"), ("95 %", "which is no number"), ("read -->\n\ntext", "no table")],
)
def test_a_chart_without_numbers_ends_the_build(mark, message):
    with pytest.raises(Exception, match=message):
        hook("charts").on_page_markdown(f"<!-- chart: {mark} -->\n\n{TABLE}", PAGE)


# ------------------------------------------------------------------------------------------------------- stacking


@pytest.mark.parametrize("titles", [None, ["one", "a longer title that goes over two lines", "three"]])
def test_a_row_is_cut_into_its_pictures(titles):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 200, (256, width, 3), dtype=np.uint8) for width in (200, 256, 300)]
    row = viz.side_by_side(images, titles=titles)
    parts = hook("stacking").panels(row)
    assert [part.width for part in parts] == [200, 256, 300]
    whole = hook("stacking").stacked(parts)
    assert whole.size == (300, 3 * row.height)
    bottom = np.asarray(parts[2])[-256 - 6 : -6]
    np.testing.assert_array_equal(bottom, images[2])


def test_what_is_no_row_stays_whole():
    stacking = hook("stacking")
    for image in (
        np.zeros((40, 90), "u1"),
        np.full((40, 90), 255, "u1"),
        np.tile([0, 255, 255, 255, 255, 0], (9, 9)) * 1.0,
    ):
        (whole,) = stacking.panels(viz.side_by_side([image], gap=0))
        assert whole.width >= 90 or whole.width >= 54


# ------------------------------------------------------------------------------------------------------ summaries


@pytest.mark.slow
def test_a_page_of_the_reference_starts_with_its_names(monkeypatch):
    monkeypatch.chdir(ROOT)
    page = SimpleNamespace(file=SimpleNamespace(src_uri="reference/x.md"))
    text = (
        "# X\n\nWords.\n\n::: pmtools.magnify\n\n::: pmtools.viz\n    options:\n      members: [overlay, draw_boxes]\n"
    )
    made = hook("summaries").on_page_markdown(text, page)
    names = re.findall(r"^\| \[`([\w.]+)`\]\[([\w.]+)\] \| \w", made, re.M)
    assert names == [
        ("magnify", "pmtools.magnify"),
        ("viz.overlay", "pmtools.viz.overlay"),
        ("viz.draw_boxes", "pmtools.viz.draw_boxes"),
    ]
    assert made.index("| [`magnify`]") < made.index("::: pmtools.magnify")
    with pytest.raises(Exception, match="no such name"):
        hook("summaries").on_page_markdown("::: pmtools.nothing\n", page)


def test_what_a_docstring_refers_to_is_linked():
    names = {"pmtools.Warp", "pmtools.fit_warp", "pmtools.api.view", "pmtools.other.view"}
    full_name = hook("summaries").full_name
    assert [full_name(name, names) for name in ("Warp.image", "fit_warp", "pmtools.fit_warp", "view", "len")] == [
        "pmtools.Warp.image", "pmtools.fit_warp", "pmtools.fit_warp", None, None
    ]  # fmt: skip
