"""Every method on any model: batches equal single questions, options reach the methods, routes split the work."""

from __future__ import annotations

import pytest
import torch
from pmtools.evaluation.routes import Routes
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor

from pmtools import decoding, zoo
from pmtools.adapters.heatmaps import CLIPRelevance, heatmap_source
from pmtools.evaluation import scene_methods
from pmtools.evaluation.methods import truth_map
from pmtools.evaluation.model_answers import METHODS, ModelAnswers, weights_digest
from pmtools.evaluation.scenes import scene_items
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


def test_the_table_has_every_method_there_is():
    assert set(METHODS) == set(scene_methods.METHODS) | set(decoding.METHODS) | {"api-c"}


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
    model = tiny_model("smolvlm")
    with pytest.raises(
        ValueError, match="the method 'pm-official' cannot be used with this model: `model` must be LLaVA"
    ):
        answers((model, tiny_processor(model)))(ITEMS[:1], ["pm-official"])


def test_settings_reach_the_methods(parts):
    settings = {"start_layer": 3, "gain": 30.0, "kernel_size": 1, "floor": 0.3, "max_iterations": 2, "threshold": 0.1}
    given = answers(parts, settings=settings)
    pm = METHODS["pm"](given, ITEMS)
    assert (pm.heatmap.start_layer, pm.heatmap.max_iterations, pm.refresh) == (3, 2, "first")
    assert pm.warp_options == {"gain": 30.0, "kernel_size": 1, "marginal": "max", "floor": 0.3}
    single = METHODS["pm-single-layer"](given, ITEMS)
    assert (single.gain, single.kernel_size, single.edit_options) == (30.0, 1, {"floor": 0.3})
    assert (single.heatmap.layers, single.heatmap.refine, single.heatmap.threshold) == ([2], "exact", 0.1)
    neither = METHODS["pm-neither"](given, ITEMS)
    assert (neither.heatmap.layers, neither.heatmap.refine) == ([2], "none")
    assert METHODS["pm-no-refinement"](given, ITEMS).heatmap.refine == "none"
    assert METHODS["vcd"](answers(parts, seed=5), ITEMS).seed == 5
    for preset, gain in (("mme", 10.0), ("pope", 15.0)):
        assert METHODS["pm-official"](answers(parts, preset=preset), ITEMS).warp_options["gain"] == gain
    with pytest.raises(ValueError, match="`gain`"):
        answers(parts, settings={"gain": -1.0})


def test_magnifying_by_attention_is_pm(parts):
    """The ablations' way of magnifying, without an ablation, gives PM's replies."""
    given = answers(parts)
    pm, edited = METHODS["pm"](given, ITEMS), given.edited("magnify", given.attention())
    for item in ITEMS:
        replies = [m.generate(parts[0], item.image, item.instruction, max_new_tokens=3) for m in (pm, edited)]
        assert replies[0] == replies[1]
        torch.testing.assert_close(pm.last[0].heatmaps[0][0], edited.last[0].heatmaps[0][0])


def test_controls_have_a_stream_of_their_own_for_each_item(parts):
    given = answers(parts, seed=1)
    maps = []
    for seed in (1, 1, 2):
        control = METHODS["shuffled"](answers(parts, seed=seed), [ITEMS[0], ITEMS[0], ITEMS[1]])
        control.generate(parts[0], [[ITEMS[0].image]] * 3, [ITEMS[0].instruction] * 3, max_new_tokens=1)
        maps.append([row[0].tolist() for row in control.last[0].heatmaps])
    plain = given.edited("magnify", given.attention())
    plain.generate(parts[0], ITEMS[0].image, ITEMS[0].instruction, max_new_tokens=1)
    assert maps[0] == maps[1] != maps[2]
    assert maps[0][0] == maps[0][1] != maps[0][2]  # the same item, another item
    original = plain.last[0].heatmaps[0][0].flatten().sort().values
    torch.testing.assert_close(torch.tensor(maps[0][0], dtype=original.dtype).flatten().sort().values, original)


def test_the_oracle_sees_the_boxes():
    item = ITEMS[0]
    truth = truth_map(item)
    height, width = item.image.height, item.image.width
    for x0, y0, x1, y1 in item.relevant_boxes_xyxy:
        row = int((y0 + y1) / 2 / height * truth.shape[0])
        column = int((x0 + x1) / 2 / width * truth.shape[1])
        assert truth[row, column] == 1
    assert 0 < truth.mean() < 0.5


def test_routes_send_each_method_once():
    asked = []

    def answerer(name):
        def answer(items, methods, /):
            asked.append((name, list(methods)))
            return {method: [name] * len(items) for method in methods}

        answer.setup = {name: True}
        return answer

    routes = Routes((["a", "b"], answerer("first")), (["b", "c"], answerer("second")))
    assert routes(ITEMS, ["c", "b", "a"]) == {"a": ["first"] * 3, "b": ["first"] * 3, "c": ["second"] * 3}
    assert asked == [("first", ["b", "a"]), ("second", ["c"])]
    assert routes.setup == {"first": True, "second": True}
    with pytest.raises(ValueError, match="`methods`"):
        routes(ITEMS, ["d"])


def test_weights_tell_models_apart():
    assert weights_digest(tiny_model()) == weights_digest(tiny_model()) != weights_digest(tiny_model(seed=1))


def test_both_ways_of_asking_the_embedded_model_agree():
    """Plain batched passes and `generate` were written apart; every method that both have says the same."""
    demo = zoo.demo_model()
    items = list(scene_items(seed=17, limit=14))
    options = {"edits": demo.edits, "seed": 3}
    batched = scene_methods.SceneMethods(
        demo.model, demo.processor, settings=scene_methods.Settings(**demo.settings), **options
    )
    generated = ModelAnswers(
        demo.model,
        demo.processor,
        text=lambda item: item.question.text,
        settings=demo.settings,
        max_new_tokens=1,
        **options,
    )
    names = list(scene_methods.METHODS)
    assert batched(items, names) == generated(items, names)
