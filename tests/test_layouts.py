"""Image-token layouts against the models themselves: paint a spot, see which image tokens change."""

import copy
import importlib
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import FAMILIES, processor_of

from pmtools.adapters.image_tokens import ImageTokens
from pmtools.adapters.layouts import image_token_layout
from pmtools.testing.models import tiny_model, tiny_processor

SIZES = [(480, 360), (350, 500), (400, 400), (800, 230), (228, 804)]  # (width, height)


@cache
def blind_model(family):
    """A model whose vision tower passes nothing between patches, so that each image token shows its own cell only."""
    model = copy.deepcopy(tiny_model(family))
    silenced = 0
    for name, weight in model.named_parameters():
        inside = "vis" in name and ("attn" in name or "attention" in name)
        if inside and any(f".{part}." in name for part in ("out_proj", "o_proj", "proj", "projection_layer")):
            weight.data.zero_()
            silenced += 1
    assert silenced
    return model


@torch.no_grad()
def features(family, images):
    model, processor = blind_model(family), processor_of(family)
    pixels = dict(processor.image_processor(images=[images], return_tensors="pt"))
    for name in ("num_patches", "num_crops"):
        pixels.pop(name, None)
    return torch.cat(list(model.get_image_features(**pixels, return_dict=True).pooler_output))


def canvas(image, layout):
    if not layout.square:
        return image
    side = max(image.size)
    padded = Image.new("RGB", (side, side), (122, 116, 104))
    padded.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return padded


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_a_painted_spot_changes_the_token_that_covers_it(family, size):
    check_spots(family, size, image_token_layout(blind_model(family), processor_of(family)))


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "llava_next", "internvl"])
@pytest.mark.parametrize("wrong", ["transposed", "shifted by half a cell", "one token late"])
def test_the_check_sees_wrong_layouts(family, wrong):
    layout = image_token_layout(blind_model(family), processor_of(family))

    def spoiled(grid):
        x0, y0, x1, y1 = grid.box_xyxy
        half = 0.6 * (x1 - x0) / grid.shape_hw[1]
        return {
            "transposed": replace(grid, shape_hw=grid.shape_hw[::-1], box_xyxy=(y0, x0, y1, x1)),
            "shifted by half a cell": replace(grid, box_xyxy=(x0 - half, y0, x1 - half, y1)),
            "one token late": replace(grid, start=grid.start + 1),
        }[wrong]

    def grids(size, images):
        count, found = layout.grids(size, images)
        return count, [spoiled(grid) for grid in found]

    with pytest.raises((AssertionError, IndexError)):
        check_spots(family, (480, 300), replace(layout, grids=grids))


def check_spots(family, size, layout):
    rng, (width, height) = np.random.default_rng(1), size
    plain = Image.new("RGB", size, (128, 128, 128))
    before = features(family, [canvas(plain, layout)])
    count, grids = layout.grids((height, width), 1)
    assert before.shape[0] == count
    checked = 0
    for grid in grids:
        x0, y0, x1, y1 = grid.box_xyxy
        rows, columns = grid.shape_hw
        edges = [(0, 0), (rows - 1, columns - 1), (0, columns - 1), (0, columns // 2), (rows // 2, 0)]
        for row, column in [*edges, *rng.integers(0, (rows, columns), (2, 2)).tolist()]:
            x = (x0 + (column + 0.5) * (x1 - x0) / columns) * width
            y = (y0 + (row + 0.5) * (y1 - y0) / rows) * height
            if not (4 < x < width - 4 and 4 < y < height - 4):  # a cell of padding
                continue
            spotted = plain.copy()
            spotted.paste((255, 0, 0), (int(x) - 3, int(y) - 3, int(x) + 3, int(y) + 3))
            change = (features(family, [canvas(spotted, layout)]) - before).abs().sum(-1)[grid.places()]
            assert int(change.argmax()) == row * columns + column
            assert change.topk(2).values[1] < 0.9 * change.max()
            checked += 1
    assert checked >= len(grids)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_number_of_tokens_for_any_size(family):
    processor, rng = processor_of(family), np.random.default_rng(2)
    layout = image_token_layout(tiny_model(family), processor)
    for width, height in [(56, 56), (33, 90), (301, 300), (90, 91), *rng.integers(20, 300, (6, 2)).tolist()]:
        image = Image.new("RGB", (width, height))
        inputs = processor(images=[[image]], text=["a <image> b"], return_tensors="pt")
        tokens = ImageTokens(layout, inputs["input_ids"], [[(height, width)]])
        heatmap = tokens.heatmaps(tokens.coverage)[0][0]
        torch.testing.assert_close(heatmap / heatmap.mean(), torch.ones_like(heatmap), atol=1e-6, rtol=0)


def test_sizes_are_forgotten_before_they_fill_the_memory(monkeypatch):
    monkeypatch.setattr(importlib.import_module("pmtools.adapters.layouts.inferred"), "MOST_SIZES", 3)
    layout = image_token_layout(tiny_model("qwen2_vl"), copy.deepcopy(processor_of("qwen2_vl")))
    sizes = [(56 + 28 * i, 84) for i in range(5)]
    first = [layout.grids(size, 1) for size in sizes]
    assert len(layout.grids.findings.grids) == 2
    assert [layout.grids(size, 1) for size in sizes] == first


class TestRefusals:
    def test_tokens_that_no_grid_tells(self, monkeypatch):
        """A tower that deals its tokens out anew, as a resampler does, has no places to tell."""
        model = copy.deepcopy(tiny_model("llava"))
        model.config.model_type = "novel"
        order = torch.from_numpy(np.random.default_rng(3).permutation(16))
        model.model.multi_modal_projector.register_forward_hook(lambda module, given, out: out[..., order, :])
        layout = image_token_layout(model, processor_of("llava"))
        with pytest.raises(
            ValueError, match=r"'novel': 1 views of 56 x 56 pixels and 16 tokens.*Supported models.*LAYOUTS"
        ):
            layout.grids((90, 120), 1)

    def test_a_number_of_tokens_that_makes_no_grid(self):
        model = copy.deepcopy(tiny_model("llava"))
        processor = copy.deepcopy(processor_of("llava"))
        processor.num_additional_image_tokens = 8
        with pytest.raises(ValueError, match="23 tokens in runs of 23; they make no grid"):
            image_token_layout(model, processor).grids((90, 120), 1)

    def test_a_processor_that_writes_no_image_tokens(self):
        model = copy.copy(tiny_model("llava"))
        model.config = copy.copy(model.config)
        model.config.model_type, model.config.image_token_id = "novel", 250
        processor = copy.deepcopy(processor_of("llava"))
        processor.image_token_id = 250
        with pytest.raises(ValueError, match=r"'novel': no prompt with an image could be made.*LAYOUTS\['novel'\]"):
            image_token_layout(model, processor)


def test_an_image_processor_alone_is_refused_where_the_whole_one_is_asked():
    model = tiny_model("qwen2_vl")
    with pytest.raises(TypeError, match="whole processor"):
        image_token_layout(model, tiny_processor(model).image_processor)
