"""Strengths of PAI and IBD by the demo model's accuracy on the scenes' tuning split: no published ones hold for every model.

VCD, VDD and M3ID run as published, for comparison; nothing is chosen for them.

Run: python tests/benchmarks/tune_methods.py OUT [--questions N]; a run goes on where it stopped. `OUT/chosen.json` has the
choice and every accuracy, `OUT/tables.md` the tables.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pmtools.decoding import METHODS
from pmtools.evaluation.model_answers import weights_digest
from pmtools.evaluation.scenes import SceneItem
from pmtools.evaluation.scenes.benchmark import evaluate_scenes
from pmtools.zoo import DemoModel, demo_model

SEED = 101  # of the tuning split; PM's own settings are chosen on it too
PUBLISHED = ("greedy", "vcd", "vdd", "m3id")
# From weak to strong: of equals the last is chosen, so that no method is handicapped into doing nothing.
GRIDS: dict[str, list[dict[str, float]]] = {
    "pai": [{"strength": a, "guidance": g} for a, g in itertools.product((0.05, 0.1, 0.2, 0.5), (1.1, 1.5))],
    "ibd": [{"bias": b, "strength": a} for b, a in itertools.product((2.0, 4.0, 8.0), (1.0, 2.0, 4.0))],
}


class Candidates:
    """Answers scene questions with each candidate by its name; an `Answerer`."""

    def __init__(self, demo: DemoModel) -> None:
        self.demo = demo
        self.options: dict[str, tuple[str, dict[str, float]]] = {name: (name, {}) for name in PUBLISHED}
        for method, grid in GRIDS.items():
            for options in grid:
                told = ",".join(f"{name}={value:g}" for name, value in options.items())
                self.options[f"{method},{told}"] = (method, options)
        self.setup = {"model": "demo model", "weights": weights_digest(demo.model)}

    def __call__(self, items: Sequence[SceneItem], names: Sequence[str], /) -> dict[str, list[str]]:
        images = [[item.image] for item in items]
        texts = [self.demo.prompt(item.question.text) for item in items]
        replies = {}
        for name in names:
            method, options = self.options[name]
            decoder = METHODS[method](self.demo.processor, **options)
            replies[name] = decoder.generate(self.demo.model, images, texts, max_new_tokens=1, do_sample=False)
        return replies


def choose(candidates: Candidates, accuracies: dict[str, float]) -> dict[str, dict[str, float]]:
    """The options with the best accuracy of each method, the last of equals."""
    of_method = {method: [name for name, (kind, _) in candidates.options.items() if kind == method] for method in GRIDS}
    return {
        method: candidates.options[max(reversed(names), key=accuracies.__getitem__)][1]
        for method, names in of_method.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--questions", type=int, default=396)
    parser.add_argument("--model", type=Path, help="a folder of `training`; the embedded model unless given")
    options = parser.parse_args()
    torch.set_num_threads(1)
    candidates = Candidates(demo_model(options.model))
    names = list(candidates.options)
    summary = evaluate_scenes(
        candidates, methods=names, out=options.out, limit=options.questions, seed=SEED, split="tune"
    )["methods"]
    accuracies = {name: summary[name]["accuracy"] for name in names}
    report: dict[str, Any] = {"split": "tune", "seed": SEED, "questions": options.questions, **candidates.setup}
    report |= {"chosen": choose(candidates, accuracies), "accuracy": accuracies}
    (options.out / "chosen.json").write_text(json.dumps(report, indent=2) + "\n")
    for name in names:
        test = summary[name].get("vs_greedy", {"difference": 0.0, "won": 0, "lost": 0, "p": 1.0})
        counts = f"{test['won']} fixed, {test['lost']} newly wrong, p = {test['p']:.2g}"
        print(f"{name:32} {accuracies[name]:.3f}  {test['difference']:+.3f}  {counts}")
    print(f"chosen: {report['chosen']}")


if __name__ == "__main__":
    main()
