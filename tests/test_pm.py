"""Perception Magnifier inside `generate`: against the plain model, against a loop without caches, against itself."""

import pytest
import torch
from PIL import Image
from tiny import FAMILIES, PICTURES, PROMPTS, model_of, picture, processor_of, prompts_for
from tiny_magnifier import GREY_LEVELS, UNIFORM, close, magnifier, plain, run, same

import pmtools
from pmtools.adapters.caches import cache_name, find_cache
from pmtools.adapters.heatmaps import GivenHeatmap
from pmtools.decoding import PerceptionMagnifier
from pmtools.highlight import highlight_mask

# ------------------------------------------------------------------------------------- against the plain model


@pytest.mark.parametrize("family", FAMILIES)
class TestUniformHeatmapIsPlainGenerate:
    @pytest.mark.parametrize(("refresh", "kept"), [("every", 0), ("every", 8), ("first", 8), ("adaptive", 8)])
    def test_greedy_on_a_padded_batch(self, family, refresh, kept):
        pm = magnifier(family, heatmap=UNIFORM, refresh=refresh, kept_streams=kept)
        same(run(pm, family), plain(pm, family))
        encoded = [step.forwards.get("encode", 0) for step in pm.last]
        assert encoded == ([2, 0, 0, 0] if kept else [2, 2, 2, 2])  # without kept streams no shortcut


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


@pytest.mark.parametrize("refresh", ["every", "first", "adaptive"])
class TestGate:
    def test_a_map_of_the_whole_image_leaves_it_as_it_is(self, refresh):
        pm = magnifier("llava", gate=1e-6, refresh=refresh)
        same(run(pm, "llava"), plain(pm, "llava"))

    def test_each_image_has_its_own(self, refresh):
        def half(image):  # of the first picture a half, of the second everything
            return [[1.0, 0.0]] if image.size == PICTURES[0][0].size else [[1.0, 1.0 - 1e-3]]

        gated, free = (magnifier("llava", heatmap=GivenHeatmap(half), refresh=refresh, gate=g) for g in (0.6, None))
        for pm in (gated, free):
            run(pm, "llava")
        (magnified,), (left,) = gated.last[0].warps
        assert magnified == free.last[0].warps[0][0]
        assert left == pmtools.frames.identity(left.source_hw) != free.last[0].warps[1][0]


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
        past = find_cache(kept)
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
            output_attentions=True,
            **{cache_name(): past},
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
        alone = run(pm, family, images=PICTURES[row], text=prompts_for(family)[row])
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
        alone = run(pm, family, images=PICTURES[row], text=prompts_for(family)[row])
        close(torch.stack(together.logits)[:, row], torch.stack(alone.logits)[:, 0], 5e-4)


def test_dropped_tokens_equal_masked_tokens(monkeypatch):
    pm = magnifier("llava")
    dropped, heat = run(pm), [step.heatmaps for step in pm.last]
    monkeypatch.setattr("pmtools.adapters.streams.takes_features", lambda model: False)
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


@pytest.mark.parametrize("refine", ["exact", "cached"])
def test_a_prompt_that_ends_with_its_image_can_be_hidden_whole(refine):
    pm = PerceptionMagnifier(processor_of("llava"), refine=refine)
    model, image = model_of("llava"), Image.radial_gradient("L").resize((1, 1)).convert("RGB")
    inputs = pm.processor(images=[[image]], text=["a <image>"], return_tensors="pt")
    assert inputs["input_ids"][0, -1] == model.config.image_token_id
    output = model.generate(**inputs, custom_generate=pm, max_new_tokens=1, do_sample=False)
    assert output.shape[1] > inputs["input_ids"].shape[1]
    assert pm.last[0].iterations[0] > 0
