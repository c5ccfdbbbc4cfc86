"""The scenes benchmark: questions with exact answers about synthetic pictures.

They suit any vision-language model: the prompts are plain English, four categories are in MME's format (two questions
per image, one `yes`, one `no`), three are open. Everything follows from the seed. This file knows the order of scenes
and questions; it knows no model and no method.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pmtools import _checks
from pmtools.evaluation.scenes.composition import compose_scene
from pmtools.evaluation.scenes.drawing import COLORS, SHAPES, SIDE, Scene, draw_scene
from pmtools.evaluation.scenes.questions import NUMBERS, SceneQuestion, ask
from pmtools.typing import Ndarray

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CATEGORIES", "SIZES", "SceneItem", "scene_items"]

YES_NO_CATEGORIES = ("existence", "count", "position", "color")
OPEN_CATEGORIES = ("open_color", "open_shape", "open_count")
CATEGORIES = YES_NO_CATEGORIES + OPEN_CATEGORIES
"""The benchmark's categories; the first four are yes/no in MME's format."""

SPLITS = ("test", "tune")
"""Streams of pictures that have none in common."""

SIZES = {"small": (13.0, 19.0), "medium": (19.0, 30.0), "large": (30.0, 60.0)}
"""Object diameters of each size class, in pixels of the original; a quarter of that at the demo model's input."""

_ANSWERS = {"open_color": COLORS, "open_shape": SHAPES}
_PLANS = {
    "existence": ("mixed",),
    "color": ("mixed", "unique_shape"),
    "position": ("unique_shape", "mixed"),
    "open_color": ("mixed", "unique_shape"),
    "open_shape": ("mixed", "unique_color"),
}


@dataclass(frozen=True)
class SceneItem:
    """One question of the benchmark.

    Attributes
    ----------
    index, image_index : int
        Of the question and of its picture; the two questions of a yes/no picture share `image_index`.
    size : str
        A key of `SIZES`.
    scene : Scene
    question : SceneQuestion
    seed : tuple of int
        Seeds the picture's texture.
    side : int, optional
        Pixels a side of the picture, of which everything but `pixels` and `scene` speaks: it is drawn at `SIDE` and shrunk.
    """

    index: int
    image_index: int
    size: str
    scene: Scene
    question: SceneQuestion
    seed: tuple[int, ...]
    side: int = SIDE

    @property
    def pixels(self) -> Ndarray:
        """The picture as it is drawn, uint8 of shape (SIDE, SIDE, 3)."""
        drawn = draw_scene(self.scene, np.random.default_rng(self.seed))
        return np.ascontiguousarray((255 * drawn + 0.5).astype(np.uint8).transpose(1, 2, 0))

    @property
    def image(self) -> Image.Image:
        """The picture as an RGB image."""
        from PIL import Image

        drawn = Image.fromarray(self.pixels)
        return drawn if self.side == SIDE else drawn.resize((self.side, self.side), Image.Resampling.BICUBIC)

    @property
    def instruction(self) -> str:
        """The question with MME's instruction for yes/no questions, or a request for one word."""
        instruction = "Please answer yes or no." if self.question.answer in {"yes", "no"} else "Answer with one word."
        return f"{self.question.text} {instruction}"

    @property
    def relevant_boxes_xyxy(self) -> Ndarray:
        """Boxes of the objects that the question is about, shape (k, 4), in pixels."""
        return self.scene.boxes_xyxy[list(self.question.relevant)] * (self.side / SIDE)


def scene_items(
    *, seed: int = 0, limit: int | None = None, split: str = "test", side: int = SIDE
) -> Iterator[SceneItem]:
    """The benchmark's questions, in a fixed order, endless unless `limit` is given.

    Categories, sizes and answers alternate, so any prefix is nearly balanced and a multiple of 132 questions is
    balanced exactly. Yes/no pictures get two questions, yes and no in random order; open answers are uniform (counts:
    one to four).

    Parameters
    ----------
    seed : int, optional
    limit : int, optional
        Number of questions.
    split : {"test", "tune"}
        Two disjoint streams of pictures: choose settings on one, report on the other.
    side : int, optional
        Pixels a side that the pictures are shrunk to, in [1, 384]: the smaller, the less a magnifier has to fetch.

    Yields
    ------
    SceneItem

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.

    Examples
    --------
    >>> item = next(scene_items(seed=0))
    >>> item.image.size, item.question.category
    ((384, 384), 'existence')
    """
    stream = SPLITS.index(_checks.choice(split, "split", SPLITS))
    limit = None if limit is None else _checks.whole_number(limit, "limit", minimum=0)
    side = _checks.whole_number(side, "side", maximum=SIDE)
    index = 0
    for image_index, (size, category, turn) in enumerate(_turns()):
        root = (seed, stream, image_index)
        scene, questions = _scene_with_questions(np.random.default_rng((*root, 0)), category, SIZES[size], turn)
        for question in questions:
            if index == limit:
                return
            yield SceneItem(index, image_index, size, scene, question, (*root, 1), side)
            index += 1


def _turns() -> Iterator[tuple[str, str, int]]:
    turn = 0
    while True:
        for category in CATEGORIES:
            for size in SIZES:
                yield size, category, turn
        turn += 1


def _scene_with_questions(
    rng: np.random.Generator, category: str, diameters: tuple[float, float], turn: int
) -> tuple[Scene, list[SceneQuestion]]:
    """Draw scenes until one allows the required questions."""
    if category.endswith("count"):
        # yes/no: with these frequencies every number is asked as often with the answer yes as no
        numbers = (1, 2, 3, 2, 3, 4) if category == "count" else (1, 2, 3, 4)
        plan, repeats = ("repeat_color", "repeat_shape")[turn % 2], numbers[turn // 2 % len(numbers)]
    else:
        plan, repeats = _PLANS[category][turn % len(_PLANS[category])], None
    if category == "open_count":
        wished = [NUMBERS[repeats or 0]]
    elif category in _ANSWERS:
        wished = [_ANSWERS[category][turn % len(_ANSWERS[category])]]
    else:
        wished = ["yes", "no"] if rng.random() < 0.5 else ["no", "yes"]
    while True:
        scene = compose_scene(rng, plan=plan, diameters=diameters, repeats=repeats)
        state = rng.bit_generator.state
        questions = []
        for answer in wished:
            # the same draw for both: the two questions are about the same objects where the category allows it
            rng.bit_generator.state = state
            question = ask(scene, category=category, rng=rng, answer=answer)
            if question is not None and _fair(question, plan, repeats):
                questions.append(question)
        if len(questions) == len(wished):
            return scene, questions


def _fair(question: SceneQuestion, plan: str, repeats: int | None) -> bool:
    """Count questions ask about the attribute that the scene repeats, so that the counts are uniform."""
    if not question.category.endswith("count"):
        return True
    word = question.mentions[0][0]
    return (word in COLORS) == (plan == "repeat_color") and len(question.relevant) == repeats
