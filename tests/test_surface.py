"""The public surface: every name that the reference documents, with its signature, as `surface.txt` has it.

`python tests/test_surface.py` writes the file anew; the difference then says what users will notice.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

griffe = pytest.importorskip("griffe", reason="the documentation's tools are not installed")

HERE = Path(__file__).resolve().parent
RECORD = HERE / "surface.txt"


def documented() -> list[str]:
    """The dotted names on the reference pages."""
    pages = sorted((HERE.parent / "docs" / "reference").glob("*.md"))
    return sorted({name for page in pages for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)})


def lines(thing: griffe.Object | griffe.Alias, name: str) -> list[str]:
    """A name with its signature; of a module or class, its public members too."""
    thing = thing.final_target if isinstance(thing, griffe.Alias) else thing
    if thing.is_function:
        return [signature(thing, name)]
    own = [signature(thing, name)] if thing.is_class else []
    if not own and not thing.is_module:
        return [name]
    members = {key: member for key, member in thing.members.items() if is_public(thing, key, member)}
    return own + [line for key, member in members.items() for line in lines(member, f"{name}.{key}")]


def is_public(owner: griffe.Object, key: str, member: griffe.Object | griffe.Alias) -> bool:
    if owner.is_module and owner.exports is not None:
        return key in owner.exports
    return not key.startswith("_") and not (owner.is_module and (member.is_alias or member.is_module))


def signature(thing: griffe.Class | griffe.Function, name: str) -> str:
    text = thing.signature(return_type=False, name=name) or f"{name}()"
    return text.replace("(self, ", "(").replace("(cls, ", "(").replace("(self)", "()").replace("(cls)", "()")


def surface(package: griffe.Object, names: list[str]) -> list[str]:
    return sorted({line for name in names for line in lines(package[name.partition(".")[2]], name)})


def now() -> list[str]:
    package = griffe.load("pmtools", search_paths=[HERE.parent], resolve_aliases=True)
    return surface(package, documented())


def test_the_surface_is_the_recorded_one():
    recorded, found = RECORD.read_text().splitlines(), now()
    changed = [f"- {line}" for line in recorded if line not in found]
    changed += [f"+ {line}" for line in found if line not in recorded]
    assert not changed, "\n".join(["public names changed; if that is meant: python tests/test_surface.py", *changed])


def written(tmp_path: Path, code: str) -> list[str]:
    tmp_path.mkdir()
    (tmp_path / "thing.py").write_text(code)
    module = griffe.load("thing", search_paths=[tmp_path])
    return lines(module, "thing")


def test_changed_defaults_and_removed_methods_are_seen(tmp_path):
    code = "class Public:\n    def kept(self, image, /, *, zoom=1.0): ...\n    def removed(self): ...\n"
    before = written(tmp_path / "a", code)
    assert before == ["thing.Public()", "thing.Public.kept(image, /, *, zoom=1.0)", "thing.Public.removed()"]
    assert written(tmp_path / "b", code.replace("1.0", "2.0")) != before
    assert len(written(tmp_path / "c", code.replace("removed", "_removed"))) == 2


if __name__ == "__main__":
    RECORD.write_text("\n".join(now()) + "\n")
