"""Percentile bootstrap for scores that are functions of per-group sums: whole pictures are drawn, never single answers."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Ndarray: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Interval: TypeAlias = tuple[float, float]

ROUNDS, LEVEL = 2000, 0.95


def resampled_sums(values: Ndarray, seed: int, key: int = 0, rounds: int = ROUNDS) -> Ndarray:
    """Sums over groups drawn with replacement: `values` of shape (groups, columns) gives (rounds, columns).

    `key` tells strata apart, so that what one of them draws does not depend on which others are there.
    """
    groups, rng = len(values), np.random.default_rng([seed, key])
    draws = (np.bincount(rng.integers(groups, size=groups), minlength=groups) for _ in range(rounds))
    return np.stack([draw @ values for draw in draws]).astype(float)


def percentiles(samples: Ndarray, level: float = LEVEL) -> Interval:
    """The middle `level` of the samples."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
