"""POPE: is there such an object in the picture? Accuracy, precision, recall, F1 and how often the model says yes.

Pure functions of questions and replies; `files` reads them, `matching` assigns replies to questions.

References
----------
- POPE, [arXiv:2305.10355](https://arxiv.org/abs/2305.10355)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.questions import Question
from pmtools.evaluation.statistics import ROUNDS, Interval, percentiles, resampled_sums
from pmtools.typing import Ndarray

__all__ = ["POPEScore", "read_pope_reply", "score_pope"]

_NO = {"No", "no", "not"}


@dataclass(frozen=True)
class POPEScore:
    """POPE's numbers; yes is the positive class.

    Attributes
    ----------
    accuracy, precision, recall, f1 : float
        In [0, 1]; 0 where the denominator is 0, for example if a model never says yes.
    yes_ratio : float
        Share of questions that the model answers with yes.
    n : int
        Questions.
    intervals : dict of str to (float, float)
        95 % bootstrap intervals over pictures.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    yes_ratio: float
    n: int
    intervals: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self) | {"intervals": {name: list(interval) for name, interval in self.intervals.items()}}


def read_pope_reply(reply: str, /) -> str:
    """`"yes"` or `"no"` by POPE's rule: no if No, no or not is a word before the first full stop, otherwise yes.

    Commas are removed and words are separated by spaces; so an empty reply is a yes.

    Parameters
    ----------
    reply : str

    Returns
    -------
    str

    Examples
    --------
    >>> read_pope_reply("No, there is none."), read_pope_reply("There is not."), read_pope_reply("Nobody.")
    ('no', 'no', 'yes')
    """
    sentence = reply.split(".", 1)[0].replace(",", "")
    return "no" if _NO & set(sentence.split(" ")) else "yes"


def score_pope(
    questions: Sequence[Question], replies: Sequence[str | None], /, *, rounds: int = ROUNDS, seed: int = 0
) -> POPEScore:
    """Score replies to POPE's questions.

    Parameters
    ----------
    questions : sequence of Question
        With labels.
    replies : sequence of str or None
        In the order of the questions; None counts as the opposite of the label.
    rounds : int, optional
        Of the bootstrap.
    seed : int, optional

    Returns
    -------
    POPEScore

    Raises
    ------
    ValueError
        If the numbers of replies and questions differ, or are 0.
    RecordError
        If a label is missing.

    Examples
    --------
    >>> asked = [Question("1", "a.jpg", "Is there a cat in the image?", label="yes"),
    ...          Question("2", "a.jpg", "Is there a dog in the image?", label="no")]
    >>> always_yes = score_pope(asked, ["Yes", "Yes"])
    >>> always_yes.accuracy, always_yes.precision, always_yes.recall, always_yes.yes_ratio
    (0.5, 0.5, 1.0, 1.0)
    """
    if len(questions) != len(replies) or not questions:
        raise ValueError(
            f"`replies` must hold one reply per question, got {len(replies)} for {len(questions)} questions"
        )
    images, index = np.unique([question.image for question in questions], return_inverse=True)
    counts = np.zeros((len(images), 4))  # of each picture: true and false yes, true and false no
    for image, question, reply in zip(index, questions, replies, strict=True):
        counts[image, _outcome(question, reply)] += 1
    measured = {name: float(value[0]) for name, value in _measures(counts.sum(0, keepdims=True)).items()}
    drawn = _measures(resampled_sums(counts, seed, rounds=rounds))
    return POPEScore(
        **measured, n=len(questions), intervals={name: percentiles(samples) for name, samples in drawn.items()}
    )


def _outcome(question: Question, reply: str | None) -> int:
    """Column: 0 true yes, 1 false yes, 2 true no, 3 false no."""
    if question.label not in {"yes", "no"}:
        raise RecordError(
            f"{question.place}: the question {question.text!a} has no label; POPE's own files have labels"
        )
    is_yes = question.label == "yes"
    says_yes = not is_yes if reply is None else read_pope_reply(reply) == "yes"
    return (0 if is_yes else 1) if says_yes else (3 if is_yes else 2)


def _measures(counts: Ndarray) -> dict[str, Ndarray]:
    """All measures of each row of counts; a ratio with denominator 0 is 0."""
    true_yes, false_yes, true_no, false_no = counts.T

    def ratio(above: Ndarray, below: Ndarray) -> Ndarray:
        return np.divide(above, below, out=np.zeros_like(above), where=below > 0)

    total = counts.sum(1)
    return {
        "accuracy": ratio(true_yes + true_no, total),
        "precision": ratio(true_yes, true_yes + false_yes),
        "recall": ratio(true_yes, true_yes + false_no),
        "f1": ratio(2 * true_yes, 2 * true_yes + false_yes + false_no),
        "yes_ratio": ratio(true_yes + false_yes, total),
    }
