r"""The official implementation's numbers, quirks included, for reproducing the paper's tables.

Every function here computes what the published code computes, in its order and its precision: float32 statistics,
8-bit maps, point sampling in index coordinates. The toolkit's own functions (`pmtools.magnify` and its neighbours)
leave the quirks out and are what new work should use; nothing here knows them, and nothing there uses this file.

Chain: attention -> `official_heatmap` -> `official_perception_map` (`official_perception_tokens` is the step before 8
bits) -> `official_coordinates` -> `official_magnify`, or one of `official_mask`, `official_blur`, `official_crop`,
`official_bbox`.

Quirks that are kept on purpose:

- a uniform map is not the identity: the coordinates run from about -1 to N - 1, and what lies outside the image is
  black;
- a zero in the 8-bit map's marginal drops those columns or rows, and zeros in front make the first coordinate NaN
  (black);
- a constant heatmap gives NaN tokens, an 8-bit map of zeros, and a black image;
- the map is quantised to 8 bits, the image is point-sampled: compressed regions alias.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)
- API, whose post-processing it shares, [arXiv:2409.17143](https://arxiv.org/abs/2409.17143)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pmtools import _array, _checks
from pmtools.typing import Heatmap, Image, SizeHW

Ndarray: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_RED = (255, 0, 0)
_MIN_REGION_PIXELS = 1600  # 40 x 40: smaller regions get no box
_ARROW_LENGTH = 50
_ARROW_TIP = 11  # 0.3 of the length, at 45 degrees: 0.3 * 50 / sqrt(2) = 10.6, rounded
_BRUSH_RADIUS = 2


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


def official_heatmap(attention: Heatmap, /, *, start_layer: int) -> Ndarray:
    r"""Heatmap of one decoding step: maximum over the heads, sum over the layers from `start_layer` on.

    $A = \sum_{l \ge L} \max_h a_{l,h}$, with $L$ counted from 1; no layer is normalised.

    Parameters
    ----------
    attention : array of shape (layers, heads, h, w)
        Softmaxed attention of the last query over the image tokens, >= 0.
    start_layer : int
        First layer taken, 1-based: 12 (of 32) in the paper, so layer index 11 of transformers.

    Returns
    -------
    float32 array of shape (h, w)

    Raises
    ------
    TypeError, ValueError
        If `attention` is not four-dimensional, finite and non-negative, or has no layer `start_layer`.

    References
    ----------
    - Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183), section 3

    Examples
    --------
    >>> attention = np.zeros((3, 2, 1, 2)) + [0.1, 0.2]
    >>> official_heatmap(attention, start_layer=2)
    array([[0.2, 0.4]], dtype=float32)
    """
    values = _array.to_numpy(_checks.weights(attention, "attention"))
    if values.ndim != 4:
        raise ValueError(
            f"`attention` must be 4-D (layers, heads, h, w), got shape {values.shape}; "
            "take the last query and the image tokens only, and reshape these to their grid"
        )
    first = _checks.whole_number(start_layer, "start_layer", minimum=1, maximum=values.shape[0])
    layers = values[first - 1 :].astype(np.float32).max(axis=1)  # (layers, h, w)
    # one layer after the other: the order in which the official sum rounds
    return np.asarray(np.add.accumulate(layers, axis=0, dtype=np.float32)[-1])


def official_perception_tokens(heatmap: Heatmap, /, *, gain: float = 10.0, kernel_size: int = 3) -> Ndarray:
    r"""Perception map on the token grid, before it is rounded to 8 bits.

    With $n$ the min-max normalised heatmap, $s = \sigma(\text{gain} \cdot (n - \bar n) / \mathrm{std}(n))$ with the
    unbiased standard deviation, then the `kernel_size` x `kernel_size` mean of $s$, edges replicated. All in float32.

    Parameters
    ----------
    heatmap : array of shape (h, w)
        Non-negative, any scale.
    gain : float, optional
        Factor on the z-scores: 10 in the paper, 15 in the official POPE script.
    kernel_size : int, optional
        Side of the mean filter in tokens, odd: 3 in the paper, 5 in the official POPE script.

    Returns
    -------
    float32 array of shape (h, w)
        In [0, 1] up to rounding (1.0000001 occurs); NaN everywhere for a constant heatmap.

    Raises
    ------
    TypeError, ValueError
        If `heatmap` is not 2-D, finite and non-negative, `gain` not finite or `kernel_size` not odd.

    References
    ----------
    - Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183), section 3

    Examples
    --------
    >>> official_perception_tokens([[0, 0, 0, 9]], gain=1.0, kernel_size=1).round(2)
    array([[0.38, 0.38, 0.38, 0.82]], dtype=float32)
    """
    values = _heatmap(heatmap).astype(np.float32)
    factor = np.float32(_checks.real_number(gain, "gain"))
    side = _checks.odd_number(kernel_size, "kernel_size")
    with np.errstate(divide="ignore", invalid="ignore"):  # a constant heatmap is 0 / 0 here: NaN, as documented
        normal = (values - values.min()) / (values.max() - values.min())
        scores = (normal - _float32_mean(normal)) / _float32_deviation(normal) * factor
    # The exponential is rounded once, from float64, so that every machine gets the same bits; the rest is float32,
    # which is what lets saturated tokens reach 1 and so 255.
    with np.errstate(over="ignore"):
        falling = np.exp(-scores.astype(np.float64)).astype(np.float32)
    return _float32_box_filter(np.float32(1) / (np.float32(1) + falling), side)


def official_perception_map(
    heatmap: Heatmap, /, *, gain: float = 10.0, kernel_size: int = 3, size_hw: SizeHW
) -> Ndarray:
    """Perception map in 8 bits at the image's size, as the official code hands it to the magnifier.

    `official_perception_tokens` times 255, floored, then PIL's bicubic resize of that 8-bit image.

    Parameters
    ----------
    heatmap : array of shape (h, w)
        Non-negative, any scale.
    gain : float, optional
        Factor on the z-scores: 10 in the paper, 15 in the official POPE script.
    kernel_size : int, optional
        Side of the mean filter in tokens, odd: 3 in the paper, 5 in the official POPE script.
    size_hw : (int, int)
        Height and width of the image. The heatmap's own shape skips the resize.

    Returns
    -------
    uint8 array of shape size_hw
        All 0 for a constant heatmap, whose tokens are NaN.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> official_perception_map(np.eye(3), gain=20.0, kernel_size=1, size_hw=(3, 3))
    array([[255,   0,   0],
           [  0, 255,   0],
           [  0,   0, 255]], dtype=uint8)
    """
    from PIL import Image as PILImage

    height, width = _checks.size_hw(size_hw, "size_hw")
    tokens = official_perception_tokens(heatmap, gain=gain, kernel_size=kernel_size)
    # NaN to uint8 is left open by C; 0 is what the official code gets on x86. 1.0000001 still floors to 255.
    bits = np.nan_to_num(tokens * np.float32(255), nan=0.0).astype(np.uint8)
    resized = PILImage.fromarray(bits).resize((width, height), PILImage.Resampling.BICUBIC)
    return np.array(resized)


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
    weights = _map_u8(perception_map_u8)
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

    pixels, weights = _image_and_map(image, perception_map_u8)
    coordinates = official_coordinates(weights)
    # NaN would be undefined inside scipy; -1 lies outside the image, so black, which is what official NaN becomes
    rows, columns = np.nan_to_num(coordinates.y, nan=-1.0), np.nan_to_num(coordinates.x, nan=-1.0)
    grid = np.meshgrid(rows, columns, indexing="ij")
    channels = [map_coordinates(pixels[..., c], grid, order=1, mode="constant", cval=0) for c in range(3)]
    return _like(np.stack(channels, axis=-1), image)


def official_highlight(heatmap: Heatmap, /) -> Ndarray:
    """High cluster of a two-means split by at most ten rounds of Lloyd's iteration.

    The centres start at the minimum and the maximum; the iteration stops once they move by less than 1e-4 together
    (Euclidean), an absolute number, so the result depends on the heatmap's scale. The split returned is the one
    *before* the last move of the centres. `pmtools.highlight_mask` is exact and scale-free instead.

    Parameters
    ----------
    heatmap : array of shape (h, w)
        Non-negative; the layer sum or mean, at its own scale.

    Returns
    -------
    bool array of shape (h, w)
        Ties go to the low cluster; all False for a constant heatmap.

    Raises
    ------
    TypeError, ValueError
        If `heatmap` is not 2-D, finite and non-negative.

    Examples
    --------
    >>> official_highlight([[0.1, 0.2, 0.8, 0.9]])
    array([[False, False,  True,  True]])
    """
    values = _heatmap(heatmap).astype(np.float32)
    low, high = values.min(), values.max()
    split = np.zeros(values.shape, dtype=bool)
    for _ in range(10):
        split = np.abs(values - high) < np.abs(values - low)
        if not split.any():  # a constant heatmap: no second cluster to move
            break
        moved_low, moved_high = values[~split].mean(), values[split].mean()
        shift = np.hypot(moved_low - low, moved_high - high)
        low, high = moved_low, moved_high
        if shift < 1e-4:
            break
    return split


def official_mask(image: Image, perception_map_u8: Heatmap, /, *, gray: float = 0) -> Image:
    """Image dimmed by the map: `image * m + gray * (1 - m)` with `m = map / 255`, in float32, truncated.

    Parameters
    ----------
    image : PIL image or uint8 array of shape (H, W, 3)
        PIL images are converted to RGB.
    perception_map_u8 : uint8 array of shape (H, W)
        From `official_perception_map`, at the size of the image.
    gray : float, optional
        Grey level behind the mask, in [0, 255].

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
    - API, [arXiv:2409.17143](https://arxiv.org/abs/2409.17143)

    Examples
    --------
    >>> image = np.full((1, 2, 3), 200, dtype=np.uint8)
    >>> official_mask(image, np.array([[0, 128]], dtype=np.uint8))[..., 0]
    array([[  0, 100]], dtype=uint8)
    """
    pixels, weights = _image_and_map(image, perception_map_u8)
    level = np.float32(_checks.real_number(gray, "gray", minimum=0, maximum=255))
    share = (weights / np.float32(255))[..., np.newaxis]  # (H, W, 1)
    masked = pixels * share + level * (np.float32(1) - share)
    return _like(masked.astype(np.uint8), image)


def official_blur(image: Image, perception_map_u8: Heatmap, /, *, radius: float = 100) -> Image:
    """Image with everything blurred where the map is at most one half.

    Parameters
    ----------
    image : PIL image or uint8 array of shape (H, W, 3)
        PIL images are converted to RGB.
    perception_map_u8 : uint8 array of shape (H, W)
        From `official_perception_map`, at the size of the image.
    radius : float, optional
        Standard deviation of PIL's `GaussianBlur` in pixels, >= 0.

    Returns
    -------
    PIL image or uint8 array of shape (H, W, 3)
        Of the kind of `image`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the sizes differ.

    Examples
    --------
    >>> image = np.array([[[0, 0, 0], [240, 240, 240]]], dtype=np.uint8)
    >>> official_blur(image, np.array([[255, 0]], dtype=np.uint8))[..., 0]
    array([[  0, 120]], dtype=uint8)
    """
    from PIL import Image as PILImage
    from PIL import ImageFilter

    pixels, weights = _image_and_map(image, perception_map_u8)
    sigma = _checks.real_number(radius, "radius", minimum=0)
    blurred = np.asarray(PILImage.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))
    return _like(np.where(_above_half(weights)[..., np.newaxis], pixels, blurred), image)


def official_crop(image: Image, perception_map_u8: Heatmap, /) -> Image:
    """Image that is black where the map is at most one half; the official "crop" cuts nothing off.

    Parameters
    ----------
    image : PIL image or uint8 array of shape (H, W, 3)
        PIL images are converted to RGB.
    perception_map_u8 : uint8 array of shape (H, W)
        From `official_perception_map`, at the size of the image.

    Returns
    -------
    PIL image or uint8 array of shape (H, W, 3)
        Of the kind and size of `image`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the sizes differ.

    Examples
    --------
    >>> image = np.full((1, 2, 3), 9, dtype=np.uint8)
    >>> official_crop(image, np.array([[127, 128]], dtype=np.uint8))[..., 0]
    array([[0, 9]], dtype=uint8)
    """
    pixels, weights = _image_and_map(image, perception_map_u8)
    return _like(np.where(_above_half(weights)[..., np.newaxis], pixels, np.uint8(0)), image)


def official_bbox(image: Image, perception_map_u8: Heatmap, /) -> Image:
    """Image with a red rectangle, and an arrow at it, around the heaviest region of the map above one half.

    Unchanged where no region has 1600 pixels. Regions lie one pixel too far down and right, as an even-sized
    morphological kernel leaves them. The arrow is 50 pixels long and comes from the left where that fits, otherwise
    from the right, where it may be cut off.

    The golden arrays fix the rectangle, the line width and the arrow's shape. They leave open how the arrow's side is
    chosen when both sides have room, and whether weight or size picks the region when the two disagree: weight (the sum
    of the map) and "left where it fits" are the readings taken here.

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

    Examples
    --------
    >>> image, weights = np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint8)
    >>> weights[10:55, 20:65] = 255
    >>> red = official_bbox(image, weights)[..., 0] > 0
    >>> red[30].nonzero()[0][:5]
    array([19, 20, 21, 22, 23])
    """
    pixels, weights = _image_and_map(image, perception_map_u8)
    box = _heaviest_region(weights)
    marked = pixels.copy()
    if box is not None:
        marked[_box_and_arrow(box, weights.shape)] = _RED
    return _like(marked, image)


# -- statistics in the official precision ----------------------------------------------------------------


def _float32_mean(values: Ndarray) -> np.float32:
    """Mean of float32 values, rounded once: the same on every machine, unlike a float32 sum."""
    return np.float32(values.mean(dtype=np.float64))


def _float32_deviation(values: Ndarray) -> np.float32:
    """Unbiased standard deviation of float32 values, rounded once; NaN for a single value."""
    if values.size < 2:
        return np.float32(np.nan)
    return np.float32(values.std(ddof=1, dtype=np.float64))


def _float32_box_filter(values: Ndarray, side: int) -> Ndarray:
    """Mean over side x side windows, edges replicated, as a convolution with weights 1 / side**2.

    Adding the *weighted* values in reading order is part of the official numbers: nine times float32(1 / 9) is 1 and
    floors to 255, where summing first and dividing last can end one ulp below and floor to 254.
    """
    height, width = values.shape
    padded = np.pad(values, side // 2, mode="edge")
    weight = np.float32(1) / np.float32(side * side)
    total = np.zeros_like(values)
    for row in range(side):
        for column in range(side):
            total += padded[row : row + height, column : column + width] * weight
    return total


# -- coordinates -----------------------------------------------------------------------------------------


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


# -- the rectangle ---------------------------------------------------------------------------------------


def _heaviest_region(weights: Ndarray) -> tuple[int, int, int, int] | None:
    """(x0, y0, x1, y1) of the region above one half with the largest sum of the map, of those with enough pixels."""
    from scipy import ndimage

    # A closing whose even window {i - 1, i} is not mirrored in between moves everything by one pixel; the border is
    # neutral, so a region that touches the top or left border grows instead of moving.
    spread = ndimage.maximum_filter(_above_half(weights), size=2, mode="constant", cval=0)
    closed = ndimage.minimum_filter(spread, size=2, mode="constant", cval=1)
    labels, count = ndimage.label(closed, structure=np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    large = numbers[np.bincount(labels.ravel(), minlength=count + 1)[1:] >= _MIN_REGION_PIXELS]
    if large.size == 0:
        return None
    heaviest = large[np.argmax(ndimage.sum_labels(weights, labels, large))]
    rows, columns = ndimage.find_objects(labels)[heaviest - 1]
    return columns.start, rows.start, columns.stop, rows.stop


def _box_and_arrow(box: tuple[int, int, int, int], size_hw: SizeHW) -> Ndarray:
    """Mask of the rectangle through the box's corners and of the arrow, drawn with a diamond brush 5 pixels wide."""
    from scipy import ndimage

    height, width = size_hw
    x0, y0, x1, y1 = box
    margin = _ARROW_LENGTH + _BRUSH_RADIUS  # room for what is drawn outside and cut off at the end
    path = np.zeros((height + 2 * margin, width + 2 * margin), dtype=bool)

    def stroke(ys: Any, xs: Any) -> None:
        path[np.asarray(ys) + margin, np.asarray(xs) + margin] = True

    across, down = np.arange(x0, x1 + 1), np.arange(y0, y1 + 1)
    for y in (y0, y1):
        stroke(y, across)
    for x in (x0, x1):
        stroke(down, x)
    from_left = x0 >= _ARROW_LENGTH
    tip_x, tip_y, away = (x0, (y0 + y1) // 2, -1) if from_left else (x1, (y0 + y1) // 2, 1)
    stroke(tip_y, tip_x + away * np.arange(_ARROW_LENGTH + 1))
    barb = np.arange(_ARROW_TIP + 1)
    stroke(tip_y - barb, tip_x + away * barb)
    stroke(tip_y + barb, tip_x + away * barb)

    diamond = ndimage.generate_binary_structure(2, 1)
    drawn = ndimage.binary_dilation(path, structure=diamond, iterations=_BRUSH_RADIUS)
    return np.asarray(drawn[margin : margin + height, margin : margin + width])


# -- arguments -------------------------------------------------------------------------------------------


def _heatmap(heatmap: Heatmap) -> Ndarray:
    values = _array.to_numpy(_checks.weights(heatmap, "heatmap"))
    if values.ndim != 2:
        raise ValueError(f"`heatmap` must be 2-D (h, w), got shape {values.shape}; the official code knows no batches")
    return values


def _above_half(weights: Ndarray) -> Ndarray:
    return weights > 127  # m / 255 > 0.5


def _map_u8(perception_map_u8: Heatmap) -> Ndarray:
    values = _array.to_numpy(_array.asarray(perception_map_u8, "perception_map_u8"))
    if values.dtype != np.uint8:
        raise TypeError(
            f"`perception_map_u8` must be uint8, got {_checks.describe(values)}; `official_perception_map` makes one"
        )
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"`perception_map_u8` must be 2-D (H, W) and not empty, got shape {values.shape}")
    return values


def _image_and_map(image: Image, perception_map_u8: Heatmap) -> tuple[Ndarray, Ndarray]:
    """The image as uint8 (H, W, 3) and the map as uint8 (H, W), of one size."""
    image = image.convert("RGB") if _array.is_pil(image) else image
    pixels = _array.to_numpy(_array.asarray(image, "image"))
    if pixels.dtype != np.uint8:
        raise TypeError(
            f"`image` must be a PIL image or uint8, got {_checks.describe(pixels)}; the official code is 8-bit only"
        )
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ValueError(
            f"`image` must have shape (H, W, 3), got {pixels.shape}; stack a grey image three times along the last axis"
        )
    weights = _map_u8(perception_map_u8)
    if weights.shape != pixels.shape[:2]:
        raise ValueError(
            f"`perception_map_u8` must have the size of the image, {pixels.shape[:2]}, got {weights.shape}; "
            "pass `size_hw=` to `official_perception_map`"
        )
    return pixels, weights


def _like(pixels: Ndarray, image: Image) -> Image:
    """`pixels` as a PIL image where `image` is one."""
    if not _array.is_pil(image):
        return pixels
    from PIL import Image as PILImage

    return PILImage.fromarray(pixels)
