"""Answers of decoding methods, undone by the steps that made them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from pmtools import frames
from pmtools.answers import undo
from pmtools.api.decoded import undone_answers
from pmtools.decoding import METHODS
from pmtools.testing.models import tiny_model, tiny_processor

TEXT = 'It is at {"bbox_2d": [250, 250, 750, 750]}.'
OPTIONS = {"max_new_tokens": 3, "do_sample": False}


def picture(seed, width=60):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, width, 3), np.uint8))


def squared(way):
    """To the square that the processor of `parts` gets."""
    return way.then(frames.pad_to_square(way.target_hw))


@pytest.fixture(scope="module")
def parts():
    model = tiny_model("llava")
    return model, tiny_processor(model)


def ran(parts, name, images, prompts, **options):
    model, processor = parts
    method = METHODS[name](processor, **options)
    method.generate(model, images, prompts, **OPTIONS)
    return method.last, processor


def test_answers_go_back_through_the_warp_of_their_image(parts):
    steps, processor = ran(parts, "pm", [picture(1), picture(2, 80)], ["what is it", "where is it"], refresh="first")
    undone = undone_answers([TEXT, TEXT], steps, processor, format="qwen3-vl")
    assert undone[0].text != undone[1].text != TEXT
    for i, one in enumerate(undone):
        wanted = undo(TEXT, warp=squared(steps[0].warps[i][0]), format="qwen3-vl")
        np.testing.assert_array_equal(one.boxes_xyxy, wanted.boxes_xyxy)
        assert one.text == wanted.text


def test_a_place_in_the_square_that_the_model_sees_is_undone(parts):
    """LLaVA-1.5 sees a wide picture in the middle of a square: what is at half its height there is at half the picture's."""
    model, processor = parts
    assert processor.image_processor.do_center_crop
    wide = Image.new("RGB", (120, 40))
    method = METHODS["pm"](processor, refresh="first", gain=0)
    method.generate(model, wide, "what is it", **OPTIONS)
    top, bottom = 1000 * 40 / 120, 1000 * 80 / 120
    text = f'{{"bbox_2d": [250, {top:.3f}, 750, {bottom:.3f}]}}'
    for steps, sizes in ((method.last, None), ([], [(40, 120)])):
        (undone,) = undone_answers([text], steps, method.processor, format="qwen3-vl", source_hws=sizes)
        np.testing.assert_allclose(undone.boxes_xyxy, [[30, 0, 90, 40]], atol=1e-4)


def test_what_is_shown_anew_at_every_token_is_refused(parts):
    steps, processor = ran(parts, "pm", picture(1), "what is it", refresh="every")
    assert steps[0].warps != steps[-1].warps
    with pytest.raises(ValueError, match="refresh='first'"):
        undone_answers([TEXT], steps, processor, format="qwen3-vl")


@pytest.mark.parametrize("name", ["greedy", "vcd", "blur", "mask"])
def test_images_that_are_shown_in_place_change_no_answer(parts, name):
    steps, processor = ran(parts, name, picture(1, 40), "what is it")
    (undone,) = undone_answers([TEXT], steps, processor, format="qwen3-vl")
    assert undone.text == TEXT


def test_crops_are_undone_and_two_views_are_not(parts):
    steps, processor = ran(parts, "crop", picture(1), "what is it")
    (undone,) = undone_answers([TEXT], steps, processor, format="qwen3-vl")
    assert undone.text == undo(TEXT, warp=squared(steps[0].frames[0][0]), format="qwen3-vl").text
    steps, processor = ran(parts, "vicrop", picture(1), "what is it")
    with pytest.raises(ValueError, match="one image"):
        undone_answers([TEXT], steps, processor, format="qwen3-vl")


def test_pixels_count_in_what_the_processor_resizes_to():
    model = tiny_model("qwen2_5_vl")
    processor = tiny_processor(model)
    images = processor.image_processor
    method = METHODS["pm"](processor, refresh="first")
    method.generate(model, picture(1, 100), "what is it", **OPTIONS)
    inputs = images(method.last[0].images()[0], return_tensors="pt")
    rows, columns = (int(n) * images.patch_size for n in inputs["image_grid_thw"][0, 1:])
    (undone,) = undone_answers([f'{{"point_2d": [{columns}, {rows}]}}'], method.last, processor, format="qwen2.5-vl")
    assert undone.points_xy.tolist() == [[100, 40]]
