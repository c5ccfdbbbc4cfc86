"""`pmtools ask` with a tiny random model from a folder: answers stream, files appear, wrong use is one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import pmtools
from pmtools.cli.application import app
from pmtools.decoding import Greedy, PerceptionMagnifier
from pmtools.testing.models import tiny_model, tiny_processor

QUESTION = "what is it"


@pytest.fixture(scope="module")
def parts():
    model = tiny_model("llava")
    return model, tiny_processor(model)


@pytest.fixture(scope="module")
def folder(parts, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model")
    for part in parts:
        part.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    pixels = np.random.default_rng(3).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def run(*arguments: object):
    return CliRunner().invoke(app, ["ask", *map(str, arguments)])


@pytest.mark.parametrize("method", ["pm", "greedy"])
def test_the_answer_is_the_methods(parts, folder, photo, method):
    model, processor = parts
    result = run(photo, QUESTION, "--model", folder, "--method", method, "--max-new-tokens", 5)
    assert result.exit_code == 0, result.output
    decoder = {"pm": PerceptionMagnifier, "greedy": Greedy}[method](processor)
    wanted = decoder.generate(model, Image.open(photo), QUESTION, max_new_tokens=5, do_sample=False)
    assert result.stdout.strip() == wanted.strip()


def test_it_saves_what_it_saw(folder, photo, tmp_path):
    options = (
        "--model",
        folder,
        "--max-new-tokens",
        3,
        "--refresh",
        "first",
        "--refine",
        "none",
        "--save",
        tmp_path / "seen",
    )
    result = run(photo, QUESTION, *options, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [step["refreshed"] for step in report["steps"]] == [True, False, False]
    assert {Path(path).name for path in report["pictures"]} == {
        f"step_000_{kind}.png" for kind in ("magnified", "heatmap", "grid")
    }
    warp = pmtools.Warp.from_dict(pmtools.io.read_json(tmp_path / "seen" / "step_000_warp.json"))
    magnified = np.asarray(pmtools.io.read_image(tmp_path / "seen" / "step_000_magnified.png"))
    np.testing.assert_array_equal(magnified, np.asarray(warp.image(Image.open(photo))))


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("--method", "greedy", "--refine", "none"), "--refine: is an option of --method pm", 2),
        (("--method", "greedy", "--save", "x"), "--save: there is nothing to save", 2),
        (("--kernel-size", 2), "--kernel-size must be odd", 2),
        (("--start-layer", 99), "layers", 2),
        (("--device", "warp-drive"), "--device", 2),
    ],
)
def test_wrong_options(folder, photo, arguments, words, code):
    result = run(photo, QUESTION, "--model", folder, *arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert len(result.stderr.strip().splitlines()) == 1


def test_wrong_models_and_images(folder, photo, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for model in (tmp_path / "nowhere", empty):
        result = run(photo, QUESTION, "--model", model)
        assert result.exit_code == 1
        assert "--model" in result.stderr
    result = run(tmp_path / "none.png", QUESTION, "--model", folder)
    assert result.exit_code == 1
    assert "none.png" in result.stderr
