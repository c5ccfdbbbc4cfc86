"""Flips and quarter turns: a warp and then a turn of its result, exact for pixels and coordinates.

An axis map increases, so a flip is none; but a turn that is followed by a warp is another warp followed by the turn, so one warp
and one turn hold any chain of both.

Convention: continuous pixel-edge coordinates; pixel `i` covers `[i, i + 1)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pmtools import _array, _checks, _images
from pmtools.axes import AxisMap, Piece, affine_map
from pmtools.typing import Array, BoxesXYXY, Image, PointsXY, SizeHW
from pmtools.warp import Warp


@dataclass(frozen=True, repr=False)
class Turned:
    """A warp, and then a flip, a quarter turn or both; `pmtools.frames` makes them.

    Attributes
    ----------
    warp : Warp
    transpose : bool
        Whether x and y are exchanged then.
    flip_x, flip_y : bool
        Whether the columns, and the rows, are turned around at last.
    """

    warp: Warp
    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def source_hw(self) -> SizeHW:
        """Height and width of the source image."""
        return self.warp.source_hw

    @property
    def target_hw(self) -> SizeHW:
        """Height and width of the result."""
        height, width = self.warp.target_hw
        return (width, height) if self.transpose else (height, width)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """() for one warp, (n,) for a batch."""
        return self.warp.batch_shape

    def __len__(self) -> int:
        return len(self.warp)

    def __bool__(self) -> bool:
        return True  # a single warp has no length that could say so

    def __getitem__(self, index: int) -> Turned:
        return Turned(self.warp[index], self.transpose, self.flip_x, self.flip_y)

    def __iter__(self) -> Iterator[Turned]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        done = [name for name in ("transpose", "flip_x", "flip_y") if getattr(self, name)]
        return f"Turned({', '.join([repr(self.warp), *done])})"

    # ------------------------------------------------------------------------------------------- coordinates

    def points(self, points_xy: PointsXY, /) -> PointsXY:
        """Where source points land; as `Warp.points`."""
        return self._turned(self.warp.points(points_xy))

    def inverse_points(self, points_xy: PointsXY, /) -> PointsXY:
        """Where points of the result come from; undoes `points`."""
        return self.inverse().points(points_xy)

    def boxes(self, boxes_xyxy: BoxesXYXY, /) -> BoxesXYXY:
        """Where source boxes land: boxes again, exactly, upright as they came; as `Warp.boxes`."""
        mapped = self.warp.boxes(boxes_xyxy)
        xp = _array.namespace(mapped)
        ends = [self._turned(mapped[..., :2]), self._turned(mapped[..., 2:])]
        columns = [ends[i // 2][..., i % 2] for i in range(4)]
        if self.flip_x:
            columns[0], columns[2] = columns[2], columns[0]
        if self.flip_y:
            columns[1], columns[3] = columns[3], columns[1]
        return xp.stack(columns, axis=-1)

    def inverse_boxes(self, boxes_xyxy: BoxesXYXY, /) -> BoxesXYXY:
        """Where boxes of the result are on the source; undoes `boxes`."""
        return self.inverse().boxes(boxes_xyxy)

    # -------------------------------------------------------------------------------------------------- images

    def image(
        self, image: Image, /, *, antialias: bool = True, channel_axis: int | None = None, fill: Any = 0
    ) -> Image:
        """The image, resampled once and then turned; as `Warp.image`."""
        warped = self.warp.image(image, antialias=antialias, channel_axis=channel_axis, fill=fill)
        unpack = _images.unpack_labels if _array.is_pil(warped) else _images.unpack  # nothing is mixed: palettes stay
        return self._turned_pixels(unpack(warped, channel_axis=channel_axis))

    def inverse_image(self, image: Image, /, *, channel_axis: int | None = None, fill: Any = 0) -> Image:
        """The source image again, as far as the result still holds it; as `Warp.inverse_image`."""
        return self.inverse().image(image, antialias=False, channel_axis=channel_axis, fill=fill)

    def mask(self, mask: Image, /, *, channel_axis: int | None = None, fill: Any = 0) -> Image:
        """A mask or label map, turned too; as `Warp.mask`."""
        warped = self.warp.mask(mask, channel_axis=channel_axis, fill=fill)
        return self._turned_pixels(_images.unpack_mask(warped, self.warp.target_hw, channel_axis=channel_axis))

    def inverse_mask(self, mask: Image, /, *, channel_axis: int | None = None, fill: Any = 0) -> Image:
        """A mask or label map of the result on the source; as `Warp.inverse_mask`."""
        return self.inverse().mask(mask, channel_axis=channel_axis, fill=fill)

    # ----------------------------------------------------------------------------------------------- algebra

    def inverse(self) -> Turned:
        """From the result back to the source."""
        flips = (self.flip_y, self.flip_x) if self.transpose else (self.flip_x, self.flip_y)
        height, width = self.target_hw
        still = Warp(x=affine_map(1.0, 0.0, width, width), y=affine_map(1.0, 0.0, height, height))
        return Turned(still, self.transpose, *flips).then(self.warp.inverse())

    def then(self, other: Warp | Turned, /) -> Turned:
        """This, followed by a warp or another turn; exact, and images are resampled once.

        Parameters
        ----------
        other : Warp or Turned
            Its source is the result of this one.

        Returns
        -------
        Turned

        Raises
        ------
        TypeError, ValueError
            If `other` is neither, or the sizes do not meet.
        """
        if not isinstance(other, (Warp, Turned)):
            raise TypeError(f"`other` must be a Warp or a Turned, got {_checks.describe(other)}")
        if other.source_hw != self.target_hw:
            raise ValueError(
                f"`other` must start where this ends, at {self.target_hw}, but it starts at {other.source_hw}"
            )
        warp = other if isinstance(other, Warp) else other.warp
        x, y = (_mirrored(axis) if flip else axis for axis, flip in ((warp.x, self.flip_x), (warp.y, self.flip_y)))
        before = self.warp.then(Warp(x=y, y=x) if self.transpose else Warp(x=x, y=y))
        if isinstance(other, Warp):
            return Turned(before, self.transpose, self.flip_x, self.flip_y)
        flips = (self.flip_y, self.flip_x) if other.transpose else (self.flip_x, self.flip_y)
        both = flips[0] != other.flip_x, flips[1] != other.flip_y
        return Turned(before, self.transpose != other.transpose, *both)

    def after(self, warp: Warp, /) -> Turned:
        """The warp, followed by this.

        Parameters
        ----------
        warp : Warp
            Its target is the source of this.

        Returns
        -------
        Turned
        """
        return Turned(warp).then(self)

    def _turned(self, points: Array) -> Array:
        xp = _array.namespace(points)
        height, width = self.target_hw
        x, y = (points[..., 1], points[..., 0]) if self.transpose else (points[..., 0], points[..., 1])
        return xp.stack([width - x if self.flip_x else x, height - y if self.flip_y else y], axis=-1)

    def _turned_pixels(self, pixels: _images.Pixels) -> Any:
        values = pixels.values  # (n, H, W, C)
        xp = _array.namespace(values)
        values = xp.permute_dims(values, (0, 2, 1, 3)) if self.transpose else values
        flipped = tuple(axis for axis, flip in ((1, self.flip_y), (2, self.flip_x)) if flip)
        return pixels.pack(_array.copy(xp.flip(values, axis=flipped) if flipped else values))


def _mirrored(axis: AxisMap) -> AxisMap:
    r"""The map $x \mapsto M - X(N - x)$, where $N$ and $M$ are the sizes of the axis."""
    xp = _array.namespace(axis.like)
    last = len(axis.pieces) - 1

    def mirrored(knots: Array, size: float) -> Array:
        return size - xp.flip(knots, axis=-1)

    pieces = tuple(
        Piece(
            mirrored(piece.before, 0.0 if i else float(axis.source_size)),
            mirrored(piece.after, 0.0 if i < last else float(axis.target_size)),
        )
        for i, piece in enumerate(axis.pieces)
    )
    return AxisMap(pieces, axis.source_size, axis.target_size, mirrored(axis.window, float(axis.source_size)))
