"""The official heatmap, its split in two, and the perception map in 8 bits: float32, in the official order."""

from __future__ import annotations

import numpy as np

from pmtools import _array, _checks
from pmtools.compat._arguments import heatmap_2d
from pmtools.typing import Heatmap, Ndarray, SizeHW


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
    values = heatmap_2d(heatmap).astype(np.float32)
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
    values = heatmap_2d(heatmap).astype(np.float32)
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
