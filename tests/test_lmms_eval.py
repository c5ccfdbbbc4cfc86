"""The model that lmms-eval loads, in the real package: `make test-harness` installs it without its dependencies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pmtools import frames
from pmtools.answers import undo
from pmtools.decoding import METHODS
from pmtools.evaluation.mme import score_mme
from pmtools.testing.models import tiny_model, tiny_processor

pytest.importorskip("lmms_eval", reason="lmms-eval is not installed; `make test-harness` runs this where it is")

from lmms_eval import models
from lmms_eval.api.instance import Instance

from pmtools.evaluation.questions import Question

TASK, SPLIT = "tiny", "test"
GENERATION = {"max_new_tokens": 4, "temperature": 0, "top_p": 1.0, "num_beams": 1, "do_sample": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A LLaVA-shaped model with random weights, saved as one that is published."""
    path = tmp_path_factory.mktemp("model")
    model = tiny_model()
    model.save_pretrained(path)
    tiny_processor(model).save_pretrained(path)
    return path


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 60 + 10 * seed, 3), np.uint8))


@pytest.fixture(scope="module")
def docs() -> list[dict]:
    return [
        {"image": picture(k), "question": f"Is there a {w}?", "answer": "yes"}
        for k, w in enumerate(["dog", "car", "hat"])
    ]


def load(folder: Path, docs: list[dict], *, simple: bool = False, **options):
    """The class that the harness finds under the model's name, made as the harness makes it."""
    arguments = ",".join(f"{name}={value}" for name, value in {"pretrained": folder, **options}.items())
    given = {"batch_size": "2", "max_batch_size": None, "device": "cpu"}
    loaded = models.get_model("pmtools_hf", simple).create_from_arg_string(arguments, given)
    loaded.task_dict[TASK] = {SPLIT: docs}
    return loaded


def visuals(doc: dict) -> list:
    return [doc["image"].convert("RGB")]


def messages(doc: dict) -> list[dict]:
    content = [{"type": "image", "url": image} for image in visuals(doc)]
    return [{"role": "user", "content": [*content, {"type": "text", "text": doc["question"]}]}]


def requests(kind: str, arguments: list[tuple]) -> list[Instance]:
    return [
        Instance(request_type=kind, arguments=each, idx=0, metadata={"task": TASK, "doc_id": k, "repeats": 1})
        for k, each in enumerate(arguments)
    ]


def chat_requests(docs: list[dict], generation: dict = GENERATION, ask=messages) -> list[Instance]:
    return requests("generate_until", [("", ask, dict(generation), k, TASK, SPLIT) for k in range(len(docs))])


def simple_requests(docs: list[dict], generation: dict = GENERATION, look=visuals) -> list[Instance]:
    return requests(
        "generate_until", [(doc["question"], dict(generation), look, k, TASK, SPLIT) for k, doc in enumerate(docs)]
    )


def said(model, made: list[Instance]) -> list[str]:
    """The texts of what the model returns to the harness."""
    return [answer.text for answer in model.generate_until(made)]


def ours(method: str, doc: dict, **options) -> str:
    """What this package answers without the harness."""
    model = tiny_model()
    decoder = METHODS[method](tiny_processor(model))
    return decoder.generate(
        model, doc["image"], doc["question"], **{"max_new_tokens": 4, "do_sample": False, **options}
    )


# ------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("method", ["greedy", "pm", "vcd", "api"])
@pytest.mark.parametrize("simple", [False, True])
def test_answers_are_those_of_generate_in_the_order_of_the_requests(folder, docs, method, simple):
    model = load(folder, docs, simple=simple, method=method)
    assert model.is_simple is simple
    made = (simple_requests if simple else chat_requests)(docs)
    assert said(model, made) == [ours(method, doc) for doc in docs]


def test_options_of_the_method_are_model_arguments(folder, docs):
    model = load(folder, docs, method="vcd", strength=0.5, noise_step=100)
    assert (model.decoder.strength, model.decoder.noise_step) == (0.5, 100)
    for options, says in [({"method": "vdc"}, "`method` must be one of"), ({"gian": 3}, "gian")]:
        with pytest.raises((TypeError, ValueError), match=says):
            load(folder, docs, **options)


def test_answers_come_of_the_original_images(folder, docs, monkeypatch):
    model = load(folder, docs, method="pm", refresh="first", answer_format="qwen3-vl")
    answer, wanted = '{"bbox_2d": [250, 250, 750, 750]}', []
    own = model._answer

    def pointing(prompts, **options):  # the model is random; what it would say is given
        _, counts = own(prompts, **options)
        warps = [row[0] for row in model.decoder.last[0].warps]
        warps = [warp.then(frames.pad_to_square(warp.target_hw)) for warp in warps]  # as the processor gets them
        wanted.extend(undo(answer, warp=warp, format="qwen3-vl").text for warp in warps)
        return [answer] * len(prompts), counts

    monkeypatch.setattr(model, "_answer", pointing)
    assert sorted(said(model, chat_requests(docs))) == sorted(wanted)
    assert answer not in wanted
    with pytest.raises(ValueError, match="`answer_format` must be one of"):
        load(folder, docs, answer_format="qwen")


def test_there_is_no_automatic_batch_size(folder):
    made = models.get_model("pmtools")
    with pytest.raises(ValueError, match="`batch_size` must be an integer"):
        made.create_from_arg_string(f"pretrained={folder}", {"batch_size": "auto"})


def test_requests_with_other_options_are_answered_apart(folder, docs):
    model = load(folder, docs, method="greedy")
    made = chat_requests(docs)
    made[1].arguments[2]["max_new_tokens"] = 2
    answers = said(model, made)
    assert answers == [ours("greedy", doc, max_new_tokens=2 if k == 1 else 4) for k, doc in enumerate(docs)]
    assert answers[1] != ours("greedy", docs[1])


def test_beams_and_sampling_follow_the_task(folder, docs):
    model = load(folder, docs, method="pm")
    beams = said(model, chat_requests(docs, {**GENERATION, "num_beams": 3}))
    assert beams == [ours("pm", doc, num_beams=3) for doc in docs]
    sampled = model._generation({"temperature": 0.7, "top_p": None, "do_sample": True})
    assert sampled["do_sample"]
    assert (sampled["temperature"], sampled["top_p"], sampled["max_new_tokens"]) == (0.7, None, 1024)
    assert model._generation({"do_sample": True})["do_sample"]
    assert not model._generation({"temperature": 0, "do_sample": True})["do_sample"]


def test_answers_end_before_the_first_stop_string(folder, docs):
    whole = ours("greedy", docs[0], max_new_tokens=12)
    first, second = whole[6:8], whole[3:5]
    model = load(folder, docs, method="greedy")
    made = chat_requests(docs[:1], {"max_new_tokens": 12, "until": [first, second, ""]})
    assert said(model, made) == [whole.split(second)[0].split(first)[0]]
    made = chat_requests(docs[:1], {"max_new_tokens": 12, "until": second})
    assert said(model, made) == [whole.split(second)[0]]


def test_options_that_do_nothing_here_are_told_once(folder, docs, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr("pmtools.harness.lmms_eval.logger", SimpleNamespace(warning=told.append))
    model = load(folder, docs, method="greedy")
    said(model, chat_requests(docs, {**GENERATION, "image_aspect_ratio": "pad"}))
    assert len(told) == 1
    assert "image_aspect_ratio" in told[0]


# -------------------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("method", sorted(METHODS))
def test_several_images_and_none(folder, docs, method):
    """Every method answers about several images; a question without one is answered by the model as it is."""
    model = load(folder, docs, method=method, simple=True)
    shown = [[picture(0), picture(1)], [], [picture(2)]]
    asked = [{"question": "Compare <image> and <image>."}, {"question": "Why?"}, {"question": "What is it?"}]
    model.task_dict[TASK] = {SPLIT: [{**doc, "shown": images} for doc, images in zip(asked, shown, strict=True)]}
    answers = said(model, simple_requests(asked, look=lambda doc: doc["shown"]))
    plain = tiny_model()
    decoder = METHODS[method](tiny_processor(plain))
    options = {"max_new_tokens": 4, "do_sample": False}
    chat = "USER: Compare <image>\n and <image>\n. ASSISTANT:"
    assert answers[0] == decoder.generate(plain, [shown[0]], [chat], **options)[0]
    assert answers[2] == decoder.generate(plain, picture(2), "What is it?", **options)
    inputs = decoder.processor.inner(text="USER: Why? ASSISTANT:", return_tensors="pt")
    ids = plain.generate(**inputs, **options)[:, inputs["input_ids"].shape[1] :]
    assert answers[1] == decoder.processor.tokenizer.decode(ids[0], skip_special_tokens=True).strip()


def test_several_images_of_one_message_keep_their_places(folder, docs):
    model = load(folder, docs, method="greedy")
    first, second = picture(0), picture(1)

    def ask(doc):
        parts = [("image", first), ("text", "this"), ("image", second), ("text", doc["question"])]
        content = [{"type": kind, "text" if kind == "text" else "url": value} for kind, value in parts]
        return [{"role": "user", "content": content}]

    (answer,) = said(model, chat_requests(docs[:1], ask=ask))
    plain = tiny_model()
    text = f"USER: <image>\nthis<image>\n{docs[0]['question']} ASSISTANT:"
    decoder = METHODS["greedy"](tiny_processor(plain))
    assert answer == decoder.generate(plain, [[first, second]], [text], max_new_tokens=4, do_sample=False)[0]


@pytest.mark.parametrize(("visual", "kind"), [("clip.mp4", "video"), ({"array": [0.0], "sampling_rate": 1}, "audio")])
def test_other_media_are_refused(folder, docs, visual, kind):
    model = load(folder, docs, simple=True)
    with pytest.raises(ValueError, match=f"images or text for pmtools, got {kind}"):
        said(model, simple_requests(docs, look=lambda doc: [visual]))


def test_a_processor_without_a_template_gets_its_image_tokens(folder, docs):
    model = load(folder, docs, method="greedy", simple=True)
    model.processor.inner.chat_template = None
    answers = said(model, simple_requests(docs))
    asked = [{**doc, "question": f"<image>\n{doc['question']}"} for doc in docs]
    assert answers == [ours("greedy", doc) for doc in asked]


# -------------------------------------------------------------------------------------------------------- likelihoods


@pytest.mark.parametrize("method", ["greedy", "pm", "vdd"])
def test_losses_are_those_of_a_forward_pass(folder, docs, method):
    """For plain decoding, of the model; for a method, its options off, the same again."""
    import torch

    off = {"greedy": {}, "pm": {"gain": 0}, "vdd": {"strength": 0}}[method]
    model = load(folder, docs, simple=True, method=method, **off)
    asked = [(docs[0]["question"], text, visuals, 0, TASK, SPLIT) for text in ("yes", " no")]
    found = model.loglikelihood(requests("loglikelihood", asked))
    plain = tiny_model()
    processor = METHODS["greedy"](tiny_processor(plain)).processor
    prompt = f"USER: <image>\n{docs[0]['question']} ASSISTANT:"
    for (_, continuation, *_), (loss, greedy) in zip(asked, found, strict=True):
        inputs = processor(images=docs[0]["image"], text=prompt, return_tensors="pt")
        tokens = processor.tokenizer(continuation, add_special_tokens=False, return_tensors="pt")["input_ids"]
        ids = torch.cat([inputs["input_ids"], tokens], 1)
        with torch.no_grad():
            logits = plain(input_ids=ids, pixel_values=inputs["pixel_values"]).logits
        chances = logits[0, -1 - tokens.shape[1] : -1].log_softmax(-1)
        expected = -chances.gather(1, tokens.T).mean()
        assert loss == pytest.approx(float(expected), rel=1e-4)
        assert greedy is bool((chances.argmax(1) == tokens[0]).all())


def test_a_loss_by_hand(folder, docs):
    import torch

    from pmtools.harness.lmms_eval import _Forced

    forced = _Forced([2, 0])
    chosen = [forced(torch.zeros(1, 3), torch.tensor([row]).log()) for row in ([0.2, 0.3, 0.5], [0.125, 0.875, 0.0])]
    assert [int(row.argmax()) for row in chosen] == [2, 0]
    loss, greedy = forced.loss()
    assert loss == pytest.approx((np.log(2) + np.log(8)) / 2)
    assert not greedy
    model = load(folder, docs, simple=True, method="vcd")
    asked = [(docs[0]["question"], text, visuals, 0, TASK, SPLIT) for text in (lambda doc: doc["answer"], "yes", "")]
    first, same, nothing = model.loglikelihood(requests("loglikelihood", asked))
    assert first == same
    assert nothing == (0.0, True)


def test_several_rounds_are_refused(folder, docs):
    with pytest.raises(NotImplementedError, match="in one round"):
        load(folder, docs).generate_until_multi_round([])


# ---------------------------------------------------------------------------------------------- the harness as a whole


def mme_like() -> list[dict]:
    return [
        {
            "question_id": f"{k}",
            "image": picture(k),
            "question": f"Is it {word}? Please answer yes or no.",
            "answer": label,
            "category": "color",
        }
        for k in range(2)
        for word, label in (("red", "Yes"), ("blue", "No"))
    ]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> Path:
    """MME's own task of the harness, on four questions of ours."""
    import lmms_eval
    from datasets import Dataset

    path = tmp_path_factory.mktemp("tasks")
    Dataset.from_list(mme_like()).to_parquet(path / "mme.parquet")
    source = f"dataset_path: parquet\ndataset_kwargs: {{data_files: {{test: {path / 'mme.parquet'}}}}}\n"
    mme = Path(lmms_eval.__file__).parent / "tasks" / "mme" / "mme.yaml"
    (path / "tiny_mme.yaml").write_text(f"include: {mme}\ntask: tiny_mme\n{source}")
    return path


def run(tmp_path: Path, *arguments: str) -> dict:
    """The harness's command in a process of its own; gives what it wrote."""
    command = [sys.executable, "-m", "lmms_eval", "--device", "cpu", "--output_path", str(tmp_path), *arguments]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    (results,) = tmp_path.rglob("*_results.json")
    samples = {path.stem.partition("samples_")[2]: path.read_text() for path in tmp_path.rglob("*_samples_*.jsonl")}
    return json.loads(results.read_text()) | {
        "logged": {k: [json.loads(line) for line in v.splitlines()] for k, v in samples.items()}
    }


def test_its_command_runs_its_tasks(tmp_path, folder, tasks):
    model = ["--model", "pmtools_hf", "--model_args", f"pretrained={folder},method=pm,gain=5", "--batch_size", "2"]
    found = run(tmp_path, *model, "--include_path", str(tasks), "--tasks", "tiny_mme", "--log_samples")
    assert {"mme_perception_score,none", "mme_cognition_score,none"} & set(found["results"]["tiny_mme"])
    plain = tiny_model()
    pm = METHODS["pm"](tiny_processor(plain), gain=5.0)
    for sample, doc in zip(sorted(found["logged"]["tiny_mme"], key=lambda s: s["doc_id"]), mme_like(), strict=True):
        question = (
            doc["question"].replace(" Please answer yes or no.", "")
            + "\nAnswer the question using a single word or phrase."
        )
        answer = pm.generate(plain, doc["image"], question, max_new_tokens=16, do_sample=False)
        assert sample["filtered_resps"] == answer


def test_its_score_of_mme_is_ours():
    """An outside reference for the scorer: replies on which both read the same word, in random numbers."""
    from lmms_eval.tasks.mme.utils import mme_aggregate_results, mme_process_results

    rng = np.random.default_rng(5)
    categories = ["existence", "color", "OCR", "posters"]
    said = ["Yes", "No", "yes, it is", "No, there is none", "Maybe", "not", "eyes", ""]
    docs, replies = [], []
    for category in categories:
        for k in range(25):
            labels = rng.permutation(["Yes", "No"])
            docs += [
                {"question_id": f"{category}{k}", "category": category, "answer": label, "q": i}
                for i, label in enumerate(labels)
            ]
    replies = [str(reply) for reply in rng.choice(said, len(docs))]
    theirs = mme_aggregate_results(
        [mme_process_results(doc, [reply])["mme_perception_score"] for doc, reply in zip(docs, replies, strict=True)]
    )
    asked = [Question(None, doc["question_id"], f"{doc['q']}?", doc["category"], doc["answer"].lower()) for doc in docs]
    assert score_mme(asked, replies).perception == pytest.approx(theirs)


def test_its_score_of_pope_is_ours_where_replies_are_one_word():
    from lmms_eval.tasks.pope import utils as pope

    from pmtools.evaluation.pope import score_pope

    rng = np.random.default_rng(6)
    labels, replies = rng.choice(["yes", "no"], 60), rng.choice(["yes", "no"], 60)
    docs = [{"question_id": k, "answer": str(label)} for k, label in enumerate(labels)]
    pairs = zip(docs, replies, strict=True)
    results = [pope.pope_process_results(doc, [str(reply)])["pope_accuracy"] for doc, reply in pairs]
    asked = [Question(None, f"{k}.jpg", "Is it?", "", str(label)) for k, label in enumerate(labels)]
    ours = score_pope(asked, [str(reply) for reply in replies])
    assert ours.accuracy == pytest.approx(pope.pope_aggregate_accuracy(results))
    assert ours.precision == pytest.approx(pope.pope_aggregate_precision(results))
    assert ours.recall == pytest.approx(pope.pope_aggregate_recall(results))
    assert ours.f1 == pytest.approx(pope.pope_aggregate_f1_score(results))
    assert ours.yes_ratio == np.mean(replies == "yes")
    assert pope.pope_aggregate_yes_ratio(results) == np.mean(labels == "yes")  # theirs is the labels'
