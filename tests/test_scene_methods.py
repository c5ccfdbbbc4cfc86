"""The batched methods against plain passes, eager attention and transformers' own loop; random weights."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest
import torch
from pmtools.evaluation._passes import Passes
from pmtools.evaluation.scene_methods import METHODS, SceneMethods, Settings, compare_settings

from pmtools.evaluation.model_answers import ModelAnswers
from pmtools.evaluation.scenes import scene_items
from pmtools.evaluation.scenes.benchmark import evaluate_scenes, grade
from pmtools.zoo.vocabulary import SPECIAL
from training import views


def test_greedy_is_the_stock_model(random_demo):
    items = list(scene_items(seed=8, limit=6))
    methods = SceneMethods(random_demo.model, random_demo.processor)
    replies = methods(items, ["greedy"])["greedy"]
    for item, reply in zip(items, replies, strict=True):
        inputs = random_demo.processor(
            images=[item.image], text=random_demo.prompt(item.question.text), return_tensors="pt"
        )
        token = random_demo.model(**inputs).logits[0, -1].argmax()
        assert random_demo.processor.tokenizer.decode([token]).strip() == reply


def test_every_method_answers_and_batches_do_not_matter(random_demo):
    items = list(scene_items(seed=9, limit=5))
    methods = SceneMethods(random_demo.model, random_demo.processor, settings=Settings(start_layer=2, max_iterations=2))
    together = methods(items, list(METHODS))
    assert set(together) == set(METHODS)
    alone = [methods([item], ["greedy", "uniform", "pm", "shuffled", "window+original"]) for item in items]
    for name in alone[0]:
        assert together[name] == [replies[name][0] for replies in alone], name
    assert together["uniform"] == together["greedy"]


def test_heatmaps_equal_eager_attention(random_demo):
    item = next(scene_items(seed=10))
    methods = SceneMethods(random_demo.model, random_demo.processor, settings=Settings(start_layer=2, max_iterations=0))
    heat = methods.heatmaps([item])[0]
    inputs = random_demo.processor(
        images=[item.image], text=random_demo.prompt(item.question.text), return_tensors="pt"
    )
    model = random_demo.model
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        attentions = model(**inputs, output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)
    expected = torch.stack([a[0, :, -1, 1 : 1 + views.TOKENS].amax(0) for a in attentions[1:]]).mean(0)
    np.testing.assert_allclose(heat.ravel(), expected.detach().numpy(), atol=1e-5)


def test_the_summary_is_written_and_a_second_run_gives_the_same(random_demo, tmp_path):
    def run(folder):
        answer = SceneMethods(random_demo.model, random_demo.processor, settings=Settings(max_iterations=1))
        return evaluate_scenes(answer, out=folder, methods=("greedy", "pm"), limit=12, batch_size=5)

    summary = run(tmp_path / "a")
    assert summary == run(tmp_path / "a") == run(tmp_path / "b")
    assert json.loads((tmp_path / "a" / "summary.json").read_text()) == summary
    written = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"answers", "tables.md"} <= written
    if importlib.util.find_spec("matplotlib"):
        assert {"by_size.png", "by_category.png"} <= written
    assert set(summary["methods"]) == {"greedy", "pm"}


def test_wrong_use_is_refused(random_demo):
    with pytest.raises(ValueError, match="start_layer"):
        SceneMethods(random_demo.model, random_demo.processor, settings=Settings(start_layer=7))
    with pytest.raises(ValueError, match="methods"):
        SceneMethods(random_demo.model, random_demo.processor)(list(scene_items(limit=1)), ["magic"])


def test_settings_are_compared_on_the_same_questions(random_demo):
    items = list(scene_items(seed=11, limit=8, split="tune"))
    candidates = [Settings(start_layer=2, max_iterations=1), Settings(start_layer=3, max_iterations=1, gain=0.0)]
    found = compare_settings(random_demo.model, random_demo.processor, candidates, items=items, batch_size=3)
    assert {settings for settings, _ in found} == set(candidates)
    for settings, share in found:
        replies = SceneMethods(random_demo.model, random_demo.processor, settings=settings)(items, ["pm"])["pm"]
        assert share == np.mean([grade(item, reply) for item, reply in zip(items, replies, strict=True)])
    with pytest.raises(ValueError, match="`items`"):
        compare_settings(random_demo.model, random_demo.processor, candidates, items=[])


def test_an_alternative_may_have_a_map_of_its_own(random_demo):
    """Its own gain and smoothing change what it sees and nothing else; `generate`'s way takes them too."""
    items = list(scene_items(seed=13, limit=12))
    steep = Settings(start_layer=2, max_iterations=0, gain=100.0, kernel_size=1)
    flat = dataclasses.replace(steep, gain=1.0, kernel_size=3)
    edits = {"blur": {"gain": 1.0, "kernel_size": 3}}
    model = (random_demo.model, random_demo.processor)

    def seen(**options):
        methods, batches = SceneMethods(*model, **options), []
        see = Passes.see
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Passes, "see", lambda self, images, **k: batches.append(images) or see(self, images, **k))
            methods(items, ["blur", "mask", "pm"])
        return [np.stack([np.asarray(image) for image in batch]) for batch in batches]

    own, of_pm, other = seen(settings=steep, edits=edits), seen(settings=steep), seen(settings=flat)
    np.testing.assert_array_equal(own[0], other[0])
    assert (own[0] != of_pm[0]).any()
    np.testing.assert_array_equal(own[1], of_pm[1])
    np.testing.assert_array_equal(own[2], of_pm[2])

    answers = ModelAnswers(*model, text=str, settings=dataclasses.asdict(steep), edits=edits)
    source = answers.attention()
    assert (answers.edited("blur", source).gain, answers.edited("mask", source).gain) == (1.0, 100.0)
    with pytest.raises(ValueError, match="edits"):
        SceneMethods(*model, edits={"magic": {}})


def test_the_batched_pm_is_the_adapters_pm(random_demo):
    """Two implementations: plain passes in batches here, transformers' generation loop there."""
    from pmtools.decoding import PerceptionMagnifier

    settings = Settings(start_layer=2, kernel_size=1, max_iterations=2)
    items = list(scene_items(seed=12, limit=6))
    methods = SceneMethods(random_demo.model, random_demo.processor, settings=settings)
    replies, heats = methods(items, ["pm"])["pm"], methods.heatmaps(items)
    for item, reply, heat in zip(items, replies, heats, strict=True):
        pm = PerceptionMagnifier(random_demo.processor, **dataclasses.asdict(settings))
        text = pm.generate(random_demo.model, item.image, random_demo.prompt(item.question.text), max_new_tokens=1)
        assert text.strip() == ("" if reply in SPECIAL else reply)
        np.testing.assert_allclose(np.asarray(pm.last[0].heatmaps[0]).reshape(heat.shape), heat, atol=1e-5)
