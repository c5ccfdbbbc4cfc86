"""Batches: pictures with labels, and pictures with sixteen questions each, for the training steps.

Sample `i` depends on the seed, on `i` and on the progress `i / total` only, so training can stop and resume anywhere,
and any number of workers gives the same run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from pmtools.evaluation.scenes.composition import compose_scene
from pmtools.evaluation.scenes.drawing import Scene, draw_scene
from pmtools.evaluation.scenes.questions import SceneQuestion, ask
from pmtools.zoo.vocabulary import TOKEN_IDS, encode
from training.views import TOKENS, View, make_view, targets

MEAN, STD = 0.45, 0.25  # of the image processor, all channels
SLOT = 8  # tokens a packed question has, its answer included
OBJECTS = 9  # most objects in a scene
LARGEST = 72.0  # diameter, original pixels

# Shares at the start and at the end of the question stage. Looking up comes first, comparing and counting build on it;
# `left or right` teaches the comparison that yes/no questions only confirm.
QUESTION_SHARES = {
    "existence": (3.0, 3.0),
    "color": (2.0, 2.0),
    "open_color": (3.0, 2.0),
    "open_shape": (3.0, 2.5),
    "open_relation": (4.0, 1.5),
    "position": (1.0, 4.0),
    "open_count": (5.0, 7.0),  # asked in a third of the scenes only, see below
    "count": (0.3, 5.0),
}
PLAN_SHARES = {"mixed": 0.27, "unique_color": 0.17, "unique_shape": 0.16, "repeat_color": 0.2, "repeat_shape": 0.2}
PAIRS = ("position", "open_relation")


def stream(seed: int, use: int, index: int = 0) -> np.random.Generator:
    """Random numbers of one sample, which no picture of the benchmark shares, for any seed.

    The last number marks training: NumPy reads missing numbers as zeros, so three are not enough.
    """
    return np.random.default_rng((seed, use, index, 7))


@dataclass(frozen=True)
class Sizes:
    """Smallest diameter as training goes on: `start` until `begin`, then down to `end` at `finish` (log scale)."""

    start: float
    end: float
    begin: float
    finish: float

    def __call__(self, progress: float) -> float:
        """Smallest diameter in original pixels at a progress in [0, 1]."""
        return float(np.exp(np.interp(progress, [self.begin, self.finish], np.log([self.start, self.end]))))


class PictureSamples(Dataset[dict[str, Any]]):
    """Pictures with per-patch labels, for the vision stage.

    Parameters
    ----------
    total : int
        Samples of the whole stage.
    seed : int
    sizes : Sizes
    warps : bool, optional
        Whether warps are among the changes of pictures.
    """

    def __init__(self, total: int, /, *, seed: int, sizes: Sizes, warps: bool = True) -> None:
        self.total, self.seed, self.sizes, self.warps = total, seed, sizes, warps

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        progress = index / self.total
        rng = stream(self.seed, 1, index)
        low = self.sizes(progress)
        strength = float(np.interp(progress, [0.12, 0.45], [0.0, 0.9]))
        # large objects first: shapes are learned where they can be seen
        high = float(np.interp(progress, [0.2, 0.5], [100.0, LARGEST]))
        while True:
            scene = compose_scene(rng, plan=_draw(rng, PLAN_SHARES), diameters=(low, high))
            view = make_view(scene, rng, strength=strength, warps=self.warps)
            if view is not None:
                break
        labels = targets(view)
        return {"pixels": normalised(view)[None]} | {
            key: labels[key] for key in ("shape", "color", "center", "density")
        }


class QuestionSamples(Dataset[dict[str, Any]]):
    """Pictures with questions, answers and the targets of the attention losses.

    Parameters
    ----------
    total : int
        Samples of the whole stage.
    seed : int
    sizes : Sizes
    batch : int
        Samples a step; all samples of a step have the same number of pictures.
    questions : int
        Questions a picture.
    warps : bool, optional
        Whether warps are among the changes of pictures.
    """

    def __init__(
        self, total: int, /, *, seed: int, sizes: Sizes, batch: int, questions: int = 16, warps: bool = True
    ) -> None:
        self.total, self.seed, self.sizes, self.warps = total, seed, sizes, warps
        self.batch, self.questions = batch, questions

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        progress = index / self.total
        rng = stream(self.seed, 2, index)
        two_pictures = self._has_two_pictures(index // self.batch)
        while True:
            plan = _draw(rng, PLAN_SHARES)
            scene = compose_scene(rng, plan=plan, diameters=(self.sizes(progress), LARGEST))
            original = draw_scene(scene, rng)
            strength = 0.0 if two_pictures else float(np.interp(progress, [0.0, 0.25], [0.5, 0.9]))
            views = [make_view(scene, rng, strength=strength, original=original, warps=self.warps)]
            if two_pictures:
                views.append(make_view(scene, rng, geometry="crop", original=original))
            if any(view is None for view in views):
                continue
            questions = self._ask(views[0].scene, plan, progress, rng)  # type: ignore[union-attr]
            if questions:
                return _packed([view for view in views if view], questions)

    def _has_two_pictures(self, step: int) -> bool:
        """Late in training every eighth step or so shows each scene twice: whole, and a crop beside it."""
        progress = step * self.batch / self.total
        chance = np.interp(progress, [0.45, 0.5], [0.0, 0.12])
        return bool(stream(self.seed, 3, step).random() < chance)

    def _ask(self, scene: Scene, plan: str, progress: float, rng: np.random.Generator) -> list[SceneQuestion]:
        ramp = float(np.interp(progress, [0.12, 0.4], [0.0, 1.0]))
        shares = {k: a + (b - a) * ramp for k, (a, b) in QUESTION_SHARES.items()}
        if not plan.startswith("repeat"):  # elsewhere a count is nearly always one, and the model would learn only that
            shares = {k: v for k, v in shares.items() if not k.endswith("count")}
        names = list(shares)
        chances = np.cumsum(list(shares.values()))
        found: list[SceneQuestion] = []
        for _ in range(6 * self.questions):
            category = names[int(np.searchsorted(chances, rng.random() * chances[-1]))]
            question = ask(scene, category=category, rng=rng)
            if question is not None and len(encode(question.text)) < SLOT:
                found.append(question)
            if len(found) == self.questions:
                return found
        return []


def normalised(view: View) -> NDArray[np.float32]:
    """The view as the model's `pixel_values`, shape (3, INPUT, INPUT)."""
    return ((view.image - MEAN) / STD).astype(np.float32)


def collate(samples: list[dict[str, NDArray[Any]]]) -> dict[str, torch.Tensor]:
    """Stack samples along a new first axis."""
    return {key: torch.from_numpy(np.stack([sample[key] for sample in samples])) for key in samples[0]}


def _draw(rng: np.random.Generator, shares: dict[str, float]) -> str:
    values = np.cumsum(list(shares.values()))
    return list(shares)[int(np.searchsorted(values, rng.random() * values[-1]))]


def _packed(views: list[View], questions: list[SceneQuestion]) -> dict[str, NDArray[Any]]:
    """One sample: see the keys below; `n` objects are padded to OBJECTS, pictures lie side by side in the token axis."""
    labels = [targets(view) for view in views]
    first, n = labels[0], len(views[0].scene)
    masks = np.zeros((OBJECTS, len(views) * TOKENS), bool)
    cores = np.zeros_like(masks)
    masks[:n, :TOKENS], cores[:n, :TOKENS] = first["masks"], first["cores"]
    for k, (view, label) in enumerate(zip(views[1:], labels[1:], strict=True), start=1):
        for row, center in zip(label["masks"], view.scene.centers_xy, strict=True):
            same = np.flatnonzero((views[0].scene.centers_xy == center).all(axis=1))
            masks[same, k * TOKENS : (k + 1) * TOKENS] = row
    xy = np.zeros((OBJECTS, 2), np.float32)
    xy[:n] = first["xy"]

    count = len(questions)
    ids = np.zeros((count, SLOT), np.int64)
    last = np.zeros(count, np.int64)
    answers = np.zeros(count, np.int64)
    relevant = np.zeros((count, 2, OBJECTS), bool)  # per attention head
    mention_at = np.full((count, 2), -1, np.int64)
    mentioned = np.zeros((count, 2, OBJECTS), bool)
    counted = np.full(count, -1, np.int64)
    for k, question in enumerate(questions):
        tokens = encode(question.text)
        answers[k], last[k] = TOKEN_IDS[question.answer], len(tokens) - 1
        ids[k, : len(tokens) + 1] = [*tokens, answers[k]]
        pair = question.category in PAIRS
        for head in (0, 1):
            relevant[k, head, list(question.relevant[head : head + 1] if pair else question.relevant)] = True
        start = 0
        for slot, (word, objects) in enumerate(question.mentions):
            mention_at[k, slot] = start + tokens[start:].index(TOKEN_IDS[word])
            mentioned[k, slot, list(objects)] = True
            start = int(mention_at[k, slot]) + 1
        if question.category.endswith("count"):
            counted[k] = len(question.relevant)
    return {
        "pixels": np.stack([normalised(view) for view in views]),
        "shape": np.stack([label["shape"] for label in labels]),
        "color": np.stack([label["color"] for label in labels]),
        "center": np.stack([label["center"] for label in labels]),
        "density": np.stack([label["density"] for label in labels]),
        "masks": masks,
        "cores": cores,
        "xy": xy,
        "ids": ids,
        "last": last,
        "answers": answers,
        "relevant": relevant,
        "mention_at": mention_at,
        "mentioned": mentioned,
        "counted": counted,
        "pair": np.array([question.category in PAIRS for question in questions]),
        "category": np.array([list(QUESTION_SHARES).index(question.category) for question in questions]),
    }
