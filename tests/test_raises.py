"""Public functions say what they raise: whoever writes `raise`, or checks an argument, has a section `Raises`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pmtools

PACKAGE = Path(pmtools.__file__).parent
SURFACE = [line.partition("(")[0] for line in (Path(__file__).parent / "surface.txt").read_text().splitlines()]
LAYERS = [PACKAGE / name for name in ("adapters", "alternatives", "compat", "decoding", "io", "viz")]
FILES = [*PACKAGE.glob("[a-z]*.py"), PACKAGE / "_magnify.py", PACKAGE / "_mosaic.py"]
FILES += [path for folder in LAYERS for path in folder.rglob("*.py") if not path.name.startswith("_")]


def is_documented(name: str) -> bool:
    return any(line.endswith(f".{name}") for line in SURFACE)


def raises(body: ast.AST) -> bool:
    """Whether a function raises by itself, or by a check of an argument; abstract methods do not count."""
    for node in ast.walk(body):
        if isinstance(node, ast.Raise) and node.exc is not None and "NotImplementedError" not in ast.unparse(node.exc):
            return True
        if isinstance(node, ast.Call) and re.match(r"_checks\.(?!describe)", ast.unparse(node.func)):
            return True
    return False


def silent(tree: ast.AST, owner: str = "") -> Iterator[str]:
    """Public functions and classes that raise and whose docstrings have no `Raises`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            makes = [one for one in node.body if getattr(one, "name", "") in ("__init__", "__post_init__")]
            text = ast.get_docstring(node) or ""
            if any(raises(one) for one in makes) and "Raises\n" not in text:
                yield node.name
            yield from silent(node, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            text = ast.get_docstring(node) or ""
            if raises(node) and "Raises\n" not in text and "Raise " not in text:
                yield owner + node.name


def test_public_functions_say_what_they_raise():
    found = [(path.name, name) for path in FILES for name in silent(ast.parse(path.read_text("utf-8")))]
    assert [one for one in found if is_documented(one[1])] == []


@pytest.mark.parametrize(
    "planted",
    [
        "def f(x):\n    '''What it does.'''\n    raise ValueError(x)",
        "def f(x):\n    return _checks.choice(x, 'x', 'ab')",
        "class C:\n    def __init__(self, x):\n        raise TypeError",
        "class C:\n    def f(self, x):\n        raise TypeError",
    ],
)
def test_a_silent_function_is_seen(planted):
    assert len(list(silent(ast.parse(planted)))) == 1
