"""Choose the demo model's hyper-parameters on the tuning split: `python -m training.selection FOLDER`.

PM in two rounds: how a map becomes a warp, then which map. Maps without refinement are scored too, but never chosen: PM
refines, and PM without refinement is a separate row (`pm-no-refinement`). Then each alternative has its own gain and
smoothing chosen on PM's heatmap, since the best map for a warp may not be the best one for a blur. The choice goes to
`settings.json` and `alternatives.json` in the model's folder, all scores to `selection.json`; report on the test split.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmtools.evaluation.methods import COMPARED
from pmtools.evaluation.model_answers import ModelAnswers
from pmtools.evaluation.scenes import SceneItem, scene_items
from pmtools.evaluation.scenes.benchmark import grade
from pmtools.zoo import DemoModel, demo_model

__all__ = ["Selection", "choose_settings", "compare_settings"]

SEED, QUESTIONS, BATCH = 101, 528, 48
KERNELS, GAINS, FLOORS = (1, 3), (10.0, 30.0, 100.0), (0.05, 0.2)
START_LAYERS, ITERATIONS = (3, 4), (0, 1, 2, 3)
ALTERNATIVE_GAINS = (3.0, 10.0, 30.0, 100.0)
PLAIN: dict[str, Any] = {
    "start_layer": 3,
    "gain": 10.0,
    "kernel_size": 3,
    "threshold": 0.3,
    "max_iterations": 0,
    "marginal": "max",
    "floor": 0.2,
}
"""Where the first round starts: without refinement."""


@dataclass(frozen=True)
class Selection:
    """The chosen settings.

    Attributes
    ----------
    settings : dict
        PM's.
    alternatives : dict of str to dict
        `gain` and `kernel_size` of each alternative.
    scores : list of dict
        Everything that was tried: `method`, `round`, settings, `accuracy`.
    """

    settings: dict[str, Any]
    alternatives: dict[str, dict[str, Any]]
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

    def ranked(candidates: list[dict[str, Any]], method: str = "pm", number: int = 1) -> list[dict[str, Any]]:
        # the magnified images are PM's; as an alternative, candidates of one heatmap share it
        found = compare_settings(demo, candidates, items, method="magnify" if method == "pm" else method)
        scores.extend({"method": method, "round": number, **settings, "accuracy": right} for settings, right in found)
        return [settings for settings, _ in found]

    warps = itertools.product(KERNELS, GAINS, FLOORS)
    chosen, *_ = ranked([PLAIN | {"kernel_size": k, "gain": g, "floor": f} for k, g, f in warps])
    maps = itertools.product(START_LAYERS, ITERATIONS)
    found = ranked([chosen | {"start_layer": layer, "max_iterations": n} for layer, n in maps], number=2)
    chosen = next(settings for settings in found if settings["max_iterations"])
    alternatives = {}
    for name in COMPARED:
        maps_of_it = itertools.product(KERNELS, ALTERNATIVE_GAINS)
        own, *_ = ranked([chosen | {"kernel_size": k, "gain": g} for k, g in maps_of_it], name)
        alternatives[name] = {key: own[key] for key in ("gain", "kernel_size")}
    return Selection(chosen, alternatives, scores)


def compare_settings(
    demo: DemoModel, candidates: Sequence[dict[str, Any]], items: Sequence[SceneItem], /, *, method: str = "magnify"
) -> list[tuple[dict[str, Any], float]]:
    """A method's accuracy under several settings, best first; heatmaps that settings share are computed once.

    Parameters
    ----------
    demo : DemoModel
    candidates : sequence of dict
        Arguments of `PerceptionMagnifier`.
    items : sequence of SceneItem
        At least one.
    method : str, optional
        A key of `pmtools.evaluation.methods.METHODS`.

    Returns
    -------
    list of (dict, float)
        Share of correct answers; of equal ones the earlier candidate comes first.
    """
    options: dict[str, Any] = {"text": lambda item: item.question.text, "max_new_tokens": 1}
    answerers = [ModelAnswers(demo.model, demo.processor, settings=settings, **options) for settings in candidates]
    right = [0] * len(candidates)
    for start in range(0, len(items), BATCH):
        batch, maps = items[start : start + BATCH], dict[Any, Any]()
        for k, answer in enumerate(answerers):
            replies = answer(batch, [method], maps=maps)[method]
            right[k] += sum(map(grade, batch, replies))
    scored = [(settings, hits / len(items)) for settings, hits in zip(candidates, right, strict=True)]
    return sorted(scored, key=lambda pair: -pair[1])


def main() -> None:
    """Choose and write."""
    parser = argparse.ArgumentParser(prog="python -m training.selection", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    options = parser.parse_args()
    found = choose_settings(options.folder, questions=options.questions)
    report = {"seed": SEED, "questions": options.questions, "split": "tune", "scores": found.scores}
    for name, content in (("settings", found.settings), ("alternatives", found.alternatives), ("selection", report)):
        (options.folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
