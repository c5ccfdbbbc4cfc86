"""Versions: the lock of what was resolved, the lowest that pyproject promises, and the page of what was tested.

The Makefile calls it: `make lock`, `make test-lowest`, `make versions`.
"""

from __future__ import annotations

import datetime
import json
import platform
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "versions.md"
LOCKS = [ROOT / "constraints.txt", ROOT / "constraints-app.txt"]


def lock(report: str, path: str, what: str) -> None:
    """Write the names and versions, and nothing else, of a report of `pip install --report`."""
    found = [package["metadata"] for package in json.loads(Path(report).read_text("utf-8"))["install"]]
    pins = {canonicalize_name(package["name"]): package["version"].partition("+")[0] for package in found}
    del pins["pmtools"]
    Path(path).write_text(
        f"# Every version that {what} needs, written by `make lock` on {datetime.date.today()} with Python {_python()}:\n"
        f"# the newest that go together under torch {pins['torch']}, the release with a CPU wheel on the machines that\n"
        "# build this project; anything newer pulls several GB of CUDA packages.\n"
        + "".join(f"{name}=={version}\n" for name, version in sorted(pins.items())),
        "utf-8",
    )


def locked(path: Path) -> dict[str, str]:
    """Version by name of a lock."""
    return dict(line.split("==") for line in path.read_text("utf-8").splitlines() if not line.startswith("#"))


def promised() -> dict[str, str]:
    """The lowest version of each package that pyproject.toml names, in its order."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    wanted = [project["build-system"]["requires"], project["project"]["dependencies"], *extras]
    lowest: dict[str, str] = {}
    for requirement in (Requirement(text) for texts in wanted for text in texts):
        bounds = [bound.version for bound in requirement.specifier if bound.operator == ">="]
        if requirement.name == "pmtools":
            continue
        if len(bounds) != 1 or lowest.setdefault(requirement.name, bounds[0]) != bounds[0]:
            raise ValueError(f"pyproject.toml must promise one lowest version of {requirement.name}, got {requirement}")
    return lowest


def lowest(torch: str) -> None:
    """Print the pins of all that is promised, but for the torch that can be had."""
    print(*(f"{name}=={version}" for name, version in promised().items() if name != "torch"), torch, sep="\n")


def page() -> None:
    """Write the page of what is promised, locked, and installed as the newest."""
    listed = subprocess.run([".venv-latest/bin/python", "-m", "pip", "list", "--format=json"], stdout=-1, check=True)
    newest = {canonicalize_name(row["name"]): row["version"].partition("+")[0] for row in json.loads(listed.stdout)}
    PAGE.write_text(text_of(newest, datetime.date.today().isoformat()), "utf-8")


def text_of(newest: dict[str, str], date: str) -> str:
    """The page, with the table that `rows` reads back."""
    app, everything = locked(LOCKS[1]), locked(LOCKS[0])
    table = [
        f"| {name} | {bound} | {everything.get(name, app.get(name))} | {newest.get(name, 'not run')} |\n"
        for name, bound in promised().items()
    ]
    return WORDS.format(date=date, python=_python(), torch=everything["torch"], table="".join(table))


def rows(text: str) -> dict[str, tuple[str, ...]]:
    """The versions of the page's table, by package."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {name: tuple(versions) for name, *versions in lines[1:]}


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


WORDS = """\
# Tested versions

`python tests/versions.py page` writes this page (Python {python}; newest as of {date}). CI runs all
three: the whole suite on the lock, which was the newest of everything on that day, and on the
lowest; adapters, decoding, `ask` and the examples on the newest.

| package | lowest (`make test-lowest`) | lock (`make test`) | newest (`make test-latest`) |
|---|---|---|---|
{table}
- **Lowest** is what `pyproject.toml` promises. **Lock** is `constraints.txt`, which holds what
  these packages need in turn too; `make lock` writes it. gradio and playwright have a lock of their
  own, `constraints-app.txt`, since gradio asks for an older Pillow.
- **PyTorch** is {torch} in all three, the release that the project's machines have without CUDA.
  Other releases from the lowest on are expected to work; they are not tested.
- **A newer transformers** works, or says what is missing: each token is checked to come from the
  method's step, so that nothing turns into plain decoding unseen. The way out of such an error is a
  version from this table.
- Idefics3 and SmolVLM need torchvision on transformers 5.17.
- **gradio** runs in a browser with its lock. With the lowest, the page's tests outside a browser
  pass; in Chromium 138 passed and one saw a request of gradio's own script aborted (2026-11-28).
- `pmtools --version` prints what is installed.
"""


if __name__ == "__main__":
    commands = {"lock": lock, "lowest": lowest, "page": page}
    commands[sys.argv[1]](*sys.argv[2:])
