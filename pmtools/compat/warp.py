"""The official magnification: an inverse CDF in index coordinates, point-sampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pmtools.compat._arguments import image_and_map, like, map_u8
from pmtools.typing import Heatmap, Image, Ndarray


@dataclass(frozen=True, eq=False)
class OfficialCoordinates:
    """Where `official_magnify` reads each output column and row, with the steps that lead there.

    Convention: index coordinates (pixel `i` sits at `i`), unlike the rest of the toolkit; add 0.5 for pixel-edge ones.

    Attributes
    ----------
    marginal_x, marginal_y : uint8 arrays of shape (W,) and (H,)
        Maximum of the map over its rows, and over its columns.
    cdf_x, cdf_y : float64 arrays of shape (W,) and (H,)
        Running sum over the total: no leading 0. NaN where the map is all zero.
    x, y : float64 arrays of shape (W,) and (H,)
        Source index of each output column and row, from about -1 to at most W - 1 (H - 1).
    """

    marginal_x: Ndarray
    marginal_y: Ndarray
    cdf_x: Ndarray
    cdf_y: Ndarray
    x: Ndarray
    y: Ndarray


def official_coordinates(perception_map_u8: Heatmap, /) -> OfficialCoordinates:
    r"""Source index of every output column and row of the official magnifier.

    Per axis: marginal by maximum, $F_k = \sum_{j \le k} m_j / \sum_j m_j$ (no leading 0), inverted at
    `linspace(0, 1, N)` with straight lines through $(F_k, k)$, the first of them continued below $F_0$.

    Convention: index coordinates, pixel `i` at `i`.

    Parameters
    ----------
    perception_map_u8 : uint8 array of shape (H, W)
        From `official_perception_map`.

    Returns
    -------
    OfficialCoordinates
        NaN in the first place where the marginal starts with two zeros, NaN everywhere for an all-zero map.

    Raises
    ------
    TypeError, ValueError
        If the map is not 2-D uint8, or has a side of 1 pixel (two points are needed for a line).

    Examples
    --------
    >>> official_coordinates(np.full((2, 5), 7, dtype=np.uint8)).x.round(6)
    array([-1.  ,  0.25,  1.5 ,  2.75,  4.  ])
    """
    weights = map_u8(perception_map_u8)
    if min(weights.shape) < 2:
        raise ValueError(
            f"`perception_map_u8` must be at least 2 x 2 pixels for the official inverse, got shape {weights.shape}; "
            "`pmtools.magnify` takes any size"
        )
    marginal_x, marginal_y = weights.max(axis=0), weights.max(axis=1)
    cdf_x, cdf_y = _cdf(marginal_x), _cdf(marginal_y)
    return OfficialCoordinates(marginal_x, marginal_y, cdf_x, cdf_y, x=_inverse_cdf(cdf_x), y=_inverse_cdf(cdf_y))


def official_magnify(image: Image, perception_map_u8: Heatmap, /) -> Image:
    """Image magnified as the official code does it, black rows and columns included.

    Linear interpolation at `official_coordinates`, rounded to the nearest 8-bit value; 0 outside the image.

    Parameters
    ----------
    image : PIL image or uint8 array of shape (H, W, 3)
        PIL images are converted to RGB.
    perception_map_u8 : uint8 array of shape (H, W)
        From `official_perception_map`, at the size of the image.

    Returns
    -------
    PIL image or uint8 array of shape (H, W, 3)
        Of the kind of `image`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the sizes differ.

    References
    ----------
    - Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183), section 3

    Examples
    --------
    >>> image = np.full((4, 4, 3), 9, dtype=np.uint8)
    >>> official_magnify(image, np.full((4, 4), 255, dtype=np.uint8))[..., 0]
    array([[0, 0, 0, 0],
           [0, 9, 9, 9],
           [0, 9, 9, 9],
           [0, 9, 9, 9]], dtype=uint8)
    """
    from scipy.ndimage import map_coordinates

    pixels, weights = image_and_map(image, perception_map_u8)
    coordinates = official_coordinates(weights)
    # NaN would be undefined inside scipy; -1 lies outside the image, so black, which is what official NaN becomes
    rows, columns = np.nan_to_num(coordinates.y, nan=-1.0), np.nan_to_num(coordinates.x, nan=-1.0)
    grid = np.meshgrid(rows, columns, indexing="ij")
    channels = [map_coordinates(pixels[..., c], grid, order=1, mode="constant", cval=0) for c in range(3)]
    return like(np.stack(channels, axis=-1), image)


def _cdf(marginal: Ndarray) -> Ndarray:
    running = np.cumsum(marginal, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # all zero: NaN, as documented
        return np.asarray(running / running[-1])


def _inverse_cdf(cdf: Ndarray) -> Ndarray:
    """Index at which the CDF reaches linspace(0, 1, N), extrapolated below its first value."""
    wanted = np.linspace(0.0, 1.0, len(cdf))
    right = np.clip(np.searchsorted(cdf, wanted), 1, len(cdf) - 1)
    left = right - 1
    with np.errstate(divide="ignore", invalid="ignore"):  # two zeros in front: inf * 0 = NaN, as documented
        slope = 1.0 / (cdf[right] - cdf[left])
        return slope * (wanted - cdf[left]) + left
