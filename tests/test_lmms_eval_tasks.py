"""V*, HR-Bench, TextVQA, MME, POPE and ScreenSpot as lmms-eval has them, on tables of ours with their columns."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pmtools
from pmtools import frames
from pmtools.decoding import METHODS
from pmtools.evaluation.scenes import scene_items
from pmtools.testing.models import tiny_model, tiny_processor

pytest.importorskip("lmms_eval", reason="lmms-eval is not installed; `make test-harness` runs this where it is")

import lmms_eval
from lmms_eval import models
from lmms_eval.api.instance import Instance
from lmms_eval.tasks.hrbench import utils as hrbench
from lmms_eval.tasks.screenspot import utils_rec as screenspot
from lmms_eval.tasks.screenspot_pro import utils as screenspot_pro
from lmms_eval.tasks.screenspot_v2 import utils as screenspot_v2
from transformers import AutoProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from typer.testing import CliRunner

from pmtools.cli.application import app
from pmtools.evaluation.lmms_samples import _overlap, read_samples, score_samples

TASKS = Path(lmms_eval.__file__).parent / "tasks"
DEMO = Path(pmtools.__file__).parent / "zoo" / "demo_model"
#: As long as the embedded model's answers are, and without instructions, whose words it does not know.
SHORT = (
    "generation_kwargs: {max_new_tokens: 1, do_sample: false}\n"
    "lmms_eval_specific_kwargs: {default: {pre_prompt: '', post_prompt: ''}}\n"
)
ITEMS = list(scene_items(seed=4, limit=200))


def yes_no(count: int) -> list:
    return [item for item in ITEMS if item.question.answer in ("yes", "no")][:count]


def words(count: int) -> list:
    return [item for item in ITEMS if item.question.answer not in ("yes", "no")][:count]


def encoded(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def paired_by_picture(count: int) -> list[tuple]:
    """Pictures with a yes and a no about each, as MME has them: of two scenes the picture of the first."""
    yes, no = ([item for item in yes_no(150) if item.question.answer == label][:count] for label in ("yes", "no"))
    return [(a.image, text, label) for a, b in zip(yes, no, strict=True) for text, label in (
        (a.question.text, "Yes"), (b.question.text, "No"))]  # fmt: skip


#: The columns of each task's table, as its functions read them; names are of the real task, its file and its split.
TABLES = {
    "vstar_bench": ("vstar_bench/vstar_bench.yaml", "test", lambda: [
        {"image": item.image, "text": f"{item.question.text} (A) yes (B) no", "label": "A", "question_id": str(k),
         "category": ("direct_attributes", "relative_position")[k % 2]}
        for k, item in enumerate(yes_no(4))
    ]),
    "hrbench4k": ("hrbench/hrbench4k.yaml", "hrbench_4k", lambda: [
        {"index": k, "image": encoded(yes_no(2)[k // 4].image), "question": yes_no(2)[k // 4].question.text,
         "answer": "AB"[k % 2], "category": ("single", "cross")[k // 4], "cycle_category": str(k % 4),
         "A": ("yes", "no")[k % 2], "B": ("no", "yes")[k % 2], "C": None, "D": None}
        for k in range(8)
    ]),
    "textvqa_val": ("textvqa/textvqa_val.yaml", "validation", lambda: [
        {"image": item.image, "image_id": str(k), "question_id": k, "question": item.question.text,
         "answers": [item.question.answer] * 8 + ["cat", "dog"], "ocr_tokens": ["a"]}
        for k, item in enumerate(words(6))
    ]),
    "mme": ("mme/mme.yaml", "test", lambda: [
        {"question_id": f"{category}/{k // 2}.png", "image": image, "question": f"{text} Please answer yes or no.",
         "answer": label, "category": category}
        for category in ("color", "code_reasoning") for k, (image, text, label) in enumerate(paired_by_picture(3))
    ]),
    "pope": ("pope/pope.yaml", "test", lambda: [
        {"question_id": str(k), "image": item.image, "question": item.question.text, "answer": item.question.answer,
         "image_source": "a", "category": "random"}
        for k, item in enumerate(yes_no(8))
    ]),
}  # fmt: skip


class Judge(BaseHTTPRequestHandler):
    """Says A, whatever HR-Bench asks it: which option a reply without a letter means."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"choices": [{"message": {"content": "A"}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def judge() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Judge) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, judge) -> Path:
    """What the real command wrote for the embedded model, plain and magnified, in a folder a method."""
    from datasets import Dataset

    path = tmp_path_factory.mktemp("tasks")
    for task, (file, split, rows) in TABLES.items():
        Dataset.from_list(rows()).to_parquet(path / f"{task}.parquet")
        (path / f"tiny_{task}.yaml").write_text(
            f"include: {TASKS / file}\ntask: tiny_{task}\ndataset_path: parquet\ndataset_name: null\n"
            f"dataset_kwargs: {{data_files: {{{split}: {path / task}.parquet}}}}\n{SHORT}"
        )
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1", "HF_HOME": str(path), "OMP_NUM_THREADS": "1", "OPENAI_API_URL": judge, "OPENAI_API_KEY": "x",
        "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    for method in ("greedy", "pm"):
        out = path / "results" / "own" / method
        command = [
            sys.executable, "-m", "lmms_eval", "--model", "pmtools_hf", "--device", "cpu", "--batch_size", "4",
            "--model_args", f"pretrained={DEMO},method={method}", "--include_path", str(path),
            "--tasks", ",".join(f"tiny_{task}" for task in TABLES), "--output_path", str(out), "--log_samples",
        ]  # fmt: skip
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, cwd=path)
        assert done.returncode == 0, done.stderr[-3000:]
        assert list(out.rglob("*_results.json")), done.stderr[-3000:]  # it ends with 0 whatever happens
    return path / "results"


@pytest.mark.parametrize("task", TABLES)
def test_scores_are_those_that_the_tasks_report(runs, task):
    """The mean of what we read from the samples is the number in the harness's own table."""
    for method in ("greedy", "pm"):
        (results,) = (runs / "own" / method).rglob("*_results.json")
        theirs = json.loads(results.read_text())["results"][f"tiny_{task}"]
        ours = score_samples(read_samples(runs / "own" / method)[f"tiny_{task}"])
        for metric, scores in ours.items():
            scale = 100 if task == "vstar_bench" else 1
            assert scores.mean * scale == pytest.approx(theirs[f"{metric},none"]), metric


def test_questions_about_one_picture_are_one_group(runs):
    samples = read_samples(runs / "own" / "pm")
    found = {task: next(iter(score_samples(samples[f"tiny_{task}"]).values())) for task in TABLES}
    images = {
        "vstar_bench": [item.image for item in yes_no(4)], "hrbench4k": [item.image for item in yes_no(2)],
        "textvqa_val": [item.image for item in words(6)], "pope": [item.image for item in yes_no(8)],
    }  # fmt: skip
    for task, shown in images.items():
        assert len(set(found[task].pictures.values())) == len({image.tobytes() for image in shown}), task
    assert len(found["mme"].values) == 3
    assert found["hrbench4k"].tokens > 576 / 4


def test_two_runs_are_compared_by_one_command(runs):
    result = CliRunner().invoke(app, ["score", "lmms-eval", str(runs / "own"), "--json"])
    assert result.exit_code == 0, result.output
    found = {(each["task"], each["metric"]): each for each in json.loads(result.stdout)["comparisons"]}
    assert {task for task, _ in found} == {f"tiny_{task}" for task in TABLES}
    assert {metric for task, metric in found if task == "tiny_mme"} == {"mme_perception_score", "mme_cognition_score"}
    for each in found.values():
        assert each["difference"] == pytest.approx(each["second"]["score"] - each["first"]["score"])
        assert each["p_holm"] >= each["p"]
        assert each["first"]["tokens"] == each["second"]["tokens"]
    table = CliRunner().invoke(app, ["score", "lmms-eval", str(runs / "own")], env={"COLUMNS": "80"}).stdout
    assert f"corrected for {len(found)} comparisons" in " ".join(table.split())
    assert max(map(len, table.splitlines())) <= 80


def test_replies_without_a_letter_end_hr_bench_where_no_judge_answers(monkeypatch):
    """What the page warns of: answers are lost to a KeyError after the run."""
    monkeypatch.setattr(hrbench.hrbench_evaluator, "_post_request", lambda _: 1 / 0)
    doc = {"question": "Which?", "A": "red", "B": "blue", "answer": "A", "category": "single", "cycle_category": "0"}
    with pytest.raises(KeyError, match="gpt_prediction"):
        hrbench.hrbench_process_results({**doc, "index": 0}, ["It cannot be told."])
    assert hrbench.hrbench_process_results({**doc, "index": 0}, ["B."])["average"]["gpt_score"] == 0


# ---------------------------------------------------------------------------------------------------------- ScreenSpot

SCREEN = (1080, 1920)
ICON = np.array([1400.0, 300.0, 1440.0, 330.0])  # x0, y0, x1, y1 in pixels of the screenshot
FRACTIONS = (ICON / np.tile(SCREEN[::-1], 2)).tolist()
#: Where to look: at the icon, on a grid of 27 by 48.
MAP = np.zeros((27, 48))
MAP[7:9, 34:37] = 1.0
COMMON = {
    "instruction": "close",
    "data_type": "icon",
    "ui_type": "icon",
    "data_source": "windows",
    "file_name": "a.png",
}
#: The functions of each task, how many numbers it asks for, and its own columns.
GROUNDING = {
    "screenspot_rec": (
        (screenspot.screenspot_rec_doc_to_visual, screenspot.screenspot_rec_doc_to_text),
        lambda doc, said: screenspot.screenspot_rec_process_result(doc, said)["screenspot_ACC@0.5"],
        (4, {"bbox": FRACTIONS}),
    ),
    "screenspot_v2": (
        (screenspot_v2.screenspot_v2_doc_to_visual, screenspot_v2.screenspot_v2_doc_to_text),
        lambda doc, said: screenspot_v2.screenspot_v2_process_results(doc, said)["screenspot_v2_action_acc"],
        (2, {"bbox": FRACTIONS}),
    ),
    "screenspot_pro": (
        (screenspot_pro.screenspot_pro_doc_to_visual, screenspot_pro.screenspot_pro_doc_to_text),
        lambda doc, said: screenspot_pro.screenspot_pro_process_results(doc, said)["screenspot_pro_action_acc"],
        (2, {"bbox": ICON.tolist(), "img_size": list(SCREEN[::-1])}),
    ),
}  # fmt: skip


def right(record: dict) -> bool:
    """A record of the tasks as right or wrong; boxes by their own rule."""
    if "correct" in record:
        return record["correct"]
    return bool(screenspot.compute_accuracy(record["bbox"], record["pred"], 0.5))


def reply(shown: np.ndarray, shown_hw: tuple, input_hw: tuple, format: str) -> str:
    """What a model says of a place on the image that it was shown, in its own units."""
    parts = shown / np.tile(shown_hw[::-1], len(shown) // 2)
    if format == "fractions":
        return f"({', '.join(f'{part:.3f}' for part in parts)})"
    if format == "thousandths":
        return f"[{', '.join(f'{part * 1000:.0f}' for part in parts)}]"
    key = {2: "point_2d", 4: "bbox_2d"}[len(parts)]  # qwen2.5-vl: pixels after the processor's resizing
    return f'{{"{key}": [{", ".join(f"{n:.0f}" for n in parts * np.tile(input_hw[::-1], len(parts) // 2))}]}}'


@pytest.fixture(scope="module")
def qwen(tmp_path_factory) -> Path:
    """A tiny random Qwen2.5-VL, without its processor: the one for videos, which belongs to it, needs torchvision."""
    path = tmp_path_factory.mktemp("qwen")
    tiny_model("qwen2_5_vl").save_pretrained(path)
    return path


def loaded(folder: Path, docs: list[dict], **options):
    """The adapter as the harness makes it from `--model_args`."""
    arguments = ",".join(f"{name}={value}" for name, value in {"pretrained": folder, **options}.items())
    given = {"batch_size": "1", "max_batch_size": None, "device": "cpu"}
    with pytest.MonkeyPatch.context() as patch:
        if folder.name.startswith("qwen"):
            processor = tiny_processor(tiny_model("qwen2_5_vl"))
            patch.setattr(AutoProcessor, "from_pretrained", lambda _: processor)
        model = models.get_model("pmtools_hf", True).create_from_arg_string(arguments, given)
    model.task_dict["tiny"] = {"test": docs}
    return model


def asked(look, ask, docs: list[dict]) -> list[Instance]:
    generation = {"max_new_tokens": 2, "do_sample": False}
    return [
        Instance(
            request_type="generate_until",
            arguments=(ask(doc), dict(generation), look, k, "tiny", "test"),
            idx=0,
            metadata={"task": "tiny", "doc_id": k, "repeats": 1},
        )
        for k, doc in enumerate(docs)
    ]


@pytest.mark.parametrize("method", ["greedy", "pm"])
@pytest.mark.parametrize("format", ["fractions", "thousandths", "qwen2.5-vl"])
@pytest.mark.parametrize("task", GROUNDING)
def test_places_are_scored_on_the_original_screen(qwen, monkeypatch, task, format, method):
    """The task's own prompt and scorer; the model is random, so that what it would say of the image it is shown is given."""
    (look, ask), score, (count, columns) = GROUNDING[task]
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*SCREEN, 3), np.uint8))
    docs = [{"image": image, **COMMON, **columns}]
    refresh = {"refresh": "first"} if method == "pm" else {}
    model = loaded(
        qwen, docs, method=method, max_pixels=100_000, answer_format=format, answer_units="fractions", **refresh
    )
    if method == "pm":
        model.decoder = METHODS["pm"](model.processor, heatmap=MAP, refresh="first")
    own, heard = model._answer, []

    def pointing(prompts, **options):
        _, counts = own(prompts, **options)
        warp = model.decoder.last[0].warps[0][0] if method == "pm" else frames.identity(SCREEN)
        box = np.asarray(warp.boxes(ICON))
        size = model.processor.image_processor.size
        input_hw = smart_resize(*warp.target_hw, 28, size["shortest_edge"], size["longest_edge"])
        place = box if count == 4 else (box[:2] + box[2:]) / 2
        heard.append(reply(place, warp.target_hw, input_hw, format))
        return [heard[-1]], counts

    monkeypatch.setattr(model, "_answer", pointing)
    (answer,) = model.generate_until(asked(look, ask, docs))
    assert right(score(docs[0], [answer.text]))
    as_it_came = right(score(docs[0], heard))
    plainly = format == "fractions" or (format, task) == ("thousandths", "screenspot_rec")  # what these scorers take
    assert as_it_came is (plainly and method == "greedy")  # of the magnified image, it names another place


def test_boxes_are_scored_by_the_tasks_own_rules():
    """An outside reference for what is computed from `pred` and `bbox`."""
    rng = np.random.default_rng(3)
    rules = {"IoU": screenspot.compute_iou, "ACC": screenspot.compute_center_accuracy}
    rules |= {f"ACC@{t}": lambda a, b, t=t: screenspot.compute_accuracy(a, b, t) for t in (0.1, 0.3, 0.5)}
    for _ in range(50):
        corners = np.sort(rng.random((2, 2, 2)), axis=1)
        true, said = (corners[i].ravel().tolist() for i in range(2))
        for rule, theirs in rules.items():
            assert _overlap(rule, true, said) == pytest.approx(float(theirs(true, said)))


# -------------------------------------------------------------------------------------------------------- pixel budgets


def test_every_method_gets_the_same_number_of_image_tokens(qwen):
    """By the numbers that lmms-eval logs; fewer for fewer pixels."""
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (400, 600, 3), np.uint8))
    docs = [{"image": image, "question": "What is it?"}, {"image": image, "question": "Where is it?"}]
    tokens = {}
    for budget in (100_000, 20_000):
        for method in ("greedy", "pm", "vicrop"):
            model = loaded(qwen, docs, method=method, max_pixels=budget)
            found = model.generate_until(asked(lambda doc: [doc["image"]], lambda doc: doc["question"], docs))
            logged = [answer.token_counts.to_dict() for answer in found]
            assert logged[0]["picture"] == logged[1]["picture"]
            tokens[budget, method] = logged[0]["input_tokens"]
    assert tokens[100_000, "greedy"] == tokens[100_000, "pm"] == tokens[100_000, "vicrop"]
    assert tokens[20_000, "greedy"] == tokens[20_000, "pm"] == tokens[20_000, "vicrop"]
    sizes = [smart_resize(400, 600, 28, 3136, budget) for budget in (100_000, 20_000)]
    more, less = (height * width // 28**2 for height, width in sizes)  # a token for 28 by 28 pixels
    assert tokens[100_000, "pm"] - tokens[20_000, "pm"] == more - less > 90


def test_a_model_of_one_size_refuses_a_budget():
    with pytest.raises(ValueError, match=r"`max_pixels` must be left out for this model: .* pixels of every image"):
        loaded(DEMO, [], max_pixels=100_000)
    with pytest.raises(ValueError, match="`answer_units` needs `answer_format`"):
        loaded(DEMO, [], answer_units="fractions")
