"""What the magnifier sees: canvases, several images, maps of the caller's, pixels made on the device."""

import base64
import copy
import types

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import FAMILIES, PICTURES, PROMPTS, model_of, picture, processor_of, prompts_for, prompts_of
from tiny_magnifier import GREEDY, UNIFORM, close, magnifier, plain, run, same

import pmtools
from pmtools.adapters.heatmaps import GivenHeatmap
from pmtools.adapters.pixels import as_pil
from pmtools.adapters.source_images import pil_rows
from pmtools.decoding import METHODS
from pmtools.io import from_array


class TestCanvas:
    def test_a_wide_image_is_padded_for_a_cropping_processor(self):
        pm = magnifier()
        inputs = pm.processor(images=picture(120, 90), text=PROMPTS[0], return_tensors="pt")
        square = Image.new("RGB", (120, 120), (122, 116, 104))
        square.paste(picture(120, 90), (0, 15))
        want = processor_of("llava")(images=square, text=PROMPTS[0], return_tensors="pt")
        assert torch.equal(inputs["pixel_values"], want["pixel_values"])
        assert inputs["pm_images"][0][0].size == (120, 90)

    def test_other_families_see_the_whole_image_already(self):
        pm = magnifier("qwen2_vl")
        assert pm.processor.canvases([[picture(120, 90)]])[0][0].size == (120, 90)

    def test_the_carried_images_survive_a_move(self):
        inputs = magnifier().processor(images=picture(), text=PROMPTS[0], return_tensors="pt")
        assert inputs.to("cpu", torch.float32)["pm_images"][0][0].size == picture().size

    def test_padding_takes_part_in_nothing(self):
        """A magnified image shows image only: its padding is where it was, and only there."""
        pm = magnifier(refresh="first")
        white = Image.new("RGB", (120, 60), (255, 255, 255))
        run(pm, images=white, text=PROMPTS[0], max_new_tokens=1)
        step = pm.last[0]
        assert step.heatmaps[0][0].shape == (2, 4)
        assert step.warps[0][0].source_hw == step.warps[0][0].target_hw == (60, 120)
        assert np.asarray(step.images()[0][0]).min() == 255

    def test_images_given_beside_the_inputs(self):
        pm = magnifier()
        image = picture(80, 80)
        inputs = processor_of("llava")(images=image, text=PROMPTS[0], return_tensors="pt")
        got = model_of("llava").generate(**inputs, images=[image], custom_generate=pm, **GREEDY)
        same(got, run(pm, images=image, text=PROMPTS[0]), 0)

    def test_images_beside_the_inputs_are_not_turned(self):
        image = picture(80, 80).copy()
        image.getexif()[274] = 6
        inputs = processor_of("llava")(images=image, text=PROMPTS[0], return_tensors="pt")
        pm = magnifier(heatmap=UNIFORM)
        got = model_of("llava").generate(**inputs, images=image, custom_generate=pm, **GREEDY)
        same(got, model_of("llava").generate(**inputs, **GREEDY))

    def test_palette_and_turned_images(self):
        pm = magnifier(refresh="first")
        turned = picture(120, 90).copy()
        turned.getexif()[274] = 6  # to be turned by 90 degrees
        inputs = pm.processor(images=turned, text=PROMPTS[0], return_tensors="pt")
        assert inputs["pm_images"][0][0].size == (90, 120)
        run(pm, images=picture(60, 60).convert("P"), text=PROMPTS[0], max_new_tokens=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_several_images_in_one_prompt(family):
    pm = magnifier(family)
    images = [[picture(120, 90, 1), picture(70, 100, 2)], [picture(64, 64, 3)]]
    run(pm, family, images=images, text=["Is <image> like <image>?", "And <image>"])
    for step in pm.last:
        assert [len(row) for row in step.warps] == [2, 1]
        assert [w.source_hw for w in step.warps[0]] == [(90, 120), (100, 70)]
        assert [im.size for im in step.images()[0]] == [(120, 90), (70, 100)]
        assert step.forwards["encode"] == 3
    uniform = magnifier(family, heatmap=UNIFORM)
    same(
        run(uniform, family, images=images, text=["Is <image> like <image>?", "And <image>"]),
        plain(uniform, family, images=images, text=["Is <image> like <image>?", "And <image>"]),
    )


class TestHeatmaps:
    def test_an_array_magnifies_what_it_points_at(self):
        heatmap = np.zeros((4, 4))
        heatmap[0, 3] = 1
        pm = magnifier(heatmap=heatmap)
        run(pm, images=picture(80, 80), text=PROMPTS[0])
        for step in pm.last:
            warp = step.warps[0][0]
            assert warp.points(np.array([60.0, 20.0])).tolist()[0] < 50
            assert step.iterations == (0,)
            want = pmtools.magnify(picture(80, 80), torch.as_tensor(heatmap))
            assert np.array_equal(np.asarray(step.images()[0][0]), np.asarray(want))

    def test_a_callable_is_asked_for_each_image_and_step(self):
        asked = []

        def heatmap(image, step):
            asked.append((image.size, step))
            return np.arange(6.0).reshape(2, 3) * (step + 1)

        run(magnifier(heatmap=GivenHeatmap(heatmap)), max_new_tokens=2)
        assert asked == [((120, 90), 0), ((70, 100), 0), ((120, 90), 1), ((70, 100), 1)]

    def test_a_function_of_the_image_is_asked_once(self):
        asked = []

        def heatmap(image):
            asked.append(image.size)
            return np.eye(3)

        run(magnifier(heatmap=GivenHeatmap(heatmap)), max_new_tokens=2)
        assert asked == [(120, 90), (70, 100)]

    def test_other_functions_are_refused(self):
        with pytest.raises(TypeError, match=r"`heatmap` must take \(image\) or \(image, step\)"):
            GivenHeatmap(lambda a, b, c: None)
        with pytest.raises(TypeError, match="into GivenHeatmap"):
            magnifier(heatmap=lambda image, step: None)

    MAP = np.arange(6.0).reshape(2, 3)

    @pytest.mark.parametrize(
        "given",
        [
            Image.fromarray(MAP.astype(np.uint8)),
            Image.fromarray(MAP.astype(np.uint16)),
            Image.fromarray(MAP.astype(np.float32)),
            MAP.tolist(),
            torch.as_tensor(MAP),
            np.ascontiguousarray(MAP[::-1])[::-1],  # negative strides
            np.broadcast_to(MAP, MAP.shape),  # read-only
        ],
    )
    def test_a_map_of_any_kind(self, given):
        for heatmap in (given, GivenHeatmap(lambda image: given)):
            pm = magnifier(heatmap=heatmap)
            run(pm, images=picture(), text=PROMPTS[0], max_new_tokens=1)
            close(pm.last[0].heatmaps[0][0].double(), torch.as_tensor(self.MAP), 0)
            edit = METHODS["blur"](processor_of("llava"), heatmap=given)
            edit.generate(model_of("llava"), picture(), PROMPTS[0], max_new_tokens=1)
            np.testing.assert_array_equal(np.asarray(edit.last[0].heatmaps[0][0]), self.MAP)

    @pytest.mark.parametrize("given", [None, "attention", np.ones((2, 3, 3)), Image.new("RGB", (4, 3)), np.ones(4)])
    def test_what_is_no_map_is_refused(self, given):
        with pytest.raises((TypeError, ValueError), match="`heatmap` must be"):
            run(magnifier(heatmap=GivenHeatmap(lambda image, step: given)))
        with pytest.raises((TypeError, ValueError), match="`heatmap` must be"):
            GivenHeatmap(lambda image: given)(prompts_of())
        if given is not None and not isinstance(given, str):
            with pytest.raises(ValueError, match="`heatmap` must be"):
                magnifier(heatmap=given)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "qwen3_vl", "gemma3", "paligemma"])
def test_fused_pixels_are_close_to_the_processors(family):
    heatmap = np.zeros((4, 4))
    heatmap[1, 2] = 1
    seen = {}
    for preprocess in ("processor", "fused"):
        pm = magnifier(family, heatmap=heatmap, preprocess=preprocess, refresh="first")
        smooth = picture(400, 300).resize((40, 30)).resize((400, 300), Image.Resampling.BICUBIC)
        seen[preprocess] = run(pm, family, images=smooth, text=PROMPTS[0], max_new_tokens=1).logits[0]
    spread = seen["processor"].std()
    assert (seen["processor"] - seen["fused"]).abs().max() < 0.15 * spread


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("preprocess", ["processor", "fused"])
def test_heatmaps_warps_and_pixels_stay_on_the_device(device, preprocess, monkeypatch):
    model = copy.deepcopy(model_of("llava")).to(device)
    pm = magnifier(preprocess=preprocess, refresh="adaptive", tolerance=0.1)
    inputs = pm.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True).to(device)
    out = model.generate(**inputs, custom_generate=pm, **GREEDY)
    assert out.sequences.device.type == device
    for step in pm.last:
        assert step.heatmaps[0][0].device.type == device
        assert step.warps[0][0].x.like.device.type == device
    want = run(pm)
    close(out.logits[0].cpu(), want.logits[0], 1e-2)


@pytest.mark.parametrize("refresh", ["every", "adaptive"])
def test_half_precision_in_inference_mode(refresh):
    model = copy.deepcopy(model_of("qwen3_vl")).to(torch.bfloat16)
    pm = magnifier("qwen3_vl", refresh=refresh, preprocess="fused", tolerance=0.1)
    inputs = pm.processor(images=PICTURES, text=prompts_for("qwen3_vl"), return_tensors="pt", padding=True)
    with torch.inference_mode():
        out = model.generate(**inputs, custom_generate=pm, max_new_tokens=3, do_sample=True, num_return_sequences=2)
    assert out.shape[0] == 4
    assert all(len(step.warps) == 4 for step in pm.last)
    assert all(bool(torch.isfinite(step.heatmaps[0][0]).all()) for step in pm.last)


class TestTransparency:
    """Transparent pixels are white to a model, in part where they are so in part; opaque ones stay the same to the bit."""

    COLOUR, ALPHA = np.asarray(picture(70, 50)), np.tile(np.linspace(0, 255, 70).round().astype(np.uint8), (50, 1))

    def close_to(self, image, colour):
        share = self.ALPHA[..., None] / 255
        want = np.broadcast_to(share * colour + (1 - share) * 255, (50, 70, 3))
        np.testing.assert_allclose(np.asarray(image), want, atol=1)

    @pytest.mark.parametrize("channels", [2, 4])
    def test_alpha(self, channels):
        colour = self.COLOUR if channels == 4 else self.COLOUR[..., :1]
        values = np.concatenate([colour, self.ALPHA[..., None]], axis=2)
        tensor = torch.from_numpy(values).permute(2, 0, 1) / 255
        for image in (values, from_array(values), values.astype(np.uint16) * 257, tensor):
            self.close_to(as_pil(image), colour)

    @pytest.mark.parametrize("mode", ["P", "RGB", "L", "1"])
    def test_a_transparent_colour(self, mode):
        image = Image.new(mode, (3, 2))  # black
        if mode == "P":
            image.putpalette([0, 0, 0, 255, 0, 0])
        seen = np.zeros((2, 3, 3))
        np.testing.assert_array_equal(np.asarray(as_pil(image)), seen)
        image.info["transparency"] = (0, 0, 0) if mode == "RGB" else 0
        image.putpixel((1, 1), {"P": 1, "RGB": (255, 0, 0), "L": 9, "1": 1}[mode])
        seen[:], seen[1, 1] = 255, {"L": 9, "1": 255}.get(mode, (255, 0, 0))
        np.testing.assert_array_equal(np.asarray(as_pil(image)), seen)


class TestDepth:
    """Whatever the depth of an image, the model sees its 8 bits: nothing is clipped to white."""

    GREY = np.asarray(picture(70, 50).convert("L"))
    COLOUR = np.asarray(picture(70, 50))

    @pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
    def test_sixteen_bit_grey(self, mode):
        deep = Image.frombytes("I;16", (70, 50), (self.GREY.astype("<u2") * 257).tobytes())
        if mode != "I;16":
            order = {"L": "<", "B": ">", "N": "="}[mode[-1]]
            deep = Image.frombytes(mode, (70, 50), (self.GREY.astype(order + "u2") * 257).tobytes())
        np.testing.assert_array_equal(np.asarray(as_pil(deep)), np.asarray(as_pil(self.GREY)))

    @pytest.mark.parametrize("values", [GREY.astype("i4"), GREY.astype("f4"), (GREY / 255).astype("f4")])
    def test_modes_i_and_f(self, values):
        np.testing.assert_array_equal(np.asarray(as_pil(from_array(values))), np.asarray(as_pil(self.GREY)))

    @pytest.mark.parametrize(
        ("kind", "scale", "shift"), [("i4", 257, 0), ("i4", 1, -99), ("f4", 2, 0), ("f4", 1 / 255, -0.5)]
    )
    def test_an_unknown_range_is_refused(self, kind, scale, shift):
        image = from_array((self.GREY * float(scale) + shift).astype(kind))
        with pytest.raises(ValueError, match=r"`images` must hold values within 0 and 255.*got .* to .*scale them"):
            as_pil(image)

    def test_values_that_are_no_numbers_are_refused(self):
        with pytest.raises(ValueError, match="`images` must be finite"):
            as_pil(from_array(self.GREY * np.float32(np.nan)))

    @pytest.mark.parametrize("name", ["sixteen.png", "sixteen.tif", "sixteen.pgm", "float.tif"])
    def test_files_and_addresses(self, name, tmp_path, monkeypatch):
        """transformers clips them when it opens them, except what has 8 bits."""
        path, bad = tmp_path / name, tmp_path / "bad.tif"
        values = (self.GREY / 255).astype(np.float32) if "float" in name else self.GREY.astype(np.uint16) * 257
        image = Image.fromarray(values)
        image.getexif()[274] = 6
        image.save(path, **({} if "pgm" in name else {"exif": image.getexif()}))
        want = from_array(self.GREY if "pgm" in name else np.rot90(self.GREY, -1)).convert("RGB")
        text = base64.b64encode(path.read_bytes()).decode()
        answer = types.SimpleNamespace(content=path.read_bytes())
        monkeypatch.setattr("transformers.image_utils.httpx.get", lambda address, **_: answer)
        for form in (path, str(path), text, f"data:image/png;base64,{text}", "https://example.com/a.png"):
            np.testing.assert_array_equal(np.asarray(pil_rows([[form]])[0][0]), np.asarray(want))
        from_array(self.GREY.astype("i4") * 257).save(bad)
        with pytest.raises(ValueError, match=r"`images` must hold values within 0 and 255"):
            pil_rows([[bad]])

    @pytest.mark.parametrize("channels", [1, 3])
    def test_arrays(self, channels):
        eight = self.COLOUR[..., :channels]
        want = from_array(eight).convert("RGB")
        for values in (eight, eight.astype(np.uint16) * 257):
            np.testing.assert_array_equal(np.asarray(as_pil(values)), np.asarray(want))

    def test_a_deep_image_is_turned_as_its_tag_says(self):
        for deep in (from_array(self.GREY.astype("u2") * 257), from_array(self.GREY / 255)):
            deep.getexif()[274] = 6
            turned = np.asarray(as_pil(deep).convert("L"))
            np.testing.assert_array_equal(turned, np.rot90(self.GREY, -1))
            np.testing.assert_array_equal(np.asarray(as_pil(deep, upright=False).convert("L")), self.GREY)

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"])
    def test_eight_bits_stay_what_pillow_makes_of_them(self, mode):
        image = picture(70, 50)
        if mode == "LAB":
            image = Image.frombytes(mode, image.size, image.tobytes())
        for step in ("P", "PA") if mode == "PA" else () if mode == "LAB" else (mode,):
            image = image.convert(step)
        assert as_pil(image).tobytes() == image.convert("RGB").tobytes()

    @pytest.mark.parametrize("options", [{}, {"refine": "cached", "refresh": "adaptive"}, {"preprocess": "fused"}])
    def test_the_magnifier_sees_the_same_whatever_the_depth(self, options):
        pm = magnifier(**options)
        want = run(pm, images=Image.fromarray(self.COLOUR), text=PROMPTS[0])
        same(run(pm, images=self.COLOUR.astype(np.uint16) * 257, text=PROMPTS[0]), want, 0)
        want = run(pm, images=Image.fromarray(self.GREY), text=PROMPTS[0])
        same(run(pm, images=from_array(self.GREY.astype(np.uint16) * 257), text=PROMPTS[0]), want, 0)

    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_sees_the_same_whatever_the_depth(self, method):
        answers = [
            METHODS[method](processor_of("llava")).generate(
                model_of("llava"), image, "Is it red?", max_new_tokens=3, do_sample=False
            )
            for image in (Image.fromarray(self.COLOUR), self.COLOUR.astype(np.uint16) * 257)
        ]
        assert answers[0] == answers[1]
