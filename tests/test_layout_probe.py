"""Layouts that are inferred: what is read off a processor, and the probe that says whether it is true, seen failing."""

import copy
import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import FAMILIES, model_of, processor_of

from pmtools.adapters.layouts import LAYOUTS, TokenGrid, image_token_layout, probe_layout
from pmtools.adapters.layouts._reading import Reading, readings
from pmtools.adapters.layouts._views import Colours, View, blank, ramps, views
from pmtools.testing.models import tiny_model, tiny_processor

SIZES = [(240, 240), (180, 320), (300, 100), (91, 133)]  # (height, width)
TILED = ["internvl", "idefics3", "aya_vision", "ovis2"]


def layout_of(family, **options):
    return image_token_layout(model_of(family), processor_of(family), options=options)


def spoiled(layout, change):
    def grids(size, images):
        count, found = layout.grids(size, images)
        return count, change(found)

    return replace(layout, grids=grids)


class TestProbe:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_true_layouts_pass(self, family):
        for size in SIZES:
            found = probe_layout(model_of(family), processor_of(family), layout_of(family), size)
            assert min(found) >= 0.9, (size, found)

    @pytest.mark.parametrize("family", ["llava", "qwen2_vl", "gemma3", "paligemma"])
    @pytest.mark.parametrize("size", [SIZES[0], SIZES[2]], ids=str)
    def test_swapped_axes_are_seen(self, family, size):
        def swapped(grids):
            (grid,) = grids
            rows, columns = grid.shape_hw
            # the tokens read column by column: each is a grid of its own, where the other axis has it
            x0, y0, x1, y1 = grid.box_xyxy
            width, height = (x1 - x0) / columns, (y1 - y0) / rows
            return [
                TokenGrid(
                    column * rows + row,
                    (1, 1),
                    (x0 + column * width, y0 + row * height, x0 + (column + 1) * width, y0 + (row + 1) * height),
                )
                for row in range(rows)
                for column in range(columns)
            ]

        layout = spoiled(layout_of(family), swapped)
        assert min(probe_layout(model_of(family), processor_of(family), layout, size)) < 0.9

    @pytest.mark.parametrize("family", ["llava", "qwen2_vl", "llava_next", "internvl"])
    def test_rows_that_start_half_a_row_late_are_seen(self, family):
        def late(grids):
            return [replace(grid, start=grid.start + grid.shape_hw[1] // 2) for grid in grids[:1]]

        layout = spoiled(layout_of(family), late)
        assert min(probe_layout(model_of(family), processor_of(family), layout, (240, 240))) < 0.9

    @pytest.mark.parametrize("family", TILED)
    def test_tiles_in_the_wrong_order_are_seen(self, family):
        def by_columns(grids):
            boxes = [grid.box_xyxy for grid in grids]
            tiles = [box for box in boxes if box != (0, 0, 1, 1)]
            turned = iter(sorted(tiles))  # by x first
            return [
                replace(grid, box_xyxy=box if box == (0, 0, 1, 1) else next(turned))
                for grid, box in zip(grids, boxes, strict=True)
            ]

        layout = spoiled(layout_of(family), by_columns)
        assert len(layout.grids((240, 240), 1)[1]) == 5
        assert min(probe_layout(model_of(family), processor_of(family), layout, (240, 240))) < 0.9

    @pytest.mark.parametrize("family", TILED)
    @pytest.mark.parametrize("size", SIZES, ids=str)
    def test_the_whole_image_at_the_other_end_is_seen(self, family, size):
        def moved(grids):
            boxes = [grid.box_xyxy for grid in grids]
            boxes = boxes[-1:] + boxes[:-1] if boxes[-1] == (0, 0, 1, 1) else boxes[1:] + boxes[:1]
            return [replace(grid, box_xyxy=box) for grid, box in zip(grids, boxes, strict=True)]

        layout = spoiled(layout_of(family), moved)
        assert min(probe_layout(model_of(family), processor_of(family), layout, size)) < 0.9

    def test_a_wrong_number_of_tokens_is_seen(self):
        layout = replace(layout_of("llava"), grids=lambda size, images: (17, [TokenGrid(1, (4, 4))]))
        assert probe_layout(model_of(), processor_of(), layout, (90, 120)) == (-1.0, -1.0)


@pytest.fixture
def unproven(monkeypatch):
    monkeypatch.setattr("pmtools.adapters.layouts.PROVEN", frozenset())


class TestCost:
    def counted(self, model):
        calls = []
        handle = model.model.vision_tower.register_forward_hook(lambda *_: calls.append(1))
        return calls, handle

    def test_the_tower_runs_17_times_once(self, unproven):
        model, processor = tiny_model("llava"), tiny_processor(tiny_model("llava"))
        calls, _ = self.counted(model)
        for size in SIZES:
            image_token_layout(model, processor).grids(size, 1)
        assert len(calls) == 17

    def test_the_tower_of_a_proven_family_does_not_run(self):
        model, processor = tiny_model("llava"), tiny_processor(tiny_model("llava"))
        calls, _ = self.counted(model)
        for size in SIZES:
            image_token_layout(model, processor).grids(size, 1)
        assert not calls

    def test_a_processor_whose_inputs_the_model_does_not_take(self, unproven):
        model, processor = tiny_model("qwen2_vl"), tiny_processor(tiny_model("llava"))
        with pytest.raises(ValueError, match="must be one that was made for qwen2_vl models, got a LlavaProcessor"):
            image_token_layout(model, processor).grids((90, 120), 1)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_what_is_proven_is_what_a_probe_finds(self, family, unproven):
        model, processor = model_of(family), copy.copy(processor_of(family))
        processor.tokenizer = copy.copy(processor.tokenizer)  # nothing is known of it
        layout = image_token_layout(model, processor)
        for size in SIZES:
            layout.grids(size, 1)
        if family not in LAYOUTS:
            assert set(layout.grids.findings.readings.values()) == {Reading()}

    def test_other_settings_are_asked_anew(self):
        model, processor = tiny_model("internvl"), tiny_processor(tiny_model("internvl"))
        assert image_token_layout(model, processor).grids((240, 240), 1)[0] == 80
        assert image_token_layout(model, processor, options={"max_patches": 2}).grids((240, 240), 1)[0] == 16
        processor.image_processor.max_patches = 2
        assert image_token_layout(model, processor).grids((240, 240), 1)[0] == 16

    def test_neither_model_nor_processor_is_kept_alive(self):
        model, processor = tiny_model("llava"), tiny_processor(tiny_model("llava"))
        image_token_layout(model, processor).grids((90, 120), 1)
        gone = weakref.ref(model), weakref.ref(processor)
        del model, processor
        gc.collect()
        assert [item() for item in gone] == [None, None]


class TestReadOff:
    """Processors that are written out here: what they do to a picture is known in numbers."""

    def read(self, process, size, images=1):
        colours = Colours.of(process)
        return views(colours, process(ramps(size)), images)

    @staticmethod
    def tensor(picture):
        return (torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255 - 0.4) / 0.25

    @pytest.mark.parametrize("size", SIZES, ids=str)
    def test_padding_of_any_colour(self, size):
        def process(picture):
            pixels = torch.full((1, 3, 400, 500), 0.37)
            pixels[0, :, 11 : 11 + picture.height, 60 : 60 + picture.width] = self.tensor(picture)
            return {"pixel_values": pixels}

        (view,) = self.read(process, size)
        height, width = size
        expected = -60 / width, -11 / height, 440 / width, 389 / height
        assert view.shape_hw == (400, 500)
        np.testing.assert_allclose(view.box_xyxy, expected, atol=0.01)

    def test_crops_that_overlap_in_any_order(self):
        boxes = [(80, 20, 200, 100), (0, 0, 240, 160), (10, 60, 130, 140)]

        def process(picture):
            resized = picture.resize((240, 160))
            return {"pixel_values": torch.stack([self.tensor(resized.crop(box).resize((64, 64))) for box in boxes])}

        found = self.read(process, (320, 480))
        for view, (x0, y0, x1, y1) in zip(found, boxes, strict=True):
            np.testing.assert_allclose(view.box_xyxy, (x0 / 240, y0 / 160, x1 / 240, y1 / 160), atol=0.01)

    @pytest.mark.parametrize("merge", [1, 2])
    @pytest.mark.parametrize("named", [True, False])
    def test_patches_in_rows_or_merged_squares(self, merge, named):
        def process(picture):
            rows, columns = 6, 10
            pixels = self.tensor(picture.resize((columns * 14, rows * 14)))
            patches = pixels.reshape(3, rows // merge, merge, 14, columns // merge, merge, 14)
            patches = patches.permute(1, 4, 2, 5, 0, 3, 6).reshape(rows * columns, -1)
            return {"pixel_values": patches, **({"grid": torch.tensor([[1, rows, columns]])} if named else {})}

        assert self.read(process, (180, 320)) == [View((6, 10), (0.0, 0.0, 1.0, 1.0), in_patches=True)]

    def test_a_picture_scaled_down_until_it_is_thinner_than_a_pixel(self):
        def process(picture):
            canvas = Image.new("RGB", (448, 448), (90, 90, 90))
            canvas.paste(picture, (203, 0))
            return {"pixel_values": self.tensor(canvas.resize((56, 56), Image.Resampling.BOX))[None]}

        size = (448, 3)
        colours = Colours.of(process)
        assert views(colours, process(ramps(size)), 1) == []
        (view,) = views(colours, process(ramps(size)), 1, black=lambda: process(blank(size)))
        assert view.shape_hw == (56, 56)
        np.testing.assert_allclose(view.box_xyxy, (-25, 0, 31, 1), atol=0.02)

    @pytest.mark.parametrize("size", [(4, 700), (700, 4), (1, 1)], ids=str)
    def test_a_picture_thinner_than_a_patch(self, size):
        def process(picture):
            rows, columns = -(-picture.height // 14), -(-picture.width // 14)
            canvas = Image.new("RGB", (columns * 14, rows * 14), (90, 90, 90))
            canvas.paste(picture)
            pixels = self.tensor(canvas).reshape(3, rows, 14, columns, 14).permute(1, 3, 0, 2, 4)
            grid = torch.tensor([[rows, columns]])
            return {"pixel_values": pixels.reshape(rows * columns, -1), "grid": grid}

        colours = Colours.of(process)
        assert views(colours, process(ramps(size)), 1) == []
        (view,) = views(colours, process(ramps(size)), 1, black=lambda: process(blank(size)))
        assert view == View((-(-size[0] // 14), -(-size[1] // 14)), (0.0, 0.0, 1.0, 1.0), in_patches=True)

    @pytest.mark.parametrize("size", [(28, 560), (28, 28), (14, 14)], ids=str)
    def test_an_input_as_small_as_a_patch_is_of_pixels_where_others_are(self, size):
        (view,) = self.read(lambda picture: {"pixel_values": self.tensor(picture)[None]}, size)
        assert view == View(size, (0.0, 0.0, 1.0, 1.0), in_patches=False)

    @pytest.mark.parametrize("size", [(1, 50), (50, 1)], ids=str)
    def test_places_of_patches(self, size):
        """Where a picture is one pixel thin, its colours do not tell how many patches lie across."""

        def process(picture):
            rows, columns = (2 * side if side <= 50 else 10 for side in (picture.height, picture.width))
            pixels = self.tensor(picture.resize((columns * 14, rows * 14))).reshape(3, rows, 14, columns, 14)
            places = torch.stack(torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy"), -1)
            patches = pixels.permute(1, 3, 0, 2, 4).reshape(1, rows * columns, -1)
            padding = (0, 0, 0, 300 - rows * columns)
            return {
                "pixel_values": torch.nn.functional.pad(patches, padding),
                "places": torch.nn.functional.pad(places.reshape(1, -1, 2), padding, value=-1),
            }

        assert self.read(process, size) == [View((2 * size[0], 2 * size[1]), (0.0, 0.0, 1.0, 1.0), in_patches=True)]

    def test_patches_in_no_order(self):
        order = torch.from_numpy(np.random.default_rng(0).permutation(60))

        def process(picture):
            pixels = self.tensor(picture.resize((140, 84))).reshape(3, 6, 14, 10, 14).permute(1, 3, 0, 2, 4)
            return {"pixel_values": pixels.reshape(60, -1)[order]}

        with pytest.raises(ValueError, match="60 patches of a picture lie in no order"):
            self.read(process, (180, 320))

    def test_no_pixels(self):
        with pytest.raises(ValueError, match="returned no pixels"):
            Colours.of(lambda picture: {"input_ids": torch.ones(1)})


class TestReadings:
    SQUARE = View((56, 56), (0.0, 0.0, 1.0, 1.0), in_patches=False)

    def all(self, views, tokens, runs=None):
        return [grids for group in readings(views, tokens, runs or [tokens]) for _, grids in group]

    def test_one_view(self):
        assert self.all([self.SQUARE], 16)[0] == [TokenGrid(0, (4, 4))]
        assert [grids[0].start for grids in self.all([self.SQUARE], 17)] == [1, 0]  # a class token, before or behind
        assert self.all([self.SQUARE], 23) == []

    def test_rows_with_text_between(self):
        view = View((42, 70), (0.0, 0.0, 1.0, 1.0), in_patches=False)
        assert self.all([view], 15, [5, 5, 5])[0] == [TokenGrid(0, (3, 5))]
        assert self.all([view], 15, [3, 3, 3, 3, 3]) == []

    def test_views_that_differ(self):
        shown = [
            View((8, 8), (0, 0, 0.5, 1), True),
            View((8, 8), (0.5, 0, 1, 1), True),
            View((5, 9), (0, 0, 1, 1), True),
        ]
        found = Reading().grids(shown, 47, [47])
        assert [grid.shape_hw for grid in found] == [(4, 4), (4, 4), (3, 5)]
        assert [grid.start for grid in found] == [0, 16, 32]
        assert Reading("last first").grids(shown, 47, [47])[0].shape_hw == (3, 5)


class TestFacts:
    @pytest.mark.parametrize(("strategy", "extra", "start"), [("full", 1, 1), ("default", 1, 0)])
    def test_class_tokens(self, strategy, extra, start):
        """LLaVA's "full" features have a class token in front where the vision tower has one."""
        model = copy.deepcopy(tiny_model("llava"))
        processor = copy.deepcopy(processor_of("llava"))
        model.config.vision_feature_select_strategy = processor.vision_feature_select_strategy = strategy
        count, (grid,) = image_token_layout(model, processor).grids((56, 56), 1)
        assert (count, grid.start, grid.shape_hw) == (16 + start, start, (4, 4))

    def test_pan_and_scan(self):
        options = {
            "do_pan_and_scan": True,
            "pan_and_scan_min_crop_size": 32,
            "pan_and_scan_max_num_crops": 4,
            "pan_and_scan_min_ratio_to_activate": 1.2,
        }
        layout = layout_of("gemma3", **options)
        boxes = [grid.box_xyxy for grid in layout.grids((180, 320), 1)[1]]
        assert boxes == [(0, 0, 1, 1), (0, 0, 0.5, 1), (0.5, 0, 1, 1)]
        found = probe_layout(model_of("gemma3"), processor_of("gemma3"), layout, (180, 320), options=options)
        assert min(found) >= 0.9

    @pytest.mark.parametrize(
        ("family", "reuse", "layers"),
        [("llava", True, None), ("gemma3", False, (1, 3)), ("paligemma", False, None), ("qwen3_5", False, (1, 3))],
    )
    def test_prefix_and_layers(self, family, reuse, layers):
        layout = layout_of(family)
        assert (layout.prefix_reuse, layout.heat_layers) == (reuse, layers)

    def test_who_pads(self):
        """A processor that crops the centre is given squares; one that pads is not, and its padding is read off."""
        crops, pads = layout_of("llava"), layout_of("deepseek_vl")
        assert (crops.square, pads.square) == (True, False)
        np.testing.assert_allclose(crops.grids((180, 320), 1)[1][0].box_xyxy, (0, -7 / 18, 1, 25 / 18))
        # 320 x 180 becomes 56 x 31 on 56 x 56, twelve rows above and thirteen below
        np.testing.assert_allclose(pads.grids((180, 320), 1)[1][0].box_xyxy, (0, -12 / 31, 1, 44 / 31), atol=0.01)

    def test_several_images_of_onevision_are_padded(self):
        """One alone is stretched; with another beside it each is padded to a square."""
        layout, processor = layout_of("llava_onevision"), processor_of("llava_onevision")
        inputs = processor(images=[[ramps((180, 320))] * 2], text=["<image> <image>"], return_tensors="pt")
        colours = Colours.of(
            lambda picture: processor(images=[[picture] * 2], text=["<image> <image>"], return_tensors="pt")
        )
        count, (grid,) = layout.grids((180, 320), 2)
        np.testing.assert_allclose(views(colours, inputs, 2)[0].box_xyxy, grid.box_xyxy, atol=0.01)
        assert 2 * count == int((inputs["input_ids"] == layout.image_token_id).sum())
