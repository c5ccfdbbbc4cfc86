"""Intervals and paired tests. The bootstrap draws whole pictures, never single answers: those are not independent.

Knows no benchmark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Mcnemar", "bootstrap_interval", "holm", "mcnemar", "sign_flip_test"]

Ndarray: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Interval: TypeAlias = tuple[float, float]

ROUNDS, LEVEL = 2000, 0.95


def resampled_sums(values: Ndarray, seed: int, key: int = 0, rounds: int = ROUNDS) -> Ndarray:
    """Sums over groups drawn with replacement: `values` of shape (groups, columns) gives (rounds, columns).

    `key` distinguishes strata, so that the draws of one do not depend on which others exist.
    """
    groups, rng = len(values), np.random.default_rng([seed, key])
    draws = (np.bincount(rng.integers(groups, size=groups), minlength=groups) for _ in range(rounds))
    return np.stack([draw @ values for draw in draws]).astype(float)


def percentiles(samples: Ndarray, level: float = LEVEL) -> Interval:
    """The middle `level` of the samples."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
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


def mcnemar(first: Sequence[bool] | np.ndarray[Any, Any], second: Sequence[bool] | np.ndarray[Any, Any], /) -> Mcnemar:
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
    right: Sequence[bool] | np.ndarray[Any, Any], groups: Sequence[int] | np.ndarray[Any, Any], /, *, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of an accuracy, resampling whole pictures: their questions are not independent.

    Parameters
    ----------
    right : sequence of bool, shape (n,)
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


def sign_flip_test(
    differences: Sequence[float] | np.ndarray[Any, Any], groups: Sequence[Any], /, *, seed: int = 0
) -> float:
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
