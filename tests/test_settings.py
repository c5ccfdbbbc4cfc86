"""The settings of a warp: their ranges, and that no other place lists their defaults."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import pmtools
from pmtools.decoding import PerceptionMagnifier
from pmtools.settings import DEFAULTS, WarpSettings

PACKAGE = Path(pmtools.__file__).parent
# values that do not move with the defaults: those of the official scripts and of API, and what was tuned for reading
OTHERS = {"compat/maps.py": {"gain", "kernel_size"}, "decoding/official.py": {"gain", "kernel_size"},
          "decoding/api.py": {"gain"}, "adapters/heatmaps/clip_relevance.py": {"gain"},
          "evaluation/reading/settings.py": {"gain", "kernel_size", "floor"}}  # fmt: skip


def is_value(name: str, value: object) -> bool:
    try:
        return value is not None and bool(WarpSettings(**{name: value}))
    except (TypeError, ValueError):  # a message about a setting, say
        return False


def listed(tree: ast.AST) -> Iterator[str]:
    """Names of settings that get a value of their own: defaults of arguments and fields, entries of dicts."""
    pairs: list[tuple[str, ast.expr | None]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arguments):
            named = [*node.posonlyargs, *node.args]
            pairs += [(a.arg, v) for a, v in zip(named[len(named) - len(node.defaults) :], node.defaults, strict=True)]
            pairs += [(a.arg, v) for a, v in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            pairs.append((node.target.id, node.value))
        elif isinstance(node, ast.Dict):
            items = zip(node.keys, node.values, strict=True)
            pairs += [(key.value, value) for key, value in items if isinstance(key, ast.Constant)]
    for name, value in pairs:
        if name in vars(DEFAULTS) and isinstance(value, ast.Constant) and is_value(name, value.value):
            yield name


def test_no_other_place_lists_defaults():
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        names = set(listed(ast.parse(path.read_text("utf-8")))) - OTHERS.get(name, set())
        if names and name != "settings.py":
            found[name] = names
    assert not found


@pytest.mark.parametrize(
    "planted", ["def f(*, gain=10.0): ...", "class S:\n    floor: float = 0.02", "OPTIONS = {'marginal': 'max'}"]
)
def test_a_planted_default_is_seen(planted):
    assert list(listed(ast.parse(planted)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gain": -1}, r"`gain` must be a finite number in \[0"),
        ({"kernel_size": 2}, "`kernel_size` must be odd"),
        ({"marginal": "mean"}, "`marginal` must be one of"),
        ({"floor": 0}, "`floor`.*could not be undone"),
        ({"max_magnification": 0.5}, r"`max_magnification` must be a finite number in \[1"),
    ],
)
@pytest.mark.parametrize(
    "door", [WarpSettings, lambda **options: pmtools.fit_warp([[1.0]], source_hw=(2, 2), **options)]
)
def test_ranges_are_checked(door, options, words):
    with pytest.raises(ValueError, match=words):
        door(**options)


@pytest.mark.parametrize("door", [pmtools.magnify, pmtools.fit_warp, PerceptionMagnifier])
def test_every_door_takes_every_setting(door):
    taken = inspect.signature(door).parameters
    assert {name: taken[name].default for name in vars(DEFAULTS)} == vars(DEFAULTS)
