"""`pmtools eval`: any model from a folder, benchmarks as published, killed and started again, one line for every mistake."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from pmtools import zoo
from pmtools.cli.application import app
from pmtools.cli.eval.scenes import FIVE
from pmtools.decoding import Greedy
from pmtools.evaluation import methods as methods_module
from pmtools.evaluation import model_answers
from pmtools.evaluation.methods import METHODS, USUAL
from pmtools.evaluation.model_answers import ModelAnswers
from pmtools.evaluation.scenes import CATEGORIES, SIZES, scene_items
from pmtools.evaluation.statistics import holm
from pmtools.testing.models import tiny_model, tiny_processor

POPE = "Is there a {} in the image?"
MME = "Is there a {} in this image? Please answer yes or no."


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny random LLaVA, as `from_pretrained` reads it."""
    path = tmp_path_factory.mktemp("model")
    model = tiny_model("llava")
    model.save_pretrained(path)
    tiny_processor(model).save_pretrained(path)
    return path


def run(*arguments: object, code: int = 0, command: str = "eval"):
    result = CliRunner().invoke(app, [command, *map(str, arguments)], env={"COLUMNS": "80"})
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    if code:
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
    return result


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 60, 3)).astype(np.uint8)).save(path)


def answers_of(out: Path) -> dict[str, list[dict]]:
    files = sorted((out / "answers").glob("*.jsonl"))
    return {path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in files}


# ------------------------------------------------------------------------------------------------------------- scenes


def test_a_model_from_a_folder_is_asked_scene_questions(folder, tmp_path):
    result = run(
        "scenes", "--model", folder, "--methods", "greedy,pm-neither", "--limit", 3, "--out", tmp_path, "--json",
        "--max-new-tokens", 2, "--batch-size", 2, "--seed", 4,
    )  # fmt: skip
    methods = json.loads(result.stdout)["methods"]
    assert list(methods) == ["greedy", "pm-neither"]
    processor = tiny_processor(tiny_model("llava"))
    for record, item in zip(answers_of(tmp_path)["greedy"], scene_items(seed=4, limit=3), strict=True):
        decoder = Greedy(processor)
        wanted = decoder.generate(tiny_model("llava"), item.image, item.instruction, max_new_tokens=2, do_sample=False)
        assert record["reply"] == wanted
        assert record["question"] == item.question.text
    assert json.loads((tmp_path / "setup.json").read_text())["model"] == folder.name  # not where it lies


def known_replies(monkeypatch, **replies):
    """The embedded model replaced by replies: `right`, or one word for all questions."""

    def answer(self, items, methods, /):
        return {
            method: [i.question.answer if replies[method] == "right" else replies[method] for i in items]
            for method in methods
        }

    monkeypatch.setattr(ModelAnswers, "__call__", answer)


def test_json_by_hand(monkeypatch, tmp_path):
    """66 questions: a yes for each no; the open ones, 18 of them, are never answered with yes."""
    known_replies(monkeypatch, greedy="yes", pm="right")
    result = run("scenes", "--methods", "greedy,pm", "--limit", 66, "--out", tmp_path, "--json")
    found = json.loads(result.stdout)
    assert list(found) == ["methods"]
    items = list(scene_items(limit=66))
    share = {
        key: {name: np.mean([i.question.answer == "yes" for i in items if of(i) == name]) for name in names}
        for key, names, of in (
            ("by_category", CATEGORIES, lambda item: item.question.category),
            ("by_size", SIZES, lambda item: item.size),
        )
    }
    right = sum(item.question.answer == "yes" for item in items)
    assert found["methods"]["greedy"] == {
        "n": 66, "accuracy": right / 66, **share, "vs_greedy": {"difference": 0.0, "z": 0.0, "p": 1.0},
    }  # fmt: skip
    lost = 66 - right
    assert found["methods"]["pm"] == {
        "n": 66, "accuracy": 1.0,
        "by_category": dict.fromkeys(CATEGORIES, 1.0), "by_size": dict.fromkeys(SIZES, 1.0),
        "vs_greedy": {"difference": 1 - right / 66, "z": pytest.approx(lost**0.5), "p": pytest.approx(2.0 ** (1 - lost))},
    }  # fmt: skip


def test_json_without_greedy_compares_nothing(monkeypatch, tmp_path):
    known_replies(monkeypatch, pm="right")
    found = json.loads(run("scenes", "--methods", "pm", "--limit", 2, "--out", tmp_path, "--json").stdout)
    assert found["methods"]["pm"]["vs_greedy"] is None


def test_tables_fit_a_terminal_and_say_where_files_went(monkeypatch, tmp_path):
    known_replies(monkeypatch, **dict.fromkeys(USUAL, "yes"))
    result = run("scenes", "--limit", 14, "--out", tmp_path)
    every = run("scenes", "--limit", 14, "--out", tmp_path, "--all")  # from the answers that are there
    for shown, names, tables in ((result.stdout, FIVE, 1), (every.stdout, USUAL, 2)):
        assert max(map(len, shown.splitlines())) <= 80
        assert "…" not in shown
        for name in USUAL:
            assert len(re.findall(rf"^ {re.escape(name)} ", shown, re.M)) == tables * (name in names)
        text = " ".join(shown.split())
        assert "all: share of right answers" in text
        assert re.search(
            r"Of 14 questions, greedy answers [\d.]+% right and pm [\d.]+%: 0 fixed, 0 newly wrong\.", text
        )
    assert repr(str(tmp_path)) in result.stderr
    assert {"answers", "summary.json", "tables.md", "setup.json"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_the_embedded_model_answers_in_one_word_and_a_seed_gives_one_table(tmp_path):
    options = ("scenes", "--methods", "greedy,pm,rolled,vcd", "--limit", 8, "--batch-size", 4, "--seed", 7)
    first, second = (run(*options, "--out", tmp_path / name).stdout for name in "ab")
    assert first == second == run(*options, "--out", tmp_path / "a").stdout
    assert answers_of(tmp_path / "a") == answers_of(tmp_path / "b")
    replies = [record["reply"] for records in answers_of(tmp_path / "a").values() for record in records]
    assert all(len(reply.split()) == 1 for reply in replies)
    run(*options[:-1], 8, "--out", tmp_path / "a", code=2)


@pytest.mark.slow
def test_killed_and_started_again_nothing_is_lost_and_nothing_twice(tmp_path):
    options = ["scenes", "--methods", "greedy,pm", "--limit", "20", "--batch-size", "2", "--json", "--out"]
    command = [sys.executable, "-m", "pmtools", "eval", *options, tmp_path / "cut"]
    file = tmp_path / "cut" / "answers" / "pm.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        while process.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < 4):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    before = file.read_bytes()
    assert 4 <= before.count(b"\n") < 20
    again, whole = (run(*options, tmp_path / name) for name in ("cut", "whole"))
    assert file.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert json.loads(again.stdout) == json.loads(whole.stdout)
    for name, records in answers_of(tmp_path / "cut").items():
        assert [record["index"] for record in records] == list(range(20))
        assert records == answers_of(tmp_path / "whole")[name]


def test_a_model_of_the_demos_kind_is_asked_in_its_words_with_its_settings(tmp_path):
    copy = shutil.copytree(zoo.DEMO_MODEL, tmp_path / "trained")
    options = ("scenes", "--methods", "pm,pai", "--limit", 4, "--json", "--out")
    found = [run(*options, tmp_path / name, *more).stdout for name, more in (("a", ()), ("b", ("--model", copy)))]
    assert found[0] == found[1]
    setups = [json.loads((tmp_path / name / "setup.json").read_text()) for name in "ab"]
    assert [setup.pop("model") for setup in setups] == ["demo model", "trained"]
    assert setups[0] == setups[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--methods", "greedy,magic"), "'magic' is not a method; choose from greedy, pm, pm-no-refinement"),
        (("--methods", "greedy,greedy"), "--methods: 'greedy' is named twice"),
        (("--methods", ""), "--methods: '' is not a method"),
        (("--methods", "api-c"), "--methods: 'api-c' needs a CLIP model; give --clip"),
        (("--limit", 0), "--limit"),
        (("--limit", -3), "--limit"),
        (("--batch-size", 0), "--batch-size"),
        (("--seed", -1), "--seed"),
        (("--split", "train"), "--split"),
        (("--device", "warp-drive"), "--device"),
    ],
)
def test_wrong_options(tmp_path, arguments, words):
    assert words in run("scenes", "--out", tmp_path / "new", *arguments, code=2).stderr


def test_an_output_folder_must_be_one(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for out in (file, file / "below"):
        assert "--out: cannot write into the folder" in run("scenes", "--out", out, code=2).stderr


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on from here"),
        (torch.OutOfMemoryError("CUDA out of memory"), 1, "a smaller --batch-size"),
        (OSError(28, "No space left on device", "pm.jsonl"), 1, "pm.jsonl: No space left on device"),
        (ValueError("`batch_size` is odd"), 2, "--batch-size is odd"),
    ],
)
def test_what_ends_a_run_on_its_way_is_one_line(monkeypatch, tmp_path, error, code, words):
    def answer(self, items, methods, /):
        raise error

    monkeypatch.setattr(ModelAnswers, "__call__", answer)
    assert words in run("scenes", "--methods", "pm", "--limit", 1, "--out", tmp_path, code=code).stderr


def test_another_model_in_the_folder_is_refused(folder, tmp_path):
    options = ("--methods", "greedy", "--limit", 2, "--out", tmp_path, "--max-new-tokens", 1)
    run("scenes", "--model", folder, *options)
    other = tmp_path / "other" / folder.name
    model = tiny_model("llava", seed=1)
    model.save_pretrained(other)
    tiny_processor(model).save_pretrained(other)
    assert "which differs in `weights`" in run("scenes", "--model", other, *options, code=2).stderr


def test_methods_that_a_model_cannot_run_are_left_out_unless_they_were_named(monkeypatch, folder, tmp_path):
    def unusable(batch):
        raise ValueError("`image` must keep its size")

    few = {name: METHODS[name] for name in ("greedy", "blur")} | {"vicrop": unusable}
    for module in (methods_module, model_answers):
        monkeypatch.setattr(module, "METHODS", few)
    options = ("scenes", "--model", folder, "--limit", 2, "--max-new-tokens", 1, "--out", tmp_path)
    result = run(*options, "--methods", "all", "--json")
    assert list(json.loads(result.stdout)["methods"]) == ["greedy", "blur"]
    words = "the method 'vicrop' cannot be used with this model: `image` must keep its size"
    assert f"left out: {words}" in result.stderr
    assert words in run(*options, "--methods", "greedy,vicrop", code=2).stderr


# ---------------------------------------------------------------------------------------------------------------- MME


def mme_release(root: Path) -> Path:
    """Two categories, one with pictures and texts apart; two pictures each."""
    for category, texts, images in (
        ("existence", "", ""),
        ("scene", "questions_answers_YN", "images"),
    ):
        for number in range(2):
            picture(root / category / images / f"{number}.png", number)
            (root / category / texts).mkdir(exist_ok=True)
            lines = f"{MME.format('cat')}\tYes\n{MME.format('dog')}\tNo\n"
            (root / category / texts / f"{number}.txt").write_text(lines)
    return root


def test_mme_from_the_release_to_a_score(folder, tmp_path):
    data, out = mme_release(tmp_path / "mme"), tmp_path / "out"
    options = ("mme", "--data", data, "--model", folder, "--out", out, "--methods", "greedy,crop,shuffled")
    found = json.loads(run(*options, "--json", "--max-new-tokens", 2, "--batch-size", 3).stdout)["methods"]
    assert list(found) == ["greedy", "crop", "shuffled"]
    processor, model = tiny_processor(tiny_model("llava")), tiny_model("llava")
    for record in answers_of(out)["greedy"]:
        image = Image.open(data / record["image"])
        assert record["text"] == Greedy(processor).generate(model, image, record["prompt"], max_new_tokens=2)
    compared = [found[name].pop("vs_greedy") for name in ("crop", "shuffled")]
    assert [list(totals) for totals in compared] == [["hallucination", "perception"]] * 2
    for name, totals in zip(("crop", "shuffled"), compared, strict=True):
        for total, test in totals.items():
            assert test["difference"] == pytest.approx(found[name][total] - found["greedy"][total])
            assert test["groups"] == test["n"] == {"hallucination": 2, "perception": 4}[total]
    p_values = [test["p"] for totals in compared for test in totals.values()]
    assert [test["p_holm"] for totals in compared for test in totals.values()] == holm(p_values)
    for name, score in found.items():
        files = ("--questions", out / "questions.jsonl", "--answers", out / "answers" / f"{name}.jsonl")
        scored = json.loads(run("mme", *files, "--json", command="score").stdout)
        assert {key: scored[key] for key in score} == score
        assert (scored["missing"], scored["duplicate"], scored["unmatched"]) == (0, 0, 0)


def test_mme_tables_and_limits(folder, tmp_path):
    data = mme_release(tmp_path / "mme")
    options = ("mme", "--data", data, "--model", folder, "--out", tmp_path / "out", "--max-new-tokens", 1)
    result = run(*options, "--methods", "greedy", "--limit", 1)
    assert "n = 2" in result.stdout  # a picture stays whole
    assert "existence" in result.stdout
    assert "scene" not in result.stdout
    whole = run(*options, "--methods", "greedy,pm-neither").stdout
    assert "n = 8" in whole
    assert "corrected for 2 comparisons" in " ".join(whole.split())
    assert "scene" in whole
    assert max(map(len, whole.splitlines())) <= 80
    assert [record["index"] for record in answers_of(tmp_path / "out")["greedy"]] == list(range(8))


def test_mme_questions_from_a_file_are_labelled_by_the_release_beside_them(folder, tmp_path):
    data = tmp_path / "data"
    mme_release(data / "MME_Benchmark_release_version")
    rows = [
        {"question_id": f"scene/{k}.png", "image": f"scene/{k}.png", "text": MME.format(thing), "category": "scene"}
        for k in range(2)
        for thing in ("dog", "cat")  # no before yes: the rule of order would be wrong
    ]
    (data / "llava_mme.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ("--data", data, "--questions", data / "llava_mme.jsonl", "--model", folder, "--max-new-tokens", 1)
    run("mme", *options, "--out", tmp_path / "out", "--methods", "greedy")
    asked = [json.loads(line) for line in (tmp_path / "out" / "questions.jsonl").read_text().splitlines()]
    assert [row["label"] for row in asked] == ["no", "yes", "no", "yes"]


def test_pixels_are_bounded_where_a_model_can_be(folder, tmp_path):
    data = mme_release(tmp_path / "mme")
    options = ("mme", "--data", data, "--out", tmp_path / "out", "--max-pixels", 10_000)
    said = run(*options, "--model", folder, code=2).stderr
    assert re.search(r"--max-pixels must be left out for this model: \w+ makes \d+ x \d+ pixels of every", said)


def test_missing_pictures_are_named_before_a_model_is_loaded(tmp_path):
    data = mme_release(tmp_path / "mme")
    for path in data.rglob("*.png"):
        path.unlink()
    options = ("mme", "--data", data, "--model", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert "4 of 4 pictures are missing: 'existence/0', 'existence/1'" in run(*options, code=1).stderr
    assert not (tmp_path / "out").exists()


def test_data_must_be_the_benchmark(tmp_path):
    (tmp_path / "empty").mkdir()
    for command in ("mme", "pope"):
        error = run(command, "--data", tmp_path / "empty", "--out", tmp_path / "out", code=1).stderr
        assert "got none; name the file of questions" in error
        assert "--data" in run(command, "--data", tmp_path / "none", "--out", tmp_path / "out", code=2).stderr


def test_methods_that_need_boxes_are_not_for_photographs(tmp_path):
    data = mme_release(tmp_path / "mme")
    error = run("mme", "--data", data, "--out", tmp_path / "out", "--methods", "true-boxes", code=2).stderr
    assert "'true-boxes' is not a method" in error


def test_questions_that_cannot_be_scored_are_not_asked(tmp_path):
    data = pope_files(tmp_path / "pope", ("coco_pope_random",))
    file = data / "coco_pope_random.json"
    file.write_text(file.read_text().replace('"label": "yes"', '"label": null').replace(', "label": "no"', ""))
    options = ("--data", data, "--model", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert "`label` must be a string" in run("pope", *options, code=1).stderr
    file.write_text(file.read_text().replace(', "label": null', ""))
    assert "has no label" in run("pope", *options, code=1).stderr
    rows = [{"question_id": 1, "image": "a", "text": t, "category": "colour"} for t in ("Is it?", "Is it not?")]
    (tmp_path / "mme").mkdir()
    (tmp_path / "mme" / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ("--data", tmp_path / "mme", "--model", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert "is not a category of MME; is it 'color'" in run("mme", *options, code=1).stderr


def test_the_embedded_model_says_what_it_does_not_know(tmp_path):
    data = mme_release(tmp_path / "mme")
    assert "must use the demo model's words" in run("mme", "--data", data, "--out", tmp_path / "out", code=2).stderr


# --------------------------------------------------------------------------------------------------------------- POPE


def pope_files(root: Path, names: tuple[str, ...]) -> Path:
    """Each file asks of two pictures; ids start from 1 in each, as published."""
    for number in range(2):
        picture(root / "val2014" / f"COCO_val2014_{number:012d}.jpg", number)
    for name, absent in zip(names, ("dog", "car", "cup"), strict=False):
        asked = [(k, thing, label) for k in range(2) for thing, label in (("cat", "yes"), (absent, "no"))]
        rows = [
            {"question_id": n, "image": f"COCO_val2014_{k:012d}.jpg", "text": POPE.format(thing), "label": label}
            for n, (k, thing, label) in enumerate(asked, 1)
        ]
        (root / f"{name}.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_pope_with_one_file(folder, tmp_path):
    data, out = pope_files(tmp_path / "pope", ("coco_pope_random",)), tmp_path / "out"
    options = (
        "pope",
        "--data",
        data,
        "--model",
        folder,
        "--out",
        out,
        "--methods",
        "greedy,vdd",
        "--max-new-tokens",
        2,
    )
    found = json.loads(run(*options, "--json").stdout)["methods"]
    processor, model = tiny_processor(tiny_model("llava")), tiny_model("llava")
    first = answers_of(out)["greedy"][0]
    prompt = f"{first['prompt']} Please answer this question with one word."
    image = Image.open(data / "val2014" / first["image"])
    assert first["text"] == Greedy(processor).generate(model, image, prompt, max_new_tokens=2)
    test = found["vdd"].pop("vs_greedy")
    assert test["difference"] == pytest.approx(found["vdd"]["accuracy"] - found["greedy"]["accuracy"])
    assert (test["n"], test["groups"]) == (4, len({record["image"] for record in answers_of(out)["greedy"]}))
    table = run(*options).stdout
    assert "Of 1 difference from greedy" in table
    assert max(map(len, table.splitlines())) <= 80
    for name, score in found.items():
        files = ("--questions", data / "coco_pope_random.json", "--answers", out / "answers" / f"{name}.jsonl")
        scored = json.loads(run("pope", *files, "--json", command="score").stdout)
        assert {key: scored[key] for key in score} == score


def test_pope_with_its_three_files(folder, tmp_path):
    names = tuple(f"coco_pope_{kind}" for kind in ("adversarial", "popular", "random"))
    data, out = pope_files(tmp_path / "pope", names), tmp_path / "out"
    options = ("pope", "--data", data, "--model", folder, "--out", out, "--methods", "greedy", "--max-new-tokens", 1)
    found = json.loads(run(*options, "--json").stdout)["methods"]["greedy"]
    assert found["n"] == 12
    assert list(found["files"]) == list(names)
    for name, score in found["files"].items():
        files = ("--questions", data / f"{name}.json", "--answers", out / name / "answers" / "greedy.jsonl")
        scored = json.loads(run("pope", *files, "--json", command="score").stdout)
        assert {key: scored[key] for key in score} == score
    assert found["accuracy"] == pytest.approx(np.mean([score["accuracy"] for score in found["files"].values()]))
    table = run(*options).stdout
    assert [f"POPE, {name}, n = {n}" in table for name, n in [*((name, 4) for name in names), ("all", 12)]] == [
        True
    ] * 4
    assert max(map(len, table.splitlines())) <= 80
    assert "n = 6" in run(*options[:6], tmp_path / "few", *options[7:], "--limit", 2).stdout
