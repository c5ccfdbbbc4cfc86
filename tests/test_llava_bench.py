"""LLaVA-Bench's scores by hand."""

from __future__ import annotations

import pytest

from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.llava_bench import Review, score_llava_bench


def test_sums_are_divided_and_not_ratios_averaged():
    reviews = [Review("conv", 10, 5), Review("conv", 2, 4), Review("detail", 8, 8)]
    score = score_llava_bench(reviews)
    assert score.overall == pytest.approx(100 * 17 / 20)
    assert score.categories == {"conv": pytest.approx(75.0), "detail": 100.0}
    assert score.n == 3
    low, high = score.intervals["overall"]
    assert low < score.overall < high
    assert score.intervals["detail"] == (100.0, 100.0)


def test_a_model_as_good_as_the_reference_has_no_spread():
    score = score_llava_bench([Review("conv", k, k) for k in range(1, 11)])
    assert (score.overall, score.intervals["overall"]) == (100.0, (100.0, 100.0))


def test_the_interval_is_of_the_models_share_of_the_reference():
    score = score_llava_bench([Review("conv", 8, 2 + k % 3) for k in range(30)])
    low, high = score.intervals["overall"]
    assert low < score.overall < high < 100


def test_a_score_needs_reviews_and_a_reference_above_zero():
    with pytest.raises(ValueError, match="`reviews` must not be empty"):
        score_llava_bench([])
    with pytest.raises(RecordError, match="all 0 in conv"):
        score_llava_bench([Review("conv", 0, 5), Review("detail", 5, 5)])
