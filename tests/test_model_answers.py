"""Every method on any model: batches equal single questions, options reach the methods, maps are shared."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor

from pmtools import decoding
from pmtools.adapters.heatmaps import AttentionHeatmap, CLIPRelevance, heatmap_source
from pmtools.alternatives import ALTERNATIVES
from pmtools.evaluation.methods import METHODS, USUAL, truth_map
from pmtools.evaluation.model_answers import ModelAnswers, weights_digest
from pmtools.evaluation.scenes import scene_items
from pmtools.settings import WarpSettings
from pmtools.testing.models import tiny_model, tiny_processor, tiny_tokenizer

ITEMS = list(scene_items(seed=13, limit=3))


@pytest.fixture(scope="module")
def parts():
    model = tiny_model("llava")
    return model, tiny_processor(model)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A tiny random CLIP, as `from_pretrained` reads it."""
    side = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}
    words = {"vocab_size": 267, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
    path = tmp_path_factory.mktemp("clip")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        seen = {"image_size": 40, "patch_size": 8}
        model = CLIPModel(CLIPConfig(text_config=side | words, vision_config=side | seen, projection_dim=24))
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 64
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 40, "width": 40})
    model.save_pretrained(path)
    CLIPProcessor(pixels, tokenizer).save_pretrained(path)
    return path


def answers(parts, **options):
    return ModelAnswers(*parts, text=lambda item: item.instruction, **{"max_new_tokens": 2, **options})


def showing(given):
    """Magnifying by the Perception Magnifier's map, as an alternative."""
    batch = given.batch(ITEMS)
    return batch.showing("magnify", batch.attention().source)


def test_the_table_has_every_method_there_is():
    assert set(METHODS) >= set(decoding.METHODS) | set(ALTERNATIVES) | set(USUAL) | {"api-c"}
    assert set(USUAL) >= set(ALTERNATIVES) - {"magnify"}  # which is what pm does


@pytest.mark.parametrize("method", [name for name in METHODS if name != "api-c"])
def test_batches_equal_single_questions(parts, method):
    many = answers(parts)(ITEMS, [method])[method]
    assert many == [answers(parts)([item], [method])[method][0] for item in ITEMS]
    assert len(many) == 3


def test_relevance_by_clip_comes_from_the_model_that_is_named(parts, clip_folder):
    """The same as with the CLIP in hand; its folder is not told, and without one the method says what it needs."""
    given = answers(parts, clip=str(clip_folder))
    assert given.setup["clip"] == clip_folder.name
    source = CLIPRelevance.from_pretrained(str(clip_folder), device="cpu")
    method = decoding.API(parts[1], heatmap=source)
    asked = [[item.image] for item in ITEMS], [item.instruction for item in ITEMS]
    assert given(ITEMS, ["api-c"])["api-c"] == method.generate(parts[0], *asked, max_new_tokens=2, do_sample=False)
    named = heatmap_source(f"api-c:{clip_folder}")
    assert torch.equal(named.mask(ITEMS[0].image, "Why?").cpu(), source.mask(ITEMS[0].image, "Why?"))
    with pytest.raises(ValueError, match="`clip` must name a CLIP model"):
        answers(parts)(ITEMS[:1], ["api-c"])
    with pytest.raises(ValueError, match="'api-c:NAME'"):
        heatmap_source("api-c")


def test_unknown_methods_are_refused(parts):
    with pytest.raises(ValueError, match="`methods`"):
        answers(parts)(ITEMS, ["magic"])


def test_a_method_that_the_model_cannot_run_is_named():
    model = tiny_model("qwen2_vl")
    with pytest.raises(
        ValueError, match="the method 'pm-official' cannot be used with this model: `model` must be LLaVA"
    ):
        answers((model, tiny_processor(model)))(ITEMS[:1], ["pm-official"])


def test_settings_reach_the_methods(parts):
    settings = {"start_layer": 3, "gain": 30.0, "kernel_size": 1, "floor": 0.3, "max_iterations": 2, "threshold": 0.1}
    settings |= {"relative_threshold": 0.7}
    given = answers(parts, settings=settings)
    pm = METHODS["pm"](given.batch(ITEMS))
    assert (pm.heatmap.start_layer, pm.heatmap.max_iterations, pm.refresh) == (3, 2, "first")
    assert pm.warp_settings == WarpSettings(gain=30.0, kernel_size=1, floor=0.3)
    single = METHODS["pm-single-layer"](given.batch(ITEMS))
    assert (single.warp_settings, single.options) == (WarpSettings(gain=30.0, kernel_size=1), {"floor": 0.3})
    source = single.heatmap.source
    assert (source.layers, source.start_layer, source.refine, source.threshold) == ("single", 3, "exact", 0.1)
    assert (pm.heatmap.relative_threshold, source.relative_threshold) == (0.7, 0.7)
    neither = METHODS["pm-neither"](given.batch(ITEMS))
    assert (neither.heatmap.source.layers, neither.heatmap.source.refine) == ("single", "none")
    assert METHODS["pm-no-refinement"](given.batch(ITEMS)).heatmap.refine == "none"
    assert METHODS["vcd"](answers(parts, seed=5).batch(ITEMS)).seed == 5
    for preset, gain in (("mme", 10.0), ("pope", 15.0)):
        assert METHODS["pm-official"](answers(parts, preset=preset).batch(ITEMS)).warp_settings.gain == gain
    with pytest.raises(ValueError, match="`gain`"):
        answers(parts, settings={"gain": -1.0})


def test_magnifying_by_attention_is_pm(parts):
    """The ablations' way of magnifying, without an ablation, gives PM's replies."""
    given = answers(parts)
    pm, edited = METHODS["pm"](given.batch(ITEMS)), showing(given)
    for item in ITEMS:
        replies = [m.generate(parts[0], item.image, item.instruction, max_new_tokens=3) for m in (pm, edited)]
        assert replies[0] == replies[1]
        torch.testing.assert_close(pm.last[0].heatmaps[0][0], edited.last[0].heatmaps[0][0])


def test_controls_have_a_stream_of_their_own_for_each_item(parts):
    given = answers(parts, seed=1)
    maps = []
    for seed in (1, 1, 2):
        control = METHODS["shuffled"](answers(parts, seed=seed).batch([ITEMS[0], ITEMS[0], ITEMS[1]]))
        control.generate(parts[0], [[ITEMS[0].image]] * 3, [ITEMS[0].instruction] * 3, max_new_tokens=1)
        maps.append([row[0].tolist() for row in control.last[0].heatmaps])
    plain = showing(given)
    plain.generate(parts[0], ITEMS[0].image, ITEMS[0].instruction, max_new_tokens=1)
    assert maps[0] == maps[1] != maps[2]
    assert maps[0][0] == maps[0][1] != maps[0][2]  # the same item, another item
    original = plain.last[0].heatmaps[0][0].flatten().sort().values
    torch.testing.assert_close(torch.tensor(maps[0][0], dtype=original.dtype).flatten().sort().values, original)


def test_the_true_boxes_are_what_is_magnified():
    item = ITEMS[0]
    truth = truth_map(item)
    height, width = item.image.height, item.image.width
    for x0, y0, x1, y1 in item.relevant_boxes_xyxy:
        row = int((y0 + y1) / 2 / height * truth.shape[0])
        column = int((x0 + x1) / 2 / width * truth.shape[1])
        assert truth[row, column] == 1
    assert 0 < truth.mean() < 0.5


def test_weights_tell_models_apart():
    assert weights_digest(tiny_model()) == weights_digest(tiny_model()) != weights_digest(tiny_model(seed=1))
    with pytest.raises(ValueError, match="`model` must have its weights, got none for"):
        weights_digest(tiny_model().to("meta"))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llava", "gemma3"])
def test_where_weights_wait_makes_no_difference(family, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    want = weights_digest(tiny_model(family))
    assert weights_digest(accelerate.cpu_offload(tiny_model(family), execution_device="cpu")) == want
    assert weights_digest(accelerate.disk_offload(tiny_model(family), tmp_path, execution_device="cpu")) == want


@pytest.mark.slow
def test_answers_of_an_offloaded_model(parts):
    accelerate = pytest.importorskip("accelerate")
    model = accelerate.cpu_offload(tiny_model("llava"), execution_device="cpu")
    names = ["greedy", "pm"]
    assert answers((model, parts[1]))(ITEMS, names) == answers(parts)(ITEMS, names)


@pytest.mark.slow
def test_a_batch_asks_the_model_for_each_map_once(parts, monkeypatch):
    """Methods on one map share it, and so do answerers with other settings; what they say stays the same."""
    asked = []
    look = AttentionHeatmap.__call__
    monkeypatch.setattr(
        AttentionHeatmap, "__call__", lambda source, prompts: asked.append(source) or look(source, prompts)
    )
    names = ["blur", "mask", "shuffled", "window", "pm-neither"]
    given, steep, maps = answers(parts), answers(parts, settings={"gain": 30.0}), {}
    shared = given(ITEMS, names, maps=maps)
    assert [source.refine for source in asked] == ["exact", "none"]
    assert steep(ITEMS, names, maps=maps) == answers(parts, settings={"gain": 30.0})(ITEMS, names)
    assert len(asked) == 4
    assert shared == {name: given(ITEMS, [name])[name] for name in names}


def test_an_alternative_may_have_a_map_of_its_own(parts):
    """Its own gain and smoothing change what it shows and nothing else."""
    steep, own = {"gain": 100.0, "kernel_size": 1}, {"blur": {"gain": 1.0, "kernel_size": 3}}
    batch = answers(parts, settings=steep, alternatives=own).batch(ITEMS)
    made = {name: METHODS[name](batch) for name in ("blur", "mask")}
    assert made["blur"].warp_settings == WarpSettings(gain=1.0, kernel_size=3)
    assert made["mask"].warp_settings == WarpSettings(gain=100.0, kernel_size=1)
    with pytest.raises(ValueError, match="alternatives"):
        answers(parts, alternatives={"magic": {}})


def test_greedy_is_the_stock_model(random_demo):
    """Against a plain forward pass, in batches of pictures and questions of several lengths."""
    items = list(scene_items(seed=8, limit=6))
    given = ModelAnswers(
        random_demo.model, random_demo.processor, text=lambda item: item.question.text, max_new_tokens=1
    )
    for item, reply in zip(items, given(items, ["greedy"])["greedy"], strict=True):
        inputs = random_demo.processor(
            images=[item.image], text=random_demo.prompt(item.question.text), return_tensors="pt"
        )
        token = random_demo.model(**inputs).logits[0, -1].argmax()
        assert random_demo.processor.tokenizer.decode([token], skip_special_tokens=True).strip() == reply
