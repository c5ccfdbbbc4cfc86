"""Layers, refinement and gain, every ablation tuned on the same grid: `python -m training.factorial FOLDER [--json FILE]`.

Each of the four kinds of map (all layers or a single one, with refinement or without) has its own layer, number of passes
and gain, chosen on the tuning split. It is then reported on the test split, and on questions that need several small objects:
the position of two that lie far apart, and counts of three and four. Those are also split by whether the least-magnified
object of the question has grown.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pmtools.evaluation.methods import METHODS
from pmtools.evaluation.model_answers import ModelAnswers
from pmtools.evaluation.scenes import SIZES, SceneItem, scene_items
from pmtools.evaluation.scenes.benchmark import grade
from pmtools.evaluation.scenes.composition import compose_scene
from pmtools.evaluation.scenes.drawing import SIDE
from pmtools.evaluation.scenes.questions import ask
from pmtools.evaluation.statistics import bootstrap_interval, holm, sign_flip_test
from pmtools.zoo import DemoModel, demo_model

__all__ = ["several_objects", "tuned_ablations"]

BATCH, TUNE_SEED, TEST_SEED = 48, 101, 74013
LAYERS, PASSES, GAINS = (2, 3, 4, 5), (1, 2, 8), (10.0, 30.0)
#: Method and whether it refines, by kind of map.
KINDS = {
    "all layers, refined": ("magnify", True),
    "all layers": ("magnify", False),
    "single layer, refined": ("pm-single-layer", True),
    "single layer": ("pm-single-layer", False),
}
FAR = 0.5  # least distance of two objects along each axis, in sides of the picture
PLAIN = {"kernel_size": 1, "threshold": 0.3, "marginal": "max", "floor": 0.2}


def several_objects(kind: str, /, *, seed: int, limit: int) -> Iterator[SceneItem]:
    """Questions that need several small objects, each about a picture of its own; yes and no in turn.

    Parameters
    ----------
    kind : {"far pairs", "three or four"}
    seed : int
    limit : int

    Yields
    ------
    SceneItem
    """
    for index in range(limit):
        rng = np.random.default_rng((seed, len(kind), index))
        answer = ("yes", "no")[index % 2]
        while True:
            if kind == "far pairs":
                scene = compose_scene(
                    rng, plan=("mixed", "unique_color", "unique_shape")[index % 3], diameters=SIZES["small"]
                )
                question = ask(scene, category="position", rng=rng, answer=answer)
            else:
                repeats = 3 + index // 2 % 2
                plan = ("repeat_color", "repeat_shape")[index // 4 % 2]
                scene = compose_scene(rng, plan=plan, diameters=SIZES["small"], repeats=repeats)
                question = ask(scene, category="count", rng=rng, answer=answer)
                if question is not None and len(question.relevant) != repeats:
                    question = None
            if question is None:
                continue
            places = scene.centers_xy[list(question.relevant)]
            if kind != "far pairs" or (np.ptp(places, axis=0) >= FAR * SIDE).all():
                break
        yield SceneItem(index, index, "small", scene, question, (seed, len(kind), index, 1), SIDE)


def answers(
    demo: DemoModel, items: Sequence[SceneItem], settings: Sequence[tuple[str, dict[str, Any]]]
) -> tuple[list[np.ndarray[Any, Any]], list[np.ndarray[Any, Any]]]:
    """Of each setting: which items are right, and how much the least-magnified object of each has grown.

    Parameters
    ----------
    demo : DemoModel
    items : sequence of SceneItem
    settings : sequence of (str, dict)
        A method, and arguments of `PerceptionMagnifier`.

    Returns
    -------
    (list of bool array, list of float64 array)
        Growth is of areas, against a plain resize.
    """
    options: dict[str, Any] = {"text": lambda item: item.question.text, "max_new_tokens": 1}
    answerers = [
        (method, ModelAnswers(demo.model, demo.processor, settings=one, **options)) for method, one in settings
    ]
    right: list[list[bool]] = [[] for _ in settings]
    growth: list[list[float]] = [[] for _ in settings]
    for start in range(0, len(items), BATCH):
        batch, maps = items[start : start + BATCH], dict[Any, Any]()
        for k, (method, answerer) in enumerate(answerers):
            decoder: Any = METHODS[method](answerer.batch(batch, maps))
            images, texts = [[item.image] for item in batch], [demo.prompt(item.question.text) for item in batch]
            replies = decoder.generate(demo.model, images, texts, max_new_tokens=1, do_sample=False)
            right[k] += map(grade, batch, replies)
            frames = getattr(decoder.last[0], "frames", [None] * len(batch)) if decoder.last else [None] * len(batch)
            growth[k] += [_least(frame, item) for frame, item in zip(frames, batch, strict=True)]
    return [np.array(one, bool) for one in right], [np.array(one) for one in growth]


def _least(frames: Any, item: SceneItem) -> float:
    if not frames:
        return 1.0
    frame, boxes = frames[0], item.relevant_boxes_xyxy
    shown = np.asarray(frame.boxes(boxes))
    areas = [np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (shown, boxes)]
    (height, width), (target_height, target_width) = frame.source_hw, frame.target_hw
    return float((areas[0] / areas[1]).min() * height * width / (target_height * target_width))


def tuned_ablations(demo: DemoModel, /, *, questions: int, tests: int) -> dict[str, Any]:
    """Choose each kind's settings on the tuning split, and measure all kinds.

    Parameters
    ----------
    demo : DemoModel
    questions : int
        Of the tuning split.
    tests : int
        Of the test split; a quarter of it of each kind that needs several objects.

    Returns
    -------
    dict
        `chosen` and `tuning` (every setting and its accuracy), and for each test the rows of the kinds.
    """
    grid = []
    for kind, (method, refined) in KINDS.items():
        for layer, passes, gain in itertools.product(LAYERS, PASSES if refined else (0,), GAINS):
            grid.append((kind, method, PLAIN | {"start_layer": layer, "max_iterations": passes, "gain": gain}))
    tuning = list(scene_items(seed=TUNE_SEED, limit=questions, split="tune"))
    right, _ = answers(demo, tuning, [(method, settings) for _, method, settings in grid])
    scores = [float(one.mean()) for one in right]
    chosen = {kind: max((k for k, row in enumerate(grid) if row[0] == kind), key=lambda k: scores[k]) for kind in KINDS}
    sets = {
        "test split": list(scene_items(seed=TEST_SEED, limit=tests)),
        "far pairs": list(several_objects("far pairs", seed=TEST_SEED, limit=tests // 4)),
        "three or four": list(several_objects("three or four", seed=TEST_SEED, limit=tests // 4)),
    }
    found: dict[str, Any] = {
        "questions": questions,
        "tuning": [
            {"kind": kind, **settings, "accuracy": score}
            for (kind, _, settings), score in zip(grid, scores, strict=True)
        ],
        "chosen": {kind: {**grid[k][2], "accuracy": scores[k]} for kind, k in chosen.items()},
    }
    runs = [("greedy", PLAIN), *((grid[k][1], grid[k][2]) for k in chosen.values())]
    for name, items in sets.items():
        right, growth = answers(demo, items, runs)
        found[name] = _rows(["greedy", *KINDS], right, growth, [item.image_index for item in items])
    return found


def _rows(
    names: Sequence[str],
    right: Sequence[np.ndarray[Any, Any]],
    growth: Sequence[np.ndarray[Any, Any]],
    groups: Sequence[int],
) -> list[dict[str, Any]]:
    plain, full = right[0], right[1]
    rows: list[dict[str, Any]] = []
    for name, own, grown in zip(names, right, growth, strict=True):
        low, high = bootstrap_interval(own.astype(float), groups)
        row = {"map": name, "n": len(own), "right": float(own.mean()), "interval": [low, high]}
        row |= {"fixed": int((own & ~plain).sum()), "newly_wrong": int((plain & ~own).sum())}
        row |= {"p_all_layers_refined": 1.0 if name in names[:2] else sign_flip_test(own.astype(float) - full, groups)}
        row |= {"least_growth": float(np.exp(np.log(np.maximum(grown, 1e-6)).mean()))}
        shrunk = grown < 1
        row |= {"shrunk": float(shrunk.mean())}
        row |= {"right_if_shrunk": float(own[shrunk].mean()) if shrunk.any() else None}
        row |= {"right_if_grown": float(own[~shrunk].mean()) if (~shrunk).any() else None}
        rows.append(row)
    tested: list[float] = [row["p_all_layers_refined"] for row in rows[2:]]
    for row, p in zip(rows[2:], holm(tested), strict=True):
        row["p_all_layers_refined"] = p
    return rows


def tables(found: dict[str, Any], /) -> str:
    """The numbers as Markdown.

    Parameters
    ----------
    found : dict
        Of `tuned_ablations`.

    Returns
    -------
    str
    """
    lines = ["| map | layer | passes | gain | tuning split |", "|---|---|---|---|---|"]
    for kind, one in found["chosen"].items():
        lines.append(
            f"| {kind} | {one['start_layer']} | {one['max_iterations']} | {one['gain']:g} | {one['accuracy']:.3f} |"
        )
    for name in ("test split", "far pairs", "three or four"):
        lines += ["", f"{name}, {found[name][0]['n']} questions", ""]
        head = ("map", "right", "95 %", "fixed, newly wrong", "p, against all layers refined", "least growth", "shrunk")
        lines += [f"| {' | '.join(head)} | right if shrunk, if grown |"]
        lines += ["|" + "---|" * 8]
        for row in found[name]:
            low, high = row["interval"]
            parts = [f"{v:.3f}" if v is not None else "" for v in (row["right_if_shrunk"], row["right_if_grown"])]
            lines.append(
                f"| {row['map']} | {row['right']:.3f} | {low:.3f} to {high:.3f} | {row['fixed']}, {row['newly_wrong']} "
                f"| {row['p_all_layers_refined']:.2g} | {row['least_growth']:.2f} | {row['shrunk']:.0%} | {', '.join(parts)} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Choose, measure and print."""
    import torch

    parser = argparse.ArgumentParser(prog="python -m training.factorial", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="of the model; the embedded one by default")
    parser.add_argument("--questions", type=int, default=264)
    parser.add_argument("--tests", type=int, default=1056)
    parser.add_argument("--json", type=Path, help="write everything there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = tuned_ablations(demo_model(options.folder), questions=options.questions, tests=options.tests)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    print(tables(found))  # noqa: T201


if __name__ == "__main__":
    main()
