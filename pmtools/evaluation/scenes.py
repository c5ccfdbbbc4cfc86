"""The scenes benchmark: questions with exact answers about synthetic pictures.

Anyone can ask them of any vision-language model: the prompts are plain English, four categories are in MME's format
(two questions an image, one `yes`, one `no`), three are open. Everything follows from the seed. This file knows
scenes and questions; it knows no model and no method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools.evaluation.scene_drawing import COLORS, SHAPES, SIDE, Scene, draw_scene, place_objects

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["CATEGORIES", "NUMBERS", "SIZES", "Question", "SceneItem", "ask", "compose_scene", "scene_items"]

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
RELATIONS = ("left", "right", "above", "below")
_RELATION_TEXT = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}

YES_NO_CATEGORIES = ("existence", "count", "position", "color")
OPEN_CATEGORIES = ("open_color", "open_shape", "open_count")
CATEGORIES = YES_NO_CATEGORIES + OPEN_CATEGORIES
"""The benchmark's categories; the first four are yes/no in MME's format."""

SIZES = {"small": (13.0, 19.0), "medium": (19.0, 30.0), "large": (30.0, 60.0)}
"""Object diameters of each size class, in pixels of the original; a quarter of that at the demo model's input."""

LEAST_OFFSET = 0.08 * SIDE
"""Objects closer than this along an axis are never compared along it, in pixels."""

_MOST_COUNTED = 4  # the largest number a count question asks for
_HARD_NEGATIVES = 0.7  # share of absent pairs whose colour is there, on another shape


@dataclass(frozen=True)
class Question:
    """A question about a scene.

    Attributes
    ----------
    text : str
        Plain English, ending in a question mark.
    answer : str
        One lower-case word.
    category : str
    relevant : tuple of int
        Objects that a person would look at.
    mentions : tuple of (str, tuple of int)
        The word that completes each reference, in order, and the objects it stands for.
    """

    text: str
    answer: str
    category: str
    relevant: tuple[int, ...]
    mentions: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class SceneItem:
    """One question of the benchmark.

    Attributes
    ----------
    index, image_index : int
        Of the question and of its picture; the two questions of a yes/no picture share the latter.
    size : str
        A key of `SIZES`.
    scene : Scene
    question : Question
    seed : tuple of int
        Seeds the picture's texture.
    """

    index: int
    image_index: int
    size: str
    scene: Scene
    question: Question
    seed: tuple[int, ...]

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The picture, uint8 of shape (SIDE, SIDE, 3)."""
        drawn = draw_scene(self.scene, np.random.default_rng(self.seed))
        return np.ascontiguousarray((255 * drawn + 0.5).astype(np.uint8).transpose(1, 2, 0))

    @property
    def image(self) -> Image.Image:
        """The picture as an RGB image."""
        from PIL import Image

        return Image.fromarray(self.pixels)

    @property
    def instruction(self) -> str:
        """The question with what MME adds to yes/no questions, or a wish for one word."""
        wish = "Please answer yes or no." if self.question.answer in {"yes", "no"} else "Answer with one word."
        return f"{self.question.text} {wish}"

    @property
    def relevant_boxes_xyxy(self) -> NDArray[Any]:
        """Boxes of the objects the question is about, shape (k, 4), in pixels."""
        return self.scene.boxes_xyxy[list(self.question.relevant)]


def compose_scene(
    rng: np.random.Generator, /, *, plan: str, diameters: tuple[float, float], repeats: int | None = None
) -> Scene:
    """Place objects and give them the attributes that a kind of question needs.

    Parameters
    ----------
    rng : numpy.random.Generator
    plan : str
        `"mixed"` (two to six objects; half of the scenes repeat shapes), `"unique_color"` or `"unique_shape"` (up to
        five objects, no colour or shape twice), `"repeat_color"` or `"repeat_shape"` (`repeats` objects share one,
        zero to three others have others).
    diameters : (low, high)
        In pixels.
    repeats : int, optional
        Drawn from 0 to 5, mostly 1 to 4, when not given.

    Returns
    -------
    Scene
        At least one object. The repeated attribute, if there is one, is that of object 0.
    """
    if plan not in {"mixed", "unique_color", "unique_shape", "repeat_color", "repeat_shape"}:
        raise ValueError(
            f"`plan` must be mixed, unique_color, unique_shape, repeat_color or repeat_shape, got {plan!r}"
        )
    if plan.startswith("repeat"):
        repeats = int(rng.choice(6, p=[0.06, 0.22, 0.22, 0.22, 0.22, 0.06])) if repeats is None else repeats
        count = max(2, repeats + int(rng.integers(0, 4)))
    else:
        count = int(rng.integers(2, 7 if plan == "mixed" else 6))
    while True:
        scene = place_objects(rng, count=count, diameters=diameters)
        if len(scene) == count or (len(scene) > 1 and not plan.startswith("repeat")):
            break
    n = len(scene)
    if plan == "mixed":
        if rng.random() < 0.5:
            chosen = np.where(rng.random(n) < 0.55, rng.integers(len(SHAPES)), scene.shapes)
        else:
            chosen = np.resize(rng.permutation(len(SHAPES)), n)
        return replace(scene, shapes=chosen)
    kind = "colors" if plan.endswith("color") else "shapes"
    order = rng.permutation(5)
    if plan.startswith("unique"):
        return replace(scene, **{kind: order[:n]})
    others = rng.choice(order[1:], n)
    values = np.where(np.arange(n) < (repeats or 0), order[0], others)
    return replace(scene, **{kind: values})


# --- questions: each returns None where the scene does not allow it -----------------------------------------------


def _alone(values: NDArray[Any]) -> list[int]:
    """Indices whose value occurs once."""
    return [i for i, value in enumerate(values) if (values == value).sum() == 1]


def _noun(*, color: int | None = None, shape: int | None = None, plural: bool = False) -> str:
    words = [] if color is None else [COLORS[color]]
    words.append("object" if shape is None else SHAPES[shape])
    noun = " ".join(words)
    return noun if not plural else noun + ("es" if noun.endswith("s") else "s")


def _existence(scene: Scene, rng: np.random.Generator, answer: str | None) -> Question | None:
    pairs = set(zip(scene.colors.tolist(), scene.shapes.tolist(), strict=True))
    picked = int(rng.integers(len(scene)))
    color, shape = int(scene.colors[picked]), int(scene.shapes[picked])
    if (answer or rng.choice(["yes", "no"])) == "yes":
        relevant = np.flatnonzero((scene.colors == color) & (scene.shapes == shape))
        answer = "yes"
    else:
        swap_shape = rng.random() < _HARD_NEGATIVES
        options = [
            (color, other) if swap_shape else (other, shape)
            for other in range(5)
            if ((color, other) if swap_shape else (other, shape)) not in pairs
        ]
        if not options:
            return None
        color, shape = options[rng.integers(len(options))]
        relevant = np.flatnonzero(scene.colors == color if swap_shape else scene.shapes == shape)
        answer = "no"
    text = f"Is there a {_noun(color=color, shape=shape)} in this image?"
    found = tuple(relevant.tolist())
    return Question(text, answer, "existence", found, ((SHAPES[shape], found),))


def _color(scene: Scene, rng: np.random.Generator, answer: str | None) -> Question | None:
    unique = _alone(scene.shapes)
    if not unique:
        return None
    i = unique[rng.integers(len(unique))]
    color = int(scene.colors[i])
    answer = answer or str(rng.choice(["yes", "no"]))
    if answer == "no":
        seen = [int(c) for c in np.unique(scene.colors) if c != color]
        others = [c for c in range(5) if c != color]
        color = int(rng.choice(seen if seen and rng.random() < 0.8 else others))
    shape = SHAPES[scene.shapes[i]]
    return Question(f"Is the {shape} {COLORS[color]}?", answer, "color", (i,), ((shape, (i,)),))


def _pair(scene: Scene, rng: np.random.Generator) -> tuple[int, int, list[str], list[str]] | None:
    """Two objects and how each may be named: by shape, by colour, or by both."""
    named: dict[int, list[tuple[str, str]]] = {}
    for i in _alone(scene.shapes):
        named.setdefault(i, []).append(("shape", _noun(shape=int(scene.shapes[i]))))
    for i in _alone(scene.colors):
        named.setdefault(i, []).append(("color", _noun(color=int(scene.colors[i]))))
    for i in _alone(scene.colors * 5 + scene.shapes):
        named.setdefault(i, []).append(("both", _noun(color=int(scene.colors[i]), shape=int(scene.shapes[i]))))
    ways = {way: [i for i in named if way in dict(named[i])] for way in ("shape", "both", "color")}
    ways = {way: objects for way, objects in ways.items() if len(objects) > 1}
    if not ways:
        return None
    way = str(rng.choice(list(ways)))
    i, j = (int(k) for k in rng.choice(ways[way], 2, replace=False))
    names = [dict(named[k])[way] for k in (i, j)]
    # the word that completes a reference: the last one that the demo model's tokenizer keeps
    return i, j, names, [name.removesuffix(" object").split()[-1] for name in names]


def _relation(scene: Scene, i: int, j: int, rng: np.random.Generator) -> str | None:
    """The true relation of object i to object j along a random axis, or None where they are too close along it."""
    axis = int(rng.integers(2))
    offset = scene.centers_xy[i, axis] - scene.centers_xy[j, axis]
    if abs(offset) < LEAST_OFFSET:
        return None
    return RELATIONS[2 * axis + int(offset > 0)]


_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def _position(scene: Scene, rng: np.random.Generator, answer: str | None) -> Question | None:
    pair = _pair(scene, rng)
    relation = _relation(scene, pair[0], pair[1], rng) if pair else None
    if pair is None or relation is None:
        return None
    i, j, names, words = pair
    answer = answer or str(rng.choice(["yes", "no"]))
    asked = relation if answer == "yes" else _OPPOSITE[relation]
    text = f"Is the {names[0]} {_RELATION_TEXT[asked]} the {names[1]}?"
    return Question(text, answer, "position", (i, j), ((words[0], (i,)), (words[1], (j,))))


def _open_relation(scene: Scene, rng: np.random.Generator, answer: str | None) -> Question | None:
    """`left or right`, `above or below`: a stepping stone in training, not a category of the benchmark."""
    pair = _pair(scene, rng)
    relation = _relation(scene, pair[0], pair[1], rng) if pair else None
    if pair is None or relation is None or (answer and answer != relation) or " " in pair[2][0].removesuffix(" object"):
        return None
    i, j, names, words = pair
    choice = "to the left or to the right of" if relation in RELATIONS[:2] else "above or below"
    text = f"Is the {names[0]} {choice} the {names[1]}?"
    return Question(text, relation, "open_relation", (i, j), ((words[0], (i,)), (words[1], (j,))))


def _counted(scene: Scene, rng: np.random.Generator) -> tuple[int, str, str, str, tuple[int, ...]]:
    """Number, singular and plural noun, referring word and indices of the objects to be counted.

    Counts the attribute of object 0 (the one that a repeat scene repeats) by colour or by shape, whichever is the
    more frequent; a coin decides a tie.
    """
    by_color, by_shape = scene.colors == scene.colors[0], scene.shapes == scene.shapes[0]
    color_leads = int(by_color.sum()) - int(by_shape.sum())
    use_color = color_leads > 0 or (color_leads == 0 and rng.random() < 0.5)
    found = tuple(np.flatnonzero(by_color if use_color else by_shape).tolist())
    kind: dict[str, int] = {"color": int(scene.colors[0])} if use_color else {"shape": int(scene.shapes[0])}
    word = COLORS[scene.colors[0]] if use_color else SHAPES[scene.shapes[0]]
    return len(found), _noun(**kind), _noun(**kind, plural=True), word, found  # type: ignore[arg-type]


def _count(scene: Scene, rng: np.random.Generator, answer: str | None) -> Question | None:
    number, one, many, word, found = _counted(scene, rng)
    answer = answer or str(rng.choice(["yes", "no"]))
    if number > _MOST_COUNTED:
        return None
    near = [n for n in (number - 1, number + 1) if 1 <= n <= _MOST_COUNTED]
    asked = number if answer == "yes" else int(rng.choice(near))
    phrase = f"Is there one {one}" if asked == 1 else f"Are there {NUMBERS[asked]} {many}"
    return Question(f"{phrase} in this image?", answer, "count", found, ((word, found),))


def _open_count(scene: Scene, rng: np.random.Generator, answer: str | None) -> Question | None:
    number, _, many, word, found = _counted(scene, rng)
    if number >= len(NUMBERS) or (answer and NUMBERS[number] != answer):
        return None
    text = f"How many {many} are there in this image?"
    return Question(text, NUMBERS[number], "open_count", found, ((word, found),))


def _open_color(scene: Scene, rng: np.random.Generator, answer: str | None) -> Question | None:
    unique = [i for i in _alone(scene.shapes) if not answer or COLORS[scene.colors[i]] == answer]
    if not unique:
        return None
    i = unique[rng.integers(len(unique))]
    shape = SHAPES[scene.shapes[i]]
    return Question(f"What color is the {shape}?", COLORS[scene.colors[i]], "open_color", (i,), ((shape, (i,)),))


def _open_shape(scene: Scene, rng: np.random.Generator, answer: str | None) -> Question | None:
    unique = [i for i in _alone(scene.colors) if not answer or SHAPES[scene.shapes[i]] == answer]
    if not unique:
        return None
    i = unique[rng.integers(len(unique))]
    color = COLORS[scene.colors[i]]
    text = f"What shape is the {color} object?"
    return Question(text, SHAPES[scene.shapes[i]], "open_shape", (i,), ((color, (i,)),))


_ASK: dict[str, Callable[[Scene, np.random.Generator, str | None], Question | None]] = {
    "existence": _existence,
    "count": _count,
    "position": _position,
    "color": _color,
    "open_color": _open_color,
    "open_shape": _open_shape,
    "open_count": _open_count,
    "open_relation": _open_relation,
}


def ask(scene: Scene, /, *, category: str, rng: np.random.Generator, answer: str | None = None) -> Question | None:
    """Ask a random question of a category about a scene.

    Parameters
    ----------
    scene : Scene
    category : str
        One of `CATEGORIES`, or `"open_relation"`.
    rng : numpy.random.Generator
    answer : str, optional
        The answer wished for; drawn evenly where not given.

    Returns
    -------
    Question or None
        None where this draw found no fair question; ask again or take another scene.
    """
    if category not in _ASK:
        raise ValueError(f"`category` must be one of {', '.join(_ASK)}, got {category!r}")
    return _ASK[category](scene, rng, answer)


# --- the benchmark ------------------------------------------------------------------------------------------------

_ANSWERS = {"open_color": COLORS, "open_shape": SHAPES}
_PLANS = {
    "existence": ("mixed",),
    "color": ("mixed", "unique_shape"),
    "position": ("unique_shape", "mixed"),
    "open_color": ("mixed", "unique_shape"),
    "open_shape": ("mixed", "unique_color"),
}


def scene_items(*, seed: int = 0, limit: int | None = None, split: str = "test") -> Iterator[SceneItem]:
    """The benchmark's questions, in a fixed order: without end unless `limit` is given.

    Categories, sizes and answers take turns, so that any prefix is nearly balanced and a multiple of 132 questions is
    so exactly. Yes/no pictures get two questions, yes and no in random order; open answers are uniform (counts: one
    to four).

    Parameters
    ----------
    seed : int, optional
    limit : int, optional
        Number of questions.
    split : {"test", "tune"}
        Two disjoint streams of pictures: choose settings on one, report on the other.

    Yields
    ------
    SceneItem

    Examples
    --------
    >>> item = next(scene_items(seed=0))
    >>> item.image.size, item.question.category
    ((384, 384), 'existence')
    """
    if split not in {"test", "tune"}:
        raise ValueError(f'`split` must be "test" or "tune", got {split!r}')
    if limit is not None and limit < 0:
        raise ValueError(f"`limit` must be at least 0, got {limit}; leave it out for an endless stream")
    index = 0
    for image_index, (size, category, turn) in enumerate(_turns()):
        root = (seed, ("test", "tune").index(split), image_index)
        scene, questions = _scene_with_questions(np.random.default_rng((*root, 0)), category, SIZES[size], turn)
        for question in questions:
            if index == limit:
                return
            yield SceneItem(index, image_index, size, scene, question, (*root, 1))
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
) -> tuple[Scene, list[Question]]:
    """Draw scenes until one carries the wished-for questions."""
    if category.endswith("count"):
        # yes/no: with these frequencies every number is asked as often rightly as wrongly
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


def _fair(question: Question, plan: str, repeats: int | None) -> bool:
    """Count questions are about what the scene repeats, so that the counts are uniform."""
    if not question.category.endswith("count"):
        return True
    word = question.mentions[0][0]
    return (word in COLORS) == (plan == "repeat_color") and len(question.relevant) == repeats
