"""Every command's help has examples that parse; what people read is broken between words."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pmtools.cli.application import app
from pmtools.cli.examples import EXAMPLES

ROOT = typer.main.get_command(app)


def commands(group=ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all commands that are no groups."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def parse(words: list[str]) -> None:
    """Read a command line as typer does, running nothing."""
    command, context = ROOT, None
    while hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
    context = command.make_context(name, words)
    context.close()


def test_every_command_has_examples():
    assert sorted(" ".join(path) for path in commands()) == sorted(EXAMPLES)


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_the_examples_of_the_help_parse(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for folder in ("maps", "photos", "mme", "pope", "bench", "262144", "1048576"):
        Path(folder).mkdir()
    for file in ("warp.json", "questions.jsonl", "mme.jsonl", "pope.jsonl", "answers.jsonl", "reviews.jsonl"):
        Path(file).touch()
    shown = CliRunner().invoke(app, [*path, "--help"]).stdout
    text = " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
    for line in EXAMPLES[" ".join(path)]:
        assert line in text
        assert len(line) <= 74, "one line of a terminal"
        words = shlex.split(line)
        assert words.pop(0) == "pmtools"
        parse(words)


def test_what_does_not_parse_is_seen():
    with pytest.raises(Exception, match="No such option"):
        parse(["magnify", "photo.jpg", "--boxen", "1,2,3,4", "-o", "x.jpg"])


def test_errors_break_between_words_on_a_terminal_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    arguments = ["magnify", "photo.jpg", "--box", "1,2,3", "--size", "336", "-o", "x.jpg"]
    plain = CliRunner().invoke(app, arguments).stderr
    assert plain.count("\n") == 1
    assert len(plain) > 80
    monkeypatch.setenv("FORCE_COLOR", "1")
    wrapped = CliRunner().invoke(app, arguments).stderr
    assert wrapped.count("\n") > 1
    assert max(map(len, wrapped.splitlines())) <= 80
    assert wrapped.split() == plain.split(), "a word was broken"


def test_a_table_ends_with_its_legend_and_one_sentence(capsys):
    from pmtools.cli.tables import print_table

    print_table(["a", "b"], [["x", 1]], legend="b: " + "words " * 20, closing="This is so.")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "This is so."
    assert lines[5].startswith("b: words"), lines
