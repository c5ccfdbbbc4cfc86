"""Perception Magnifier inside `generate`: against the plain model, against a loop without caches, against itself."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import PICTURES, PROMPTS, model_of, picture, processor_of

import pmtools
from pmtools.adapters import capture_attention, streams
from pmtools.decoding import METHODS, Greedy, PerceptionMagnifier
from pmtools.highlight import highlight_mask
from pmtools.testing.models import FAMILIES

GREEDY = {"do_sample": False, "max_new_tokens": 4, "return_dict_in_generate": True, "output_logits": True}
UNIFORM = np.ones((5, 7))


def magnifier(family="llava", **options):
    return PerceptionMagnifier(processor_of(family), **{"threshold": 0.05, **options})


def run(pm, family="llava", images=PICTURES, text=PROMPTS, **options):
    inputs = pm.processor(images=images, text=text, return_tensors="pt", padding=True)
    return model_of(family).generate(**inputs, custom_generate=pm, **{**GREEDY, **options})


def plain(pm, family="llava", images=PICTURES, text=PROMPTS, **options):
    inputs = pm.processor(images=images, text=text, return_tensors="pt", padding=True)
    inputs.pop("pm_images")
    return model_of(family).generate(**inputs, **{**GREEDY, **options})


#: Through a processor that rounds to 8 bits, a warp that differs in its last digit may turn a grey level over; what that does to
#: the logits here depends on the machine, and was 6e-3 at most. Sequences that are mixed up differ by more than ten times that.
GREY_LEVELS = 2e-2


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


def same(got, want, atol=1e-5):
    assert got.sequences.tolist() == want.sequences.tolist()
    close(torch.stack(got.logits), torch.stack(want.logits), atol)


# ------------------------------------------------------------------------------------- against the plain model


@pytest.mark.parametrize("family", FAMILIES)
class TestUniformHeatmapIsPlainGenerate:
    @pytest.mark.parametrize("refresh", ["every", "first", "adaptive"])
    def test_greedy_on_a_padded_batch(self, family, refresh):
        pm = magnifier(family, heatmap=UNIFORM, refresh=refresh)
        same(run(pm, family), plain(pm, family))
        encoded = [step.forwards.get("encode", 0) for step in pm.last]
        assert encoded == ([2, 2, 2, 2] if refresh == "every" else [2, 0, 0, 0])  # re-encoded, no shortcut


@pytest.mark.parametrize("family", ["llava", "qwen3_vl", "llava_next"])
@pytest.mark.parametrize("refresh", ["every", "first", "adaptive"])
class TestUniformHeatmapKeepsEveryLoop:
    def check(self, family, refresh, **options):
        pm = magnifier(family, heatmap=UNIFORM, refresh=refresh)
        found = []
        for call in (run, plain):
            torch.manual_seed(7)
            found.append(call(pm, family, output_scores=True, **options))
        got, want = found
        assert got.sequences.tolist() == want.sequences.tolist()
        close(torch.stack(got.scores), torch.stack(want.scores))
        return got, want

    def test_sampling(self, family, refresh):
        self.check(family, refresh, do_sample=True, temperature=0.7, num_return_sequences=2)

    def test_beams(self, family, refresh):
        got, want = self.check(family, refresh, num_beams=3, num_return_sequences=2)
        close(got.sequences_scores, want.sequences_scores)

    def test_beam_sampling_with_a_penalty(self, family, refresh):
        self.check(family, refresh, num_beams=2, do_sample=True, repetition_penalty=1.3)


# ------------------------------------------------------------------------------ against a loop without caches


class Straightforward:
    """The method with eager attention and every forward pass from scratch, for one prompt and a square or whole image."""

    def __init__(self, family, image, text, refine):
        self.model, self.refine, self.image = model_of(family, attn_implementation="eager"), refine, image
        self.processor = processor_of(family)
        self.inputs = dict(self.processor(images=[[image]], text=[text], return_tensors="pt"))
        ids = self.inputs["input_ids"]
        self.columns = (ids[0] == self.model.config.image_token_id).nonzero()[:, 0]
        grid = self.inputs.get("image_grid_thw")
        self.grid = (4, 4) if grid is None else tuple((grid[0, 1:] // 2).tolist())
        self.iterations, self.logits, self.heatmaps = [], [], []

    def forward(self, **changes):
        inputs = {**self.inputs, **changes}
        positions = torch.arange(inputs["input_ids"].shape[1])[None]
        if "mm_token_type_ids" in inputs:
            self.model.model.rope_deltas = None
            positions = self.model.model.get_rope_index(
                inputs["input_ids"],
                mm_token_type_ids=inputs["mm_token_type_ids"],
                image_grid_thw=inputs["image_grid_thw"],
            )[0]
        return self.model(**inputs, position_ids=positions, output_attentions=True, use_cache=True)

    def heat(self, out):
        rows = torch.stack([layer[0, :, -1, self.columns] for layer in out.attentions])[1:]  # from layer 2 of 4
        return rows.max(1).values.mean(0)

    def hidden(self, visible):
        mask = torch.ones_like(self.inputs["input_ids"])
        mask[0, self.columns] = visible.long()
        if self.refine == "exact":
            return self.heat(self.forward(attention_mask=mask))
        kept = self.forward()  # the last query alone, over what all the others remember
        past = kept.past_key_values
        past.crop(-1)
        positions = torch.full((1, 1), mask.shape[1] - 1)
        if "mm_token_type_ids" in self.inputs:
            ids, types = self.inputs["input_ids"], self.inputs["mm_token_type_ids"]
            grid = self.inputs["image_grid_thw"]
            positions = self.model.model.get_rope_index(ids, mm_token_type_ids=types, image_grid_thw=grid)[0][..., -1:]
        out = self.model(
            input_ids=self.inputs["input_ids"][:, -1:],
            attention_mask=mask,
            position_ids=positions,
            past_key_values=past,
            output_attentions=True,
        )
        return self.heat(out)

    def refined(self, heat):
        if self.refine == "none":
            return heat
        visible, iteration = torch.ones_like(heat, dtype=torch.bool), 0
        total, count = heat.clone(), torch.ones_like(heat)
        while iteration < 8 and heat[visible].sum() > 0.3:
            visible = visible & ~highlight_mask(heat[None], visible=visible[None])[0]
            heat, iteration = self.hidden(visible), iteration + 1
            total, count = total + heat * visible, count + visible
        self.iterations.append(iteration)
        return total / count

    @torch.no_grad()
    def run(self, steps):
        for _ in range(steps):
            heatmap = self.refined(self.heat(self.forward())).reshape(self.grid)
            self.heatmaps.append(heatmap)
            warp = pmtools.fit_warp(heatmap, source_hw=(self.image.height, self.image.width))
            view = self.processor.image_processor(images=warp.image(self.image), return_tensors="pt")
            out = self.forward(pixel_values=view["pixel_values"])
            self.logits.append(out.logits[:, -1])
            for name, new in (
                ("input_ids", out.logits[:, -1:].argmax(-1)),
                ("attention_mask", 1),
                ("mm_token_type_ids", 0),
            ):
                if name in self.inputs:
                    old = self.inputs[name]
                    self.inputs[name] = torch.cat([old, torch.as_tensor(new).expand(1, 1).to(old.dtype)], dim=1)
        return self


@pytest.mark.parametrize("refine", ["exact", "cached", "none"])
@pytest.mark.parametrize(("family", "size"), [("llava", (100, 100)), ("qwen2_5_vl", (120, 90))])
def test_equals_a_loop_without_caches(family, size, refine):
    image = picture(*size, seed=4)
    want = Straightforward(family, image, PROMPTS[0], refine).run(3)
    pm = magnifier(family, refine=refine, threshold=0.3)
    got = run(pm, family, images=image, text=PROMPTS[0], max_new_tokens=3)
    assert got.sequences[0, -3:].tolist() == want.inputs["input_ids"][0, -3:].tolist()
    if refine != "none":
        assert [step.iterations[0] for step in pm.last] == want.iterations
        assert max(want.iterations) > 1
    for step, heatmap in zip(pm.last, want.heatmaps, strict=True):
        close(step.heatmaps[0][0], heatmap.double(), 1e-6)
    close(torch.stack(got.logits), torch.stack(want.logits), GREY_LEVELS)
    assert (torch.stack(got.logits)[0] - plain(pm, family, images=image, text=PROMPTS[0]).logits[0]).abs().max() > 0.02


# --------------------------------------------------------------------------------------------- against itself


@pytest.mark.parametrize(
    ("family", "refine", "refresh"),
    [
        *((family, "exact", "every") for family in FAMILIES),
        *((family, "cached", "every") for family in ("llava", "qwen2_vl")),
        *((family, "exact", "adaptive") for family in ("llava", "qwen3_vl", "gemma3", "llava_next")),
    ],
)
def test_a_batch_equals_its_rows(family, refine, refresh):
    pm = magnifier(family, refine=refine, refresh=refresh, tolerance=0.2)
    together = run(pm, family)
    steps = pm.last
    for row in range(2):
        alone = run(pm, family, images=PICTURES[row], text=PROMPTS[row])
        assert alone.sequences[0, -4:].tolist() == together.sequences[row, -4:].tolist()
        for step, own in zip(steps, pm.last, strict=True):
            assert (step.iterations[row], step.refreshed[row]) == (own.iterations[0], own.refreshed[0])
            close(step.heatmaps[row][0], own.heatmaps[0][0])
        close(torch.stack(together.logits)[:, row], torch.stack(alone.logits)[:, 0], GREY_LEVELS)
    logits = torch.stack(together.logits)
    assert (logits[:, 0] - logits[:, 1]).abs().max() > 10 * GREY_LEVELS  # so that a mix-up would be seen


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "gemma3", "paligemma"])
def test_a_batch_equals_its_rows_to_the_last_digits_without_grey_levels(family):
    pm = magnifier(family, preprocess="fused")
    together = run(pm, family)
    for row in range(2):
        alone = run(pm, family, images=PICTURES[row], text=PROMPTS[row])
        close(torch.stack(together.logits)[:, row], torch.stack(alone.logits)[:, 0], 5e-4)


def test_dropped_tokens_equal_masked_tokens(monkeypatch):
    pm = magnifier("llava")
    dropped, heat = run(pm), [step.heatmaps for step in pm.last]
    monkeypatch.setattr("pmtools.decoding._magnifying_run.takes_features", lambda model: False)
    masked = run(pm)
    assert dropped.sequences.tolist() == masked.sequences.tolist()
    for step, maps in zip(pm.last, heat, strict=True):
        for row in range(2):
            close(step.heatmaps[row][0], maps[row][0])


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "gemma3"])
@pytest.mark.parametrize(("tolerance", "refresh"), [(0, "every"), (float("inf"), "first")])
def test_the_ends_of_adaptive(family, tolerance, refresh):
    adaptive = magnifier(family, refresh="adaptive", tolerance=tolerance, preprocess="fused")
    other = magnifier(family, refresh=refresh, preprocess="fused")
    same(run(adaptive, family), run(other, family), 5e-4)
    got, want = ([s.refreshed for s in pm.last] for pm in (adaptive, other))
    assert got == want


def test_adaptive_refreshes_some_steps_of_some_rows():
    pm = magnifier(refresh="adaptive", tolerance=0.3)
    run(pm, max_new_tokens=12)
    flags = [flag for step in pm.last[1:] for flag in step.refreshed]
    assert any(flags)
    assert not all(flags)


@pytest.mark.parametrize("refresh", ["every", "first", "adaptive"])
def test_beams_score_what_the_same_tokens_score_when_forced(refresh):
    pm = magnifier(refresh=refresh, tolerance=0.2, preprocess="fused")
    options = {"images": PICTURES[0], "text": PROMPTS[0], "max_new_tokens": 5}
    beams = run(pm, **options, num_beams=3, length_penalty=0.0, output_scores=True)
    tokens = beams.sequences[0, -5:].tolist()
    start = beams.sequences.shape[1] - 5
    forced = run(pm, **options, prefix_allowed_tokens_fn=lambda row, ids: [tokens[len(ids) - start]])
    assert forced.sequences[0, -5:].tolist() == tokens
    logs = torch.stack(forced.logits)[:, 0].log_softmax(-1)
    score = sum(logs[i, token] for i, token in enumerate(tokens))
    close(beams.sequences_scores[0], score, 1e-4)


# -------------------------------------------------------------------------------------- arguments of generate


class TestArgumentsOfGenerate:
    def test_logits_processors_and_stopping_criteria(self):
        seen = []

        def count(ids, scores):
            seen.append(ids.shape[1])
            return scores

        def stop(ids, scores, **_):
            return torch.full((ids.shape[0],), len(seen) == 2)

        out = run(magnifier(), logits_processor=[count], stopping_criteria=[stop])
        assert len(seen) == 2 == len(out.logits)

    @pytest.mark.parametrize("refresh", ["every", "first", "adaptive"])
    def test_hidden_states(self, refresh):
        pm = magnifier(refresh=refresh, tolerance=0.2)
        out, want = (call(pm, output_hidden_states=True) for call in (run, plain))
        for got, own in zip(out.hidden_states, want.hidden_states, strict=True):
            assert [layer.shape for layer in got] == [layer.shape for layer in own]
        if refresh != "first":
            close(out.hidden_states[0][-1], want.hidden_states[0][-1])

    def test_plain_tensors_come_back_without_return_dict(self):
        out = run(magnifier(refresh="first"), return_dict_in_generate=False)
        assert isinstance(out, torch.Tensor)

    def test_the_returned_cache_is_the_original_stream(self):
        pm = magnifier("llava")
        caches = {}
        for refresh in ("every", "adaptive"):
            pm.refresh = refresh
            out = run(pm)
            caches[refresh] = out.past_key_values
        inputs = pm.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
        inputs.pop("pm_images")
        mask = torch.nn.functional.pad(inputs["attention_mask"], (0, 3), value=1)
        with torch.no_grad():
            want = model_of("llava")(
                input_ids=out.sequences[:, :-1],
                pixel_values=inputs["pixel_values"],
                attention_mask=mask,
                position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            ).past_key_values
        for found in caches.values():
            for layer, own in zip(found.layers, want.layers, strict=True):
                close((layer.keys * mask[:, None, :, None]), own.keys * mask[:, None, :, None])

    def test_the_streamer_of_the_magnifier(self):
        class Collect:
            def __init__(self):
                self.tokens, self.ended = [], False

            def put(self, value):
                self.tokens.append(value.flatten().tolist())

            def end(self):
                self.ended = True

        streamer = Collect()
        pm = magnifier(refresh="first", streamer=streamer)
        out = run(pm, images=PICTURES[0], text=PROMPTS[0])
        assert [token for part in streamer.tokens for token in part] == out.sequences[0].tolist()
        assert streamer.ended


class TestGenerate:
    def test_a_prompt_with_its_image_token(self):
        pm = magnifier(refresh="first")
        text = pm.generate(model_of("llava"), picture(), PROMPTS[0], max_new_tokens=4, do_sample=False)
        out = run(pm, images=picture(), text=PROMPTS[0])
        assert text == processor_of("llava").tokenizer.decode(out.sequences[0, -4:], skip_special_tokens=True).strip()

    def test_a_question_becomes_a_chat_turn(self):
        pm = magnifier(refresh="first")
        text = pm.generate(model_of("llava"), picture(), "Is it red?", max_new_tokens=3, do_sample=False)
        template = "USER: <image>\nIs it red? ASSISTANT:"
        assert text == pm.generate(model_of("llava"), picture(), template, max_new_tokens=3, do_sample=False)

    def test_stop_strings_and_streamer(self):
        from transformers import TextStreamer

        pm = magnifier(refresh="first")
        whole = pm.generate(model_of("llava"), picture(), PROMPTS[0], max_new_tokens=6, do_sample=False)
        said = []

        class Collect(TextStreamer):
            def on_finalized_text(self, text, stream_end=False):
                said.append(text)

        streamer = Collect(pm.processor.tokenizer, skip_prompt=True)
        stop = next(char for char in whole if char.isascii())
        text = pm.generate(
            model_of("llava"),
            picture(),
            PROMPTS[0],
            max_new_tokens=6,
            do_sample=False,
            stop_strings=[stop],
            streamer=streamer,
        )
        assert whole.startswith(text)
        assert text.endswith(stop)
        assert "".join(said).strip() == text
        assert pm.streamer is None

    def test_several_prompts(self):
        pm = magnifier(refresh="first")
        images = [row[0] for row in PICTURES]
        answers = pm.generate(model_of("llava"), images, PROMPTS, max_new_tokens=4, do_sample=False)
        assert answers[1] == pm.generate(model_of("llava"), images[1], PROMPTS[1], max_new_tokens=4, do_sample=False)

    def test_greedy_is_the_plain_model(self):
        greedy = Greedy(processor_of("llava"))
        same(run(greedy), plain(greedy))
        assert METHODS["greedy"] is Greedy


def test_pipelines():
    from transformers import pipeline

    pm = magnifier(refresh="first")
    pipe = pipeline("image-text-to-text", model=model_of("llava"), processor=pm.processor)
    options = {"custom_generate": pm, "max_new_tokens": 4, "do_sample": False}
    found = pipe(images=picture(), text=PROMPTS[0], generate_kwargs=options, return_full_text=False)
    assert found[0]["generated_text"].strip() == pm.generate(
        model_of("llava"), picture(), PROMPTS[0], max_new_tokens=4, do_sample=False
    )
    chat = [
        {"role": "user", "content": [{"type": "image", "image": picture()}, {"type": "text", "text": "Is it red?"}]}
    ]
    found = pipe(text=chat, generate_kwargs=options, return_full_text=False)
    assert found[0]["generated_text"].strip() == pm.generate(
        model_of("llava"), picture(), "Is it red?", max_new_tokens=4, do_sample=False
    )


# ------------------------------------------------------------------------------------------- images and canvas


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

        run(magnifier(heatmap=heatmap), max_new_tokens=2)
        assert asked == [((120, 90), 0), ((70, 100), 0), ((120, 90), 1), ((70, 100), 1)]

    def test_a_callable_of_the_step_alone(self):
        asked = []

        def heatmap(step):
            asked.append(step)
            return np.eye(3) + step

        run(magnifier(heatmap=heatmap), max_new_tokens=2)
        assert asked == [0, 0, 1, 1]
        with pytest.raises(TypeError, match=r"`heatmap` must take \(image, step\) or \(step\)"):
            magnifier(heatmap=lambda a, b, c: None)


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
    inputs = pm.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
    with torch.inference_mode():
        out = model.generate(**inputs, custom_generate=pm, max_new_tokens=3, do_sample=True, num_return_sequences=2)
    assert out.shape[0] == 4
    assert all(len(step.warps) == 4 for step in pm.last)
    assert all(bool(torch.isfinite(step.heatmaps[0][0]).all()) for step in pm.last)


# ----------------------------------------------------------------------------------------- what stays as it was


class TestNothingIsLeftBehind:
    def used_model(self):
        model = copy.deepcopy(model_of("llava"))
        inputs = processor_of("llava")(images=picture(60, 60), text=PROMPTS[0], return_tensors="pt")
        model.generate(**inputs, max_new_tokens=2)  # transformers itself notes a few things on first use
        return model

    def snapshot(self, model):
        names = [
            (name, type(module), module.training, tuple(sorted(vars(module))), len(module._forward_hooks))
            for name, module in model.named_modules()
        ]
        configs = [model.config.to_json_string(), model.generation_config.to_json_string()]
        texts = [module.config._attn_implementation for module in model.modules() if hasattr(module, "config")]
        return names, configs, texts

    @pytest.mark.parametrize("refresh", ["every", "first", "adaptive"])
    @pytest.mark.parametrize("breaks", [None, 0, 1])
    def test_model_and_configuration(self, refresh, breaks):
        model = self.used_model()
        before = self.snapshot(model)

        def stop(ids, scores, **_):
            if breaks is not None and len(pm.last) > breaks:
                raise KeyError("mine")
            return torch.zeros(ids.shape[0], dtype=torch.bool)

        pm = magnifier(refresh=refresh, tolerance=0)
        inputs = pm.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
        options = {**GREEDY, "custom_generate": pm, "stopping_criteria": [stop]}
        if breaks is None:
            model.generate(**inputs, **options)
        else:
            with pytest.raises(KeyError, match="mine"):
                model.generate(**inputs, **options)
        assert self.snapshot(model) == before

    def test_the_snapshot_sees_what_is_left_behind(self):
        model = self.used_model()
        before = self.snapshot(model)
        with capture_attention(model, torch.zeros(1, 1, dtype=torch.long)):
            assert self.snapshot(model) != before
        model.lm_head.register_forward_hook(lambda *_: None)
        assert self.snapshot(model) != before

    def test_an_exception_in_the_middle_of_a_refinement(self, monkeypatch):
        model = self.used_model()
        before = self.snapshot(model)

        def broken(*_):
            raise KeyError("mine")

        monkeypatch.setattr("pmtools.decoding._magnifying_run.kept_features", broken)
        monkeypatch.setattr(streams.TokenSequences, "hiding", broken)
        pm = magnifier()
        inputs = pm.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
        with pytest.raises(KeyError, match="mine"):
            model.generate(**inputs, custom_generate=pm, **GREEDY)
        assert self.snapshot(model) == before

    def test_inputs_are_not_changed(self):
        pm = magnifier()
        inputs = pm.processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
        before = {name: copy.deepcopy(value) for name, value in inputs.items()}
        model_of("llava").generate(**inputs, custom_generate=pm, **GREEDY)
        assert inputs.keys() == before.keys()
        assert all(torch.equal(inputs[name], before[name]) for name in ("input_ids", "attention_mask", "pixel_values"))


def test_the_steps_tell_what_was_done():
    pm = magnifier(refresh="first")
    run(pm, max_new_tokens=3)
    assert len(pm.last) == 3
    first, later = pm.last[0], pm.last[1]
    assert first.refreshed == (True, True)
    assert later.refreshed == (False, False)
    assert first.forwards == {"original": 1, "refine": max(first.iterations), "encode": 2, "magnified": 1}
    assert later.forwards == {"magnified": 1}
    assert first.seconds > 0
    assert later.warps[0][0] is first.warps[0][0]


# --------------------------------------------------------------------------------------------------- refusals


class TestRefusals:
    def refused(self, match, *, family="llava", pm=None, error=ValueError, inputs=None, **options):
        pm = pm or magnifier(family)
        if inputs is None:
            inputs = pm.processor(images=PICTURES[0], text=PROMPTS[0], return_tensors="pt")
        with pytest.raises(error, match=match):
            model_of(family).generate(
                **inputs, custom_generate=pm, **{"max_new_tokens": 2, "do_sample": False, **options}
            )

    def test_no_image(self):
        inputs = processor_of("llava")(images=picture(60, 60), text=PROMPTS[0], return_tensors="pt")
        self.refused("`images` must be given once.*neither", inputs=inputs)

    def test_a_prompt_without_image(self):
        inputs = processor_of("llava").tokenizer("Hello", return_tensors="pt")
        self.refused("image tokens", inputs=inputs, images=[picture(60, 60)])

    def test_images_twice(self):
        self.refused("`images` must be given once.*both", images=[picture(60, 60)])

    @pytest.mark.parametrize("count", [2, 3])
    def test_image_count_and_prompt_that_disagree(self, count):
        inputs = processor_of("llava")(images=picture(60, 60), text=PROMPTS[0], return_tensors="pt")
        self.refused("holds 16 image tokens, but its", inputs=inputs, images=[picture(60, 60)] * count)

    def test_images_of_several_prompts_in_one_list(self):
        pm = magnifier()
        with pytest.raises(ValueError, match="which of the 2 prompts"):
            pm.processor(images=[picture()] * 3, text=PROMPTS, return_tensors="pt")

    def test_not_an_image(self):
        with pytest.raises(TypeError, match="PIL images or uint8 arrays"):
            magnifier().processor(images=torch.zeros(3, 8, 8), text=PROMPTS[0], return_tensors="pt")

    def test_a_processor_of_another_family(self):
        from transformers import LlavaProcessor

        pm = magnifier("llava")
        assert isinstance(pm.processor.inner, LlavaProcessor)
        inputs = magnifier("qwen2_vl").processor(images=picture(), text=PROMPTS[0], return_tensors="pt")
        self.refused("must be a Qwen2VLProcessor", family="qwen2_vl", pm=pm, inputs=inputs)

    def test_a_processor_with_another_image_token(self):
        processor = copy.copy(processor_of("llava"))
        processor.image_token_id = 99
        pm = PerceptionMagnifier(processor)
        inputs = magnifier().processor(images=picture(), text=PROMPTS[0], return_tensors="pt")
        self.refused("must mark images by token", pm=pm, inputs=inputs)

    def test_inputs_that_lost_the_sides_of_the_image(self):
        inputs = processor_of("llava")(images=picture(120, 90), text=PROMPTS[0], return_tensors="pt")
        self.refused("crops its centre", inputs=inputs, images=[picture(120, 90)])

    def test_a_static_cache(self):
        self.refused("DynamicCache", cache_implementation="static")

    def test_no_cache(self):
        self.refused("`use_cache` must be True", use_cache=False)

    def test_prompt_lookup(self):
        self.refused("greedy search, sampling or beam search", prompt_lookup_num_tokens=2)

    def test_an_assistant(self):
        with pytest.raises(ValueError, match="`assistant_model` cannot be used"):
            magnifier().generate(model_of("llava"), picture(), PROMPTS[0], assistant_model=model_of("llava"))

    def test_chunked_prefill(self):
        self.refused("prefill_chunk_size", prefill_chunk_size=8)

    def test_a_cache_with_something_in_it(self):
        self.refused("must be empty", past_key_values=self.filled_cache())

    def filled_cache(self):
        out = plain(magnifier(), images=PICTURES[0], text=PROMPTS[0], max_new_tokens=1)
        out.past_key_values.crop(-5)
        return out.past_key_values

    def test_a_model_without_the_registry(self, monkeypatch):
        kind = type(model_of("llava").get_decoder())
        monkeypatch.setattr(kind, "_supports_attention_backend", False)
        self.refused("registry")

    def test_fused_tiles(self):
        self.refused("cuts it into tiles", family="llava_next", pm=magnifier("llava_next", preprocess="fused"))

    @pytest.mark.parametrize(
        ("option", "value", "error"),
        [
            ("refine", "sometimes", ValueError),
            ("refresh", "never", ValueError),
            ("preprocess", "magic", ValueError),
            ("heatmap", "clip", ValueError),
            ("heatmap", np.array([[-1.0]]), ValueError),
            ("tolerance", -1, ValueError),
            ("threshold", "low", TypeError),
            ("start_layer", 0, ValueError),
            ("kernel_size", 2, ValueError),
            ("floor", 0, ValueError),
        ],
    )
    def test_options(self, option, value, error):
        with pytest.raises(error, match=f"`{option}`"):
            magnifier(**{option: value})

    def test_no_processor(self):
        with pytest.raises(TypeError, match="AutoProcessor"):
            PerceptionMagnifier("llava")

    def test_a_prompt_without_its_image_tokens(self):
        with pytest.raises(ValueError, match="once per image"):
            magnifier().generate(model_of("llava"), picture(), "<image> <image>", max_new_tokens=1)
