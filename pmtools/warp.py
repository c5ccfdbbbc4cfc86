"""The warp: two monotone axis maps that take points, boxes, masks and images to the magnified image and back.

A separable monotone map takes axis-aligned boxes to axis-aligned boxes exactly, and its inverse is another one, so nothing
here is fitted or searched. Frames (padding, cropping, resizing) are warps too.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pmtools import _array, _checks, _images, _kernel, axis_algebra, marginals
from pmtools._brief import brief
from pmtools.axes import AxisMap, axis_map, from_jsonable, to_jsonable
from pmtools.footprints import Footprints, choose_kernel, footprints
from pmtools.resample import resample
from pmtools.settings import DEFAULTS, WarpSettings
from pmtools.typing import Array, BoxesXYXY, Image, Ndarray, PointsXY, SizeHW

if TYPE_CHECKING:
    from pmtools.report import WarpReport


class LocalMagnification(NamedTuple):
    """How many output pixels each source pixel spreads over, per axis.

    Attributes
    ----------
    x : array of shape (..., W)
    y : array of shape (..., H)
    """

    x: Array
    y: Array

    def __repr__(self) -> str:
        return brief(self)


@dataclass(frozen=True, eq=False, repr=False)
class Warp:
    """An invertible, separable, monotone map between two images.

    Make one with `Warp.from_map`, `pmtools.fit_warp` or the functions of `pmtools.frames`; chain them with `then`.

    Convention: continuous pixel-edge coordinates, `(x, y)` from the top-left corner; pixel `i` covers `[i, i + 1)` and its
    centre is `i + 0.5`. Points beyond the image are extrapolated with the slope of the outermost cell, never clamped.

    A warp is a value: it does not change, warps with the same numbers are equal on every device and have one hash, and a deep
    copy passes gradients on.

    Attributes
    ----------
    x, y : AxisMap
        The map of each axis.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """

    x: AxisMap
    y: AxisMap

    def __post_init__(self) -> None:
        for axis in (self.x, self.y):
            if not isinstance(axis, AxisMap):
                raise TypeError(
                    f"`x` and `y` must be AxisMaps, got {_checks.describe(axis)}; `Warp.from_map`, `pmtools.fit_warp` and "
                    "`pmtools.frames` make warps"
                )
        if self.x.batch_size != self.y.batch_size:
            x, y = ("a single map" if n is None else f"a batch of {n}" for n in (self.x.batch_size, self.y.batch_size))
            raise ValueError(
                f"`x` and `y` must hold as many maps, got {x} along x and {y} along y; use warp[i].x for one"
            )

    # ------------------------------------------------------------------------------------------------- making

    @classmethod
    @_array.untraced
    def from_map(
        cls,
        weights: Array,
        /,
        *,
        source_hw: SizeHW,
        target_hw: SizeHW | None = None,
        marginal: str = DEFAULTS.marginal,
        floor: float = DEFAULTS.floor,
        max_magnification: float | None = DEFAULTS.max_magnification,
        equal_peaks: bool = DEFAULTS.equal_peaks,
    ) -> Warp:
        r"""The warp in which every cell of a map gets space in proportion to its weight.

        Per axis, $X(x) = M F(x)$ with $F$ the cumulative floored and capped marginal, linear within a cell. The cells are kept as
        they are; `pmtools.fit_warp` starts from a heatmap and upsamples to pixels first.

        Parameters
        ----------
        weights : array of shape (..., h, w)
            Non-negative, any scale; covers the source image. Leading axes: none, or one for a batch of warps.
        source_hw : (int, int)
            Height and width of the source image in pixels.
        target_hw : (int, int), optional
            Height and width of the magnified image. Default: that of the source.
        marginal, floor, max_magnification, equal_peaks
            As in `pmtools.settings.WarpSettings`.

        Returns
        -------
        Warp
            In the namespace and on the device of `weights`.

        Raises
        ------
        TypeError, ValueError
            If `weights` is not a non-negative, finite, non-empty map, or an option is out of range.

        References
        ----------
        - Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)

        Examples
        --------
        >>> warp = Warp.from_map(np.array([[1.0, 3.0]]), source_hw=(8, 8), floor=1e-6)
        >>> warp.points(np.array([[4.0, 4.0]])).round(4)
        array([[2., 4.]])
        """
        weights = _checks.weights(weights, "weights")
        settings = WarpSettings(
            marginal=marginal, floor=floor, max_magnification=max_magnification, equal_peaks=equal_peaks
        )
        mass_y, mass_x = (marginals.marginal(weights, axis=axis, reduce=marginal) for axis in (-2, -1))
        return cls._from_masses(mass_y, mass_x, _array.epsilon(weights), source_hw, target_hw, settings)

    @classmethod
    def _from_masses(
        cls,
        mass_y: Array,
        mass_x: Array,
        rounding: float,
        source_hw: SizeHW,
        target_hw: SizeHW | None,
        settings: WarpSettings,
    ) -> Warp:
        """The warp of two marginals; `rounding` is the rounding unit of the numbers behind them."""
        source_hw = _checks.size_hw(source_hw, "source_hw")
        target_hw = source_hw if target_hw is None else _checks.size_hw(target_hw, "target_hw")
        if mass_x.ndim > 2:
            raise ValueError(f"a warp has at most one batch axis, got a map with {mass_x.ndim - 1}; flatten them first")
        cdfs = marginals.cdfs(mass_y, mass_x, settings, rounding=rounding)
        axes = []
        for edges, n, m in zip(cdfs, source_hw, target_hw, strict=True):
            cells = edges.shape[-1] - 1
            before = _array.arange(cells + 1, edges) * n / cells
            if edges.ndim > 1:
                before = _array.namespace(edges).broadcast_to(before, tuple(edges.shape))
            axes.append(axis_map(before, edges * float(m), n, m))
        return cls(y=axes[0], x=axes[1])

    @classmethod
    def stack(cls, warps: Iterable[Warp], /) -> Warp:
        """A batch of single warps between images of the same sizes; `batch[i]` is each of them again, to rounding.

        Parameters
        ----------
        warps : iterable of Warp
            At least one. NumPy's go to the namespace and device of the others.

        Returns
        -------
        Warp

        Raises
        ------
        TypeError, ValueError
            If something else than single warps came, none at all, or their sizes differ.

        Examples
        --------
        >>> from pmtools import frames
        >>> Warp.stack([frames.identity((4, 4)), Warp.from_map(np.eye(2), source_hw=(4, 4))])
        Warp(4x4 -> 4x4, batch of 2)
        """
        found = list(warps)
        for i, warp in enumerate(found):
            if not isinstance(warp, Warp) or warp.batch_shape:
                came = "a batch" if isinstance(warp, Warp) else _checks.describe(warp)
                raise TypeError(f"`warps` must be single Warps, got {came} at {i}; a batch is iterable, [*a, *b]")
            if (warp.source_hw, warp.target_hw) != (found[0].source_hw, found[0].target_hw):
                raise ValueError(
                    f"`warps` must have the same sizes, got {found[0]} and {warp} at {i}; resize them with frames"
                )
        if not found:
            raise ValueError("`warps` must hold a warp at least, got none")
        x, y = (axis_algebra.stacked([getattr(warp, name) for warp in found]) for name in "xy")
        return cls(x=x, y=y)

    # ------------------------------------------------------------------------------------------------- asking

    @property
    def source_hw(self) -> SizeHW:
        """Height and width of the source image."""
        return self.y.source_size, self.x.source_size

    @property
    def target_hw(self) -> SizeHW:
        """Height and width of the magnified image."""
        return self.y.target_size, self.x.target_size

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """() for one warp, (n,) for a batch."""
        return () if self.x.batch_size is None else (self.x.batch_size,)

    def __len__(self) -> int:
        if not self.batch_shape:
            raise TypeError("a single Warp has no length; only a batched one has")
        return self.batch_shape[0]

    def __bool__(self) -> bool:
        return True  # a single warp has no length that could say so

    def __getitem__(self, index: int) -> Warp:
        n = len(self)
        try:
            index = _checks.whole_number(index, "index", minimum=-n, maximum=n - 1)
        except ValueError as error:
            raise IndexError(str(error)) from None  # what a for loop stops at
        return Warp(x=self.x.item(index % n), y=self.y.item(index % n))

    def __iter__(self) -> Iterator[Warp]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Warp):
            return NotImplemented
        return self is other or self._numbers() == other._numbers()

    def __hash__(self) -> int:
        return hash(self._numbers())

    def _numbers(self) -> tuple[object, ...]:
        return axis_algebra.numbers(self.x), axis_algebra.numbers(self.y)

    def __deepcopy__(self, memo: dict[int, Any]) -> Warp:
        return Warp(x=axis_algebra.copied(self.x), y=axis_algebra.copied(self.y))

    def __repr__(self) -> str:
        batch = f", batch of {len(self)}" if self.batch_shape else ""
        return f"Warp({_by(self.source_hw)} -> {_by(self.target_hw)}{batch})"

    def _repr_html_(self) -> str:
        from pmtools._warp_html import as_html

        return as_html(self)

    def local_magnification(self) -> LocalMagnification:
        """How many output pixels each source pixel spreads over, per axis: $X(i + 1) - X(i)$.

        At equal sizes the mean is 1, the least value at least `floor`, the greatest at most `max_magnification`; the
        magnification of an area is the product of both axes.

        Returns
        -------
        LocalMagnification
            `x` of shape (..., W) and `y` of shape (..., H).
        """

        def spread(axis: AxisMap) -> Array:
            edges = axis.forward(_per_item(_array.arange(axis.source_size + 1, axis.like), axis))
            return edges[..., 1:] - edges[..., :-1]

        return LocalMagnification(x=spread(self.x), y=spread(self.y))

    def report(self, boxes_xyxy: BoxesXYXY, /, *, input_hw: SizeHW | None = None, patch_size: int = 14) -> WarpReport:
        """What this warp does to boxes: their scales, pixels and patches, what else grew, and whether another tool is right.

        Parameters
        ----------
        boxes_xyxy : array of shape (4,) or (n, 4)
            x0, y0, x1, y1 in pixels of the source, `x0 <= x1` and `y0 <= y1`.
        input_hw : (int, int), optional
            Height and width of the model's input that the magnified image is resized to. Default: `target_hw`.
        patch_size : int, optional
            Side of the model's patches in pixels of its input; 28 for a Qwen2-VL token.

        Returns
        -------
        WarpReport

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described above, or this is a batch of warps.

        Examples
        --------
        >>> from pmtools import zoom_warp
        >>> report = zoom_warp([8, 8, 16, 16], source_hw=(112, 112), zoom=3.5).report([8, 8, 16, 16])
        >>> report.zoom.round(6), report.patches.round(6), report.tool
        (array([3.5]), array([4.]), 'warp')
        """
        if self.batch_shape:
            raise ValueError(f"a report is on one warp, this is a batch of {len(self)}; use warp[i].report(...)")
        from pmtools.report import report

        boxes = _checks.boxes(boxes_xyxy, "boxes_xyxy")
        input_hw = self.target_hw if input_hw is None else _checks.size_hw(input_hw, "input_hw")
        return report(
            self.x, self.y, boxes, input_hw=input_hw, patch_size=_checks.whole_number(patch_size, "patch_size")
        )

    # ------------------------------------------------------------------------------------------- coordinates

    @_array.untraced
    def points(self, points_xy: PointsXY, /) -> PointsXY:
        """Where source points land on the magnified image.

        Parameters
        ----------
        points_xy : array of shape (..., 2), or (n, ..., 2) for a batch of n warps
            x, y in pixels. Lists become NumPy arrays.

        Returns
        -------
        array of the same shape
            Namespace and device of `points_xy`, its dtype where that is a float of 32 bits or more; float32 for half
            precision, which would be off by pixels, float64 for integers. With PyTorch, gradients reach points and warp.

        Raises
        ------
        TypeError, ValueError
            If `points_xy` is not a real array of that shape.
        """
        return _map_columns(points_xy, "points_xy", "x, y", self)

    @_array.untraced
    def inverse_points(self, points_xy: PointsXY, /) -> PointsXY:
        """Where points of the magnified image come from; undoes `points`, in float64 to about 1e-10 px at the default floor.

        Parameters
        ----------
        points_xy : array of shape (..., 2), or (n, ..., 2) for a batch of n warps
            x, y in pixels of the magnified image.

        Returns
        -------
        array of the same shape
        """
        return _map_columns(points_xy, "points_xy", "x, y", self, back=True)

    @_array.untraced
    def boxes(self, boxes_xyxy: BoxesXYXY, /) -> BoxesXYXY:
        """Where source boxes land on the magnified image: boxes again, exactly.

        Parameters
        ----------
        boxes_xyxy : array of shape (..., 4), or (n, ..., 4) for a batch of n warps
            x0, y0, x1, y1 in pixels.

        Returns
        -------
        array of the same shape
            Namespace and device of `boxes_xyxy`, its dtype as for points.

        Raises
        ------
        TypeError, ValueError
            If `boxes_xyxy` is not a real array of that shape.
        """
        return _map_columns(boxes_xyxy, "boxes_xyxy", "x0, y0, x1, y1", self)

    @_array.untraced
    def inverse_boxes(self, boxes_xyxy: BoxesXYXY, /) -> BoxesXYXY:
        """Where boxes found on the magnified image are on the source; undoes `boxes`.

        Parameters
        ----------
        boxes_xyxy : array of shape (..., 4), or (n, ..., 4) for a batch of n warps
            x0, y0, x1, y1 in pixels of the magnified image.

        Returns
        -------
        array of the same shape
        """
        return _map_columns(boxes_xyxy, "boxes_xyxy", "x0, y0, x1, y1", self, back=True)

    # -------------------------------------------------------------------------------------------------- images

    @_array.untraced
    def image(
        self,
        image: Image,
        /,
        *,
        antialias: bool = True,
        channel_axis: int | None = None,
        fill: Any = 0,
        out: Array | None = None,
    ) -> Image:
        """The magnified image.

        Output pixel `j` shows the source interval that the warp gives it. Where that is wider than a pixel it is averaged (a box;
        a cubic as wide where the output is smaller than the source), otherwise interpolated linearly at the source position
        of the pixel's centre; edges replicate.

        Parameters
        ----------
        image : PIL image or array
            (H, W); (..., H, W, C) for NumPy and its like; (..., C, H, W) for PyTorch. (H, W) is `source_hw`. A batch of n warps
            takes n images, (n, ..., H, W, C).
        antialias : bool, optional
            False: linear interpolation everywhere.
        channel_axis : int, optional
            Which axis holds the channels. Default: last for NumPy, first for PyTorch.
        fill : number or sequence of numbers, optional
            Value, or one per channel, of output pixels that show nothing of the source (padding); the dtype must hold it. PIL's
            HSV, and P with an opaque palette, take it as a colour in RGB, and a single number as a grey level.
        out : array, optional
            Where the result goes: kind, dtype and axes of `image`, height and width `target_hw`. It spares fresh memory, which
            some systems hand out slowly. No gradients; it may overlap `image`.

        Returns
        -------
        PIL image or array
            Kind, layout, dtype, device and range of `image`; `out` where that is given. Without magnification, the same pixels
            to the last bit.

        Raises
        ------
        TypeError, ValueError
            If `image` is not an image, its size is not `source_hw`, its dtype cannot hold `fill`, or `out` does not fit.

        Examples
        --------
        >>> warp = Warp.from_map(np.eye(2), source_hw=(4, 4))
        >>> out = np.empty((4, 4), np.uint8)
        >>> warp.image(np.ones((4, 4), np.uint8), out=out) is out
        True
        """
        pixels = _images.unpack(image, channel_axis=channel_axis)
        return self._resample(
            pixels, image, fill, antialias=antialias, nearest=False, out=out, channel_axis=channel_axis
        )

    def inverse_image(
        self, image: Image, /, *, channel_axis: int | None = None, fill: Any = 0, out: Array | None = None
    ) -> Image:
        """The source image again, as far as the magnified one still holds it; linear, without anti-aliasing.

        Parameters
        ----------
        image : PIL image or array
            Of size `target_hw`; kinds and layouts as in `Warp.image`.
        channel_axis : int, optional
            Which axis holds the channels. Default: last for NumPy, first for PyTorch.
        fill : number or sequence of numbers, optional
            Value of source pixels that the magnified image does not show (what was cropped), as in `Warp.image`.
        out : array, optional
            Where the result goes, as in `Warp.image`.

        Returns
        -------
        PIL image or array
            Of size `source_hw`.
        """
        back = self._inverse if isinstance(self.x.like, np.ndarray) else self.inverse()
        return back.image(image, antialias=False, channel_axis=channel_axis, fill=fill, out=out)

    @_array.untraced
    def mask(self, mask: Image, /, *, channel_axis: int | None = None, fill: Any = 0) -> Image:
        """A mask or label map on the magnified image: every pixel takes the label under its centre.

        Parameters
        ----------
        mask : PIL image or array of shape (..., H, W)
            Any dtype; palette images keep their indices. An image with a channel axis needs `channel_axis`, unless its shape
            can only be read as one.
        channel_axis : int, optional
            Which axis holds the channels.
        fill : number, optional
            Label of output pixels that show nothing of the source; the dtype must hold it.

        Returns
        -------
        PIL image or array of shape (..., H', W')
        """
        pixels = _images.unpack_mask(mask, self.source_hw, channel_axis=channel_axis)
        return self._resample(pixels, mask, fill, antialias=False, nearest=True)

    def inverse_mask(self, mask: Image, /, *, channel_axis: int | None = None, fill: Any = 0) -> Image:
        """A mask or label map of the magnified image on the source: every pixel takes the label over its centre.

        Parameters
        ----------
        mask : PIL image or array of shape (..., H', W')
            Of size `target_hw`; kinds as in `Warp.mask`.
        channel_axis : int, optional
            Which axis holds the channels.
        fill : number, optional
            Label of source pixels that the magnified image does not show.

        Returns
        -------
        PIL image or array of shape (..., H, W)
        """
        return self.inverse().mask(mask, channel_axis=channel_axis, fill=fill)

    def _resample(
        self,
        pixels: _images.Pixels,
        image: Image,
        fill: Any,
        *,
        antialias: bool,
        nearest: bool,
        out: Any = None,
        channel_axis: int | None = None,
    ) -> Any:
        values = pixels.values
        antialias = _checks.flag(antialias, "antialias")
        self._refuse_other_sizes(pixels, image)
        fill_value = _images.fill_value(fill, pixels)
        into = None
        if out is not None:
            if self._requires_grad() or _array.requires_grad(image) or _array.requires_grad(out):
                raise ValueError(
                    "`out` must not be given where gradients are wanted, which it would lose; leave it out"
                )
            into = _images.unpack_out(out, image, self.target_hw, channel_axis=channel_axis)
        if not values.shape[0]:
            if out is not None:
                return out
            empty = (0, *self.target_hw, values.shape[3])
            return pixels.pack(_array.namespace(values).zeros(empty, dtype=values.dtype, device=_array.device(values)))
        through_numpy = _kernel.serves_tensor(values) and not self._requires_grad()
        if through_numpy:
            values, fill_value = _array.to_numpy(values), _array.to_numpy(fill_value)
        if into is not None and (not isinstance(values, np.ndarray) or np.may_share_memory(into, values)):
            into = None
        pairs = self._moved_like(values)._footprints
        result = resample(values, pairs, fill=fill_value, antialias=antialias, nearest=nearest, out=into)
        if into is not None and result is into:
            return out
        packed = self._packed(result, pixels, values, through_numpy=through_numpy)
        if out is None:
            return packed
        out[...] = packed
        return out

    def _refuse_other_sizes(self, pixels: _images.Pixels, image: Image) -> None:
        size = tuple(pixels.values.shape[1:3])
        if size != self.source_hw:
            raise ValueError(
                f"the image must be {_by(self.source_hw)} (height x width), the source of the warp, got {_by(size)} from "
                f"{_checks.describe(image)}; resize it, fit the warp for this size, or say which axis is `channel_axis`"
            )
        if self.batch_shape and pixels.batch_shape[:1] != self.batch_shape:
            raise ValueError(
                f"a batch of {len(self)} warps takes {len(self)} images, got batch axes {pixels.batch_shape} from "
                f"{_checks.describe(image)}; use warp[i] for one of them; a heatmap is (h, w), "
                "and with a third axis it counts as a batch, (n, h, w)"
            )

    @staticmethod
    def _packed(result: Array, pixels: _images.Pixels, values: Array, *, through_numpy: bool) -> Any:
        if result is values:
            return pixels.copy()
        if isinstance(pixels.values, np.ndarray):
            return pixels.pack(result.astype(values.dtype, copy=False))  # the byte order too
        xp = _array.namespace(pixels.values)
        result = xp.asarray(result) if through_numpy else result
        return pixels.pack(xp.astype(result, pixels.values.dtype, copy=False))

    # ----------------------------------------------------------------------------------------------- algebra

    @cached_property
    def _inverse(self) -> Warp:
        """`inverse()`, made once; for NumPy, since with gradients every image needs a graph of its own."""
        return self.inverse()

    def inverse(self) -> Warp:
        """The warp from the magnified image back to the source."""
        return Warp(x=self.x.inverse(), y=self.y.inverse())

    def then(self, other: Warp, /) -> Warp:
        """This warp followed by another one; exact, and images go through both in one resampling.

        Parameters
        ----------
        other : Warp
            Its source is the target of this one. Single warps combine with batched ones.

        Returns
        -------
        Warp

        Raises
        ------
        TypeError, ValueError
            If `other` is not a Warp, or the sizes or batches do not meet.
        """
        if not isinstance(other, Warp):
            raise TypeError(f"`other` must be a Warp, got {type(other).__name__}")
        if self.target_hw != other.source_hw:
            raise ValueError(
                f"`other` must start where this warp ends, at {_by(self.target_hw)}, but it starts at {_by(other.source_hw)}"
            )
        if self.batch_shape and other.batch_shape and self.batch_shape != other.batch_shape:
            raise ValueError(f"`other` must be a batch of {len(self)} warps or a single one, got {len(other)}")
        return Warp(x=self.x.then(other.x), y=self.y.then(other.y))

    def blend(self, other: Warp, /, weight: float) -> Warp:
        r"""A warp between this one and another: $(1 - w) X(x) + w X'(x)$ along both axes, which is monotone too.

        Parameters
        ----------
        other : Warp
            Between images of the same sizes; a batch of as many warps.
        weight : float
            $w$, in [0, 1]: 0 is this warp, 1 the other one.

        Returns
        -------
        Warp
            Exact but for knots less than 1e-6 px apart, which become one. Gradients reach both.

        Raises
        ------
        TypeError, ValueError
            If `other` is not a Warp, sizes or batches differ, or `weight` is out of range.

        Examples
        --------
        >>> from pmtools import frames
        >>> half = frames.identity((8, 8)).blend(frames.crop((8, 8), (4, 0, 12, 8)), 0.5)
        >>> half.points([4, 4])
        array([2., 4.])
        """
        weight = _checks.real_number(weight, "weight", minimum=0.0, maximum=1.0)
        if not isinstance(other, Warp):
            raise TypeError(f"`other` must be a Warp, got {_checks.describe(other)}")
        mine, others = ((warp.source_hw, warp.target_hw, warp.batch_shape) for warp in (self, other))
        if mine != others:
            raise ValueError(f"`other` must have the sizes and the batch of this warp, {self}, got {other}")
        if self.batch_shape:
            return Warp.stack(one.blend(two, weight) for one, two in zip(self, other, strict=True))
        return Warp(x=axis_algebra.blended(self.x, other.x, weight), y=axis_algebra.blended(self.y, other.y, weight))

    def to(self, where: Any, /) -> Warp:
        """The warp on another device, or in the namespace and on the device of an array.

        Coordinates and images do not need it: the warp comes to them. It saves moving the same warp again and again.

        Parameters
        ----------
        where : array or device
            A device of the warp's own namespace; for a NumPy warp any of PyTorch, and "cpu" leaves it NumPy.

        Returns
        -------
        Warp
            Gradients reach the original.

        Raises
        ------
        TypeError
            If a NumPy warp is to go to a device and PyTorch is not imported; give it an array instead.
        """
        like = self.x.like
        if _array.is_array(where):
            like = where
        elif not isinstance(like, np.ndarray):
            like = _array.to_device(like, where)
        elif str(where) != "cpu":
            torch = sys.modules.get("torch")
            if torch is None:
                raise TypeError(
                    f"`where` must be an array for a NumPy warp, got {_checks.describe(where)}; give one that is there"
                )
            like = torch.empty(0, device=where)
        return self._moved_like(like)

    def _requires_grad(self) -> bool:
        return any(_array.requires_grad(knots) for axis in (self.x, self.y) for piece in axis.pieces for knots in piece)

    def _moved_like(self, like: Array) -> Warp:
        x, y = self.x.moved_like(like), self.y.moved_like(like)
        return self if x is self.x and y is self.y else Warp(x=x, y=y)

    @cached_property
    def _footprints(self) -> list[tuple[Footprints, Footprints]]:
        """Where the output pixels of both axes look, for each warp; made once, since a warp does not change."""
        return list(zip(footprints(self.y), footprints(self.x), strict=True))

    def _look(self, *, antialias: bool) -> None:
        """Find out where output pixels look, and by which kernels, before there is an image."""
        for axis in itertools.chain.from_iterable(self._footprints):
            choose_kernel(axis, antialias=antialias)

    def __reduce__(self) -> tuple[type[Warp], tuple[AxisMap, AxisMap]]:
        return Warp, (self.x, self.y)  # without what is made on the way

    # ----------------------------------------------------------------------------------------------- exporting

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, ready for JSON; `Warp.from_dict` gives the warp back, to the last bit.

        Returns
        -------
        dict
        """
        return {"type": "pmtools.Warp", "version": 1, "x": to_jsonable(self.x), "y": to_jsonable(self.y)}

    @classmethod
    def from_dict(cls, data: dict[str, Any], /) -> Warp:
        """A warp from what `Warp.to_dict` gave, in NumPy.

        Parameters
        ----------
        data : dict

        Returns
        -------
        Warp

        Raises
        ------
        ValueError
            If `data` is not a warp, comes from a newer version, or its numbers are not monotone maps.
        """
        if not isinstance(data, dict) or data.get("type") != "pmtools.Warp":
            raise ValueError(
                '`data` must be what `Warp.to_dict` returns, a dict with "type": "pmtools.Warp", got '
                f"{_checks.describe(data)}"
                + ("; make one of the text with json.loads" if isinstance(data, str) else "")
            )
        if data.get("version") != 1:
            raise ValueError(
                f"`data` has version {data.get('version')!r}, this pmtools reads version 1; update pmtools"
            )
        try:
            warp = cls(x=from_jsonable(data.get("x"), "x"), y=from_jsonable(data.get("y"), "y"))
            _checks.size_hw(warp.source_hw, "source_size")
            _checks.size_hw(warp.target_hw, "target_size")
        except ValueError as error:
            raise ValueError(f"`data` is not a warp: {error}") from None
        return warp

    def to_grid_sample(self, *, align_corners: bool = False) -> Array:
        """Sampling grid for `torch.nn.functional.grid_sample`, which then gives `Warp.image(..., antialias=False)`.

        Use `padding_mode="zeros"`, which is `fill=0` where nothing of the source shows. Keep the grid in 32 bits or more: in half
        precision it moves pixels, so sample half-precision images as `grid_sample(image.float(), grid.float())`.

        Parameters
        ----------
        align_corners : bool, optional
            The value that will be given to `grid_sample`.

        Returns
        -------
        array of shape (n, *target_hw, 2)
            x, y in [-1, 1], `n` = 1 for a single warp; -3, beyond the image, where nothing of the source shows. Namespace and
            device of the warp, in its float64.
        """

        def normalized(axis: AxisMap) -> Array:
            seen, outside = _seen_centres(axis)
            n = axis.source_size
            grid = (2.0 * (seen - 0.5) / max(n - 1, 1) if align_corners else 2.0 * seen / n) - 1.0
            return xp.where(outside, xp.full_like(grid, -3.0), grid)

        xp = _array.namespace(self.x.like)
        x, y = normalized(self.x), normalized(self.y)
        shape = (x.shape[0], *self.target_hw)
        return xp.stack([xp.broadcast_to(x[:, None, :], shape), xp.broadcast_to(y[:, :, None], shape)], axis=-1)

    def to_cv2_maps(self) -> tuple[Ndarray, Ndarray]:
        """Maps for `cv2.remap`, which with INTER_LINEAR and BORDER_CONSTANT then gives `Warp.image(..., antialias=False)`.

        OpenCV's border value is `fill` where nothing of the source shows. It works in 1/32 of a pixel.

        Returns
        -------
        map_x, map_y : float32 NumPy arrays of shape `target_hw`
            Source pixel indices: OpenCV puts the centre of pixel `i` at `i`; -2, beyond the image, where nothing of the source
            shows.

        Raises
        ------
        ValueError
            For a batch of warps; take one of them, `warp[i]`.
        """
        if self.batch_shape:
            raise ValueError("cv2.remap takes one warp, this is a batch; use warp[i].to_cv2_maps()")
        x, y = (
            np.where(_array.to_numpy(outside)[0], -2.0, _array.to_numpy(seen)[0] - 0.5)
            for seen, outside in (_seen_centres(axis) for axis in (self.x, self.y))
        )
        map_x, map_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
        return map_x, map_y


def _by(size_hw: tuple[int, ...]) -> str:
    return f"{size_hw[0]}x{size_hw[1]}"


def _per_item(x: Array, axis: AxisMap) -> Array:
    """`x` of shape (q,), or repeated to (n, q) for a batch of n maps."""
    n = axis.batch_size
    return x if n is None else _array.namespace(x).broadcast_to(x, (n, *x.shape))


def _seen_centres(axis: AxisMap) -> tuple[Array, Array]:
    """Where the centre of every output pixel looks, kept to the centres of visible pixels, and which see nothing; both (n, m)."""
    found = footprints(axis)
    xp = _array.namespace(axis.like)
    seen = [xp.clip(one.centre, one.first + 0.5, one.last + 0.5) for one in found]
    return xp.stack(seen), xp.stack([one.outside for one in found])


def _map_columns(coordinates: Any, name: str, columns: str, warp: Warp, *, back: bool = False) -> Array:
    """Map the even columns along x and the odd ones along y; the warp comes to the coordinates, so that their gradients stay."""
    last = 2 if columns == "x, y" else 4
    array = _checks.coordinates(coordinates, name, last=last, columns=columns)
    shape = tuple(array.shape)
    batch = warp.batch_shape
    if batch and (len(shape) < 2 or shape[0] != batch[0]):
        raise ValueError(
            f"`{name}` must have shape ({batch[0]}, ..., {last}) for a batch of {batch[0]} warps, got {shape}; "
            "use warp[i] for one of them"
        )
    xp = _array.namespace(array)
    wide = _array.widen(array)
    warp = warp._moved_like(wide)
    flat = xp.reshape(wide, (*batch, math.prod(shape[len(batch) : -1]), last))
    maps = [axis.backward if back else axis.forward for axis in (warp.x, warp.y)]
    if isinstance(flat, np.ndarray):  # column by column into one array
        mapped = np.empty(flat.shape)
        for i in range(last):
            maps[i % 2](flat[..., i], out=mapped[..., i])
    else:
        mapped = xp.stack([maps[i % 2](flat[..., i]) for i in range(last)], axis=-1)
    return _array.coordinate_like(xp.reshape(mapped, shape), array)
