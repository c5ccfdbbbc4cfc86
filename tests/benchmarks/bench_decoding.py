"""Time and forward passes of the magnifier in every mode, against greedy decoding and the straightforward official loop.

    python tests/benchmarks/bench_decoding.py                   # a small LLaVA-shaped random model on the CPU, one thread
    python tests/benchmarks/bench_decoding.py --device cuda     # one of LLaVA-1.5-7B's shape in bfloat16, batches 1 and 8

Prints Markdown tables with the date, the hardware and the commit. Times are CPU time on the CPU, which other processes on the
machine disturb least, and wall time between synchronisations on a GPU. Eight refinements are forced in every mode that
refines, so that all do the same work whatever the random weights look at.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import subprocess
import time
from collections import Counter
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from pmtools import compat
from pmtools.adapters.caches import cache_name, find_cache
from pmtools.adapters.heatmaps.attention import ModelAttention, RefinedMass
from pmtools.decoding import Greedy, OfficialMagnifier, PerceptionMagnifier
from pmtools.decoding._adaptive_run import AdaptiveRun
from pmtools.decoding._magnifying_run import MagnifyingRun
from pmtools.testing.models import tiny_tokenizer

ITERATIONS = 8
PROMPT = "A chat about a picture, politely. <image> Say what is in the picture."
SHAPES: dict[str, dict[str, dict[str, int]]] = {
    "cpu": {
        "text": {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 16, "num_attention_heads": 8},
        "vision": {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 3},
    },
    "count": {  # for counting tokens only
        "text": {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
        "vision": {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    },
    "cuda": {  # LLaVA-1.5-7B
        "text": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
        "vision": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
    },
}


def build(device: str, attention: str = "sdpa", shape: str | None = None) -> Any:
    """A random LLaVA with 576 image tokens."""
    tokenizer = tiny_tokenizer()
    sizes = SHAPES[shape or device]
    text = transformers.LlamaConfig(
        **sizes["text"],
        vocab_size=32064 if device == "cuda" else len(tokenizer),
        max_position_embeddings=4096,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vision = transformers.CLIPVisionConfig(**sizes["vision"], image_size=336, patch_size=14)
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<image>")
    )
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    with torch.device(device):
        model = transformers.AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation=attention)
    with torch.no_grad():
        for name, weight in model.get_decoder().named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                weight.mul_(
                    4.0
                )  # random weights look at everything alike; the official two-means would hide all at once
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = None  # every answer has the length asked for
    return model.eval()


def build_processor() -> Any:
    return transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessorPil(
            size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
        ),
        tokenizer=tiny_tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def picture(size: int = 640) -> Image.Image:
    y, x = np.mgrid[:size, :size]
    waves = np.stack([x * 255 / size, y * 255 / size, 127 + 120 * np.sin(x / 9) * np.cos(y / 7)], axis=-1)
    return Image.fromarray(waves.astype(np.uint8))


# ------------------------------------------------------------------------------------------- the official loop


class StraightforwardLoop:
    """The official loop for one prompt: eager attention, all matrices copied to the host, scipy, nothing shared.

    The original stream keeps its cache. Refinements run from scratch at the prompt, and as one token with the holes in the mask
    later. The magnified stream runs from scratch at every token.
    """

    def __init__(self, model: Any, processor: Any, image: Image.Image) -> None:
        self.model, self.processor, self.image = model, processor, image
        self.forwards: Counter[str] = Counter()
        text = model.config.text_config
        self.divisor, self.start = text.num_hidden_layers - 6, 5  # from layer 6 of 16
        if text.num_hidden_layers == 32:
            self.divisor, self.start = 20, 11

    def pixels(self, image: Image.Image) -> torch.Tensor:
        values = self.processor.image_processor(images=image, return_tensors="pt")["pixel_values"]
        return values.to(self.model.device, self.model.dtype)

    def heat(self, attentions: Any, columns: torch.Tensor) -> np.ndarray[Any, Any]:
        maps = np.stack([layer[0].float().cpu().numpy() for layer in attentions])  # (layers, heads, q, keys)
        rows = maps[self.start :, :, -1][:, :, columns.cpu().numpy()]
        return rows.max(1).sum(0) / self.divisor

    @torch.no_grad()
    def __call__(self, ids: torch.Tensor, tokens: int, clock: Any) -> list[float]:
        model, stamps = self.model, [clock()]
        original, cache = self.pixels(self.image), None
        columns = (ids[0] == model.config.image_token_id).nonzero()[:, 0]
        for _ in range(tokens):
            self.forwards = Counter()
            new = {"pixel_values": original} if cache is None else {}
            step = model(
                input_ids=ids if cache is None else ids[:, -1:],
                output_attentions=True,
                use_cache=True,
                **{cache_name(): cache},
                **new,
            )
            self.forwards["original"] += 1
            first, cache = cache is None, find_cache(step)
            heat = self.heat(step.attentions, columns)
            visible, total, count = np.ones(len(heat), dtype=bool), 0 * heat, 0 * heat
            for _ in range(ITERATIONS):
                total, count = total + heat, count + visible
                high = compat.official_highlight(heat.reshape(24, 24)).ravel()
                visible &= ~high
                mask = torch.ones_like(ids)
                mask[0, columns] = torch.as_tensor(visible, device=ids.device).long()
                positions = torch.arange(ids.shape[1], device=ids.device)[None]
                if first:
                    again = model(
                        input_ids=ids,
                        pixel_values=original,
                        attention_mask=mask,
                        position_ids=positions,
                        use_cache=False,
                        output_attentions=True,
                    )
                else:
                    cache.crop(-1)
                    again = model(
                        input_ids=ids[:, -1:],
                        attention_mask=mask,
                        position_ids=positions[:, -1:],
                        output_attentions=True,
                        **{cache_name(): cache},
                    )
                self.forwards["refine"] += 1
                heat = self.heat(again.attentions, columns)
            weights = compat.official_perception_map((total / count).reshape(24, 24), size_hw=self.image.size[::-1])
            view = compat.official_magnify(self.image, weights)
            out = model(input_ids=ids, pixel_values=self.pixels(view), use_cache=False, output_attentions=True)
            self.forwards["magnified"] += 1
            ids = torch.cat([ids, out.logits[:, -1:].argmax(-1)], dim=1)
            stamps.append(clock())
        return stamps


# --------------------------------------------------------------------------------------------------- our modes


class EveryIteration(ModelAttention):
    """Hides the same number of tokens in each pass: always as many passes as allowed, whatever the weights look at.

    With `repeating`, those of the first step, as models do that go on looking where they look.
    """

    repeating = False

    def refined(self, mass: Any, tokens: Any, original: Any, images: Any, /) -> RefinedMass:
        looks = self.looks(tokens, original, images, self.settings.refine)
        if looks.how == "none":
            return looks.refined(mass, [False] * len(mass))
        visible = tokens.coverage > 0
        total, count = mass.clone(), visible.to(mass)
        known = self.__dict__.setdefault("sets", [])
        for number in range(ITERATIONS):
            if not self.repeating or len(known) == number:
                known.append(mass.where(visible, -1.0).topk(40, dim=-1).indices)  # of 576: a usual share
            visible = visible.scatter(1, known[number if self.repeating else -1], False)
            mass = looks.without(~visible, list(range(len(mass))))
            total, count = total + mass * visible, count + visible
        return looks.refined(total / count, [False] * len(mass))


class ForcedRun(MagnifyingRun):
    """Every iteration runs."""

    def _model_attention(self, settings: Any) -> ModelAttention:
        kept = 0 if self.pm.refresh == "first" else self.pm.kept_streams
        attention = EveryIteration(settings, self.model, self.layout, kept_streams=kept)
        attention.repeating = self.pm.repeating
        return attention


class ForcedAdaptiveRun(AdaptiveRun, ForcedRun):
    """Images are magnified again at the steps that are due, and at no others."""

    def _moved(self, row: int, probes: Any, heatmaps: Any) -> bool:
        super()._moved(row, probes, heatmaps)  # what the question costs
        return len(self.steps) in self.pm.due


class Forced(PerceptionMagnifier):
    """The magnifier with forced refinements, the same at each step if `repeating`, and refreshes at given steps."""

    def __init__(
        self, processor: Any, *, due: frozenset[int] = frozenset(), repeating: bool = False, **options: Any
    ) -> None:
        super().__init__(processor, **options)
        self.due, self.repeating = due, repeating

    def new_run(self, model: Any, images: Any) -> MagnifyingRun:
        return (ForcedAdaptiveRun if self.refresh == "adaptive" else ForcedRun)(self, model, images)


def generate(method: Any, model: Any, images: list[Any], tokens: int, clock: Any) -> list[float]:
    """Time stamps: the start, then every token."""
    inputs = method.processor(images=images, text=[PROMPT] * len(images), return_tensors="pt").to(model.device)
    stamps = []

    def stamp(ids: Any, scores: Any, **_: Any) -> Any:
        stamps.append(clock())
        return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)

    begin = clock()
    model.generate(**inputs, custom_generate=method, max_new_tokens=tokens, do_sample=False, stopping_criteria=[stamp])
    return [begin, *stamps]


def official(processor: Any, refresh: str) -> PerceptionMagnifier:
    """The official preset, with a threshold that never ends its loop."""
    method = OfficialMagnifier(processor, refresh=refresh)
    object.__setattr__(method.heatmap, "threshold", -1.0)  # the settings refuse what can never be met
    return method


def modes(processor: Any) -> list[tuple[str, Any, int, str]]:
    """Name, method, number of tokens, and with what attention."""
    every = {"refresh": "every"}
    given = np.random.default_rng(0).gamma(0.3, size=(24, 24))
    gate = {"refresh": "adaptive", "refine": "cached"}
    return [
        ("greedy", Greedy(processor), 11, "sdpa"),
        ("official loop, straightforward", None, 3, "eager"),
        ("official preset, `refresh='every'`", official(processor, "every"), 3, "sdpa"),
        ("official preset (magnify once)", official(processor, "first"), 11, "sdpa"),
        ("`refine='exact'`, every", Forced(processor, refine="exact", **every), 2, "sdpa"),
        ("`refine='exact'`, every, sets come back", Forced(processor, repeating=True, **every), 3, "sdpa"),
        ("`refine='cached'`, every", Forced(processor, refine="cached", **every), 3, "sdpa"),
        ("`refine='none'`, every", Forced(processor, refine="none", **every), 3, "sdpa"),
        ("`refine='none'`, every, fused", Forced(processor, refine="none", preprocess="fused", **every), 3, "sdpa"),
        ("a given map, every", PerceptionMagnifier(processor, heatmap=given, **every), 11, "sdpa"),
        ("`refine='exact'`, first", Forced(processor, refine="exact", refresh="first"), 11, "sdpa"),
        ("`refine='cached'`, first", Forced(processor, refine="cached", refresh="first"), 11, "sdpa"),
        ("`refine='cached'`, adaptive, 0 % refreshed", Forced(processor, **gate), 11, "sdpa"),
        ("`refine='cached'`, adaptive, 10 %", Forced(processor, due=frozenset({5}), **gate), 11, "sdpa"),
        ("`refine='cached'`, adaptive, 100 %", Forced(processor, due=frozenset(range(99)), **gate), 3, "sdpa"),
    ]


def measure(device: str, batch: int, repeats: int, only: str) -> None:
    processor, models = build_processor(), {"sdpa": build(device)}

    def clock() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    print(f"\nBatch {batch}; milliseconds, median of {repeats}; in brackets over greedy.\n")
    print(
        "| mode | first token | per later token | passes, first token | passes, last token |"
        + " peak GiB |" * (device == "cuda")
    )
    print("|---|---|---|---|---|" + "---|" * (device == "cuda"))
    base: tuple[float, float] | None = None
    for name, method, tokens, attention in modes(processor):
        if (method is None and batch > 1) or (only not in name and name != "greedy"):
            continue
        if attention not in models:
            models[attention] = build(device, attention)
        model, firsts, laters = models[attention], [], []
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        for _ in range(repeats + (device == "cuda")):  # one more to warm up
            if method is None:
                loop = StraightforwardLoop(model, processor, picture())
                ids = processor(images=picture(), text=PROMPT, return_tensors="pt")["input_ids"].to(model.device)
                stamps = loop(ids, tokens, clock)
                passes = [{"original": 1, "refine": ITERATIONS, "magnified": 1}, dict(loop.forwards)]
            else:
                stamps = generate(method, model, [picture()] * batch, tokens, clock)
                passes = [method.last[0].forwards, method.last[-1].forwards] if method.last else [{"original": 1}] * 2
            firsts.append(stamps[1] - stamps[0])
            laters.append((stamps[-1] - stamps[1]) / (tokens - 1))
        if device == "cuda":
            firsts, laters = firsts[1:], laters[1:]
        first, later = statistics.median(firsts) * 1000, statistics.median(laters) * 1000
        base = base or (first, later)
        row = f"| {name} | {first:.0f} ({first / base[0]:.1f}) | {later:.1f} ({later / base[1]:.1f}) "
        row += "| " + " | ".join(", ".join(f"{n} {kind}" for kind, n in each.items()) for each in passes) + " |"
        if device == "cuda":
            row += f" {torch.cuda.max_memory_allocated() / 2**30:.1f} |"
        print(row, flush=True)


@torch.no_grad()
def fused_difference(device: str) -> None:
    """How far `preprocess="fused"` is from the processor's pixels, and what that does to the next token's logits."""
    from skimage import data

    model, processor = build(device), build_processor()
    image = Image.fromarray(data.astronaut())
    pixels, logits, agree = [], [], []
    for seed in range(5):
        heatmap = np.random.default_rng(seed).gamma(0.3, size=(24, 24))
        seen = {}
        for preprocess in ("processor", "fused"):
            method = PerceptionMagnifier(processor, heatmap=heatmap, refresh="first", preprocess=preprocess)
            inputs = method.processor(images=image, text=PROMPT, return_tensors="pt").to(model.device)
            views: list[torch.Tensor] = []
            hook = model.model.vision_tower.register_forward_pre_hook(lambda _, args, to=views: to.append(args[0]))
            out = model.generate(
                **inputs,
                custom_generate=method,
                max_new_tokens=1,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
            hook.remove()
            seen[preprocess] = views[-1].float(), out.logits[0]
        (one, z_one), (other, z_other) = seen["processor"], seen["fused"]
        pixels.append(float((one - other).abs().mean() / one.std()))
        logits.append(float((z_one - z_other).abs().max() / z_one.std()))
        agree.append(bool((z_one.argmax(-1) == z_other.argmax(-1)).all()))
    print(
        f"\n`preprocess='fused'` against `'processor'`, 512 x 512 photograph, 5 random heatmaps: pixels differ by "
        f"{np.mean(pixels):.3f} standard deviations on average, logits by at most {max(logits):.3f}; "
        f"{sum(agree)} of {len(agree)} next tokens agree."
    )


def capture_memory() -> None:
    """What capturing allocates at its peak, next to all attention matrices of the same pass."""
    text = SHAPES["cuda"]["text"]
    layers, heads, length, image = text["num_hidden_layers"], text["num_attention_heads"], 671, 576
    everything = layers * heads * length * length * 2  # half precision, kept by `output_attentions`
    captured = (layers - 11) * image * 4 + 3 * heads * length * 4  # maps, and one layer's scores and softmax
    print(
        f"\nAttention of one 671-token pass of a 7B model: {everything / 2**20:.0f} MiB of matrices, "
        f"{captured / 2**20:.2f} MiB captured ({captured / everything:.3%}); counted from the shapes."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", default="", help="modes with this in their name, beside greedy")
    arguments = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    torch.set_num_threads(1 if arguments.device == "cpu" else torch.get_num_threads())
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{platform.machine()} CPU, one thread"
    print(
        f"{datetime.date.today()}, {name}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"commit {commit.strip()}"
    )
    for batch in (1, 8) if arguments.device == "cuda" else (1,):
        measure(arguments.device, batch, arguments.repeats, arguments.only)
    if arguments.only:
        return
    fused_difference(arguments.device)
    capture_memory()


if __name__ == "__main__":
    main()
