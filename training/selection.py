"""Choose the demo model's hyper-parameters on the tuning split: `python -m training.selection FOLDER`.

PM in two rounds: how a map becomes a warp, then which map. Maps without refinement are scored, too, and never chosen: PM
refines, and what it is without is a row of its own (`pm-no-refinement`). Then each alternative has its own gain and
smoothing chosen on PM's heatmap, since a map that is best for a warp need not be best for a blur. The choice goes to
`settings.json` and `edits.json` in the model's folder, all scores to `selection.json`; report on the test split.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pmtools.evaluation.scene_methods import Settings, compare_settings

from pmtools.evaluation.scenes import scene_items
from pmtools.zoo import demo_model

__all__ = ["Selection", "choose_settings"]

SEED, QUESTIONS = 101, 528
KERNELS, GAINS, FLOORS = (1, 3), (10.0, 30.0, 100.0), (0.05, 0.2)
START_LAYERS, ITERATIONS = (3, 4), (0, 1, 2, 3)
EDIT_GAINS = (3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True)
class Selection:
    """What was chosen.

    Attributes
    ----------
    settings : Settings
        PM's.
    edits : dict of str to dict
        `gain` and `kernel_size` of each alternative.
    scores : list of dict
        Everything that was tried: `method`, `round`, settings, `accuracy`.
    """

    settings: Settings
    edits: dict[str, dict[str, Any]]
    scores: list[dict[str, Any]]


def choose_settings(folder: str | Path, /, *, questions: int = QUESTIONS, seed: int = SEED) -> Selection:
    """The best of small grids on the tuning split, and every score.

    Parameters
    ----------
    folder : str or Path
        Of the model.
    questions : int, optional
    seed : int, optional

    Returns
    -------
    Selection
    """
    demo = demo_model(folder)
    items = list(scene_items(seed=seed, limit=questions, split="tune"))
    scores: list[dict[str, Any]] = []

    def ranked(candidates: list[Settings], method: str = "pm", number: int = 1) -> list[Settings]:
        found = compare_settings(demo.model, demo.processor, candidates, items=items, method=method)
        scores.extend({"method": method, "round": number, **asdict(s), "accuracy": right} for s, right in found)
        return [settings for settings, _ in found]

    plain = Settings(max_iterations=0)
    warps = itertools.product(KERNELS, GAINS, FLOORS)
    chosen, *_ = ranked([replace(plain, kernel_size=k, gain=g, floor=f) for k, g, f in warps])
    maps = itertools.product(START_LAYERS, ITERATIONS)
    found = ranked([replace(chosen, start_layer=layer, max_iterations=n) for layer, n in maps], number=2)
    chosen = next(settings for settings in found if settings.max_iterations)
    edits = {}
    for method in ("blur", "mask", "bbox", "crop"):
        maps_of_it = itertools.product(KERNELS, EDIT_GAINS)
        own, *_ = ranked([replace(chosen, kernel_size=k, gain=g) for k, g in maps_of_it], method)
        edits[method] = {"gain": own.gain, "kernel_size": own.kernel_size}
    return Selection(chosen, edits, scores)


def main() -> None:
    """Choose and write."""
    parser = argparse.ArgumentParser(prog="python -m training.selection", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    options = parser.parse_args()
    found = choose_settings(options.folder, questions=options.questions)
    report = {"seed": SEED, "questions": options.questions, "split": "tune", "scores": found.scores}
    for name, content in (("settings", asdict(found.settings)), ("edits", found.edits), ("selection", report)):
        (options.folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
