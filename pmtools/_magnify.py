"""The one call: fit a warp to a heatmap, magnify an image with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from pmtools import _array, _checks, _images, _kernel, marginals
from pmtools.perception import perception_map
from pmtools.typing import Array, Heatmap, Image, SizeHW
from pmtools.warp import Warp

#: Images of a list from this size on share the processors.
_THREAD_PIXELS = 512 * 512


def magnify(
    image: Image,
    heatmap: Heatmap,
    /,
    *,
    size_hw: SizeHW | None = None,
    gain: float = 10.0,
    kernel_size: int = 3,
    marginal: str = "max",
    floor: float = marginals.DEFAULT_FLOOR,
    max_magnification: float | None = None,
    antialias: bool = True,
    channel_axis: int | None = None,
) -> Image:
    """Give the parts of an image that a heatmap points at more pixels, and keep everything else in place, only smaller.

    The same as `fit_warp(heatmap, ...).image(image)`; use that to have the warp, which takes coordinates both ways.

    Parameters
    ----------
    image : PIL image, array, or list of them
        PIL of any mode; (H, W) or (..., H, W, C) for NumPy and alike; (..., C, H, W) for PyTorch; any real dtype. A list may
        hold images of different sizes and gives a list.
    heatmap : array of shape (h, w), or (n, h, w) for n images
        Non-negative, any scale, any kind, any size: it covers the image. For a list of images, one heatmap for all, or a list
        (or batch) with one for each.
    size_hw : (int, int), optional
        Height and width of the result, made in one resampling. Default: those of the image.
    gain : float, optional
        Contrast of the perception map, >= 0; 0 gives a plain resize.
    kernel_size : int, optional
        Side of the smoothing window in cells of the heatmap, odd.
    marginal : {"max", "sum"}, optional
        How the map is reduced to each axis.
    floor : float, optional
        Share of uniform mass, in (0, 1]: at equal sizes no part shrinks more than `1 / floor` times per axis.
    max_magnification : float, optional
        Greatest magnification per axis relative to a plain resize, >= 1. Default: no limit.
    antialias : bool, optional
        Average where the output has fewer pixels than the source.
    channel_axis : int, optional
        Which axis holds the channels, where it is not the ecosystem's own.

    Returns
    -------
    PIL image, array, or list of them
        Kind, layout, dtype, device and range of `image`. A constant or all-zero heatmap gives the same pixels to the last bit.
        With PyTorch, differentiable in the image and in the heatmap; a constant heatmap has the gradient 0, so to learn from
        one start with `Warp.from_map`, which normalises nothing.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what is said above; the message names it.

    References
    ----------
    - Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)

    Examples
    --------
    >>> image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    >>> heatmap = np.zeros((4, 4))
    >>> heatmap[1, 2] = 1
    >>> magnify(image, heatmap).shape
    (8, 8)
    >>> bool((magnify(image, np.ones((4, 4))) == image).all())
    True
    """
    size_hw = None if size_hw is None else _checks.size_hw(size_hw, "size_hw")

    def fit(one: Any, its_map: Any) -> Warp:
        source_hw = _images.image_hw(one, channel_axis=channel_axis)
        its_map = _checks.map_array(its_map, "heatmap")
        return fit_warp(
            _array.to_numpy(its_map) if _array.is_pil(one) else _array.asarray_like(its_map, one),
            source_hw=source_hw,
            target_hw=size_hw,
            gain=gain,
            kernel_size=kernel_size,
            marginal=marginal,
            floor=floor,
            max_magnification=max_magnification,
        )

    def apply(warp: Warp, one: Any) -> Any:
        return warp.image(one, antialias=antialias, channel_axis=channel_axis)

    if not isinstance(image, (list, tuple)):
        return apply(fit(image, heatmap), image)
    # the fits first: small steps of Python, in which threads would only wait for each other
    warps = [fit(*pair) for pair in zip(image, _one_each(heatmap, len(image)), strict=True)]
    each = _kernel.map_threads if all(_is_worth_a_thread(one) for one in image) else map
    return list(each(lambda pair: apply(*pair), zip(warps, image, strict=True)))


def _is_worth_a_thread(image: Any) -> bool:
    """Whether pixels outweigh Python, in main memory; PyTorch's threads would not know of `no_grad` outside."""
    if _array.is_pil(image):
        return bool(image.width * image.height >= _THREAD_PIXELS)
    return isinstance(image, np.ndarray) and image.size >= 3 * _THREAD_PIXELS


def _one_each(heatmap: Any, n: int) -> list[Any]:
    """A heatmap per image: a list or a batch gives its items, a single map serves all."""
    if isinstance(heatmap, (list, tuple)) and any(_array.is_array(m) or _array.is_pil(m) for m in heatmap):
        maps = list(heatmap)
    else:
        array = _checks.weights(heatmap, "heatmap")
        maps = [array] * n if array.ndim == 2 else [array[i, ...] for i in range(array.shape[0])]
    if len(maps) != n:
        raise ValueError(f"`heatmap` must hold one map for each of the {n} images, or be a single map; got {len(maps)}")
    return maps


def fit_warp(
    heatmap: Heatmap,
    /,
    *,
    source_hw: SizeHW,
    target_hw: SizeHW | None = None,
    gain: float = 10.0,
    kernel_size: int = 3,
    marginal: str = "max",
    floor: float = marginals.DEFAULT_FLOOR,
    max_magnification: float | None = None,
) -> Warp:
    """The warp that magnifies what a heatmap points at: perception map, upsampled marginals, CDFs.

    Parameters
    ----------
    heatmap : array of shape (h, w), or (n, h, w) for a batch of warps
        Non-negative, any scale, any size: it covers the source image.
    source_hw : (int, int)
        Height and width of the image to magnify.
    target_hw : (int, int), optional
        Height and width of the magnified image. Default: `source_hw`.
    gain, kernel_size
        As in `perception_map`.
    marginal, floor, max_magnification
        As in `Warp.from_map`.

    Returns
    -------
    Warp
        In the namespace and on the device of `heatmap`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what is said above; the message names it.

    References
    ----------
    - Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)

    Examples
    --------
    >>> heatmap = np.zeros((4, 4))
    >>> heatmap[1, 2] = 1
    >>> warp = fit_warp(heatmap, source_hw=(100, 100))
    >>> box = warp.boxes(np.array([50.0, 25.0, 75.0, 50.0]))
    >>> warp.inverse_boxes(box).round(9)
    array([50., 25., 75., 50.])
    """
    perception = perception_map(heatmap, gain=gain, kernel_size=kernel_size)
    return _fit_perception(perception, source_hw, target_hw, marginal, floor, max_magnification)


def warp_from_perception(
    perception: Array,
    /,
    *,
    source_hw: SizeHW,
    target_hw: SizeHW | None = None,
    marginal: str = "max",
    floor: float = marginals.DEFAULT_FLOOR,
    max_magnification: float | None = None,
) -> Warp:
    """The warp of a perception map that is ready: `fit_warp` without its first step.

    Parameters
    ----------
    perception : array of shape (h, w), or (n, h, w)
        Non-negative; upsampled to pixels axis by axis before its marginals are taken, never as a full map.
    source_hw, target_hw, marginal, floor, max_magnification
        As in `fit_warp`.

    Returns
    -------
    Warp
    """
    perception = _checks.weights(perception, "perception_map")
    return _fit_perception(perception, source_hw, target_hw, marginal, floor, max_magnification)


def _fit_perception(
    perception: Array,
    source_hw: SizeHW,
    target_hw: SizeHW | None,
    marginal: str,
    floor: float,
    max_magnification: float | None,
) -> Warp:
    height, width = _checks.size_hw(source_hw, "source_hw")
    _checks.choice(marginal, "marginal", marginals.MARGINALS)
    mass_y = marginals.upsampled_marginal(perception, height, axis=-2, reduce=marginal)
    mass_x = marginals.upsampled_marginal(perception, width, axis=-1, reduce=marginal)
    rounding = _array.epsilon(perception)
    return Warp._from_masses(mass_y, mass_x, rounding, (height, width), target_hw, floor, max_magnification)
