r"""MME: two yes/no questions per picture; a category scores 100 accuracy + 100 accuracy+, at most 200.

Pure functions of questions and replies; `files` reads them, `matching` assigns replies to questions.

References
----------
- MME, [arXiv:2306.13394](https://arxiv.org/abs/2306.13394)
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pmtools.evaluation.answers import read_yes_no
from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.questions import Question
from pmtools.evaluation.statistics import ROUNDS, Interval, percentiles, resampled_sums
from pmtools.typing import Ndarray

__all__ = [
    "CATEGORIES",
    "COGNITION",
    "HALLUCINATION",
    "PERCEPTION",
    "CategoryScore",
    "MMEScore",
    "label_yes_then_no",
    "picture_points",
    "right_pairs",
    "score_mme",
]

HALLUCINATION = ("existence", "count", "position", "color")
PERCEPTION = (*HALLUCINATION, "posters", "celebrity", "scene", "landmark", "artwork", "OCR")
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
CATEGORIES = (*PERCEPTION, *COGNITION)

_TOTALS = {"perception": PERCEPTION, "cognition": COGNITION, "hallucination": HALLUCINATION}


@dataclass(frozen=True)
class CategoryScore:
    """One category of MME.

    Attributes
    ----------
    accuracy : float
        Share of questions answered correctly, in [0, 1].
    accuracy_plus : float
        Share of pictures with both questions answered correctly, in [0, 1].
    score : float
        `100 * accuracy + 100 * accuracy_plus`.
    n : int
        Questions; half as many pictures.
    """

    accuracy: float
    accuracy_plus: float
    score: float
    n: int

    @classmethod
    def of(cls, pairs: Sequence[tuple[bool, bool]], /) -> CategoryScore:
        """The score of pictures, given whether each of their two questions was answered correctly.

        Parameters
        ----------
        pairs : sequence of (bool, bool)
            One pair per picture, at least one.

        Returns
        -------
        CategoryScore

        Examples
        --------
        >>> CategoryScore.of([(True, True), (True, False)])
        CategoryScore(accuracy=0.75, accuracy_plus=0.5, score=125.0, n=4)
        """
        accuracy = sum(a + b for a, b in pairs) / (2 * len(pairs))
        plus = sum(a and b for a, b in pairs) / len(pairs)
        return cls(accuracy, plus, 100 * (accuracy + plus), 2 * len(pairs))


@dataclass(frozen=True)
class MMEScore:
    """MME's numbers.

    Attributes
    ----------
    categories : dict of str to CategoryScore
        Those with questions, in the paper's order.
    perception, cognition, hallucination : float
        Sums of the categories' scores; hallucination is existence + count + position + color.
    absent : tuple of str
        Categories without questions, which add nothing to the totals.
    intervals : dict of str to (float, float)
        95 % bootstrap intervals over pictures, of each category's score and of the totals.
    """

    categories: Mapping[str, CategoryScore]
    perception: float
    cognition: float
    hallucination: float
    absent: tuple[str, ...]
    intervals: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        intervals = {name: list(interval) for name, interval in self.intervals.items()}
        return asdict(self) | {"absent": list(self.absent), "intervals": intervals}


def label_yes_then_no(questions: Sequence[Question], /) -> list[Question]:
    """Label questions by MME's rule: the first question of a picture is yes, the second no.

    Parameters
    ----------
    questions : sequence of Question
        Without labels, in the published order.

    Returns
    -------
    list of Question

    Raises
    ------
    RecordError
        If a question has a label, or a picture does not have exactly two questions.
    """
    labelled = next((question for question in questions if question.label is not None), None)
    if labelled is not None:
        raise RecordError(f"{labelled.place}: the question already has a label; label all questions or none")
    found = list(questions)
    for first, second in _pairs(questions):
        found[first] = replace(questions[first], label="yes")
        found[second] = replace(questions[second], label="no")
    return found


def score_mme(
    questions: Sequence[Question], replies: Sequence[str | None], /, *, rounds: int = ROUNDS, seed: int = 0
) -> MMEScore:
    """Score replies to MME's questions.

    A reply counts as yes or no by its first four characters (`answers.read_yes_no`); one that is neither is wrong.

    Parameters
    ----------
    questions : sequence of Question
        With labels; exactly two per picture.
    replies : sequence of str or None
        In the order of the questions; None is wrong.
    rounds : int, optional
        Of the bootstrap.
    seed : int, optional

    Returns
    -------
    MMEScore

    Raises
    ------
    ValueError
        If the numbers of replies and questions differ, or are 0.
    RecordError
        If a label is missing, a category is not MME's, or a picture does not have exactly two questions.

    Examples
    --------
    >>> asked = [Question("1", "a.jpg", "Is there a cat?", "existence", "yes"),
    ...          Question("1", "a.jpg", "Is there a dog?", "existence", "no")]
    >>> score_mme(asked, ["Yes", "Yes, a dog."]).categories["existence"]
    CategoryScore(accuracy=0.5, accuracy_plus=0.0, score=50.0, n=2)
    """
    pairs = right_pairs(questions, replies)
    categories: dict[str, CategoryScore] = {}
    draws: dict[str, Ndarray] = {}
    for key, name in enumerate(CATEGORIES):
        if name in pairs:
            counts = np.array([(a + b, a and b) for a, b in pairs[name]], float)  # (pictures, 2): correct, both correct
            categories[name] = CategoryScore.of(pairs[name])
            drawn = resampled_sums(counts, seed, key, rounds)
            draws[name] = 100 * (drawn[:, 0] / (2 * len(counts)) + drawn[:, 1] / len(counts))
    totals = {name: [c for c in members if c in categories] for name, members in _TOTALS.items()}
    draws |= {total: np.sum([draws[name] for name in names], axis=0) for total, names in totals.items() if names}
    return MMEScore(
        categories,
        **{total: float(sum(categories[name].score for name in names)) for total, names in totals.items()},
        absent=tuple(name for name in CATEGORIES if name not in categories),
        intervals={name: percentiles(samples) for name, samples in draws.items()},
    )


def right_pairs(questions: Sequence[Question], replies: Sequence[str | None], /) -> dict[str, list[tuple[bool, bool]]]:
    """Whether the two replies about each picture are right, by category.

    Parameters
    ----------
    questions, replies
        As for `score_mme`.

    Returns
    -------
    dict of str to list of (bool, bool)
        The pictures in the order of the questions.

    Raises
    ------
    ValueError, RecordError
        As for `score_mme`.
    """
    if len(questions) != len(replies) or not questions:
        raise ValueError(
            f"`replies` must hold one reply per question, got {len(replies)} for {len(questions)} questions"
        )
    right = [_is_right(question, reply) for question, reply in zip(questions, replies, strict=True)]
    pairs: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for first, second in _pairs(questions):
        pairs[questions[first].category].append((right[first], right[second]))
    return dict(pairs)


def picture_points(pairs: Mapping[str, Sequence[tuple[bool, bool]]], /) -> list[float]:
    """What each picture is worth, for paired tests: the mean over the pictures is the sum of the categories' scores.

    Parameters
    ----------
    pairs : mapping of str to sequence of (bool, bool)
        As `right_pairs` returns them; every sequence has at least one.

    Returns
    -------
    list of float
        One per picture, category after category.

    Examples
    --------
    >>> picture_points({"existence": [(True, True), (True, False)], "color": [(True, True)]})
    [300.0, 75.0, 600.0]
    """
    count = sum(map(len, pairs.values()))
    return [100 * ((a + b) / 2 + (a and b)) * count / len(rights) for rights in pairs.values() for a, b in rights]


def _is_right(question: Question, reply: str | None) -> bool:
    if question.label not in {"yes", "no"}:
        raise RecordError(f"{question.place}: the question {question.text!a} has no label; see label_yes_then_no")
    if question.category not in CATEGORIES:
        close = difflib.get_close_matches(question.category, CATEGORIES, 1)
        hint = f"; is it {close[0]!r}?" if close else f"; they are {', '.join(CATEGORIES)}"
        raise RecordError(f"{question.place}: {question.category!a} is not a category of MME{hint}")
    return reply is not None and read_yes_no(reply) == question.label


def _pairs(questions: Sequence[Question]) -> list[tuple[int, int]]:
    """The two questions of each picture, in order."""
    by_image: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, question in enumerate(questions):
        by_image[question.category, question.image].append(index)
    for (category, image), members in by_image.items():
        if len(members) != 2:
            raise RecordError(
                f"{questions[members[0]].place}: MME asks two questions per picture, got {len(members)} about "
                f"{image!a} in the category {category!a}"
            )
    return [(first, second) for first, second in by_image.values()]
