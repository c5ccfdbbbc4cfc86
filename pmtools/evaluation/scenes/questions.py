"""Questions about scenes, with exact answers: is it there, how many, where, what color, what shape.

The questions are plain English for any vision-language model. This file knows one scene and one question at a time;
`items` makes a benchmark of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pmtools import _checks
from pmtools.evaluation.scenes.drawing import COLORS, SHAPES, SIDE, Scene
from pmtools.typing import Ndarray

__all__ = ["NUMBERS", "SceneQuestion", "ask"]

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
RELATIONS = ("left", "right", "above", "below")
_RELATION_TEXT = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}
_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}

LEAST_OFFSET = 0.08 * SIDE
"""Objects closer than this along an axis are never compared along it, in pixels."""

_MOST_COUNTED = 4  # the largest number a count question asks for
_HARD_NEGATIVES = 0.7  # share of absent pairs whose colour is present, on another shape


@dataclass(frozen=True)
class SceneQuestion:
    """A question about a scene.

    Attributes
    ----------
    text : str
        Plain English, ending in a question mark.
    answer : str
        One lower-case word.
    category : str
    relevant : tuple of int
        Indices of the objects that a person would look at.
    mentions : tuple of (str, tuple of int)
        The word that completes each reference, in order, and the objects that it refers to.
    """

    text: str
    answer: str
    category: str
    relevant: tuple[int, ...]
    mentions: tuple[tuple[str, tuple[int, ...]], ...] = ()


def ask(scene: Scene, /, *, category: str, rng: np.random.Generator, answer: str | None = None) -> SceneQuestion | None:
    """Ask a random question of a category about a scene.

    Parameters
    ----------
    scene : Scene
    category : str
        One of `scenes.CATEGORIES`, or `"open_relation"`.
    rng : numpy.random.Generator
    answer : str, optional
        The required answer. Default: drawn uniformly.

    Returns
    -------
    SceneQuestion or None
        None if this draw found no fair question; try again or take another scene.
    """
    return _ASK[_checks.choice(category, "category", _ASK)](scene, rng, answer)


# ------------------------------------------------------------------------------------------------ words for objects


def _noun(*, color: int | None = None, shape: int | None = None, plural: bool = False) -> str:
    words = [] if color is None else [COLORS[color]]
    words.append("object" if shape is None else SHAPES[shape])
    noun = " ".join(words)
    return noun if not plural else noun + ("es" if noun.endswith("s") else "s")


def _singletons(values: Ndarray) -> list[int]:
    """Indices whose value occurs once."""
    return [i for i, value in enumerate(values) if (values == value).sum() == 1]


def _one_of(objects: list[int], rng: np.random.Generator) -> int:
    return objects[rng.integers(len(objects))]


def _yes_or_no(wished: str | None, rng: np.random.Generator) -> str:
    return wished or str(rng.choice(["yes", "no"]))


# ----------------------------------------- one function a category; None where the scene does not allow the question


def _existence(scene: Scene, rng: np.random.Generator, answer: str | None) -> SceneQuestion | None:
    pairs = set(zip(scene.colors.tolist(), scene.shapes.tolist(), strict=True))
    picked = int(rng.integers(len(scene)))
    color, shape = int(scene.colors[picked]), int(scene.shapes[picked])
    answer = _yes_or_no(answer, rng)
    if answer == "yes":
        relevant = np.flatnonzero((scene.colors == color) & (scene.shapes == shape))
    else:
        swap_shape = rng.random() < _HARD_NEGATIVES
        others = [(color, other) if swap_shape else (other, shape) for other in range(5)]
        absent = [pair for pair in others if pair not in pairs]
        if not absent:
            return None
        color, shape = absent[rng.integers(len(absent))]
        relevant = np.flatnonzero(scene.colors == color if swap_shape else scene.shapes == shape)
    text = f"Is there a {_noun(color=color, shape=shape)} in this image?"
    found = tuple(relevant.tolist())
    return SceneQuestion(text, answer, "existence", found, ((SHAPES[shape], found),))


def _color(scene: Scene, rng: np.random.Generator, answer: str | None) -> SceneQuestion | None:
    unique = _singletons(scene.shapes)
    if not unique:
        return None
    i = _one_of(unique, rng)
    color = int(scene.colors[i])
    answer = _yes_or_no(answer, rng)
    if answer == "no":
        seen = [int(c) for c in np.unique(scene.colors) if c != color]
        others = [c for c in range(5) if c != color]
        color = int(rng.choice(seen if seen and rng.random() < 0.8 else others))
    shape = SHAPES[scene.shapes[i]]
    return SceneQuestion(f"Is the {shape} {COLORS[color]}?", answer, "color", (i,), ((shape, (i,)),))


def _open_color(scene: Scene, rng: np.random.Generator, answer: str | None) -> SceneQuestion | None:
    unique = [i for i in _singletons(scene.shapes) if not answer or COLORS[scene.colors[i]] == answer]
    if not unique:
        return None
    i = _one_of(unique, rng)
    shape = SHAPES[scene.shapes[i]]
    return SceneQuestion(f"What color is the {shape}?", COLORS[scene.colors[i]], "open_color", (i,), ((shape, (i,)),))


def _open_shape(scene: Scene, rng: np.random.Generator, answer: str | None) -> SceneQuestion | None:
    unique = [i for i in _singletons(scene.colors) if not answer or SHAPES[scene.shapes[i]] == answer]
    if not unique:
        return None
    i = _one_of(unique, rng)
    color = COLORS[scene.colors[i]]
    text = f"What shape is the {color} object?"
    return SceneQuestion(text, SHAPES[scene.shapes[i]], "open_shape", (i,), ((color, (i,)),))


def _position(scene: Scene, rng: np.random.Generator, answer: str | None) -> SceneQuestion | None:
    pair = _pair(scene, rng)
    if pair is None:
        return None
    answer = _yes_or_no(answer, rng)
    asked = pair.relation if answer == "yes" else _OPPOSITE[pair.relation]
    return pair.question("position", _RELATION_TEXT[asked], answer)


def _open_relation(scene: Scene, rng: np.random.Generator, answer: str | None) -> SceneQuestion | None:
    """`left or right`, `above or below`: a stepping stone in training, not a category of the benchmark."""
    pair = _pair(scene, rng)
    if pair is None or (answer and answer != pair.relation) or " " in pair.names[0].removesuffix(" object"):
        return None
    choice = "to the left or to the right of" if pair.relation in RELATIONS[:2] else "above or below"
    return pair.question("open_relation", choice, pair.relation)


class _Pair(NamedTuple):
    """Two objects, their names, and the true relation of the first to the second."""

    objects: tuple[int, int]
    names: tuple[str, str]
    relation: str

    def question(self, category: str, relation: str, answer: str) -> SceneQuestion:
        i, j = self.objects
        # the word that completes a reference: the last one that the demo model's tokenizer keeps
        words = [name.removesuffix(" object").split()[-1] for name in self.names]
        text = f"Is the {self.names[0]} {relation} the {self.names[1]}?"
        return SceneQuestion(text, answer, category, (i, j), ((words[0], (i,)), (words[1], (j,))))


def _pair(scene: Scene, rng: np.random.Generator) -> _Pair | None:
    """Two objects, both named by shape, by colour or by both; None if there are none or they are too close to compare."""
    unique = {
        "shape": _singletons(scene.shapes),
        "color": _singletons(scene.colors),
        "both": _singletons(scene.colors * 5 + scene.shapes),
    }
    # the orders of objects and ways decide what a seed draws
    order = dict.fromkeys(i for objects in unique.values() for i in objects)
    ways = {way: [i for i in order if i in unique[way]] for way in ("shape", "both", "color")}
    ways = {way: objects for way, objects in ways.items() if len(objects) > 1}
    if not ways:
        return None
    way = str(rng.choice(list(ways)))
    i, j = (int(k) for k in rng.choice(ways[way], 2, replace=False))
    axis = int(rng.integers(2))
    offset = scene.centers_xy[i, axis] - scene.centers_xy[j, axis]
    if abs(offset) < LEAST_OFFSET:
        return None
    return _Pair((i, j), (_named(scene, i, way), _named(scene, j, way)), RELATIONS[2 * axis + int(offset > 0)])


def _named(scene: Scene, i: int, way: str) -> str:
    color = None if way == "shape" else int(scene.colors[i])
    shape = None if way == "color" else int(scene.shapes[i])
    return _noun(color=color, shape=shape)


def _count(scene: Scene, rng: np.random.Generator, answer: str | None) -> SceneQuestion | None:
    found, one, many, word = _counted(scene, rng)
    number = len(found)
    answer = _yes_or_no(answer, rng)
    if number > _MOST_COUNTED:
        return None
    near = [n for n in (number - 1, number + 1) if 1 <= n <= _MOST_COUNTED]
    asked = number if answer == "yes" else int(rng.choice(near))
    phrase = f"Is there one {one}" if asked == 1 else f"Are there {NUMBERS[asked]} {many}"
    return SceneQuestion(f"{phrase} in this image?", answer, "count", found, ((word, found),))


def _open_count(scene: Scene, rng: np.random.Generator, answer: str | None) -> SceneQuestion | None:
    found, _, many, word = _counted(scene, rng)
    number = len(found)
    if number >= len(NUMBERS) or (answer and NUMBERS[number] != answer):
        return None
    text = f"How many {many} are there in this image?"
    return SceneQuestion(text, NUMBERS[number], "open_count", found, ((word, found),))


def _counted(scene: Scene, rng: np.random.Generator) -> tuple[tuple[int, ...], str, str, str]:
    """Indices, singular and plural noun, and referring word of the objects to be counted.

    Counts the attribute of object 0 (the one that a repeat scene repeats) by colour or by shape, whichever is the
    more frequent; a coin decides a tie.
    """
    by_color, by_shape = scene.colors == scene.colors[0], scene.shapes == scene.shapes[0]
    color_leads = int(by_color.sum()) - int(by_shape.sum())
    use_color = color_leads > 0 or (color_leads == 0 and rng.random() < 0.5)
    found = tuple(np.flatnonzero(by_color if use_color else by_shape).tolist())
    color, shape = (int(scene.colors[0]), None) if use_color else (None, int(scene.shapes[0]))
    word = COLORS[scene.colors[0]] if use_color else SHAPES[scene.shapes[0]]
    return found, _noun(color=color, shape=shape), _noun(color=color, shape=shape, plural=True), word


_ASK: dict[str, Callable[[Scene, np.random.Generator, str | None], SceneQuestion | None]] = {
    "existence": _existence,
    "count": _count,
    "position": _position,
    "color": _color,
    "open_color": _open_color,
    "open_shape": _open_shape,
    "open_count": _open_count,
    "open_relation": _open_relation,
}
