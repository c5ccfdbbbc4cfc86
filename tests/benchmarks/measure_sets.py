"""How often hidden sets, pixels and tiles come back from one token to the next, and what keeping streams gains.

    python tests/benchmarks/measure_sets.py

The embedded model on scenes, and the random model of `bench_decoding.py`; answers of 12 and 5 tokens. CPU time, one
thread. Tiles are those that LLaVA-NeXT's own processor makes of a picture without blank places under the same warps. Prints
a Markdown table.
"""

from __future__ import annotations

import argparse
import itertools
import time
from typing import Any

import numpy as np
import torch
import transformers
from bench_decoding import PROMPT, build, build_processor, picture
from PIL import Image, ImageDraw

from pmtools import zoo
from pmtools.decoding import PerceptionMagnifier
from pmtools.warp import Warp

COLORS = ("red", "blue", "green", "yellow")
TILED = transformers.LlavaNextImageProcessorPil()


def scene(seed: int) -> Image.Image:
    """Four small circles on white."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (336, 336), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = rng.integers(20, 300, 2).tolist()
        draw.ellipse([x, y, x + 14, y + 14], fill=COLORS[rng.integers(4)])
    return image


def measure(name: str, model: Any, pm: Any, images: list[Image.Image], prompt: str, tokens: int) -> None:
    """One row of the table."""
    passes = repeated = stayed = later = same = tiles = 0
    warps: list[list[Warp]] = []
    start = time.process_time()
    for image in images:
        pm.generate(model, image, prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
        for step in pm.last[1:]:
            passes, repeated = passes + step.iterations[0], repeated + step.repeated[0]
            stayed, later = stayed + step.ran_on[0], later + 1
        warps.append([step.warps[0][0] for step in pm.last])
    seconds = (time.process_time() - start) / len(images)
    textured = picture(images[0].width)  # blank tiles of a white picture say nothing
    for row in warps:
        cut = [TILED(images=warp.image(textured))["pixel_values"][0] for warp in row]  # (tiles, 3, 336, 336)
        for one, next_one in itertools.pairwise(cut):
            same, tiles = same + int((one == next_one).all((1, 2, 3)).sum()), tiles + len(one)
    print(
        f"| {name} | {passes} | {repeated / passes:.0%} | {stayed / later:.0%} | {same} of {tiles} | {seconds:.2f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=20)
    count = parser.parse_args().scenes
    torch.set_num_threads(1)
    demo, processor = zoo.demo_model(), build_processor()
    random = build("cpu")
    print(
        "| model | passes with hidden tokens, later steps | sets that come back | pixels that stay | tiles | s an answer |"
    )
    print("|---|---|---|---|---|---|")
    for kept in (0, 8):
        for passes in (2, 8):
            pm = PerceptionMagnifier(demo.processor, **{**demo.settings, "max_iterations": passes}, kept_streams=kept)
            scenes = [scene(seed) for seed in range(count)]
            name = f"embedded, {passes} iterations, `kept_streams={kept}`"
            measure(name, demo.model, pm, scenes, demo.prompt("What color is the circle?"), 12)
        pm = PerceptionMagnifier(processor, kept_streams=kept)
        measure(f"random, 8 iterations, `kept_streams={kept}`", random, pm, [picture()], PROMPT, 5)


if __name__ == "__main__":
    main()
