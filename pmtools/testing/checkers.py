"""Checkers of properties that every warp must have; each raises `AssertionError` with the worst offender."""

from __future__ import annotations

from typing import Any

import numpy as np

from pmtools import _array
from pmtools.typing import Array, BoxesXYXY, Heatmap, Ndarray, PointsXY
from pmtools.warp import Warp

#: Round trips in float64 are this good, in pixels, at the default floor and up to 5000 pixels.
ROUND_TRIP_PX = 1e-8


def _assert_close(actual: Any, wanted: Any, tolerance: float, what: str) -> None:
    difference = np.abs(_array.to_numpy(actual).astype(float) - _array.to_numpy(wanted).astype(float))
    worst = float(difference.max(initial=0.0))
    if not worst <= tolerance:  # NaN too
        place = np.unravel_index(int(np.argmax(difference)), difference.shape)
        raise AssertionError(f"{what}: off by {worst:.3g} at {tuple(map(int, place))}, allowed are {tolerance:.3g}")


def _grid_points(warp: Warp) -> Ndarray:
    height, width = warp.source_hw
    n = 2 * max(height, width, 16) + 1
    diagonal = np.stack([np.linspace(0, width, n), np.linspace(0, height, n)], axis=-1)
    return np.broadcast_to(diagonal, (*warp.batch_shape, n, 2))


def check_points_round_trip(warp: Warp, points_xy: PointsXY | None = None, *, tolerance: float = ROUND_TRIP_PX) -> None:
    """Points round-trip: source to target to source, and target to source to target.

    Parameters
    ----------
    warp : Warp
    points_xy : array of shape (..., 2), optional
        Source points. Default: a dense diagonal, which visits every cell of both axes.
    tolerance : float, optional
        In pixels of either image.
    """
    points_xy = _grid_points(warp) if points_xy is None else points_xy
    there = warp.points(points_xy)
    _assert_close(warp.inverse_points(there), points_xy, tolerance, "points do not come back to the source")
    _assert_close(warp.points(warp.inverse_points(there)), there, tolerance, "points do not come back to the target")
    _assert_close(warp.inverse().points(there), points_xy, tolerance, "inverse().points is not inverse_points")


def check_boxes_round_trip(warp: Warp, boxes_xyxy: BoxesXYXY, *, tolerance: float = ROUND_TRIP_PX) -> None:
    """Boxes round-trip, and their corners map like points.

    Parameters
    ----------
    warp : Warp
    boxes_xyxy : array of shape (..., 4)
        Source boxes.
    tolerance : float, optional
        In pixels.
    """
    there = warp.boxes(boxes_xyxy)
    _assert_close(warp.inverse_boxes(there), boxes_xyxy, tolerance, "boxes do not come back")
    for corner in (slice(0, 2), slice(2, 4)):
        _assert_close(
            warp.points(boxes_xyxy[..., corner]), there[..., corner], tolerance, "a corner is not where its point is"
        )


def check_monotone(warp: Warp) -> None:
    """Order is kept strictly on both axes, and the image's edges map to edges.

    Parameters
    ----------
    warp : Warp
        One that covers all of source and target, as warps of maps do.
    """
    there = _array.to_numpy(warp.points(_grid_points(warp)))
    if not (np.diff(there, axis=-2) > 0).all():
        raise AssertionError("the map is not strictly increasing: two source points meet or change sides")
    height, width = warp.target_hw
    _assert_close(there[..., 0, :], np.zeros(2), ROUND_TRIP_PX, "the top left corner moved")
    _assert_close(there[..., -1, :], np.array([width, height]), ROUND_TRIP_PX, "the bottom right corner moved")


def check_identity(warp: Warp, image: Array) -> None:
    """The warp changes nothing: points stay and the image is the same to the last bit.

    Parameters
    ----------
    warp : Warp
    image : NumPy array
    """
    points = _grid_points(warp)
    _assert_close(warp.points(points), points, ROUND_TRIP_PX, "points move")
    same = _array.to_numpy(warp.image(image))
    if same.dtype != image.dtype or not np.array_equal(same, _array.to_numpy(image)):
        raise AssertionError("the image is not the same to the last bit")


def check_linear_sampling(warp: Warp, image: Ndarray, *, tolerance: float = 1e-9) -> None:
    """`warp.image(antialias=False)` is linear interpolation at `inverse_points` of the pixel centres, as SciPy does it.

    Parameters
    ----------
    warp : Warp
        A single one that covers all of the source.
    image : float64 NumPy array of shape (H, W)
    tolerance : float, optional
        In units of the image.
    """
    from scipy import ndimage

    height, width = warp.target_hw
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    source = _array.to_numpy(warp.inverse_points(np.stack([x, y], axis=-1)))
    wanted = ndimage.map_coordinates(image, [source[..., 1] - 0.5, source[..., 0] - 0.5], order=1, mode="nearest")
    _assert_close(
        warp.image(image, antialias=False), wanted, tolerance, "not the linear interpolation at inverse_points"
    )


def check_mirrored(
    make_warp: Any, heatmap: Heatmap, image: Ndarray, *, antialias: bool = True, tolerance: float = 1e-6
) -> None:
    """A mirrored image with a mirrored map gives the mirrored result, along each axis.

    Parameters
    ----------
    make_warp : callable
        `make_warp(heatmap)` returns a Warp.
    heatmap : NumPy array of shape (h, w)
    image : float NumPy array of shape (H, W) or (H, W, C)
    antialias : bool, optional
    tolerance : float, optional
        In units of the image.
    """
    wanted = make_warp(heatmap).image(image, antialias=antialias)
    for axis in (0, 1):
        mirrored = make_warp(np.flip(heatmap, axis)).image(np.flip(image, axis), antialias=antialias)
        _assert_close(np.flip(mirrored, axis), wanted, tolerance, f"mirrored along axis {axis} is different")
