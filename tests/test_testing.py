"""Every shared checker is seen to fail on a warp that breaks its promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import find, given

import pmtools
from pmtools import Warp, testing
from pmtools.axes import AxisMap, Piece, axis_map


def broken(axis: AxisMap, **changes) -> AxisMap:
    return AxisMap(**{**axis.__dict__, **changes})


@pytest.fixture
def warp(rng) -> Warp:
    return pmtools.fit_warp(rng.random((6, 9)) ** 4, source_hw=(40, 70))


def test_they_pass_on_a_good_warp(warp, rng):
    testing.check_points_round_trip(warp)
    testing.check_boxes_round_trip(warp, np.array([[1.0, 2.0, 30.0, 39.0]]))
    testing.check_monotone(warp)
    testing.check_linear_sampling(warp, rng.random((40, 70)))


@given(testing.points((10, 20), margin=0.5))
def test_points_are_drawn_as_far_beyond_the_image_as_margin_says(points):
    assert (points >= [-10, -5]).all()
    assert (points <= [30, 15]).all()


def test_points_are_drawn_beyond_the_image():
    find(testing.points((10, 20), margin=0.5), lambda points: bool((points < [-5, -2]).all(axis=1).any()))


def test_a_lossy_inverse_is_seen(warp):
    class Lossy(Warp):
        def inverse_points(self, points_xy):
            return super().inverse_points(points_xy).astype(np.float32).astype(np.float64)

        def inverse_boxes(self, boxes_xyxy):
            return np.round(super().inverse_boxes(boxes_xyxy), 3)

    with pytest.raises(AssertionError, match="points do not come back"):
        testing.check_points_round_trip(Lossy(warp.x, warp.y))
    with pytest.raises(AssertionError, match="boxes do not come back"):
        testing.check_boxes_round_trip(Lossy(warp.x, warp.y), np.array([[1.23456, 2.0, 30.0, 39.0]]))


def test_a_swapped_axis_is_seen(warp):
    class Swapped(Warp):
        def boxes(self, boxes_xyxy):
            return super().boxes(boxes_xyxy)[..., [1, 0, 3, 2]]

        def inverse_boxes(self, boxes_xyxy):
            return super().inverse_boxes(boxes_xyxy[..., [1, 0, 3, 2]])

    with pytest.raises(AssertionError, match="a corner is not where its point is"):
        testing.check_boxes_round_trip(Swapped(warp.x, warp.y), np.array([[1.0, 2.0, 30.0, 39.0]]))


def test_a_fold_and_a_shift_are_seen(warp):
    knots = warp.x.pieces[0]
    folded = knots.after.copy()
    folded[10:13] = folded[10:13][::-1]
    with pytest.raises(AssertionError, match="not strictly increasing"):
        testing.check_monotone(Warp(axis_map(knots.before, folded, 70, 70), warp.y))
    with pytest.raises(AssertionError, match="corner moved"):
        testing.check_monotone(Warp(broken(warp.x, pieces=(Piece(knots.before, knots.after + 0.5),)), warp.y))


def test_an_identity_that_is_none_is_seen(warp, rng):
    image = rng.random((40, 70))
    with pytest.raises(AssertionError, match="points move"):
        testing.check_identity(warp, image)

    class Rounding(Warp):
        def image(self, image, **options):
            return super().image(image, **options) + 1e-16 + 1e-15

    with pytest.raises(AssertionError, match="to the last bit"):
        testing.check_identity(Rounding(*(pmtools.frames.identity((40, 70)).__dict__.values())), image)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_lopsided_warp_is_seen(rng, axis):
    heat, image = rng.random((5, 6)), rng.random((30, 44))

    def lopsided(heatmap):
        heatmap = heatmap.copy()
        heatmap[(0, slice(None)) if axis == 0 else (slice(None), 0)] *= 2
        return pmtools.fit_warp(heatmap, source_hw=(30, 44))

    with pytest.raises(AssertionError, match="mirrored along axis"):
        testing.check_mirrored(lopsided, heat, image)
