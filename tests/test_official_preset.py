"""The official preset against a straightforward loop: eager attention, all matrices, scipy, nothing reused."""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.interpolate import interp1d
from scipy.ndimage import map_coordinates
from tiny import picture as noisy_picture

from pmtools.adapters.caches import cache_name, find_cache
from pmtools.decoding import OfficialMagnifier
from pmtools.testing.models import TILE, tiny_model, tiny_processor

PROMPT = "Is <image> there?"
GRID = 4
PRESETS = {"mme": (10.0, 3, 0.3), "pope": (15.0, 5, 0.4)}


@cache
def models():
    return tiny_model("llava", seed=3), tiny_model("llava", seed=3, attn_implementation="eager")


@cache
def processor():
    return tiny_processor(models()[0])


def picture(width, height, seed):
    return noisy_picture(width, height, seed, noise=8)


# ------------------------------------------------------------------------------------- the reimplementation


def padded(image):
    side = max(image.size)
    mean = tuple(int(value * 255) for value in (0.48145466, 0.4578275, 0.40821073))
    square = Image.new("RGB", (side, side), mean)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def two_means(values):
    low, high = values.min(), values.max()
    for _ in range(10):
        label = np.abs(values - high) < np.abs(values - low)
        new_low = values[~label].mean() if (~label).any() else low
        new_high = values[label].mean() if label.any() else high
        moved = np.sqrt((new_low - low) ** 2 + (new_high - high) ** 2)
        low, high = new_low, new_high
        if moved < 1e-4:
            break
    return label


def perception(heat, gain, kernel, size):
    x = torch.tensor(heat, dtype=torch.float32)
    x = (x - x.min()) / (x.max() - x.min())
    x = torch.sigmoid((x - x.mean()) / x.std() * gain).reshape(1, 1, GRID, GRID)
    x = torch.nn.functional.pad(x, [kernel // 2] * 4, mode="replicate")
    weight = torch.full((1, 1, kernel, kernel), 1 / kernel**2)
    tokens = (torch.nn.functional.conv2d(x, weight)[0, 0] * 255).to(torch.uint8).numpy()
    return np.array(Image.fromarray(tokens).resize(size, Image.Resampling.BICUBIC))


def magnified(image, weights):
    def coordinates(marginal):
        cdf = np.cumsum(marginal.astype(np.float64))
        inverse = interp1d(cdf / cdf[-1], np.arange(len(cdf)), bounds_error=False, fill_value="extrapolate")
        return inverse(np.linspace(0, 1, len(cdf)))

    grid = np.meshgrid(coordinates(weights.max(1)), coordinates(weights.max(0)), indexing="ij")
    pixels = np.asarray(image)
    return Image.fromarray(np.stack([map_coordinates(pixels[..., c], grid, order=1) for c in range(3)], axis=-1))


class Reference:
    """One token after the other, every forward pass from scratch."""

    def __init__(self, image, preset, refresh):
        self.model, self.image = models()[1], padded(image)
        self.gain, self.kernel, self.threshold = PRESETS[preset]
        self.refresh, self.iterations, self.logits, self.fixed = refresh, [], [], None
        inputs = processor()(images=self.image, text=PROMPT, return_tensors="pt")
        self.ids, self.pixels = inputs["input_ids"], inputs["pixel_values"]
        self.columns = (self.ids[0] == self.model.config.image_token_id).nonzero()[:, 0]
        self.layers = self.model.config.text_config.num_hidden_layers
        self.start = round(12 / 32 * self.layers)

    def heat(self, attentions):
        rows = torch.stack([layer[0, :, -1, self.columns] for layer in attentions])[self.start - 1 :]
        return (rows.max(1).values.sum(0) / (self.layers - self.start)).numpy()

    def look(self, visible):
        mask = torch.ones_like(self.ids)
        mask[0, self.columns] = torch.tensor(visible).long()
        positions = torch.arange(self.ids.shape[1])[None]
        if not self.logits:  # at the prompt: hidden from every query
            out = self.model(
                input_ids=self.ids,
                pixel_values=self.pixels,
                attention_mask=mask,
                position_ids=positions,
                use_cache=False,
                output_attentions=True,
            )
        else:  # later: hidden from the last query, which reads an unmasked cache
            before = {"input_ids": self.ids[:, :-1], "position_ids": positions[:, :-1]}
            past = find_cache(self.model(**before, pixel_values=self.pixels, use_cache=True))
            out = self.model(
                input_ids=self.ids[:, -1:],
                attention_mask=mask,
                position_ids=positions[:, -1:],
                output_attentions=True,
                **{cache_name(): past},
            )
        return self.heat(out.attentions)

    def refined(self):
        visible = np.ones(len(self.columns), dtype=bool)
        heat = self.look(visible)
        total, count = np.zeros_like(heat), np.zeros_like(heat)
        iteration = 0
        while iteration < 8:
            total, count = total + heat, count + visible
            visible = visible & ~two_means(heat)
            heat, iteration = self.look(visible), iteration + 1
            if heat.sum() <= self.threshold:
                break
        self.iterations.append(iteration)
        return total / count

    @torch.no_grad()
    def run(self, steps):
        for _ in range(steps):
            if self.fixed is None or self.refresh == "every":
                weights = perception(self.refined(), self.gain, self.kernel, self.image.size)
                view = processor().image_processor(images=magnified(self.image, weights), return_tensors="pt")
                self.fixed = view["pixel_values"]
            out = self.model(input_ids=self.ids, pixel_values=self.fixed, use_cache=False)
            self.logits.append(out.logits[:, -1])
            self.ids = torch.cat([self.ids, out.logits[:, -1:].argmax(-1)], dim=1)
        return self


# ------------------------------------------------------------------------------------------------ the tests


def official(image, preset, refresh, **options):
    pm = OfficialMagnifier(processor(), preset=preset, refresh=refresh)
    inputs = pm.processor(images=image, text=PROMPT, return_tensors="pt")
    out = models()[0].generate(
        **inputs, custom_generate=pm, return_dict_in_generate=True, output_logits=True, max_new_tokens=4, **options
    )
    return pm, out


@pytest.mark.parametrize("size", [(100, 100), (150, 90)])
@pytest.mark.parametrize("refresh", ["first", "every"])
@pytest.mark.parametrize("preset", ["mme", "pope"])
def test_equals_the_straightforward_loop(preset, refresh, size):
    image = picture(*size, seed=5)
    want = Reference(image, preset, refresh).run(4)
    pm, out = official(image, preset, refresh, do_sample=False)
    assert out.sequences.tolist() == want.ids.tolist()
    iterations = [step.iterations[0] for step in pm.last]
    assert max(iterations) > 1
    assert iterations == (want.iterations if refresh == "every" else want.iterations + [0] * 3)
    torch.testing.assert_close(torch.stack(out.logits), torch.stack(want.logits), atol=1e-5, rtol=0)


def test_the_reference_can_fail():
    """Another gain gives another picture, so equality above is not vacuous."""
    image = picture(100, 100, seed=5)
    other = Reference(image, "mme", "first")
    other.gain = 4.0
    _, out = official(image, "mme", "first", do_sample=False)
    assert (out.logits[0] - other.run(1).logits[0]).abs().max() > 1e-3


def test_a_batch_equals_its_rows():
    images = [picture(100, 100, seed=5), picture(150, 90, seed=6)]
    pm = OfficialMagnifier(processor(), refresh="every")
    inputs = pm.processor(images=images, text=[PROMPT, PROMPT + " Yes or no?"], return_tensors="pt", padding=True)
    together = models()[0].generate(**inputs, custom_generate=pm, max_new_tokens=3, do_sample=False)
    iterations = [step.iterations for step in pm.last]
    for row, (image, text) in enumerate(zip(images, [PROMPT, PROMPT + " Yes or no?"], strict=True)):
        inputs = pm.processor(images=image, text=text, return_tensors="pt")
        alone = models()[0].generate(**inputs, custom_generate=pm, max_new_tokens=3, do_sample=False)
        assert together[row, -3:].tolist() == alone[0, -3:].tolist()
        assert [each[row] for each in iterations] == [step.iterations[0] for step in pm.last]


def test_sampling_has_no_top_k():
    model = copy.copy(models()[0])
    seen = []

    def look(input_ids, scores):
        seen.append(scores)
        return scores

    pm = OfficialMagnifier(processor())
    inputs = pm.processor(images=picture(60, 60, 0), text=PROMPT, return_tensors="pt")
    out = model.generate(
        **inputs,
        custom_generate=pm,
        do_sample=True,
        max_new_tokens=2,
        logits_processor=[look],
        return_dict_in_generate=True,
        output_scores=True,
    )
    assert len(seen) == 2
    assert torch.isfinite(out.scores[0]).all()


def test_only_llava():
    model = tiny_model("qwen2_vl")
    pm = OfficialMagnifier(tiny_processor(model))
    inputs = pm.processor(images=picture(60, 60, 0), text=PROMPT, return_tensors="pt")
    with pytest.raises(ValueError, match=r"must be LLaVA-1.5"):
        model.generate(**inputs, custom_generate=pm, max_new_tokens=1)


def test_the_tiny_grid():
    assert TILE // 14 == GRID
