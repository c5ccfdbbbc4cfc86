"""Maps by asking the model itself: its answer is forced, token by token, everything else is transformers' own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import model_of, picture, processor_of, prompts_of, with_mark
from transformers import LogitsProcessor, LogitsProcessorList

import pmtools
from pmtools.adapters.heatmaps import AskedHeatmap, heatmap_source
from pmtools.answers import FORMATS
from pmtools.decoding import PerceptionMagnifier
from pmtools.testing.models import tiny_tokenizer

QUESTION = "What is <image> then?"
IMAGE = picture(400, 230, 3)
BOX = np.array([120.0, 40.0, 220.0, 100.0])
WITH_MARGIN = BOX + np.array([-25, -15, 25, 15])


class Forced(LogitsProcessor):
    """Lets one token through at each step: the next one of an answer."""

    def __init__(self, ids):
        self.ids, self.start = ids, None

    def __call__(self, input_ids, scores):
        self.start = input_ids.shape[1] if self.start is None else self.start
        allowed = torch.full_like(scores, -torch.inf)
        allowed[:, self.ids[input_ids.shape[1] - self.start]] = 0.0
        return allowed


@pytest.fixture
def says(monkeypatch):
    """Makes a family's model say something when it generates without a method of ours; returns what it is asked."""

    def force(family, answer):
        model, tokenizer = model_of(family), tiny_tokenizer()  # which writes places byte by byte
        ids = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        asked = []

        def generate(*inputs, **options):
            if "custom_generate" not in options:
                asked.append(options)
                options["logits_processor"] = LogitsProcessorList([Forced(ids)])
                options["eos_token_id"] = tokenizer.eos_token_id
            return type(model).generate(model, *inputs, **options)

        monkeypatch.setattr(model, "generate", generate)
        return asked

    return force


def asked_of(family, images=None):
    return prompts_of(family, images=images or [[IMAGE]], text=[with_mark(QUESTION, family)] * len(images or [[IMAGE]]))


def pixels_of(family, pixels):
    """Width and height that the processor's own patches cover."""
    images = processor_of(family).image_processor
    height, width = (pixels["image_grid_thw"][0, 1:] * images.patch_size).tolist()
    return np.array([width, height])


@pytest.mark.parametrize("most", [60_000, 25_000])
def test_pixels_are_those_that_the_processor_resized_to(says, most):
    """Qwen2.5-VL counts pixels of what its processor made of the overview; the patches in the inputs say how many."""
    asked = says("qwen2_5_vl", "nothing")
    source = AskedHeatmap("qwen2.5-vl", max_pixels=most)
    prompts = asked_of("qwen2_5_vl")
    assert not len(source.find(prompts, IMAGE, "What is it?"))
    size = pixels_of("qwen2_5_vl", asked[0])
    assert np.prod(size) <= most
    written = (BOX * np.tile(size / (400, 230), 2)).round(2).tolist()

    says("qwen2_5_vl", f'```json\n[{{"bbox_2d": {written}, "label": "it"}}]\n```')
    found = source.find(prompts, IMAGE, "What is it?")
    np.testing.assert_allclose(found, [WITH_MARGIN], atol=0.1)


ANSWERS = {
    "qwen3_vl": ("qwen3-vl", '[{"bbox_2d": [300, 174, 550, 435]}]'),
    "qwen2_vl": ("qwen2-vl", "(300,174),(550,435)"),
    "paligemma": ("paligemma", "<loc0178><loc0307><loc0445><loc0563> it"),
    # its processor would crop, so we pad to a square of 400: 85 pixels above
    "llava": (replace(FORMATS["json"], scale=1000), '{"bbox": [300, 312.5, 550, 462.5]}'),
}


@pytest.mark.parametrize("family", ANSWERS)
def test_places_are_on_the_original(says, family):
    form, answer = ANSWERS[family]
    asked = says(family, answer)
    found = AskedHeatmap(form).find(asked_of(family), IMAGE, "What is it?")
    np.testing.assert_allclose(found, [WITH_MARGIN], atol=0.7)
    text = processor_of(family).tokenizer.decode(asked[0]["input_ids"][0])
    assert "Where in the image must one look closely" in text
    assert text.count("What is it?") == 1


def test_maps_come_from_the_boxes_of_each_image(says):
    says("qwen3_vl", '[{"bbox_2d": [0, 0, 500, 500]}, {"point_2d": [900, 900]}]')
    prompts = asked_of("qwen3_vl", images=[[IMAGE], [picture(70, 100, 2)]])
    source = heatmap_source("asked:qwen3-vl")
    assert source.perceptual
    for (found,), (image,) in zip(source(prompts), prompts.images, strict=True):
        far = np.array([image.width, image.height])
        boxes = np.stack([np.tile(far, 2) * [0, 0, 0.625, 0.625], np.tile(far, 2) * [0.8375, 0.8375, 0.9625, 0.9625]])
        wanted = pmtools.heatmaps.from_boxes(boxes, source_hw=(image.height, image.width))
        np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("refresh", ["first", "every"])
def test_asking_leaves_no_trace_in_the_answer(says, family, refresh):
    """The same tokens as with the map given by hand: the other `generate` inside changes nothing of this one's state."""
    says(family, '[{"bbox_2d": [40, 40, 60, 60]}]')
    form = family.replace("2_5", "2.5").replace("_", "-")
    given = AskedHeatmap(form).heatmap(asked_of(family), IMAGE, "What is then?")
    runs = []

    def by_hand(prompts):
        return [[given]]

    by_hand.perceptual = True
    for source in (f"asked:{form}", by_hand):
        pm = PerceptionMagnifier(processor_of(family), heatmap=source, refresh=refresh)
        inputs = pm.processor(images=[[IMAGE]], text=[with_mark(QUESTION, family)], return_tensors="pt")
        options = {"max_new_tokens": 4, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
        runs.append((model_of(family).generate(**inputs, custom_generate=pm, **options), pm.last))
    (asked, steps), (wanted, _) = runs
    assert steps[0].warps[0][0].local_magnification()[0].max() > 1.5
    assert asked.sequences.tolist() == wanted.sequences.tolist()
    torch.testing.assert_close(torch.stack(asked.logits), torch.stack(wanted.logits))


def test_where_nothing_is_named_nothing_is_magnified(says):
    says("qwen3_vl", "I see nothing.")
    pm = PerceptionMagnifier(processor_of("qwen3_vl"), heatmap="asked:qwen3-vl", refresh="first")
    pm.generate(model_of("qwen3_vl"), IMAGE, "What is it?", max_new_tokens=1, do_sample=False)
    points = np.array([[0.0, 0.0], [100.0, 200.0]])
    np.testing.assert_allclose(pm.last[0].warps[0][0].points(points), points, atol=1e-6)


def test_refusals():
    with pytest.raises(ValueError, match="`format` must be"):
        heatmap_source("asked:qwen")
    with pytest.raises(ValueError, match="`max_pixels`"):
        AskedHeatmap("qwen3-vl", max_pixels=100)
    with pytest.raises(ValueError, match="`max_new_tokens`"):
        AskedHeatmap("qwen3-vl", max_new_tokens=0)
