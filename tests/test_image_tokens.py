"""The image tokens of a batch, and heatmaps from them: grids with padding, tiles and several images, in numbers written out."""

import pytest
import torch
from PIL import Image
from tiny import FAMILIES, model_of, processor_of
from torch._subclasses.fake_tensor import FakeTensorMode

from pmtools.adapters.image_tokens import ImageTokens, _shares
from pmtools.adapters.layouts import WHOLE_IMAGE, ImageTokenLayout, TokenGrid, image_token_layout


@pytest.mark.parametrize("family", FAMILIES)
def test_several_images_in_left_padded_prompts(family):
    processor = processor_of(family)
    layout = image_token_layout(model_of(family), processor)
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


def test_another_default_device_holds_nothing_of_ours():
    """What is kept for later calls would be there too; "meta" stands for a device whose tensors cannot be read here."""
    layout, ids = one_grid((-0.13, 0.0, 1.13, 1.0)), torch.full((1, 16), 7)
    with torch.device("meta"):
        tokens = ImageTokens(layout, ids, [[(90, 120)]])
        ((heatmap,),) = tokens.heatmaps(tokens.coverage)
        assert tokens.at([(0.5, 0.5)]).sum() == 1
    torch.testing.assert_close(heatmap, torch.ones_like(heatmap))


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


class TestRefusals:
    @pytest.mark.parametrize("sizes", [[[(90, 120)] * 2], [[]]])
    def test_images_and_prompt_that_disagree(self, sizes):
        layout = image_token_layout(model_of("llava"), processor_of("llava"))
        with pytest.raises(ValueError, match="image tokens, but its"):
            ImageTokens(layout, torch.full((1, 16), layout.image_token_id), sizes)

    def test_prompts_without_any_image(self):
        layout = image_token_layout(model_of("llava"), processor_of("llava"))
        with pytest.raises(ValueError, match="`sizes` must hold at least one image"):
            ImageTokens(layout, torch.full((1, 16), 9), [[]])


def test_a_row_without_images_has_no_columns():
    layout = image_token_layout(model_of("llava"), processor_of("llava"))
    ids = torch.full((2, 20), 9)
    ids[1, 3:19] = layout.image_token_id
    tokens = ImageTokens(layout, ids, [[], [(60, 60)]])
    assert tokens.columns.tolist() == [[-1] * 16, list(range(3, 19))]
    assert tokens.coverage.tolist() == [[0.0] * 16, [1.0] * 16]
    assert tokens.first == 3
    assert [len(row) for row in tokens.heatmaps(tokens.coverage)] == [0, 1]


TILES = ImageTokenLayout(image_token_id=7, grids=lambda size, images: (6, [TokenGrid(0, (1, 2)), TokenGrid(2, (2, 2))]))


def made_and_selected_in_inference_mode():
    with torch.inference_mode():
        return ImageTokens(TILES, torch.full((2, 6), 7), [[(20, 20)]] * 2).select([1])


def used_in_inference_mode():
    tokens = ImageTokens(TILES, torch.full((1, 6), 7), [[(20, 20)]])
    with torch.inference_mode():
        tokens.heatmaps(tokens.coverage)
    return tokens


def exported():
    tokens = ImageTokens(TILES, torch.full((1, 6), 7), [[(20, 20)]])
    module = torch.nn.Module()
    module.forward = lambda mass: tokens.heatmaps(mass)[0][0]
    torch.export.export(module, (tokens.coverage,), strict=False)
    return tokens


def used_with_fake_tensors():
    tokens = ImageTokens(TILES, torch.full((1, 6), 7), [[(20, 20)]])
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        tokens.heatmaps(mode.from_tensor(tokens.coverage))
    return tokens


@pytest.mark.parametrize(
    "before", [made_and_selected_in_inference_mode, used_in_inference_mode, exported, used_with_fake_tensors]
)
def test_heatmaps_are_differentiable_whatever_mode_came_before(before):
    _shares.cache_clear()  # what other tests left
    tokens = before()
    attention = torch.arange(6.0)[None].requires_grad_()
    heatmap = tokens.heatmaps(attention * tokens.coverage)[0][0]
    assert type(heatmap) is torch.Tensor
    # each cell: half of the coarse token that covers two, and its own, over one and a half
    assert heatmap.tolist() == [[pytest.approx(v / 1.5) for v in row] for row in [[2, 3.5], [4, 5.5]]]
    heatmap.sum().backward()
    torch.testing.assert_close(attention.grad, torch.tensor([[2 / 3] * 6]))
    attention.detach().requires_grad_().gather(1, tokens.columns).sum().backward()


@pytest.mark.parametrize("family", ["llava_next", "llava_onevision"])
@pytest.mark.parametrize("size", [(3, 900), (900, 3)])
def test_an_image_so_long_that_its_tiles_are_all_padding(family, size):
    layout = image_token_layout(model_of(family), processor_of(family))
    inputs = processor_of(family)(images=Image.new("RGB", size), text="a <image>", return_tensors="pt")
    tokens = ImageTokens(layout, inputs["input_ids"], [[size[::-1]]])
    (heatmap,) = tokens.heatmaps(tokens.coverage)[0]
    assert bool(torch.isfinite(heatmap).all())
    assert heatmap.max() > 0
