"""Ask a vision-language model, plain and magnified, and keep what it saw.

Without arguments, the model in the package is asked about a scene; with them, any model of transformers about any image.

Run: python examples/decode_with_pm.py [photo.jpg "What does the sign say?" --model llava-hf/llava-1.5-7b-hf] [--out DIR]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pmtools
from pmtools import viz, zoo
from pmtools.decoding import Greedy, PerceptionMagnifier
from pmtools.evaluation.scenes import scene_items


def load(name: str | None) -> tuple[Any, Any, dict[str, Any]]:
    """A model, its processor, and settings that were chosen for it, if any were."""
    if name is None:
        demo = zoo.demo_model()
        return demo.model, demo.processor, demo.settings
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(name, dtype="auto").eval()
    return model, AutoProcessor.from_pretrained(name), {}


def as_prompt(processor: Any, question: str) -> str:
    """The question alone, where the processor has a chat template for it; else behind the image token."""
    return question if getattr(processor, "chat_template", None) else f"{processor.image_token}{question}"


def main(arguments: list[str]) -> None:
    """Ask twice, print both answers, and write a picture for each token that was read from a new magnified image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?")
    parser.add_argument("question", nargs="?")
    parser.add_argument("--model", help="default: the model in the package")
    parser.add_argument("--out", type=Path, default=Path("seen"))
    options = parser.parse_args(arguments)

    item = next(scene_items(seed=2))
    image = pmtools.io.read_image(options.image).convert("RGB") if options.image else item.image
    question = options.question or item.question.text
    model, processor, settings = load(options.model)
    prompt = as_prompt(processor, question)

    pm = PerceptionMagnifier(processor, **settings)
    print(question)
    print("plain:    ", Greedy(processor).generate(model, image, prompt, max_new_tokens=64, do_sample=False))
    print("magnified:", pm.generate(model, image, prompt, max_new_tokens=64, do_sample=False))

    for number, step in enumerate(pm.last):
        if step.refreshed[0]:
            magnified, warp = step.images()[0][0], step.warps[0][0]
            pictures = {
                "where it looked": viz.overlay(image, step.heatmaps[0][0]),
                "what it saw": magnified,
                "the warp": viz.warp_grid(magnified, warp),
            }
            row = viz.side_by_side(list(pictures.values()), titles=list(pictures), height=480)
            pmtools.io.write_image(row, options.out / f"token_{number:03d}.png")
    print("look at", options.out)


if __name__ == "__main__":
    main(sys.argv[1:])
