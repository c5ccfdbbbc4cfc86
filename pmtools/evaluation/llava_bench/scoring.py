"""LLaVA-Bench: open questions, with a judge that scores the reference and the model's answer from 1 to 10.

The result is 100 times the sum of the model's scores over the sum of the reference's. Pure functions of reviews;
`reviews` requests and reads them.

References
----------
- LLaVA, [arXiv:2304.08485](https://arxiv.org/abs/2304.08485); in the wild: [arXiv:2310.03744](https://arxiv.org/abs/2310.03744)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.statistics import ROUNDS, Interval, percentiles, resampled_sums

__all__ = ["LLaVABenchScore", "Review", "score_llava_bench"]


@dataclass(frozen=True)
class Review:
    """A judge's two scores.

    Attributes
    ----------
    category : str
    reference, model : float
        From 0 to 10.
    question_id : str or None
    place : str
        `file:line` that it was read from.
    """

    category: str
    reference: float
    model: float
    question_id: str | None = None
    place: str = ""


@dataclass(frozen=True)
class LLaVABenchScore:
    """LLaVA-Bench's numbers.

    Attributes
    ----------
    overall : float
        100 x sum of the model's scores / sum of the reference's.
    categories : dict of str to float
        The same of each category.
    n : int
        Reviews.
    skipped : int
        Reviews without scores that were left out.
    intervals : dict of str to (float, float)
        95 % bootstrap intervals over questions.
    """

    overall: float
    categories: Mapping[str, float]
    n: int
    skipped: int
    intervals: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self) | {"intervals": {name: list(interval) for name, interval in self.intervals.items()}}


def score_llava_bench(
    reviews: Sequence[Review], /, *, skipped: int = 0, rounds: int = ROUNDS, seed: int = 0
) -> LLaVABenchScore:
    """Score reviews.

    Parameters
    ----------
    reviews : sequence of Review
    skipped : int, optional
        Reviews that were left out, to be reported.
    rounds : int, optional
        Of the bootstrap.
    seed : int, optional

    Returns
    -------
    LLaVABenchScore

    Raises
    ------
    ValueError
        If there are no reviews.
    RecordError
        If the reference's scores in a category are all 0.

    Examples
    --------
    >>> score = score_llava_bench([Review("conv", 8, 6), Review("detail", 10, 9)])
    >>> round(score.overall, 2), score.categories
    (83.33, {'conv': 75.0, 'detail': 90.0})
    """
    if not reviews:
        raise ValueError("`reviews` must not be empty")
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for review in reviews:
        pairs[review.category].append((review.reference, review.model))
    ratios: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    for key, (category, scores) in enumerate([("", [p for ps in pairs.values() for p in ps]), *sorted(pairs.items())]):
        values = np.array(scores, float)
        reference, model = values.sum(0)
        if reference == 0:
            raise RecordError(f"the reference's scores are all 0 in {category or 'all reviews'}; there is no ratio")
        drawn = resampled_sums(values, seed, key, rounds)
        drawn = drawn[drawn[:, 0] > 0]
        ratios[category] = 100 * float(model / reference)
        intervals[category or "overall"] = percentiles(100 * drawn[:, 1] / drawn[:, 0])
    return LLaVABenchScore(ratios.pop(""), ratios, len(reviews), skipped, intervals)
