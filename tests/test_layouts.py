"""Image-token layouts against the models themselves: paint a spot, see which image tokens change."""

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import processor_of

from pmtools.adapters.layouts import WHOLE_IMAGE, ImageTokenLayout, ImageTokens, TokenGrid, image_token_layout
from pmtools.testing.models import FAMILIES, tiny_model, tiny_processor

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
    check_spots(family, size, image_token_layout(blind_model(family), processor_of(family).image_processor))


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "llava_next", "internvl"])
@pytest.mark.parametrize("wrong", ["transposed", "shifted by half a cell", "one token late"])
def test_the_check_sees_wrong_layouts(family, wrong):
    layout = image_token_layout(blind_model(family), processor_of(family).image_processor)

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
    layout = image_token_layout(tiny_model(family), processor.image_processor)
    for width, height in [(56, 56), (33, 90), (301, 300), (90, 91), *rng.integers(20, 300, (6, 2)).tolist()]:
        image = Image.new("RGB", (width, height))
        inputs = processor(images=[[image]], text=["a <image> b"], return_tensors="pt")
        tokens = ImageTokens(layout, inputs["input_ids"], [[(height, width)]])
        heatmap = tokens.heatmaps(tokens.coverage)[0][0]
        torch.testing.assert_close(heatmap / heatmap.mean(), torch.ones_like(heatmap), atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_several_images_in_left_padded_prompts(family):
    processor = processor_of(family)
    layout = image_token_layout(tiny_model(family), processor.image_processor)
    images = [[Image.new("RGB", (120, 90))], [Image.new("RGB", (70, 100)), Image.new("RGB", (60, 60))]]
    inputs = processor(
        images=images, text=["a <image>", "b <image><image> and more"], return_tensors="pt", padding=True
    )
    sizes = [[(im.height, im.width) for im in row] for row in images]
    tokens = ImageTokens(layout, inputs["input_ids"], sizes)
    ids = inputs["input_ids"].gather(1, tokens.columns.clamp(min=0))
    assert (ids[tokens.columns >= 0] == layout.image_token_id).all()
    assert tokens.first == int((inputs["input_ids"] == layout.image_token_id).nonzero()[:, 1].min())
    # number the tokens within each row: every image must get its own, in prompt order
    order = torch.arange(tokens.columns.shape[1], dtype=torch.float32).expand(2, -1) * tokens.coverage
    maps = tokens.heatmaps(order)
    assert [len(row) for row in maps] == [1, 2]
    assert maps[1][0].max() < maps[1][1].min() or family in ("llava_next", "idefics3", "smolvlm", "internvl")
    alone = ImageTokens(layout, inputs["input_ids"][1:], sizes[1:])
    torch.testing.assert_close(tokens.select([1]).heatmaps(order[1:])[0][1], maps[1][1])
    torch.testing.assert_close(alone.columns[0], tokens.columns[1][tokens.columns[1] >= 0])


def one_grid(box, shape=(4, 4)):
    return ImageTokenLayout(image_token_id=7, grids=lambda size, images: (16, [TokenGrid(0, shape, box)]))


class TestHeatmaps:
    IDS = torch.full((1, 16), 7)

    def test_padding_is_cut_and_border_cells_count_by_area(self):
        # a 4 x 4 grid on a square around an image half as high: rows 0 and 3 are padding
        tokens = ImageTokens(one_grid((0, -0.5, 1, 1.5)), self.IDS, [[(50, 100)]])
        values = torch.arange(16.0)[None] + 1
        assert tokens.coverage.reshape(4, 4)[:, 0].tolist() == [0, 1, 1, 0]
        torch.testing.assert_close(
            tokens.heatmaps(values * tokens.coverage)[0][0], values.reshape(4, 4)[1:3].double(), atol=1e-6, rtol=0
        )

    def test_half_covered_cells(self):
        # content 3 cells high in the middle of 4: the outer cells are half content
        tokens = ImageTokens(one_grid((0, -1 / 6, 1, 7 / 6)), self.IDS, [[(75, 100)]])
        torch.testing.assert_close(tokens.coverage.reshape(4, 4)[:, 0], torch.tensor([0.5, 1, 1, 0.5]))
        rows = torch.tensor([4.0, 1.0, 1.0, 6.0]).repeat_interleave(4)[None]
        got = tokens.heatmaps(rows * tokens.coverage)[0][0]
        # content cell 0 is half of row 0 and half of row 1, and so on
        torch.testing.assert_close(got[:, 0], torch.tensor([2.5, 1.0, 3.5]).double(), atol=1e-6, rtol=0)

    def test_a_plain_grid_comes_back_untouched(self):
        tokens = ImageTokens(one_grid(WHOLE_IMAGE, (2, 8)), self.IDS, [[(50, 200)]])
        values = torch.rand(1, 16, generator=torch.Generator().manual_seed(0))
        assert torch.equal(tokens.heatmaps(values)[0][0].float(), values.reshape(2, 8))

    def test_a_coarse_and_a_fine_grid_add_up(self):
        grids = [TokenGrid(0, (1, 2)), TokenGrid(2, (2, 4), row_gap=1)]
        layout = ImageTokenLayout(image_token_id=7, grids=lambda size, images: (12, grids))
        tokens = ImageTokens(layout, torch.full((1, 12), 7), [[(10, 20)]])
        assert tokens.columns[0].tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10]  # row ends at 6 and 11 left out
        mass = torch.zeros(1, 10)
        mass[0, 0] = 8.0  # the left half, coarsely
        got = tokens.heatmaps(mass)[0][0]
        torch.testing.assert_close(got, torch.tensor([[1.6, 1.6, 0, 0], [1.6, 1.6, 0, 0]]).double())


class TestClassTokens:
    """LLaVA's "full" features have a class token in front where the vision tower has one."""

    @pytest.mark.parametrize(("vision", "count", "start"), [("CLIP", 17, 1), ("Siglip", 16, 0)])
    def test_full_features(self, vision, count, start):
        import transformers

        tower = getattr(transformers, f"{vision}VisionConfig")(image_size=56, patch_size=14)
        model = copy.copy(tiny_model("llava"))
        model.config = transformers.LlavaConfig(vision_config=tower, vision_feature_select_strategy="full")
        layout = image_token_layout(model, processor_of("llava").image_processor)
        found, (grid,) = layout.grids((56, 56), 1)
        assert (found, grid.start) == (count, start)

    def test_pixtral_has_no_fixed_grid(self):
        import transformers

        model = copy.copy(tiny_model("llava"))
        model.config = transformers.LlavaConfig(vision_config=transformers.PixtralVisionConfig())
        with pytest.raises(ValueError, match="Pixtral"):
            image_token_layout(model, processor_of("llava").image_processor)


class TestRefusals:
    def test_an_unknown_family_says_what_to_write(self):
        model = copy.copy(tiny_model("llava"))
        model.config = copy.copy(model.config)
        model.config.model_type = "novel"
        with pytest.raises(ValueError, match=r"write a function .*LAYOUTS\['novel'\]"):
            image_token_layout(model, processor_of("llava").image_processor)

    @pytest.mark.parametrize("sizes", [[[(90, 120)] * 2], [[]]])
    def test_images_and_prompt_that_disagree(self, sizes):
        layout = image_token_layout(tiny_model("llava"), processor_of("llava").image_processor)
        with pytest.raises(ValueError, match="image tokens, but its"):
            ImageTokens(layout, torch.full((1, 16), layout.image_token_id), sizes)

    def test_a_prompt_without_image(self):
        layout = image_token_layout(tiny_model("llava"), processor_of("llava").image_processor)
        with pytest.raises(ValueError, match="holds 0 image tokens"):
            ImageTokens(layout, torch.full((1, 16), 9), [[]])

    def test_pan_and_scan(self):
        processor = tiny_processor(tiny_model("gemma3"))
        processor.image_processor.do_pan_and_scan = True
        with pytest.raises(ValueError, match="do_pan_and_scan"):
            image_token_layout(tiny_model("gemma3"), processor.image_processor)
