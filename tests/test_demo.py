"""`pmtools demo`: it counts what it says, picks a clear example, draws it, and writes whole files."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import pmtools
from pmtools.cli import demo as command
from pmtools.cli.application import app
from pmtools.evaluation.scenes import scene_items
from pmtools.zoo import demonstration
from pmtools.zoo.demonstration_picture import _window, draw_example


def looked_at(item):
    """The map of the true boxes, and the warp of it."""
    heatmap = pmtools.heatmaps.from_boxes(item.relevant_boxes_xyxy, source_hw=(384, 384), grid_hw=(12, 12))
    return heatmap, pmtools.fit_warp(heatmap, source_hw=(384, 384), gain=30.0, kernel_size=1)


def answer_both(demo, items):
    """Answers in the place of a model: wrong from the plain image, right from the magnified one, but for a few."""
    found = []
    for item in items:
        plain = item.question.answer if item.index % 5 == 0 else "?"
        magnified = "?" if item.index % 10 == 0 else item.question.answer
        found.append(demonstration.Example(item, plain, magnified, *looked_at(item), (96, 96)))
    return found


@pytest.fixture
def oracle(monkeypatch):
    monkeypatch.setattr(demonstration, "answer_both", answer_both)


@pytest.fixture(scope="module")
def example():
    """A question about one small thing, magnified by its own box."""
    item = next(item for item in scene_items(seed=4) if item.size == "small" and len(item.question.relevant) == 1)
    return demonstration.Example(item, "wrong", item.question.answer, *looked_at(item), (96, 96))


def run(*arguments: object):
    return CliRunner().invoke(app, ["demo", *map(str, arguments)])


def test_fixed_and_newly_wrong_are_counted_by_hand(oracle):
    shown = demonstration.demonstrate(None, questions=50)
    indices = np.array([item.index for item in demonstration_items(50)])
    assert shown.fixed == np.sum(indices % 5 != 0)
    assert shown.newly_wrong == np.sum(indices % 10 == 0)
    assert shown.correct_before == np.sum(indices % 5 == 0)
    assert shown.correct_after == np.sum(indices % 10 != 0)


def demonstration_items(count):
    """The first question of each of the first pictures."""
    found = {}
    for item in scene_items(seed=2026):
        found.setdefault(item.image_index, item)
        if len(found) > count:
            return list(found.values())[:count]
    raise AssertionError


def test_the_example_is_the_clearest(oracle):
    example = demonstration.demonstrate(None, questions=50).example
    assert example.plain != example.item.question.answer == example.magnified != "no"
    assert example.item.size != "large"
    assert len(example.item.question.relevant) == 1
    for item in demonstration_items(50):
        if (
            item.index % 5
            and item.size != "large"
            and len(item.question.relevant) == 1
            and item.question.answer != "no"
        ):
            _, warp = looked_at(item)
            box = item.relevant_boxes_xyxy
            grown = np.prod(np.diff(warp.boxes(box).reshape(2, 2), axis=0)) / np.prod(
                np.diff(box.reshape(2, 2), axis=0)
            )
            assert grown <= example.growth * (1 + 1e-9)


def test_boxes_on_the_input_are_a_quarter_and_grow(example):
    before, after = example.input_boxes_xyxy
    np.testing.assert_allclose(before, example.item.relevant_boxes_xyxy / 4)
    np.testing.assert_allclose(after, example.warp.boxes(example.item.relevant_boxes_xyxy) / 4)
    assert example.growth > 2


def test_the_figure_shows_both_inputs_and_both_answers(example):
    picture = np.asarray(draw_example(example)).astype(int)
    assert picture.shape[1] > 1500
    bottom = picture[-100:]
    red = (bottom[..., 0] > 150) & (bottom[..., 1:] < 80).all(-1)
    green = (bottom[..., 1] > 100) & (bottom[..., 0] < 80) & (bottom[..., 2] < 100)
    middle = picture.shape[1] // 2
    assert red[:, :middle].sum() > 500 > red[:, middle:].sum()
    assert green[:, middle:].sum() > 500 > green[:, :middle].sum()


def test_several_objects_and_those_at_the_edge_can_be_drawn():
    items = [item for item in scene_items(seed=4, limit=150) if len(item.question.relevant) > 1][:2]
    for item in items:
        heatmap, _ = looked_at(item)
        warp = pmtools.fit_warp(heatmap, source_hw=(384, 384))
        shown = demonstration.Example(item, "?", item.question.answer, heatmap, warp, (96, 96))
        assert draw_example(shown).width > 1500


@pytest.mark.parametrize("box", [[0, 0, 4, 4], [92, 90, 96, 96], [40, 40, 44, 44], [-1, 0, 97, 96]])
def test_the_window_is_inside_and_around(box):
    x0, y0, x1, y1 = _window(np.array([box]), 24, (96, 96))
    assert x1 - x0 == y1 - y0 == 24
    assert 0 <= x0 < x1 <= 96
    assert 0 <= y0 < y1 <= 96
    if box[2] - box[0] < 24:
        assert x0 <= box[0]
        assert box[2] <= x1


@pytest.mark.slow  # `make demo` runs it too
def test_the_command(tmp_path):
    result = run("--out", tmp_path / "seen", "--questions", 24)
    assert result.exit_code == 0, result.output
    number = r" +(\d+)"
    before, after, fixed, newly_wrong = (
        int(re.search(name + number, result.stdout)[1])
        for name in (
            "from the image ",
            "correct from the magnified image",
            "fixed by magnifying",
            "newly wrong",
        )
    )
    assert after - before == fixed - newly_wrong
    named = re.findall(r"^  (\S+\.png)$", result.stdout, re.M)
    assert sorted(named) == sorted(str(path) for path in (tmp_path / "seen").iterdir())
    assert str(tmp_path / "seen" / "photograph.png") in named
    for path in named:
        with Image.open(path) as picture:
            assert picture.width >= 512
    lines = [line for line in result.stdout.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= command.WIDTH


@pytest.mark.parametrize("found", [True, False])
def test_what_it_says_of_an_example(monkeypatch, tmp_path, example, found):
    shown = demonstration.Demonstration(200, 30, 10, 150, 170, example if found else None)
    monkeypatch.setattr(command, "_demonstrate", lambda questions, seed: shown)
    monkeypatch.setattr(command, "_show_signs", lambda console, path: {})  # read in test_the_command
    result = run("--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "question.png").exists() is found
    if found:
        (box,), (magnified,) = example.input_boxes_xyxy
        assert example.item.question.text in result.stdout
        assert f"wrong: the object has {box[2] - box[0]:.0f} x {box[3] - box[1]:.0f} pixels" in result.stdout
        assert f"correct: it has {magnified[2] - magnified[0]:.0f} x" in result.stdout
    else:
        assert "try more --questions" in result.stdout
    assert "150    75%" in result.stdout
    assert "9.3 times its area" in result.stdout


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ({"torch"}, "needs torch: pip install 'pmtools[hf]'"),
        ({"matplotlib"}, "needs matplotlib: pip install 'pmtools[viz]'"),
        (
            {"torch", "transformers", "matplotlib"},
            "torch and transformers and matplotlib: pip install 'pmtools[hf,viz]'",
        ),
    ],
)
def test_a_missing_extra_is_named(monkeypatch, tmp_path, missing, words):
    find = command.importlib.util.find_spec
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None if name in missing else find(name))
    result = run("--out", tmp_path / "out")
    assert result.exit_code == 1
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("--out", tmp_path / "file")
    assert result.exit_code == 1
    assert "--out" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
