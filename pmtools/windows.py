"""Mosaics: windows on an image, side by side on a canvas; coordinates, images and masks go both ways.

Every window is a crop and an isotropic resize, hence undone exactly, and what is found on the canvas goes back with the name of
its window. How windows are chosen is in `_mosaic.py`.

Convention: continuous pixel-edge coordinates; pixel `i` covers `[i, i + 1)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pmtools import _array, _checks, _images
from pmtools._brief import brief
from pmtools.axes import axis_map
from pmtools.typing import Array, BoxesXYXY, Image, Ndarray, PointsXY, SizeHW
from pmtools.warp import Warp


class Placed(NamedTuple):
    """Coordinates, and the window that each lies in.

    Attributes
    ----------
    coordinates : array of shape (..., 2) or (..., 4)
        Points or boxes.
    window : int NumPy array of shape (...,)
        Number of the box whose window it is; -1 for the overview.
    """

    coordinates: Array
    window: Ndarray

    def __repr__(self) -> str:
        return brief(self)


@dataclass(frozen=True, eq=False, repr=False)
class Mosaic:
    """Windows on one image and the cells of a canvas that show them; `fit_mosaic` makes one. The last is the overview.

    Attributes
    ----------
    source_hw, target_hw : (int, int)
        Height and width of the image and of the canvas.
    windows_xyxy : float64 array of shape (n + 1, 4)
        What each window shows, in source pixels; it may reach beyond the image.
    cells_xyxy : int array of shape (n + 1, 4)
        Where it stands on the canvas; together the cells are the canvas.
    scale : float64 array of shape (n + 1,)
        Output pixels per source pixel along both axes.
    """

    source_hw: SizeHW
    target_hw: SizeHW
    windows_xyxy: Ndarray
    cells_xyxy: Ndarray
    scale: Ndarray

    def __len__(self) -> int:
        return len(self.scale) - 1

    def __bool__(self) -> bool:
        return True  # without a window there is still the overview

    def __repr__(self) -> str:
        (h, w), (th, tw) = self.source_hw, self.target_hw
        return f"Mosaic({h}x{w} -> {th}x{tw}, {len(self)} windows and an overview)"

    def warp(self, window: int, /) -> Warp:
        """The map from the image to one cell, whose top-left corner is its origin.

        Parameters
        ----------
        window : int
            Number of a box, or -1 for the overview.

        Returns
        -------
        Warp

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described above; the message names it.
        """
        i = _checks.whole_number(window, "window", minimum=-1, maximum=len(self) - 1)
        axes = []
        sides = self.cells_xyxy[i, 2:] - self.cells_xyxy[i, :2]
        for low, side, n in zip(self.windows_xyxy[i, :2], sides, self.source_hw[::-1], strict=True):
            span = np.array([low, low + side / self.scale[i]])
            axes.append(axis_map(span, np.array([0.0, side]), n, int(side)))
        return Warp(x=axes[0], y=axes[1])

    # ------------------------------------------------------------------------------------------------- coordinates

    @_array.untraced
    def points(self, points_xy: PointsXY, /) -> Placed:
        """Where source points land on the canvas: in the window that shows them largest, otherwise in the overview.

        Parameters
        ----------
        points_xy : array of shape (..., 2)
            x, y in pixels of the image.

        Returns
        -------
        Placed

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described above; the message names it.
        """
        points = _checks.coordinates(points_xy, "points_xy", last=2, columns="x, y")
        return self._place(points, self._largest_window(points))

    @_array.untraced
    def boxes(self, boxes_xyxy: BoxesXYXY, /) -> Placed:
        """Where source boxes land on the canvas: in the window that shows all of them largest, otherwise in the overview.

        Parameters
        ----------
        boxes_xyxy : array of shape (..., 4)
            x0, y0, x1, y1 in pixels of the image.

        Returns
        -------
        Placed

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described above; the message names it.
        """
        boxes = _checks.coordinates(boxes_xyxy, "boxes_xyxy", last=4, columns="x0, y0, x1, y1")
        return self._place(boxes, self._largest_window(boxes))

    @_array.untraced
    def inverse_points(self, points_xy: PointsXY, /, *, window: Any = None) -> Placed:
        """Where points of the canvas come from on the image, and through which window.

        Parameters
        ----------
        points_xy : array of shape (..., 2)
            x, y in pixels of the canvas.
        window : int array of shape (...,), optional
            The windows, where they are known. Default: the cell that each point lies in, the nearest beyond the canvas.

        Returns
        -------
        Placed

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described above; the message names it.
        """
        points = _checks.coordinates(points_xy, "points_xy", last=2, columns="x, y")
        return self._place(points, self._cell_at(_array.to_numpy(points), window), back=True)

    @_array.untraced
    def inverse_boxes(self, boxes_xyxy: BoxesXYXY, /, *, window: Any = None) -> Placed:
        """Where boxes found on the canvas are on the image, and through which window: that of their centre.

        Parameters
        ----------
        boxes_xyxy : array of shape (..., 4)
            x0, y0, x1, y1 in pixels of the canvas.
        window : int array of shape (...,), optional
            The windows, where they are known.

        Returns
        -------
        Placed

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described above; the message names it.
        """
        boxes = _checks.coordinates(boxes_xyxy, "boxes_xyxy", last=4, columns="x0, y0, x1, y1")
        corners = _array.to_numpy(boxes).astype(np.float64)
        return self._place(boxes, self._cell_at((corners[..., :2] + corners[..., 2:]) / 2, window), back=True)

    def _largest_window(self, array: Array) -> Ndarray:
        """For each point or box, the window of the largest scale that shows all of it; -1 where none does."""
        values = _array.to_numpy(array).astype(np.float64)[..., None, :]
        slack = 1e-9 * max(self.source_hw)  # a window's edge is its box's up to rounding
        low, high = self.windows_xyxy[:-1, :2] - slack, self.windows_xyxy[:-1, 2:] + slack
        seen = (values[..., :2] >= low).all(-1) & (values[..., -2:] <= high).all(-1)  # (..., n)
        if not len(self):
            return np.full(seen.shape[:-1], -1)
        best = np.where(seen, self.scale[:-1], 0.0).argmax(axis=-1)
        return np.where(seen.any(axis=-1), best, -1)

    def _cell_at(self, points: Ndarray, window: Any) -> Ndarray:
        if window is not None:
            chosen = np.asarray(_array.to_numpy(window) if _array.is_array(window) else window)
            known = chosen.dtype.kind in "iu" and bool(((chosen >= -1) & (chosen < len(self))).all())
            if not known or chosen.shape not in ((), points.shape[:-1]):
                raise ValueError(
                    f"`window` must hold numbers from -1 to {len(self) - 1}, one for each of shape {points.shape[:-1]}, "
                    f"got {_checks.describe(window)}"
                )
            return np.broadcast_to(chosen, points.shape[:-1])
        inside = np.clip(points, 0.0, np.nextafter(np.array(self.target_hw[::-1], dtype=np.float64), 0.0))[..., None, :]
        hit = (inside >= self.cells_xyxy[:, :2]).all(-1) & (inside < self.cells_xyxy[:, 2:]).all(-1)
        number = hit.argmax(axis=-1)
        return np.where(number == len(self), -1, number)

    def _place(self, array: Array, window: Ndarray, *, back: bool = False) -> Placed:
        """Coordinates from the image to the canvas, or back: one scale and one shift each."""
        scale = self.scale[window][..., None]
        shift = self.cells_xyxy[window][..., :2] - self.windows_xyxy[window][..., :2] * scale
        shift = np.concatenate([shift] * (array.shape[-1] // 2), axis=-1)
        wide = _array.widen(array)
        scale, shift = (_array.widen(_array.asarray_like(a, wide)) for a in (scale, shift))
        moved = (wide - shift) / scale if back else wide * scale + shift
        return Placed(_array.coordinate_like(moved, array), window)

    # ------------------------------------------------------------------------------------------------------ images

    @_array.untraced
    def image(
        self, image: Image, /, *, antialias: bool = True, channel_axis: int | None = None, fill: Any = 0
    ) -> Image:
        """The canvas.

        Parameters
        ----------
        image : PIL image or array
            Kinds and layouts as in `Warp.image`, a batch too.
        antialias, channel_axis, fill
            As in `Warp.image`; `fill` is what windows show beyond the image.

        Returns
        -------
        PIL image or array
            Of size `target_hw`; kind, layout, dtype and device of `image`.
        """
        pixels = _images.unpack(image, channel_axis=channel_axis)
        return self._canvas(pixels, image, fill, antialias=antialias, nearest=False)

    @_array.untraced
    def mask(self, mask: Image, /, *, channel_axis: int | None = None, fill: Any = 0) -> Image:
        """A mask or label map on the canvas: every pixel takes the label under its centre.

        Parameters
        ----------
        mask : PIL image or array of shape (..., H, W)
        channel_axis, fill
            As in `Warp.mask`.

        Returns
        -------
        PIL image or array of shape (..., *target_hw)
        """
        pixels = _images.unpack_mask(mask, self.source_hw, channel_axis=channel_axis)
        return self._canvas(pixels, mask, fill, antialias=False, nearest=True)

    @_array.untraced
    def inverse_image(self, image: Image, /, *, channel_axis: int | None = None) -> Image:
        """The source image, as far as the canvas holds it: every pixel from the window that shows it largest.

        Parameters
        ----------
        image : PIL image or array
            A canvas, of size `target_hw`.
        channel_axis : int, optional

        Returns
        -------
        PIL image or array
            Of size `source_hw`.
        """
        pixels = _images.unpack(image, channel_axis=channel_axis)
        return self._source(pixels, image, nearest=False)

    @_array.untraced
    def inverse_mask(self, mask: Image, /, *, channel_axis: int | None = None) -> Image:
        """A mask or label map of the canvas on the source: every pixel from the window that shows it largest.

        Parameters
        ----------
        mask : PIL image or array of shape (..., *target_hw)
        channel_axis : int, optional

        Returns
        -------
        PIL image or array of shape (..., H, W)
        """
        pixels = _images.unpack_mask(mask, self.target_hw, channel_axis=channel_axis)
        return self._source(pixels, mask, nearest=True)

    def _canvas(self, pixels: _images.Pixels, image: Image, fill: Any, *, antialias: bool, nearest: bool) -> Any:
        xp = _array.namespace(pixels.values)
        rows: dict[int, list[tuple[int, Array]]] = {}
        for i, (x0, y0, _, _) in enumerate(self.cells_xyxy.tolist()):
            warp = self.warp(-1 if i == len(self) else i)
            part = _resampled(warp, pixels, pixels.values, image, fill, antialias=antialias, nearest=nearest)
            rows.setdefault(y0, []).append((x0, part))
        lines = [
            xp.concat([part for _, part in sorted(row, key=lambda p: p[0])], axis=2) for _, row in sorted(rows.items())
        ]
        # NumPy joins big-endian numbers to native ones
        return pixels.pack(xp.astype(xp.concat(lines, axis=1), pixels.values.dtype, copy=False))

    def _source(self, pixels: _images.Pixels, image: Image, *, nearest: bool) -> Any:
        values = pixels.values
        if tuple(values.shape[1:3]) != self.target_hw:
            raise ValueError(
                f"the canvas must be {self.target_hw[0]}x{self.target_hw[1]} (height x width), got {_checks.describe(image)}"
            )
        result: Any = None
        for i in (-1, *np.argsort(self.scale[:-1], kind="stable").tolist()):
            x0, y0, x1, y1 = self.cells_xyxy[i].tolist()
            part = values[:, y0:y1, x0:x1, :]
            restored = _resampled(self.warp(i).inverse(), pixels, part, image, 0, antialias=False, nearest=nearest)
            left, top, right, bottom = self._pixels_seen(i)
            if result is None:
                result = _array.copy(restored)
            else:
                result[:, top:bottom, left:right, :] = restored[:, top:bottom, left:right, :]
        return pixels.pack(result)

    def _pixels_seen(self, i: int) -> list[int]:
        """The source pixels whose centres a window shows: the first ones along x and y, and those behind the last ones."""
        sides = np.array(self.source_hw[::-1])
        low = np.clip(np.ceil(self.windows_xyxy[i, :2] - 0.5), 0, sides).astype(int)
        high = np.clip(np.floor(self.windows_xyxy[i, 2:] - 0.5) + 1, low, sides).astype(int)
        return [*low.tolist(), *high.tolist()]


def _resampled(
    warp: Warp, pixels: _images.Pixels, values: Array, image: Image, fill: Any, *, antialias: bool, nearest: bool
) -> Array:
    """`values`, a part of `pixels`, through a warp, as values still."""
    bare = pixels._replace(values=values, pack=lambda done: done, copy=lambda: values)
    return warp._resample(bare, image, fill, antialias=antialias, nearest=nearest)
