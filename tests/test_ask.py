"""`pmtools ask` with a tiny random model from a folder: answers stream, files appear, wrong use is one line."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import pmtools
from pmtools import frames, zoo
from pmtools.answers import undo
from pmtools.cli.application import app
from pmtools.decoding import METHODS
from pmtools.evaluation.scenes import scene_items
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


def test_which_image_of_several_is_asked_about_is_said(folder, photo, tmp_path):
    first = Image.open(photo)
    first.save(tmp_path / "x.png", save_all=True, append_images=[first.rotate(180)], duration=100)
    arguments = (QUESTION, "--model", folder, "--max-new-tokens", 5)
    alone, several = run(photo, *arguments), run(tmp_path / "x.png", *arguments)
    assert several.stdout == alone.stdout
    assert alone.stderr == ""
    assert several.stderr == f"note: '{tmp_path / 'x.png'}': the first of 2 images\n"
    piped = CliRunner().invoke(app, ["ask", "-", *map(str, arguments)], input=Path(photo).read_bytes())
    assert piped.stdout == alone.stdout


@pytest.mark.parametrize("method", METHODS)
def test_the_answer_is_the_methods(parts, folder, photo, method):
    model, processor = parts
    result = run(photo, QUESTION, "--model", folder, "--method", method, "--max-new-tokens", 5)
    assert result.exit_code == 0, result.output
    wanted = METHODS[method](processor).generate(model, Image.open(photo), QUESTION, max_new_tokens=5, do_sample=False)
    assert result.stdout.strip() == wanted.strip()


def test_the_answer_is_said_of_the_image_itself(folder, photo, monkeypatch):
    said = '{"bbox_2d": [250, 250, 750, 750]}'
    kind = METHODS["pm"]
    generate = kind.generate

    def pointing(self, *args, **options):  # the model is random; what it would say is given
        generate(self, *args, **options)
        step = self.last[0]
        way = step.warps[0][0]
        way = way.then(frames.pad_to_square(way.target_hw))  # as the processor gets it
        seen.append(undo(said, warp=way, format="qwen3-vl").text)
        return said

    seen: list[str] = []
    monkeypatch.setattr(kind, "generate", pointing)
    arguments = (photo, QUESTION, "--model", folder, "--max-new-tokens", 3, "--answer-format", "qwen3-vl")
    result = run(*arguments, "--refresh", "first")
    assert result.exit_code == 0, result.output
    assert result.stdout == seen[0] + "\n" != said + "\n"
    assert json.loads(run(*arguments, "--refresh", "first", "--json").stdout)["answer"] == seen[0]
    refused = run(*arguments, "--refresh", "every")
    assert refused.exit_code == 2
    assert "refresh='first'" in refused.stderr


@pytest.mark.parametrize("name", ["grey.png", "colour.png"])
def test_deep_images_are_not_clipped_to_white(folder, photo, tmp_path, name):
    pixels = np.asarray(Image.open(photo))
    pixels = pixels if name == "colour.png" else pixels[..., 0]
    options = ("--model", folder, "--max-new-tokens", 1, "--save")
    for depth, values in ((8, pixels), (16, pixels.astype(np.uint16) * 257)):
        pmtools.io.write_image(values, tmp_path / str(depth) / name)
        assert run(tmp_path / str(depth) / name, QUESTION, *options, tmp_path / str(depth)).exit_code == 0
    for seen in (tmp_path / "8").glob("step*"):
        assert seen.read_bytes() == (tmp_path / "16" / seen.name).read_bytes()


def test_an_image_of_unknown_range_is_refused(folder, tmp_path):
    pmtools.io.write_image(np.full((4, 4), 1000.0), tmp_path / "depth.tiff")
    result = run(tmp_path / "depth.tiff", QUESTION, "--model", folder)
    assert result.exit_code == 1
    assert "depth.tiff" in result.stderr
    assert "scale them" in result.stderr


def test_too_little_memory_is_one_line(folder, photo, monkeypatch):
    def read(*_, **__):
        raise MemoryError

    monkeypatch.setattr("pmtools.io.read_frames", read)
    result = run(photo, QUESTION, "--model", folder)
    assert result.exit_code == 1
    assert "not enough memory" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


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


@pytest.mark.parametrize("method", ["blur", "crop", "vicrop", "api", "pm-official"])
def test_it_saves_what_other_methods_show(parts, folder, photo, tmp_path, method):
    options = ("--model", folder, "--method", method, "--max-new-tokens", 2, "--save", tmp_path, "--json")
    result = run(photo, QUESTION, *options)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    kinds = {Path(path).stem.removeprefix("step_000_") for path in report["pictures"]}
    model, processor = parts
    decoder = METHODS[method](processor)
    decoder.generate(model, Image.open(photo), QUESTION, max_new_tokens=2, do_sample=False)
    if method == "pm-official":
        assert kinds == {"magnified", "heatmap"}
        assert len(report["steps"]) == 2
        return
    assert kinds == {"shown", "heatmap", "grid"}
    assert report["steps"] == []
    shown = np.asarray(pmtools.io.read_image(tmp_path / "step_000_shown.png"))
    np.testing.assert_array_equal(shown, np.asarray(decoder.last[0].shown[0][0][-1]))


def test_the_help_names_every_method():
    words = re.findall(r"[\w-]+", run("--help").stdout)
    assert not set(METHODS) - set(words)


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("--method", "greedy", "--refine", "none"), "--refine: is an option of --method pm\n", 2),
        (
            ("--method", "vcd", "--gain", 3),
            "--gain: is an option of --method pm, api, magnify, blur, mask, bbox, crop\n",
            2,
        ),
        (("--method", "vcd", "--save", "x"), "--save: there is nothing to save with --method vcd", 2),
        (("--method", "pm-official", "--refresh", "adaptive"), "`refresh` must be", 2),
        (("--method", "magic"), "'pm-official', 'vcd'", 2),
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
    assert result.stdout == ""
    assert "Traceback" not in result.output
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_folder_to_save_in_is_checked_before_the_model_is_loaded(photo, tmp_path, monkeypatch):
    monkeypatch.setattr("pmtools.cli.ask.load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    before = photo.read_bytes()
    for place in (photo, photo / "inside"):
        result = run(photo, QUESTION, "--save", place)
        assert result.exit_code == 2
        assert f"--save: cannot write into the folder '{place}'" in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert photo.read_bytes() == before


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


# ------------------------------------------------------------------------------------------------ the embedded model


@pytest.fixture
def scene(tmp_path):
    """A scene as a file, and a question about it."""
    item = next(scene_items(seed=11))
    item.image.save(tmp_path / "scene.png")
    return tmp_path / "scene.png", item.question.text


@pytest.mark.parametrize("method", ["pm", "blur"])
def test_the_embedded_model_has_settings_of_its_own(scene, method, monkeypatch):
    seen = {}
    build = METHODS[method].__init__

    @functools.wraps(build)
    def spy(self, processor, **options):
        seen.update(options)
        build(self, processor, **options)

    monkeypatch.setattr(METHODS[method], "__init__", spy)
    result = run(*scene, "--method", method, "--gain", 7)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip()
    demo = zoo.demo_model()
    settings = demo.settings
    assert seen["gain"] == 7
    assert seen["kernel_size"] == (settings | demo.alternatives.get(method, {}))["kernel_size"]
    if method == "blur":
        assert seen["heatmap"].start_layer == settings["start_layer"]
        assert seen["heatmap"].max_iterations == settings["max_iterations"]


def test_unknown_words_are_answered_with_those_it_knows(scene):
    result = run(scene[0], "Is there a zebra in this image?")
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    for word in ("'zebra'", "red", "purple", "circle", "triangle", "six", "above", "How many", "--model"):
        assert word in result.stderr
