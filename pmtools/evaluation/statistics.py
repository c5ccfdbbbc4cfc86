"""Intervals, paired tests and their power. The bootstrap draws whole pictures, never single answers: those are not independent.

Knows no benchmark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pmtools import _checks
from pmtools.typing import Ndarray

__all__ = [
    "Mcnemar",
    "Paired",
    "bootstrap_interval",
    "holm",
    "mcnemar",
    "paired_difference",
    "paired_power",
    "questions_needed",
    "sign_flip_test",
]

Interval: TypeAlias = tuple[float, float]

ROUNDS = 2000  # of a bootstrap


def resampled_sums(values: Ndarray, seed: int, key: int = 0, rounds: int = ROUNDS) -> Ndarray:
    """Sums over groups drawn with replacement: `values` of shape (groups, columns) gives (rounds, columns).

    `key` distinguishes strata, so that the draws of one do not depend on which others exist.
    """
    groups, rng = len(values), np.random.default_rng([seed, key])
    draws = (np.bincount(rng.integers(groups, size=groups), minlength=groups) for _ in range(rounds))
    return np.stack([draw @ values for draw in draws]).astype(float)


def percentiles(samples: Ndarray) -> Interval:
    """The middle 95 % of the samples."""
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Mcnemar:
    """Paired comparison of two methods on the same questions.

    Attributes
    ----------
    won, lost : int
        Questions that only the first, or only the second, answered correctly.
    z : float
        Signed: positive where the first is better.
    p : float
        Two-sided.
    """

    won: int
    lost: int
    z: float
    p: float


def mcnemar(first: Sequence[bool] | Ndarray, second: Sequence[bool] | Ndarray, /) -> Mcnemar:
    r"""McNemar's paired test: only questions on which the methods differ count.

    $z = (w - l) / \sqrt{w + l}$; the p-value is the exact binomial one below 50 differences, normal above.

    Parameters
    ----------
    first, second : sequence of bool, shape (n,)
        Whether each method was right, in the same order.

    Returns
    -------
    Mcnemar

    Raises
    ------
    ValueError
        If the lengths differ.

    References
    ----------
    - McNemar, Psychometrika 12 (1947), [doi:10.1007/BF02295996](https://doi.org/10.1007/BF02295996)

    Examples
    --------
    >>> mcnemar([True, True, True, False], [False, True, False, True])
    Mcnemar(won=2, lost=1, z=0.5773502691896258, p=1.0)
    """
    from scipy.stats import binomtest, norm

    a, b = np.asarray(first, bool), np.asarray(second, bool)
    if a.shape != b.shape:
        raise ValueError(f"`first` and `second` must answer the same questions, got {a.size} and {b.size}")
    won, lost = int((a & ~b).sum()), int((b & ~a).sum())
    differ = won + lost
    if differ == 0:
        return Mcnemar(0, 0, 0.0, 1.0)
    z = (won - lost) / math.sqrt(differ)
    if differ < 50:
        return Mcnemar(won, lost, z, float(binomtest(won, differ).pvalue))
    return Mcnemar(won, lost, z, float(2 * norm.sf(abs(z))))


def bootstrap_interval(
    right: Sequence[bool] | Ndarray, groups: Sequence[int] | Ndarray, /, *, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of a mean, such as an accuracy, resampling whole pictures: their questions are not independent.

    Parameters
    ----------
    right : sequence of bool or float, shape (n,)
    groups : sequence of int, shape (n,)
        The picture of each question.
    seed : int, optional

    Returns
    -------
    (low, high)
        NaN for an empty input.
    """
    if len(right) == 0:
        return math.nan, math.nan
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.stack([np.bincount(index, weights=np.asarray(right, float)), np.bincount(index)], axis=1)
    hits, sizes = resampled_sums(sums, seed).T
    return percentiles(hits / sizes)


def sign_flip_test(differences: Sequence[float] | Ndarray, groups: Sequence[Any], /, *, seed: int = 0) -> float:
    """Two-sided p-value of paired differences, turning the sign of whole groups: exact up to 13 groups, else 9999 draws.

    Parameters
    ----------
    differences : sequence of float, shape (n,)
    groups : sequence, shape (n,)
        The picture of each pair: its pairs are not independent.
    seed : int, optional

    Returns
    -------
    float

    References
    ----------
    - R. A. Fisher, The Design of Experiments, 1935, section 21

    Examples
    --------
    >>> sign_flip_test([1, 0, 1, 1], ["a", "a", "b", "c"])
    0.25
    """
    from scipy.stats import permutation_test

    _, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(differences, float))
    if len(sums) < 2 or not sums.any():
        return 1.0
    found = permutation_test(
        (sums,), np.sum, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(seed)
    )
    return float(found.pvalue)


@dataclass(frozen=True)
class Paired:
    """What a method changes on questions that another answered too.

    Attributes
    ----------
    n, groups : int
        Questions, and pictures that they are about.
    difference : float
        Mean score of the second less that of the first.
    interval : (float, float)
        95 % of it, resampling whole pictures.
    better, worse : int
        Questions with a higher, or a lower, score by the second.
    p : float
        Two-sided, turning the sign of whole pictures.
    """

    n: int
    groups: int
    difference: float
    interval: Interval
    better: int
    worse: int
    p: float


def paired_difference(
    first: Sequence[float] | Ndarray,
    second: Sequence[float] | Ndarray,
    groups: Sequence[Any],
    /,
    *,
    seed: int = 0,
) -> Paired:
    """Compare two methods on the same questions, whole pictures at a time. Of several comparisons, correct `p` by `holm`.

    Parameters
    ----------
    first, second : sequence of float, shape (n,)
        Score of each question, in the same order; True is 1.
    groups : sequence, shape (n,)
        The picture of each question.
    seed : int, optional

    Returns
    -------
    Paired

    Raises
    ------
    ValueError
        If the lengths differ or are 0.

    Examples
    --------
    >>> found = paired_difference([0, 0, 1, 0], [1, 1, 1, 1], ["a", "a", "b", "c"])
    >>> found.difference, found.better, found.worse, found.p
    (0.75, 3, 0, 0.5)
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.shape != b.shape or len(groups) != a.size or not a.size:
        raise ValueError(
            "`first`, `second` and `groups` must be of the same questions, at least one, got "
            f"{a.size}, {b.size} and {len(groups)}"
        )
    change = b - a
    return Paired(
        n=a.size,
        groups=len(set(groups)),
        difference=float(change.mean()),
        interval=bootstrap_interval(change, groups, seed=seed),
        better=int((change > 0).sum()),
        worse=int((change < 0).sum()),
        p=sign_flip_test(change, groups, seed=seed),
    )


def paired_power(
    questions: int,
    /,
    *,
    fixed: float,
    broken: float,
    per_picture: float = 1.0,
    correlation: float = 0.0,
    level: float = 0.05,
) -> float:
    r"""Chance that McNemar's exact paired test finds an effect that is there.

    Of $n$ questions $D \sim \mathrm{Binomial}(n, f + b)$ differ, and of those $\mathrm{Binomial}(D, f / (f + b))$ are
    fixed. Where questions share pictures, $n$ is divided by the design effect $1 + (m - 1) \rho$.

    Parameters
    ----------
    questions : int
    fixed, broken : float
        Share of questions that only the new method answers correctly, and only the old one; in [0, 1], together in (0, 1].
    per_picture : float, optional
        Questions about one picture, m, at least 1.
    correlation : float, optional
        Of what changes (+1, 0, -1) between questions about one picture, in [0, 1].
    level : float, optional
        Of the two-sided test. For the smallest of k p-values under Holm's correction, 0.05 / k.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    - R. J. Connor, Sample size for testing differences in proportions for the paired-sample design, Biometrics 43 (1987)
    - L. Kish, Survey Sampling, 1965, section 5.4, for the design effect

    Examples
    --------
    >>> round(paired_power(191, fixed=0.15, broken=0.05), 2)
    0.86
    """
    from scipy.stats import binom

    differ, effective = _effective(questions, fixed, broken, per_picture, correlation)
    counts = np.arange(effective + 1)
    chances = binom.pmf(counts, effective, differ)
    counts, chances = counts[chances > 1e-12], chances[chances > 1e-12]
    least = binom.isf(level / 2, counts, 0.5) + 1  # as many on one side are rare enough: P(X >= least) <= level / 2
    share = fixed / differ
    found = binom.sf(least - 1, counts, share) + binom.cdf(counts - least, counts, share)
    return float(chances @ found)


def questions_needed(
    *,
    fixed: float,
    broken: float,
    power: float = 0.8,
    per_picture: float = 1.0,
    correlation: float = 0.0,
    level: float = 0.05,
) -> int:
    """Questions with which `paired_power` reaches a power.

    Parameters
    ----------
    fixed, broken, per_picture, correlation, level
        As for `paired_power`; `fixed` and `broken` differ.
    power : float, optional
        In (0, 1).

    Returns
    -------
    int
        An exact test's power goes up in small steps back and forth: a few questions less may do as well.

    Raises
    ------
    ValueError
        If an argument is out of range, or there is no effect to find.

    Examples
    --------
    >>> questions_needed(fixed=0.15, broken=0.05)
    168
    """
    if fixed == broken or not 0 < power < 1:
        raise ValueError(
            f"`fixed` and `broken` must differ, and `power` lie within 0 and 1, got {fixed}, {broken} and {power}; no number of "
            "questions shows an effect that is not there"
        )

    def enough(questions: int) -> bool:
        found = paired_power(
            questions, fixed=fixed, broken=broken, per_picture=per_picture, correlation=correlation, level=level
        )
        return found >= power

    high = 8
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _effective(
    questions: int, fixed: float, broken: float, per_picture: float, correlation: float
) -> tuple[float, int]:
    """The share of questions that differ, and how many independent questions those given are worth."""
    questions = _checks.whole_number(questions, "questions")
    differ = fixed + broken
    if min(fixed, broken) < 0 or not 0 < differ <= 1:
        raise ValueError(f"`fixed` and `broken` must be shares, together in (0, 1], got {fixed} and {broken}")
    if per_picture < 1 or not 0 <= correlation <= 1:
        raise ValueError(
            f"`per_picture` must be at least 1 and `correlation` in [0, 1], got {per_picture} and {correlation}"
        )
    return differ, int(questions / (1 + (per_picture - 1) * correlation))


def holm(p_values: Sequence[float], /) -> list[float]:
    """P-values corrected for their number, in the given order.

    Parameters
    ----------
    p_values : sequence of float

    Returns
    -------
    list of float

    References
    ----------
    - S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979)

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    corrected = np.maximum.accumulate(np.asarray(p_values, float)[order] * np.arange(len(order), 0, -1))
    result = np.empty(len(order))
    result[order] = np.minimum(corrected, 1.0)
    return [float(p) for p in result]
