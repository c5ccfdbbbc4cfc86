"""Locks hold names and versions only, and they, the promises and the page of tested versions agree."""

from __future__ import annotations

import json
import re

import pytest
import versions
from packaging.requirements import Requirement
from packaging.version import Version

from pmtools._versions import TESTED_TRANSFORMERS

LOCKS = {path.name: path.read_text("utf-8") for path in versions.LOCKS}
# a host, a path outside the checkout, or an option of pip that leads to either; the page's own address is none
OF_A_MACHINE = re.compile(
    r"\w://(?!127\.0\.0\.1)|(?<![\w.$)@*}/])/(?!dev/null)\w|file:|--(?:extra-)?index|--find-links|--hash"
)


def strange_lines(lock: str) -> list[str]:
    """What a lock holds besides comments and `name==version`."""
    return [line for line in lock.splitlines() if not re.fullmatch(r"#.*|[a-z0-9]+(-[a-z0-9]+)*==\d[a-z0-9.]*", line)]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_names_and_versions_only(name):
    assert len(LOCKS[name].splitlines()) > 50
    assert strange_lines(LOCKS[name]) == []
    assert "make lock" in LOCKS[name].splitlines()[0]


@pytest.mark.parametrize(
    "line",
    [
        "torch==2.13.0+cpu",
        "torch @ file:///wheels/torch.whl",
        "-e .",
        "numpy>=2",
        "a==1 --hash=sha256:0",
        "--find-links x",
    ],
)
def test_anything_else_in_a_lock_is_seen(line):
    assert strange_lines(f"# made by hand\nnumpy==2.4.6\n{line}\n") == [line]


@pytest.mark.parametrize("name", [*LOCKS, "Makefile", ".ci/run", "tests/harness.txt"])
def test_nothing_of_a_machine_is_in_what_installs(name):
    text = (versions.ROOT / name).read_text("utf-8").removeprefix("#!/usr/bin/env bash")
    assert OF_A_MACHINE.findall(text) == []


@pytest.mark.parametrize(
    "planted", ["pip install --index-url x", "https://pypi.org/simple", "file:x", "VENV := /tmp/venv", "cp /opt/a b"]
)
def test_what_is_of_a_machine_is_seen(planted):
    assert OF_A_MACHINE.search(planted)


def test_locks_keep_what_is_promised():
    everything, app = (versions.locked(path) for path in versions.LOCKS)
    for name, lowest in versions.promised().items():
        assert Version((everything | app)[name]) >= Version(lowest), name
    for name in everything.keys() & {"numpy", "torch", "transformers", "scipy"}:
        assert everything[name] == app[name]


def test_a_lock_is_written_from_a_report(tmp_path):
    found = [("torch", "2.13.0+cpu"), ("pmtools", "0.1.0"), ("Jinja2", "3.1.6"), ("typing_extensions", "4.16.0")]
    packages = [
        {"metadata": {"name": name, "version": version}, "download_info": {"url": "u"}} for name, version in found
    ]
    (tmp_path / "report.json").write_text(json.dumps({"install": packages}), "utf-8")
    versions.lock(str(tmp_path / "report.json"), str(tmp_path / "lock.txt"), "this test")
    written = (tmp_path / "lock.txt").read_text("utf-8")
    assert strange_lines(written) == []
    assert versions.locked(tmp_path / "lock.txt") == {
        "jinja2": "3.1.6",
        "torch": "2.13.0",
        "typing-extensions": "4.16.0",
    }


def test_the_lowest_pins_are_within_pyproject(capsys):
    versions.lowest("torch==2.13.0")
    pins = dict(line.split("==") for line in capsys.readouterr().out.splitlines())
    assert pins["torch"] == "2.13.0"
    assert pins["transformers"] == versions.promised()["transformers"] == TESTED_TRANSFORMERS[0]
    assert pins.keys() == versions.promised().keys()
    assert Requirement("numpy>=2.1").specifier.contains(pins["numpy"])


def test_two_lowest_versions_of_a_package_are_refused(tmp_path, monkeypatch):
    text = (versions.ROOT / "pyproject.toml").read_text("utf-8")
    (tmp_path / "pyproject.toml").write_text(text.replace('hf = ["torch>=2.6"', 'hf = ["torch>=2.7"'), "utf-8")
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    with pytest.raises(ValueError, match="one lowest version of torch, got torch>=2"):
        versions.promised()


def differences(page: str) -> list[str]:
    """Packages whose row is not what pyproject.toml and the locks say."""
    everything, app = (versions.locked(path) for path in versions.LOCKS)
    wanted = {name: (lowest, everything.get(name, app.get(name))) for name, lowest in versions.promised().items()}
    rows = {name: row[:2] for name, row in versions.rows(page).items()}
    return sorted(name for name in wanted.keys() | rows.keys() if wanted.get(name) != rows.get(name))


def test_the_page_of_tested_versions_is_up_to_date():
    """Red after a change of pyproject.toml or of a lock, until `make versions` has run every test on the three."""
    page = versions.PAGE.read_text("utf-8")
    assert differences(page) == []
    assert versions.rows(page)["transformers"][1] == TESTED_TRANSFORMERS[1]
    transformers = versions.locked(versions.LOCKS[0])["transformers"]
    assert differences(page.replace(f" {transformers} |", " 5.0.0 |", 1)) == ["transformers"]
