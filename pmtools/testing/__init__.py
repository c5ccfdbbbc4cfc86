"""Property-based testing of warps: Hypothesis strategies and checkers, for your own warps and pipelines too.

Needs the extra `test` (hypothesis). The checkers raise `AssertionError` with the worst offender.

Examples
--------
>>> from hypothesis import given
>>> from pmtools.testing import check_points_round_trip, warps
>>> @given(warps())
... def test_my_warps(warp):
...     check_points_round_trip(warp)
>>> test_my_warps()
"""

from pmtools.testing.checkers import (
    check_boxes_round_trip,
    check_identity,
    check_linear_sampling,
    check_mirrored,
    check_monotone,
    check_points_round_trip,
)
from pmtools.testing.strategies import boxes, heatmaps, images, points, sizes, warps

__all__ = [
    "boxes",
    "check_boxes_round_trip",
    "check_identity",
    "check_linear_sampling",
    "check_mirrored",
    "check_monotone",
    "check_points_round_trip",
    "heatmaps",
    "images",
    "points",
    "sizes",
    "warps",
]
