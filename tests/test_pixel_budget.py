"""A bound on the pixels of an image: the processors' own output is the measure, for every method the same."""

from __future__ import annotations

import pytest
import torch
from tiny import model_of, picture, processor_of

from pmtools.adapters.pixel_budget import pixel_budget
from pmtools.decoding import METHODS, Greedy
from pmtools.decoding import _processor as processor_module
from pmtools.testing.models import image_mark

ANY_SIZE = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v")
TILED = ("internvl", "aya_vision", "idefics3")
SIDED = ("llava_pixtral", "mistral3")
BUDGETS = (400_000, 100_000, 30_000)
PICTURES = [picture(900, 700, 1), picture(1500, 200, 2), picture(300, 1100, 3)]


def pixels(processor, inputs) -> int:
    """Of the one image in inputs, all tiles counted, as the model gets them."""
    if "image_grid_thw" in inputs:
        return int(inputs["image_grid_thw"].prod()) * processor.image_processor.patch_size**2
    return inputs["pixel_values"].numel() // 3


def made(family, budget, image):
    processor = Greedy(processor_of(family)).processor.within(budget)
    inputs = processor(images=[[image]], text=[image_mark(family)], return_tensors="pt")
    return pixels(processor, inputs), inputs["input_ids"].shape[1]


@pytest.mark.parametrize("family", ANY_SIZE + TILED + SIDED)
@pytest.mark.parametrize("image", PICTURES, ids=lambda image: f"{image.width}x{image.height}")
def test_the_model_gets_at_most_that_many_and_fewer_for_less(family, image):
    found = [made(family, budget, image) for budget in BUDGETS]
    for (count, _), budget in zip(found, BUDGETS, strict=True):
        assert count <= budget
        if family in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl"):
            assert count > 0.7 * min(budget, image.width * image.height)  # and uses them
    counts, tokens = zip(*found, strict=True)
    assert counts[0] >= counts[1] > counts[2]
    assert tokens[0] >= tokens[1] > tokens[2]


def test_without_a_bound_nothing_changes():
    processor = Greedy(processor_of("qwen2_5_vl")).processor
    assert processor.within(None) is processor


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "internvl"])
def test_magnified_images_come_of_the_original_and_get_no_more(family, monkeypatch):
    """The pixels are those of the model's own processor, its limit set by hand, of the magnified original."""
    budget, image, model = 30_000, picture(900, 700, 1), model_of(family)
    given, own = [], processor_module.encode
    monkeypatch.setattr(processor_module, "encode", lambda *a, **k: given.append(own(*a, **k)) or given[-1])
    counts = {}
    for name in ("greedy", "pm"):
        decoder = METHODS[name](Greedy(processor_of(family)).processor.within(budget))
        prompt = f"{image_mark(family)} Where is it?"
        inputs = decoder.processor(images=[[image]], text=[prompt], return_tensors="pt")
        decoder.generate_ids(model, **inputs, max_new_tokens=1, do_sample=False)
        counts[name] = inputs["input_ids"].shape[1]
        shown = inputs if name == "greedy" else given[-1]
        counts[name, "pixels"] = pixels(decoder.processor, shown)
    assert counts["greedy"] == counts["pm"]
    assert counts["greedy", "pixels"] == counts["pm", "pixels"] <= budget
    (warp,) = decoder.last[0].warps[0]
    assert warp.source_hw == (700, 900)
    by_hand = {"size": {"shortest_edge": 3136, "longest_edge": budget}}
    if family == "internvl":
        tile = processor_of(family).image_processor.size
        by_hand = {"max_patches": budget // (tile["height"] * tile["width"]) - 1}
    for shown, same in ((image, True), (image.resize((200, 156)).resize((900, 700)), False)):
        wanted = processor_of(family)(
            images=[[warp.image(shown)]], text=[image_mark(family)], return_tensors="pt", images_kwargs=by_hand
        )
        assert torch.equal(wanted["pixel_values"], given[-1]["pixel_values"]) is same


@pytest.mark.parametrize(
    ("family", "says"),
    [
        ("llava", r"`max_pixels` must be left out for this model: .* makes \d+ x \d+ pixels of every image"),
        ("gemma3", r"makes \d+ x \d+ pixels of every image"),
        ("llava_next", "by a list of sizes that the model's configuration must share"),
        ("minicpmv4_6", "is not known here; set its own options"),
    ],
)
def test_a_family_that_cannot_be_bounded_says_why(family, says):
    with pytest.raises(ValueError, match=says):
        pixel_budget(processor_of(family), 100_000)


@pytest.mark.parametrize(
    ("family", "budget", "says"),
    [
        ("qwen2_5_vl", 28**2 - 1, "`max_pixels` must be at least 784 for .*, one token or tile, got 783"),
        ("internvl", 100, "`max_pixels` must be at least 3136"),
        ("idefics3", 3135, "`max_pixels` must be at least 3136"),
        ("mistral3", 100, "`max_pixels` must be at least"),
        ("qwen2_5_vl", 0, "`max_pixels` must be an integer >= 1"),
        ("qwen2_5_vl", "many", "`max_pixels` must be an integer"),
    ],
)
def test_a_bound_that_cannot_be_is_refused(family, budget, says):
    with pytest.raises((TypeError, ValueError), match=says):
        pixel_budget(processor_of(family), budget)


def test_the_least_bound_is_one_token():
    count, _ = made("qwen2_5_vl", 28**2, picture(900, 700, 1))
    assert count == 28**2


def test_answers_of_every_method_are_bounded_alike():
    """`ModelAnswers` passes the bound on and keeps it with the answers."""
    from types import SimpleNamespace

    from pmtools.evaluation.model_answers import ModelAnswers

    model, image = model_of("qwen2_5_vl"), picture(900, 700, 1)
    item = SimpleNamespace(index=0, image=image)
    answer = ModelAnswers(
        model, processor_of("qwen2_5_vl"), text=lambda _: "Where?", max_new_tokens=2, max_pixels=30_000
    )
    assert answer.setup["max_pixels"] == 30_000
    assert answer.processor.image_processor.size["longest_edge"] == 30_000
    found = answer([item], ["greedy", "pm", "blur"])
    for name, options in (("greedy", {}), ("pm", {"refresh": "first"})):
        decoder = METHODS[name](Greedy(processor_of("qwen2_5_vl")).processor.within(30_000), **options)
        assert found[name] == [decoder.generate(model, image, "Where?", max_new_tokens=2, do_sample=False)]
