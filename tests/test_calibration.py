"""Which heads look at what is asked: against the maps that run, the heads that training taught, and planted ones."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pmtools import io
from pmtools.adapters.heatmaps import AttentionHeatmap
from pmtools.cli.application import app
from pmtools.decoding import PerceptionMagnifier
from pmtools.evaluation import calibration
from pmtools.evaluation.boxed_questions import read_boxed_questions
from pmtools.evaluation.calibration import Look, calibrate, look_at, score
from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.model_answers import ModelAnswers
from pmtools.evaluation.scenes import scene_items
from pmtools.testing.models import tiny_model, tiny_processor
from pmtools.zoo import demo_model

ITEMS = [item for item in scene_items(seed=13, limit=12) if len(item.relevant_boxes_xyxy)]


def answers_of(model, processor, text=lambda item: item.instruction):
    return ModelAnswers(model, processor, text=text, max_new_tokens=1)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", pytest.param("llava_next", marks=pytest.mark.slow)])
def test_what_is_compared_is_what_runs(family):
    model = tiny_model(family)
    answers = answers_of(model, tiny_processor(model))
    found = calibrate(answers, ITEMS[:6], batch_size=4)
    assert len(found.candidates) > 6
    batch = ITEMS[1:6:2]  # the half that is chosen by
    for settings, scores in found.candidates:
        maps = iter([row[0].numpy() for row in AttentionHeatmap(**settings)(answers.prompts(batch))])
        _, looks = look_at(answers, batch)
        wanted = score(looks, lambda _, maps=maps: next(maps))
        assert (scores.inside, scores.pointing) == pytest.approx((wanted.inside, wanted.pointing), abs=2e-3)
    PerceptionMagnifier(answers.processor, **json.loads(json.dumps(found.settings)))


def test_the_heads_that_training_taught_to_look_are_found():
    demo = demo_model()
    answers = answers_of(demo.model, demo.processor, lambda item: item.question.text)
    found = calibrate(answers, list(scene_items(seed=5, limit=66, split="tune")), batch_size=33)
    # training/objectives.py: heads 0 and 1 of layers 2 and 3
    assert {tuple(head) for head in found.settings["heads"]} <= {(2, 0), (2, 1), (3, 0), (3, 1)}
    assert found.chosen.times_area > 1.5 * found.auto.times_area > 10
    assert found.settings["sinks"] == []


def planted(monkeypatch, sink):
    """Looks of two layers of two heads at boxes that move: head (1, 0) looks there, and everything at the sink."""
    rng = np.random.default_rng(0)
    looks = []
    for _ in range(40):
        inside = np.zeros((5, 6))
        inside[rng.integers(5), rng.integers(6)] = 1
        maps = rng.random((2, 2, 5, 6)) * 0.05
        maps[1, 0] += 0.3 * inside
        maps[..., 4, 1] += sink
        looks.append(Look(maps.astype(np.float16), inside))
    monkeypatch.setattr(calibration, "look_at", lambda *_, **__: ([0, 1], looks))


def test_a_sink_is_dropped(monkeypatch):
    planted(monkeypatch, sink=0.8)
    found = calibrate(SimpleNamespace(), [])
    assert found.settings["sinks"] == [[0.25, 0.9]]  # the middle of the cell in row 4 of 5, column 1 of 6
    assert found.settings["heads"] == [[1, 0]]
    assert found.chosen.pointing > 0.9


def test_without_a_sink_none_is_found(monkeypatch):
    planted(monkeypatch, sink=0.0)
    found = calibrate(SimpleNamespace(), [])
    assert found.settings == {"start_layer": "auto", "heads": [[1, 0]], "sinks": []}


def test_too_few_boxes_are_refused():
    model = tiny_model("llava")
    without = [SimpleNamespace(index=0, image=Image.new("RGB", (8, 8)), relevant_boxes_xyxy=np.zeros((0, 4)))] * 9
    with pytest.raises(ValueError, match="at least four questions"):
        calibrate(answers_of(model, tiny_processor(model)), without)


# ---------------------------------------------------------------------------------------- files and the command line


@pytest.fixture
def questions(tmp_path):
    """A file of scenes, as a user would write one."""
    rows = []
    for item in ITEMS[:8]:
        item.image.save(tmp_path / f"{item.index}.png")
        boxes = item.relevant_boxes_xyxy.tolist()
        rows.append({"image": f"{item.index}.png", "question": item.question.text, "boxes": boxes})
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_own_pictures_are_read(questions):
    for found, item in zip(read_boxed_questions(questions), ITEMS, strict=False):
        assert found.text == item.question.text
        assert np.array_equal(np.asarray(found.image), np.asarray(item.image))
        np.testing.assert_allclose(found.relevant_boxes_xyxy, item.relevant_boxes_xyxy)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"boxes": "all"}, "`boxes`"), ({"boxes": [[9, 0, 1, 5]]}, "x0 <= x1"), ({"image": "no.png"}, "no picture")],
)
def test_unusable_lines_are_named(questions, change, message):
    first = json.loads(questions.read_text().splitlines()[0])
    questions.write_text(json.dumps(first | change))
    with pytest.raises(RecordError, match=message):
        read_boxed_questions(questions)


def test_the_file_serves_every_command(questions, tmp_path):
    out = tmp_path / "look.json"
    done = run("calibrate", "--questions", questions, "--out", out)
    assert done.exit_code == 0, done.output
    assert "chosen: " in done.output
    settings = io.read_json(out)
    assert set(settings) == {"start_layer", "heads", "sinks"}
    picture, question = questions.parent / "0.png", ITEMS[0].question.text
    asked = run("ask", picture, question, "--settings", out, "--json", "--save", tmp_path / "saved")
    assert asked.exit_code == 0, asked.output
    evaluated = run("eval", "scenes", "--methods", "pm", "--limit", 2, "--settings", out, "--out", tmp_path / "run")
    assert evaluated.exit_code == 0, evaluated.output
    assert io.read_json(tmp_path / "run" / "setup.json")["settings"].items() >= settings.items()


@pytest.mark.parametrize("content", ["[1]", '{"gains": 3}', "{"])
def test_settings_that_are_none_are_one_line(questions, tmp_path, content):
    path = tmp_path / "look.json"
    path.write_text(content)
    done = run("ask", questions.parent / "0.png", ITEMS[0].question.text, "--settings", path)
    assert done.exit_code == 2
    assert "--settings" in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_boxes_beside_the_picture_are_one_line(questions, tmp_path):
    rows = [json.loads(line) | {"boxes": [[900, 900, 950, 950]]} for line in questions.read_text().splitlines()]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("calibrate", "--questions", questions, "--out", tmp_path / "look.json")
    assert done.exit_code != 0
    assert "question 0 must touch its picture" in done.output
