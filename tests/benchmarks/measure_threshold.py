"""Whether refinement should stop by what is left of the first pass's attention: accuracy and passes of the embedded model.

    python tests/benchmarks/measure_threshold.py

For each greatest number of passes, the relative threshold is chosen on the tuning split, the cheaper one of equals; then it
is compared, on the test split, with that number of passes alone, question by question. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pmtools import zoo
from pmtools.decoding import PerceptionMagnifier
from pmtools.evaluation.scenes import SceneItem, scene_items
from pmtools.evaluation.scenes.benchmark import grade
from pmtools.evaluation.statistics import bootstrap_interval, mcnemar

BATCH, TUNE_SEED, TEST_SEED = 48, 101, 74013
LIMITS, SHARES = (2, 8), (0.3, 0.5, 0.7, 0.9)


class Answers:
    """Which questions are right under some settings, and how many passes with hidden cells each took."""

    def __init__(self, demo: Any, items: Sequence[SceneItem], limit: int, share: float) -> None:
        options = {**demo.settings, "max_iterations": limit, "relative_threshold": share, "refresh": "first"}
        pm = PerceptionMagnifier(demo.processor, **options)
        right: list[bool] = []
        passes: list[int] = []
        met: list[bool] = []
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            images, texts = [[item.image] for item in batch], [demo.prompt(item.question.text) for item in batch]
            replies = pm.generate(demo.model, images, texts, max_new_tokens=1, do_sample=False)
            right += map(grade, batch, replies)
            passes += pm.last[0].iterations
            met += pm.last[0].met_threshold
        self.right, self.passes, self.met = np.array(right), float(np.mean(passes)), float(np.mean(met))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=264, help="of the tuning split")
    parser.add_argument("--tests", type=int, default=1056, help="of the test split")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    demo = zoo.demo_model()

    items = list(scene_items(seed=TUNE_SEED, limit=arguments.questions, split="tune"))
    print("| tuning split | relative threshold | right | passes | ended by it |\n|---|---|---|---|---|")
    chosen = {}
    for limit in LIMITS:
        found = {share: Answers(demo, items, limit, share) for share in (0.0, *SHARES)}
        for share, one in found.items():
            ended = f"{one.met:.0%}" if share else ""
            print(f"| at most {limit} | {share} | {one.right.mean():.3f} | {one.passes:.2f} | {ended} |", flush=True)
        chosen[limit] = max(SHARES, key=lambda share: (found[share].right.mean(), -found[share].passes))

    items = list(scene_items(seed=TEST_SEED, limit=arguments.tests))
    groups = [item.image_index for item in items]
    print("\n| test split | relative threshold | right | 95 % | passes | only it, only alone | p |\n|" + "---|" * 7)
    for limit in (1, *LIMITS):  # one pass is always one, and is there to compare with
        alone = Answers(demo, items, limit, 0.0)
        print(_row(limit, 0.0, alone, groups) + "  |  |", flush=True)
        if limit in chosen:
            one = Answers(demo, items, limit, chosen[limit])
            test = mcnemar(one.right, alone.right)
            print(_row(limit, chosen[limit], one, groups) + f" {test.won}, {test.lost} | {test.p:.2g} |", flush=True)


def _row(limit: int, share: float, one: Answers, groups: Sequence[int]) -> str:
    low, high = bootstrap_interval(one.right, groups)
    return f"| at most {limit} | {share} | {one.right.mean():.3f} | {low:.3f} to {high:.3f} | {one.passes:.2f} |"


if __name__ == "__main__":
    main()
