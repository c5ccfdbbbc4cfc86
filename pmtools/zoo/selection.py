"""Choose PM's settings for the demo model on the tuning split: `python -m pmtools.zoo.selection FOLDER`.

Two rounds: how a map becomes a warp, then which map. The choice goes to `settings.json` in the model's folder, all
scores to `selection.json`; report on the test split.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pmtools.evaluation.scene_methods import Settings, compare_settings
from pmtools.evaluation.scenes import scene_items
from pmtools.zoo import demo_model

__all__ = ["choose_settings"]

SEED, QUESTIONS = 101, 528


def choose_settings(
    folder: str | Path, /, *, questions: int = QUESTIONS, seed: int = SEED
) -> tuple[Settings, list[dict[str, Any]]]:
    """The best settings of two small grids on the tuning split, and every score.

    Parameters
    ----------
    folder : str or Path
        Of the model.
    questions : int, optional
    seed : int, optional

    Returns
    -------
    (Settings, list of dict)
        The scores hold the settings and `accuracy`, in both rounds.
    """
    demo = demo_model(folder)
    items = list(scene_items(seed=seed, limit=questions, split="tune"))
    start = Settings(max_iterations=0)
    warps = [
        replace(start, kernel_size=kernel, gain=gain, floor=floor)
        for kernel, gain, floor in itertools.product((1, 3), (10.0, 30.0, 100.0), (0.05, 0.2))
    ]
    first = compare_settings(demo.model, demo.processor, warps, items=items)
    best = first[0][0]
    maps = [
        replace(best, start_layer=layer, max_iterations=iterations)
        for layer, iterations in itertools.product((3, 4), (0, 1, 2, 3))
    ]
    second = compare_settings(demo.model, demo.processor, maps, items=items)
    scores = [
        {"round": k, **asdict(settings), "accuracy": accuracy}
        for k, found in enumerate((first, second), start=1)
        for settings, accuracy in found
    ]
    return second[0][0], scores


def main() -> None:
    """Choose and write."""
    parser = argparse.ArgumentParser(prog="python -m pmtools.zoo.selection", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    options = parser.parse_args()
    settings, scores = choose_settings(options.folder, questions=options.questions)
    (options.folder / "settings.json").write_text(json.dumps(asdict(settings), indent=2) + "\n")
    report = {"seed": SEED, "questions": options.questions, "split": "tune", "scores": scores}
    (options.folder / "selection.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
