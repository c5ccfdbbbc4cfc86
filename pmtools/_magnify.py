"""The one call: fit a warp to a heatmap, or to boxes, points or a mask, and magnify an image with it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from pmtools import _array, _checks, _images, _kernel, marginals
from pmtools.perception import perception
from pmtools.settings import DEFAULTS, ZOOM_FALLOFF, WarpSettings
from pmtools.typing import Array, Heatmap, Image, SizeHW
from pmtools.warp import Warp

#: Images of a list from this size on share the processors.
_THREAD_PIXELS = 512 * 512


#: Options for boxes, points and masks only, with their defaults.
_ZOOM_OPTIONS: dict[str, Any] = {"zoom": None, "margin": None, "falloff": ZOOM_FALLOFF}


@_array.untraced
def magnify(
    image: Image,
    heatmap: Heatmap | None = None,
    /,
    *,
    boxes: Any = None,
    points: Any = None,
    mask: Any = None,
    zoom: Any = None,
    margin: float | None = None,
    falloff: float = ZOOM_FALLOFF,
    size_hw: SizeHW | None = None,
    gain: float = DEFAULTS.gain,
    kernel_size: int = DEFAULTS.kernel_size,
    marginal: str = DEFAULTS.marginal,
    floor: float = DEFAULTS.floor,
    max_magnification: float | None = DEFAULTS.max_magnification,
    equal_peaks: bool = DEFAULTS.equal_peaks,
    antialias: bool = True,
    channel_axis: int | None = None,
    out: Any = None,
) -> Image:
    """Give the parts of an image that a heatmap points at, or that are named, more pixels, and keep everything else in place.

    One of `heatmap`, `boxes`, `points` and `mask` says where. A heatmap is a matter of degree; what is named is magnified
    exactly, shapes kept. The same as `fit_warp(heatmap, ...).image(image)` or `zoom_warp(boxes, ...).image(image)`; use those to
    have the warp, which takes coordinates both ways.

    Parameters
    ----------
    image : PIL image, array, or list of them
        PIL of any mode; (H, W) or (..., H, W, C) for NumPy and its like; (..., C, H, W) for PyTorch; any real dtype. A list may
        hold images of different sizes and gives a list. Pixels count as they are stored: a PIL image that EXIF turns keeps its
        tag, with a heatmap that covers what is stored, and is refused with boxes, points and masks.
    heatmap : array of shape (h, w), or (n, h, w) for n images, optional
        Non-negative, any scale, any kind, any size: it covers the image. For a list of images, one heatmap for all, or a list
        (or batch) with one for each.
    boxes : array of shape (4,) or (n, 4), optional
        x0, y0, x1, y1 in pixels. For a list of images, a list with the boxes of each.
    points : array of shape (2,) or (n, 2), optional
        x, y in pixels, each for the square of `margin` pixels around it. For a list of images, a list with the points of each.
    mask : PIL image or array of shape (H, W), optional
        True, or above 0, where to magnify: each connected region stands for the box around it. For a list of images, a list.
    zoom : float or sequence of floats, optional
        For boxes, points and masks: magnification over a plain resize, exactly. Default: the largest that fits.
    margin : float, optional
        For boxes, points and masks: pixels around each that get its scale too. Default: 0; for points 5 % of the longer side.
    falloff : float, optional
        For boxes, points and masks: length over which the scale falls beside them, in lengths of their sides.
    size_hw : (int, int), optional
        Height and width of the result, made in one resampling. Default: those of the image.
    gain, kernel_size, marginal, floor, max_magnification, equal_peaks
        For heatmaps: contrast and smoothing of the map, how it is reduced to each axis, least and greatest scale, as in
        `pmtools.settings.WarpSettings`. With boxes, points and masks no part shrinks more than 5 times; `zoom_warp` takes
        another floor.
    antialias : bool, optional
        Average where the output has fewer pixels than the source.
    channel_axis : int, optional
        Which axis holds the channels. Default: last for NumPy, first for PyTorch.
    out : array, optional
        Where the result goes, as in `Warp.image`. For a list of images, a list with one for each.

    Returns
    -------
    PIL image, array, or list of them
        Kind, layout, dtype, device and range of `image`. A constant or all-zero heatmap, and no boxes or points at all, give the
        same pixels to the last bit. With PyTorch, differentiable in the image and in the heatmap; a constant heatmap has the
        gradient 0, so to learn from one start with `Warp.from_map`, which normalises nothing.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.

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
    >>> magnify(image, boxes=[2, 3, 4, 5], zoom=2)[:, 3]  # rows 3 and 4 became four rows
    array([ 8, 20, 24, 28, 32, 36, 41, 53], dtype=uint8)
    """
    given = {"heatmap": heatmap, "boxes": boxes, "points": points, "mask": mask}
    kind, focus = _the_one_given(given)
    heatmap_options = {
        "gain": gain,
        "kernel_size": kernel_size,
        "marginal": marginal,
        "floor": floor,
        "max_magnification": max_magnification,
        "equal_peaks": equal_peaks,
    }
    zoom_options = {"zoom": zoom, "margin": margin, "falloff": falloff}
    if kind == "heatmap":
        _refuse_changed(zoom_options, _ZOOM_OPTIONS, "boxes, points and masks")
        _refuse_boxes(focus)
        options: dict[str, Any] = {**heatmap_options}
    else:
        _refuse_changed(heatmap_options, vars(DEFAULTS), "heatmaps")
        options = {**zoom_options}
    options["target_hw"] = None if size_hw is None else _checks.size_hw(size_hw, "size_hw")

    def fit(one: Any, its_focus: Any) -> Warp:
        source_hw = _images.image_hw(one, channel_axis=channel_axis)
        if kind != "heatmap":
            _images.refuse_turned(one)
            return _fit_zoom(kind, its_focus, source_hw, options)
        its_map = _checks.map_array(its_focus, "heatmap")
        its_map = _array.to_numpy(its_map) if _array.is_pil(one) else _array.asarray_like(its_map, one)
        return fit_warp(its_map, source_hw=source_hw, **options)

    def apply(warp: Warp, one: Any, its_out: Any) -> Any:
        return warp.image(one, antialias=antialias, channel_axis=channel_axis, out=its_out)

    if not isinstance(image, (list, tuple)):
        return apply(fit(image, focus), image, out)
    each_focus = _one_each(focus, len(image)) if kind == "heatmap" else _listed(focus, kind, len(image))
    outs = [None] * len(image) if out is None else _listed(out, "out", len(image))
    worth_threads = all(_is_worth_a_thread(one) for one in image)
    if out is not None or not worth_threads:  # all fits first: a map that is refused leaves `out` as it was
        warps = [fit(*pair) for pair in zip(image, each_focus, strict=True)]
        each = _kernel.map_threads if worth_threads else map
        return list(each(lambda case: apply(*case), zip(warps, image, outs, strict=True)))
    turn = threading.Lock()

    def in_a_thread(case: tuple[Any, Any, Any]) -> Any:
        one, its_focus, its_out = case
        with turn:  # NumPy's short steps: threads that take them at once wait for each other at every one of them
            warp = fit(one, its_focus)
            warp._look(antialias=antialias)
        return apply(warp, one, its_out)

    return _kernel.map_threads(in_a_thread, zip(image, each_focus, outs, strict=True))


def _the_one_given(given: dict[str, Any]) -> tuple[str, Any]:
    """Name and value of the only argument that is not None."""
    found = [(name, value) for name, value in given.items() if value is not None]
    if len(found) != 1:
        names = " and ".join(f"`{name}`" for name, _ in found) or "none"
        wanted = "`heatmap` must be given, or one of `boxes`, `points` and `mask` in its place"
        raise TypeError(f"{wanted}, got {names}")
    return found[0]


def _refuse_boxes(heatmap: Any) -> None:
    """A list of boxes is not a map of four columns."""
    if isinstance(heatmap, (list, tuple)) and heatmap and all(_is_box(row) for row in heatmap):
        raise ValueError(
            f"`heatmap` must be a map, got what looks like a list of {len(heatmap)} boxes; give `boxes`, or a map of four "
            "columns as an array"
        )


def _is_box(row: Any) -> bool:
    """Whether `row` is a list of x0, y0, x1, y1."""
    if not isinstance(row, (list, tuple)) or len(row) != 4 or not all(isinstance(v, (int, float)) for v in row):
        return False
    return bool(row[0] < row[2] and row[1] < row[3])


def _refuse_changed(options: dict[str, Any], defaults: dict[str, Any], whose: str) -> None:
    """Options that would be ignored are refused."""
    ways = {"floor": ", or give it to zoom_warp(boxes, ...).image(image)"}
    for name, value in options.items():
        if value is not defaults[name] and value != defaults[name]:
            raise ValueError(f"`{name}` is for {whose}, got {value!r}; leave it out{ways.get(name, '')}")


def _fit_zoom(kind: str, focus: Any, source_hw: SizeHW, options: dict[str, Any]) -> Warp:
    """The warp to boxes, points or a mask."""
    from pmtools.zoom import boxes_of_mask, boxes_of_points, zoom_to

    margin = options["margin"]
    if kind == "points":
        margin = 0.05 * max(source_hw) if margin is None else margin
        focus = boxes_of_points(focus, source_hw)
    elif kind == "mask":
        focus = boxes_of_mask(focus, source_hw)
    return zoom_to(focus, kind, source_hw=source_hw, **{**options, "margin": 0.0 if margin is None else margin})


def _listed(focus: Any, kind: str, n: int) -> list[Any]:
    """Boxes, points, masks or results, one entry for each of n images."""
    if not isinstance(focus, (list, tuple)) or len(focus) != n:
        count = f"{len(focus)} of them" if isinstance(focus, (list, tuple)) else _checks.describe(focus)
        raise ValueError(f"`{kind}` must be a list with an entry for each of the {n} images, got {count}")
    return list(focus)


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


@_array.untraced
def fit_warp(
    heatmap: Heatmap,
    /,
    *,
    source_hw: SizeHW,
    target_hw: SizeHW | None = None,
    gain: float = DEFAULTS.gain,
    kernel_size: int = DEFAULTS.kernel_size,
    marginal: str = DEFAULTS.marginal,
    floor: float = DEFAULTS.floor,
    max_magnification: float | None = DEFAULTS.max_magnification,
    equal_peaks: bool = DEFAULTS.equal_peaks,
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
    gain, kernel_size, marginal, floor, max_magnification, equal_peaks
        As in `pmtools.settings.WarpSettings`.

    Returns
    -------
    Warp
        In the namespace and on the device of `heatmap`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.

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
    settings = WarpSettings(
        gain=gain,
        kernel_size=kernel_size,
        marginal=marginal,
        floor=floor,
        max_magnification=max_magnification,
        equal_peaks=equal_peaks,
    )
    heatmap = _checks.weights(heatmap, "heatmap")
    return _warp(perception(heatmap, settings), settings, source_hw, target_hw, _array.epsilon(heatmap))


def warp_from_perception(
    perception_map: Array, settings: WarpSettings, /, *, source_hw: SizeHW, target_hw: SizeHW | None = None
) -> Warp:
    """The warp of a perception map that is ready: `fit_warp` without its first step.

    Parameters
    ----------
    perception_map : array of shape (h, w), or (n, h, w)
        Non-negative; upsampled to pixels axis by axis before its marginals are taken, never as a full map.
    settings : WarpSettings
        Those after the perception map count.
    source_hw, target_hw
        As in `fit_warp`.

    Returns
    -------
    Warp

    Raises
    ------
    TypeError, ValueError
        If `perception_map` is not a map, or a size is not a size.
    """
    weights = _checks.weights(perception_map, "perception_map")
    return _warp(weights, settings, source_hw, target_hw, _array.epsilon(weights))


def _warp(weights: Array, settings: WarpSettings, source_hw: SizeHW, target_hw: SizeHW | None, epsilon: float) -> Warp:
    """`warp_from_perception` of a map that has been checked, and whose numbers are exact to `epsilon`."""
    height, width = _checks.size_hw(source_hw, "source_hw")
    mass_y = marginals.upsampled_marginal(weights, height, axis=-2, reduce=settings.marginal)
    mass_x = marginals.upsampled_marginal(weights, width, axis=-1, reduce=settings.marginal)
    return Warp._from_masses(mass_y, mass_x, epsilon, (height, width), target_hw, settings)
