"""Paired differences by picture, and the power of paired tests: against simulation, a published formula and shuffled data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from pmtools.evaluation.llava_bench import Review, score_llava_bench
from pmtools.evaluation.mme import picture_points, score_mme
from pmtools.evaluation.mme.scoring import right_pairs
from pmtools.evaluation.pope import score_pope
from pmtools.evaluation.questions import Question
from pmtools.evaluation.statistics import (
    bootstrap_interval,
    mcnemar,
    paired_difference,
    paired_power,
    questions_needed,
    sign_flip_test,
)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


class TestDifference:
    def test_it_is_what_its_parts_are(self, rng):
        first, second, groups = rng.random(40), rng.random(40), rng.integers(0, 12, 40)
        found = paired_difference(first, second, groups, seed=3)
        assert found.difference == pytest.approx(second.mean() - first.mean())
        assert found.interval == bootstrap_interval(second - first, groups, seed=3)
        assert found.p == sign_flip_test(second - first, groups, seed=3)
        assert (found.n, found.groups) == (40, len(np.unique(groups)))
        assert found.better + found.worse == 40

    def test_alone_in_their_pictures_questions_are_mcnemars(self):
        """Turning signs of questions that differ is the exact binomial test, up to its random draws."""
        first, second = [0] * 14 + [1] * 4 + [1] * 30, [1] * 14 + [0] * 4 + [1] * 30
        found = paired_difference(first, second, range(48))
        exact = mcnemar(np.array(second, bool), np.array(first, bool))
        assert (found.better, found.worse) == (exact.won, exact.lost)
        assert found.p == pytest.approx(exact.p, abs=0.01)

    def test_one_picture_asked_again_and_again_is_one_piece_of_evidence(self):
        often = paired_difference([0] * 60, [1] * 60, np.repeat(["a", "b", "c"], 20))
        assert often.p == 0.25
        assert paired_difference([0] * 60, [1] * 60, range(60)).p < 1e-3

    @pytest.mark.parametrize(("a", "b", "groups"), [([1], [1, 0], [0]), ([1], [1], [0, 1]), ([], [], [])])
    def test_other_questions_are_refused(self, a, b, groups):
        with pytest.raises(ValueError, match="must be of the same questions"):
            paired_difference(a, b, groups)

    def test_points_of_mmes_pictures_add_up_to_its_totals(self, rng):
        asked, replies = [], []
        for category, pictures in (("existence", 7), ("color", 4), ("OCR", 3)):
            for k in range(pictures):
                asked += [Question(None, f"{k}.jpg", f"{i}?", category, label) for i, label in enumerate(("yes", "no"))]
        replies = [str(word) for word in rng.choice(["yes", "no", "maybe"], len(asked))]
        points = picture_points(right_pairs(asked, replies))
        assert len(points) == 14
        assert np.mean(points) == pytest.approx(score_mme(asked, replies).perception)


def connor(fixed: float, broken: float, power: float, level: float) -> float:
    """The published approximation, R. J. Connor 1987, eq. 3: normal, without continuity correction."""
    differ, effect = fixed + broken, abs(fixed - broken)
    z = norm.isf(level / 2) * math.sqrt(differ) + norm.isf(1 - power) * math.sqrt(differ - effect**2)
    return (z / effect) ** 2


class TestPower:
    @pytest.mark.parametrize(("n", "fixed", "broken"), [(40, 0.3, 0.05), (191, 0.15, 0.05), (300, 0.04, 0.06)])
    @pytest.mark.parametrize("level", [0.05, 0.01])
    def test_it_is_how_often_the_test_rejects(self, rng, n, fixed, broken, level):
        """Draws of whole experiments, each tested by scipy's binomial test through `mcnemar`'s exact branch."""
        from scipy.stats import binomtest

        draws = rng.multinomial(n, [fixed, broken, 1 - fixed - broken], size=20_000)
        pairs, counts = np.unique(draws[:, :2], axis=0, return_counts=True)
        rejects = [w + b > 0 and binomtest(int(w), int(w + b)).pvalue <= level for w, b in pairs]
        simulated = counts[rejects].sum() / counts.sum()
        assert paired_power(n, fixed=fixed, broken=broken, level=level) == pytest.approx(simulated, abs=0.012)

    @pytest.mark.parametrize(("fixed", "broken"), [(0.03, 0.01), (0.06, 0.045), (0.1, 0.05)])
    @pytest.mark.parametrize("power", [0.8, 0.9])
    def test_questions_are_a_little_more_than_the_normal_formula_says(self, fixed, broken, power):
        """An exact test is conservative."""
        needed, formula = questions_needed(fixed=fixed, broken=broken, power=power), connor(fixed, broken, power, 0.05)
        assert formula <= needed < 1.1 * formula + 10
        assert paired_power(needed, fixed=fixed, broken=broken) >= power

    def test_five_questions_show_nothing_and_six_in_one_direction_do(self):
        assert paired_power(5, fixed=1.0, broken=0.0) == 0.0
        assert paired_power(6, fixed=1.0, broken=0.0) == pytest.approx(1.0)

    def test_without_an_effect_the_level_is_kept(self):
        for n in (20, 100, 1000):
            assert paired_power(n, fixed=0.1, broken=0.1) <= 0.05

    def test_both_directions_are_found_alike(self):
        assert paired_power(200, fixed=0.1, broken=0.03) == pytest.approx(paired_power(200, fixed=0.03, broken=0.1))

    def test_shared_pictures_are_the_design_effect(self):
        """Six questions that always change together are one; the clustered sign-flip test in simulation agrees."""
        alone = paired_power(50, fixed=0.3, broken=0.05)
        together = paired_power(300, fixed=0.3, broken=0.05, per_picture=6, correlation=1.0)
        assert together == alone
        rng, found = np.random.default_rng(5), 0
        groups = np.repeat(np.arange(50), 6)
        for _ in range(60):
            change = np.repeat(rng.choice([1, -1, 0], 50, p=[0.3, 0.05, 0.65]), 6)
            found += sign_flip_test(change, groups) <= 0.05
        assert found / 60 == pytest.approx(alone, abs=0.13)  # 2 standard errors
        assert alone < paired_power(300, fixed=0.3, broken=0.05) == pytest.approx(1.0)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"fixed": 0.7, "broken": 0.4}, "must be shares, together in"),
            ({"fixed": 0.0, "broken": 0.0}, "must be shares, together in"),
            ({"fixed": 0.2, "broken": 0.1, "per_picture": 0.5}, "`per_picture` must be at least 1"),
            ({"fixed": 0.2, "broken": 0.1, "correlation": 1.5}, "`correlation` in"),
        ],
    )
    def test_what_cannot_be_is_refused(self, options, says):
        with pytest.raises(ValueError, match=says):
            paired_power(100, **options)

    def test_no_number_of_questions_shows_what_is_not_there(self):
        with pytest.raises(ValueError, match="an effect that is not there"):
            questions_needed(fixed=0.1, broken=0.1)


def mme_intervals(**options):
    asked = [Question(None, f"{k}", f"{word}?", "color", word) for k in range(30) for word in ("yes", "no")]
    return score_mme(asked, ["yes" if k % 3 else "no" for k in range(60)], **options).intervals


def pope_intervals(**options):
    asked = [Question(f"{k}", f"{k}", "?", label="yes") for k in range(30)]
    return score_pope(asked, ["Yes" if k % 3 else "No" for k in range(30)], **options).intervals


def llava_bench_intervals(**options):
    return score_llava_bench([Review("conv", 8, 2 + k % 3) for k in range(30)], **options).intervals


@pytest.mark.parametrize("intervals", [mme_intervals, pope_intervals, llava_bench_intervals])
def test_seed_and_rounds_reach_the_bootstrap(intervals):
    assert intervals(seed=1, rounds=5) == intervals(seed=1, rounds=5) != intervals(seed=2, rounds=5)
    assert all(low == high for low, high in intervals(rounds=1).values())
