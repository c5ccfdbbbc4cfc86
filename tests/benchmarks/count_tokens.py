"""What an answer of 100 tokens costs in every mode: forward passes of the language model, and tokens that go through it.

    python tests/benchmarks/count_tokens.py

Runs narrow models with the token numbers of LLaVA-1.5-7B and Qwen2.5-VL-7B for a 640 x 640 picture, and
counts; TFLOP are 2 x tokens x the weights of the real model's layers. Hidden sets are made up: 8 of 40 more tokens at
each step, of which a given share comes back from the step before and the others exchange one token for another one, as
they did in the embedded model (`measure_sets.py`). Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from bench_decoding import PROMPT, build, build_processor, picture
from PIL import Image

import pmtools.refinement
from pmtools.decoding import Greedy, PerceptionMagnifier, _adaptive_run
from pmtools.testing.models import image_mark, tiny_model, tiny_processor

PASSES, MORE = 8, 40
#: Billions of weights in the layers of the real language models.
WEIGHTS = {"LLaVA-1.5-7B": 6.48, "Qwen2.5-VL-7B": 6.53}
SIDE = 23  # a 640 x 640 picture is 644 x 644 for Qwen2.5-VL, 23 x 23 tokens of 28 pixels


class MadeUpHighlights:
    """What stands out, as a share of sets that come back from step to step: takes the place of `highlight_mask`."""

    def __init__(self, share: float) -> None:
        self.share, self.rng, self.order = share, np.random.default_rng(0), np.zeros(0, dtype=int)

    def __call__(self, heatmap: Any, /, *, visible: Any, **_: Any) -> Any:
        hidden = int((~visible).sum())
        if not len(self.order):
            self.order = self.rng.permutation(visible.numel())
        elif not hidden:
            self._next_step()
        found = torch.zeros_like(visible).flatten()
        found[self.order[hidden : hidden + MORE]] = True
        return found.reshape(visible.shape)

    def _next_step(self) -> None:
        if not self.share:
            self.order = self.rng.permutation(self.order)
        for number in range(PASSES):
            if self.rng.random() >= self.share:  # changes this set alone
                one, other = self.rng.integers(MORE, size=2) + MORE * np.array([number, number + 1])
                self.order[[one, other]] = self.order[[other, one]]


def models() -> dict[str, tuple[Any, Any, Image.Image]]:
    """Model, processor and picture, by the name of the model that they stand for."""
    qwen = tiny_model("qwen2_5_vl")
    qwen.generation_config.eos_token_id = None  # every answer has the length asked for
    processor = tiny_processor(qwen)
    images = processor.image_processor
    side = SIDE * images.patch_size * images.merge_size
    images.size = {"shortest_edge": side**2, "longest_edge": side**2}
    return {
        "LLaVA-1.5-7B": (build("cpu", shape="count"), build_processor(), picture(640)),
        "Qwen2.5-VL-7B": (qwen, processor, picture(side)),
    }


def count(model: Any, method: Any, image: Image.Image, answer: int) -> tuple[int, int]:
    """Forward passes of the language model, and the tokens that went through it."""
    seen: list[int] = []

    def before(_: Any, args: Any, keywords: dict[str, Any]) -> None:
        seen.append(keywords["inputs_embeds"].shape[0] * keywords["inputs_embeds"].shape[1])

    handle = model.get_decoder().register_forward_pre_hook(before, with_kwargs=True)
    try:
        text = PROMPT.replace("<image>", image_mark(model.config.model_type))
        inputs = method.processor(images=image, text=text, return_tensors="pt")
        written = [model.config.image_token_id]  # images in answers take passes of their own
        model.generate(
            **inputs, custom_generate=method, max_new_tokens=answer, do_sample=False, suppress_tokens=written
        )
    finally:
        handle.remove()
    return len(seen), sum(seen)


def modes(processor: Any) -> list[tuple[str, Any, float]]:
    """Name, method, and the share of hidden sets that come back."""
    rest = {"threshold": 0.0, "max_iterations": PASSES}
    given = np.random.default_rng(0).gamma(0.5, size=(24, 24))
    return [
        ("greedy", Greedy(processor), 1),
        ("`refine='exact'`, every, no set comes back", PerceptionMagnifier(processor, **rest), 0),
        ("`refine='exact'`, every, 65 % come back", PerceptionMagnifier(processor, **rest), 0.65),
        ("`refine='exact'`, every, all come back", PerceptionMagnifier(processor, **rest), 1),
        ("`refine='cached'`, every", PerceptionMagnifier(processor, refine="cached", **rest), 1),
        ("`refine='none'`, every", PerceptionMagnifier(processor, refine="none"), 1),
        ("a given map, every", PerceptionMagnifier(processor, heatmap=given), 1),
        ("`refine='exact'`, first", PerceptionMagnifier(processor, refresh="first", **rest), 1),
        ("`refine='cached'`, first", PerceptionMagnifier(processor, refine="cached", refresh="first", **rest), 1),
        (
            "`refine='cached'`, adaptive, 10 % refreshed",
            PerceptionMagnifier(processor, refine="cached", refresh="adaptive", **rest),
            1,
        ),
    ]


def every_tenth() -> Callable[..., float]:
    """A movement that is too far at every tenth step."""
    calls = itertools.count(1)
    return lambda *_: 0.0 if next(calls) % 10 else float("inf")


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(WEIGHTS), help="only this one")
    parser.add_argument("--tokens", type=int, default=100, help="of an answer")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, (model, processor, image) in models().items():
        if name != (arguments.model or name):
            continue
        print(f"\n{name}\n\n| mode | passes | tokens | over greedy | TFLOP |\n|---|---|---|---|---|")
        base = 0
        for mode, method, share in modes(processor):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(pmtools.refinement, "highlight_mask", MadeUpHighlights(share))
                patch.setattr(_adaptive_run, "_movement", every_tenth())
                passes, tokens = count(model, method, image, arguments.tokens)
            base = base or tokens
            flop = 2 * tokens * WEIGHTS[name] / 1000
            print(f"| {mode} | {passes} | {tokens} | {tokens / base:.1f} | {flop:.0f} |", flush=True)


if __name__ == "__main__":
    main()
