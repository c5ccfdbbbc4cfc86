"""`pmtools eval llava-bench`: answers and reviews in one command, and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmark_files import llava_bench_release, run
from judge_stub import complaint
from PIL import Image

from pmtools.evaluation.llava_bench import read_llava_bench


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A tiny random LLaVA, as `from_pretrained` reads it."""
    pytest.importorskip("transformers")
    from pmtools.testing.models import tiny_model, tiny_processor

    path = tmp_path_factory.mktemp("model")
    tiny = tiny_model()
    tiny.save_pretrained(path)
    tiny_processor(tiny).save_pretrained(path)
    return path


def pictured(folder: Path) -> Path:
    """A release with its pictures."""
    (llava_bench_release(folder) / "images").mkdir()
    for k, name in enumerate(("001.jpg", "002.jpg")):
        noise = np.random.default_rng(k).integers(0, 256, (48, 60, 3), np.uint8)
        Image.fromarray(noise).save(folder / "images" / name)
    return folder


def test_answers_are_made_judged_and_scored_and_nothing_twice(stub, tmp_path, model):
    from pmtools.decoding import METHODS
    from pmtools.testing.models import tiny_model, tiny_processor

    data, out = pictured(tmp_path / "data"), tmp_path / "out"
    options = ["--data", data, "--out", out, "--model", model, "--methods", "greedy,pm", "--max-new-tokens", 4]
    made = run("eval", "llava-bench", *options, "--json")
    assert json.loads(made.stdout) == {"methods": {"greedy": {"n": 2}, "pm": {"n": 2}}}
    assert "give --judge-model" in made.stderr
    assert not stub.requests
    tiny = tiny_model()
    for method, settings in (("greedy", {}), ("pm", {"refresh": "every"})):
        decoder = METHODS[method](tiny_processor(tiny), **settings)
        said = [json.loads(line)["text"] for line in (out / "answers" / f"{method}.jsonl").read_text().splitlines()]
        asked = [(item.question, Image.open(data / "images" / item.question.image)) for item in read_llava_bench(data)]
        wanted = [decoder.generate(tiny, image, q.text, max_new_tokens=4, do_sample=False) for q, image in asked]
        assert said == wanted
    stub.replies = ["8 4", "10 9", "5 5", (404, {}, complaint("gone"))]
    judged = [*options, "--judge-model", "judge-1", "--judge-url", stub.url, "--judge-prices", "2.5,10"]
    assert "HTTP 404: gone" in run("eval", "llava-bench", *judged, code=1).stderr
    stub.replies = ["10 5"]
    report = json.loads(run("eval", "llava-bench", *judged, "--json").stdout)["methods"]
    assert len(stub.requests) == 5  # the three reviews before the refusal were kept
    assert report["greedy"]["categories"] == {"conv": 50.0, "detail": 90.0}
    assert report["greedy"]["overall"] == pytest.approx(100 * 13 / 18)
    assert report["pm"]["overall"] == pytest.approx(100 * 10 / 15)
    assert report["pm"]["tokens"] == {"prompt": 200, "completion": 40}
    assert report["pm"]["cost"] == pytest.approx((200 * 2.5 + 40 * 10) / 1e6)
    assert json.loads((out / "summary.json").read_text()) == {"judge": "judge-1", "methods": report}
    shown = run("eval", "llava-bench", *judged)
    assert len(stub.requests) == 5
    rows = {line.split()[0]: line.split() for line in shown.stdout.splitlines() if line.split()}
    assert (rows["greedy"][1], rows["greedy"][-2:]) == ("72.2", ["50.0", "90.0"])
    # the scorer takes them as they are
    alone = run("score", "llava-bench", "--reviews", out / "reviews" / "greedy.jsonl", "--json")
    assert json.loads(alone.stdout)["overall"] == report["greedy"]["overall"]


def test_the_model_is_not_loaded_for_nothing(tmp_path):
    data, out = pictured(tmp_path / "data"), tmp_path / "out"
    options = ["--data", data, "--out", out]
    assert "is not a method" in run("eval", "llava-bench", *options, "--methods", "pn", code=2).stderr
    nowhere = ["--judge-model", "j", "--judge-url", "here"]
    assert "--judge-url must start" in run("eval", "llava-bench", *options, *nowhere, code=2).stderr
    assert "must be IN,OUT" in run("eval", "llava-bench", *options, "--judge-prices", "1", code=2).stderr
    (data / "images" / "002.jpg").unlink()
    assert "has no picture '002.jpg'" in run("eval", "llava-bench", *options, code=1).stderr


def test_the_embedded_model_says_what_it_cannot_read(tmp_path):
    pytest.importorskip("transformers")
    refused = run("eval", "llava-bench", "--data", pictured(tmp_path / "data"), "--out", tmp_path / "out", code=2)
    assert "must use the demo model's words" in refused.stderr
