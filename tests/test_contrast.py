"""The arithmetic of contrastive decoding, by numbers worked by hand and by what must not matter."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pmtools.decoding.contrast import conditional_gain, contrast, disagreement, image_biased, plausible
from pmtools.decoding.vcd import noisy, signal_share

INF = math.inf


def row(*values):
    return torch.tensor(values, dtype=torch.float64)


def close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


class TestByHand:
    def test_plausible_is_relative_to_the_likeliest(self):
        probabilities = row(0.5, 0.05, 0.0499, 0.4)
        assert plausible(probabilities.log(), cutoff=0.1 - 1e-12).tolist() == [True, True, False, True]
        assert plausible(probabilities.log(), cutoff=1.0).tolist() == [True, False, False, False]
        assert plausible(row(0.0, -INF), cutoff=0.0).tolist() == [True, True]

    def test_contrast(self):
        # 2 * (2, 1, 0) - 1 * (3, 0, 1); log(0.1) = -2.3, so all three are plausible
        close(contrast(row(2, 1, 0), row(3, 0, 1), strength=1.0, cutoff=0.1), row(1, 2, -1))
        # log(0.3) = -1.2: the third is out
        close(contrast(row(2, 1, 0), row(3, 0, 1), strength=0.5, cutoff=0.3), row(1.5, 1.5, -INF))

    def test_contrast_is_guidance(self):
        given, blind, g = row(0.7, 0.2, 0.1).log(), row(0.3, 0.3, 0.4).log(), 1.1
        close(contrast(given, blind, strength=g - 1, cutoff=0.0), g * (given - blind) + blind)

    def test_conditional_gain(self):
        given, blind = row(0.5, 0.25, 0.25).log(), row(0.25, 0.25, 0.5).log()
        # lambda = log 2: g_1 = 1/2, weight 1; g_2 = 1/4, weight 3
        first = conditional_gain(given, blind, step=1, decay=math.log(2))
        close(first.exp(), row(0.5 * 2, 0.25, 0.25 / 2))
        second = conditional_gain(given, blind, step=2, decay=math.log(2))
        close(second.exp(), row(0.5 * 8, 0.25, 0.25 / 8))

    def test_conditional_gain_leaves_the_confident_alone(self):
        given = torch.stack([row(0.5, 0.5), row(0.9, 0.1)]).log()
        blind = row(0.2, 0.8).log()
        found = conditional_gain(given, blind, step=3, decay=0.5, confidence=0.8)
        close(found[1], given[1])
        assert not torch.allclose(found[0], given[0])

    def test_disagreement(self):
        close(disagreement(row(0.0, 1.0), row(0.0, 1.0)), row(0.0))
        close(disagreement(row(0.0, -INF), row(-INF, 0.0)), row(1.0))
        # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4): (log2(4/3) + (log2(2/3) + log2(2)) / 2) / 2
        expected = (math.log2(4 / 3) + (math.log2(2 / 3) + 1) / 2) / 2
        close(disagreement(row(0.0, -INF), row(0.0, 0.0)), row(expected))

    def test_image_biased(self):
        z, biased = row(0.5, 0.5).log(), row(0.8, 0.2).log()
        amount = 2.0 * disagreement(z, biased)
        close(image_biased(z, biased, strength=2.0), z + amount * (biased - z))


RULES = {
    "contrast": lambda z, u: contrast(z, u, strength=0.7, cutoff=0.1),
    "conditional_gain": lambda z, u: conditional_gain(z, u, step=4, decay=0.1, cutoff=0.1),
    "confident": lambda z, u: conditional_gain(z, u, step=4, decay=0.1, confidence=0.4),
    "image_biased": lambda z, u: image_biased(z, u, strength=1.3, cutoff=0.1),
}
scores = st.lists(st.floats(-20, 20), min_size=6, max_size=6).map(torch.tensor)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
class TestEveryRule:
    @given(z=scores, u=scores, shift=st.floats(-50, 50))
    def test_constants_do_not_matter(self, rule, z, u, shift):
        z, u = z.double(), u.double()
        want = rule(z, u).log_softmax(-1)
        # away from the edge of the cutoff, where rounding decides
        if ((z - z.max() - math.log(0.1)).abs() > 1e-6).all() and abs(z.softmax(-1).max() - 0.4) > 1e-6:
            close(rule(z + shift, u - shift).log_softmax(-1), want, atol=1e-9)

    @given(z=scores, u=scores)
    def test_rows_are_on_their_own(self, rule, z, u):
        close(rule(torch.stack([z, u]), torch.stack([u, z])), torch.stack([rule(z, u), rule(u, z)]))

    @given(z=scores)
    def test_an_equal_reference_changes_nothing(self, rule, z):
        found = rule(z.double(), z.double())
        kept = found > -INF
        close((found - z)[kept] - (found - z)[kept][0], torch.zeros(int(kept.sum()), dtype=torch.float64), atol=1e-9)

    def test_forbidden_tokens_stay_forbidden(self, rule):
        found = rule(row(1.0, -INF, 0.5), row(0.0, 2.0, 0.5))
        assert found[1] == -INF
        assert not found.isnan().any()


class TestNoise:
    def test_schedule(self):
        # an independent sum of logarithms
        t = np.arange(1000)
        beta = (5e-3 - 1e-5) / (1 + np.exp(6 - 12 * t / 999)) + 1e-5
        for step in (0, 500, 999):
            assert math.isclose(signal_share(step), math.exp(np.log1p(-beta[: step + 1]).sum()), rel_tol=1e-12)
        assert 0.6 < signal_share(500) < 0.9

    def test_variance_and_mean(self):
        pixels = {"pixel_values": torch.full((2, 3, 64, 64), 2.0), "other": 1}
        found = noisy(pixels, noise_step=700, seed=3)
        share = signal_share(700)
        assert found["other"] == 1
        assert abs(float(found["pixel_values"].mean()) - 2 * math.sqrt(share)) < 0.02
        assert abs(float(found["pixel_values"].var()) - (1 - share)) < 0.02

    def test_every_image_gets_the_same(self):
        two = noisy({"pixel_values": torch.zeros(2, 3, 8, 8)}, noise_step=500, seed=3)["pixel_values"]
        assert torch.equal(two[0], two[1])
        assert not torch.equal(
            two, noisy({"pixel_values": torch.zeros(2, 3, 8, 8)}, noise_step=500, seed=4)["pixel_values"]
        )

    def test_flat_patches_are_not_copies_of_each_other(self):
        grids = torch.tensor([[1, 2, 3], [1, 1, 4]])
        values = noisy({"pixel_values": torch.zeros(10, 5), "image_grid_thw": grids}, noise_step=500, seed=3)[
            "pixel_values"
        ]
        assert len(values[:6].unique(dim=0)) == 6
        assert torch.equal(values[6:], values[:4])
