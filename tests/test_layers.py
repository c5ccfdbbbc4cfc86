"""Imports point one way, down the list of layers, and go in no circle; a planted import is seen."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pmtools

PACKAGE = Path(pmtools.__file__).parent

# From the bottom up, as docs/contributing.md has them: a file may import what stands in its layer or in one above in this list.
LAYERS = {
    "arrays": "typing _array _brief _checks _describe _eight_bits _images _kernel _resample_generic _resample_numpy _sizes "
    "_values _versions _warp_html axes axis_algebra footprints heatmaps highlight interpolation io marginals perception "
    "refinement report resample settings",
    "warp": "_magnify _mosaic annotation answers compat frames sequences testing tiles transforms turns viz warp windows zoom",
    "alternatives": "alternatives",
    "adapters": "adapters",
    "decoding": "decoding",
    "evaluation": "evaluation",
    "zoo": "zoo",
    "command line": "__main__ api app cli harness hub plugins serving",
}
RANK = {name: rank for rank, names in enumerate(LAYERS.values()) for name in names.split()}


def module_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, *, for_types: bool) -> Iterator[str]:
    """Dotted names of this package that a file imports, in functions too; those for type checkers only if wanted."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not for_types:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "pmtools":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "pmtools")
        else:
            yield from imports(node, for_types=for_types)


def home(name: str) -> str:
    """The top-level module where `pmtools.NAME...` is defined: `from pmtools import fit_warp` is an import of _magnify."""
    top = name.split(".")[1] if "." in name else ""
    if top in RANK or not hasattr(pmtools, top):
        return top
    module = getattr(getattr(pmtools, top), "__module__", "pmtools")
    return module.split(".")[1] if "." in module else ""


def upward(root: Path) -> list[str]:
    """Imports of a higher layer, and files of no layer."""
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts == ("__init__",):
            continue
        if parts[0] not in RANK:
            found.append(f"{'/'.join(parts)} is in no layer")
            continue
        names = {home(name) for name in imports(ast.parse(path.read_text()), for_types=True)} - {""}
        found += [f"{'/'.join(parts)} imports {name}" for name in sorted(names) if RANK.get(name, 99) > RANK[parts[0]]]
    return found


def circles(root: Path) -> list[str]:
    """Modules that import themselves, by way of others, while they are loaded or later."""
    modules = {module_of(path, root): path for path in root.rglob("*.py")}
    edges = {}
    for module, path in modules.items():
        names = set(imports(ast.parse(path.read_text()), for_types=False))
        targets = {name if name in modules else name.rpartition(".")[0] for name in names}
        edges[module] = {target for target in targets if target in modules and target != "pmtools"} - {module}

    def reachable(start: str) -> set[str]:
        seen, todo = set[str](), list(edges[start])
        while todo:
            if (module := todo.pop()) not in seen:
                seen.add(module)
                todo += edges[module]
        return seen

    return sorted(module for module in modules if module in reachable(module))


def test_imports_point_one_way():
    assert not upward(PACKAGE)


def test_no_imports_go_in_a_circle():
    assert not circles(PACKAGE)


@pytest.fixture
def copy(tmp_path):
    """A package of three layers, in order."""
    root = tmp_path / "pmtools"
    for name, text in {
        "__init__": "",
        "warp": "from pmtools import _checks",
        "_checks": "",
        "cli/__init__": "",
        "cli/magnify": "def magnify():\n    from pmtools import fit_warp\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.py").write_text(text)
    return root


@pytest.mark.parametrize(
    ("file", "planted", "seen"),
    [
        ("_checks", "from pmtools.warp import Warp", "_checks imports warp"),
        ("_checks", "def f():\n    from pmtools import Warp", "_checks imports warp"),
        (
            "warp",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pmtools.cli import magnify",
            "warp imports cli",
        ),
        ("warp", "import pmtools.decoding.pm", "warp imports decoding"),
        ("sharpen", "", "sharpen is in no layer"),
    ],
)
def test_a_planted_import_is_seen(copy, file, planted, seen):
    assert not upward(copy)
    (copy / f"{file}.py").write_text(planted)
    assert upward(copy) == [seen]


def test_a_planted_circle_is_seen(copy):
    assert not circles(copy)
    (copy / "cli" / "options.py").write_text("from pmtools.cli import magnify")
    (copy / "cli" / "magnify.py").write_text("def magnify():\n    from pmtools.cli.options import flag\n")
    assert circles(copy) == ["pmtools.cli.magnify", "pmtools.cli.options"]
