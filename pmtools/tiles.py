"""Tiles: a large image as overlapping pieces at full size, and the detections on them as those of one image.

Knows crops and boxes; non-maximum suppression is OpenCV's or torchvision's.

Convention: continuous pixel-edge coordinates; pixel `i` covers `[i, i + 1)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pmtools import _array, _checks, frames
from pmtools._brief import brief
from pmtools.typing import BoxesXYXY, Image, Ndarray, SizeHW
from pmtools.warp import Warp


class Detections(NamedTuple):
    """Detections on one image, the surest first.

    Attributes
    ----------
    boxes_xyxy : float64 array of shape (n, 4)
    scores : float64 array of shape (n,)
    labels : int array of shape (n,)
    tile : int array of shape (n,)
        The tile that each was found on.
    """

    boxes_xyxy: Ndarray
    scores: Ndarray
    labels: Ndarray
    tile: Ndarray

    def __repr__(self) -> str:
        return brief(self)


@dataclass(frozen=True, eq=False, repr=False)
class Tiles:
    """Overlapping tiles of an image; `fit_tiles` makes them.

    Attributes
    ----------
    source_hw, tile_hw : (int, int)
        Height and width of the image and of each tile.
    overlap_hw : (int, int)
        Pixels that neighbours share at least, along y and x: what is no larger is whole on some tile.
    warps : tuple of Warp
        From the image to each tile, in reading order.
    """

    source_hw: SizeHW
    tile_hw: SizeHW
    overlap_hw: tuple[int, int]
    warps: tuple[Warp, ...]

    def __len__(self) -> int:
        return len(self.warps)

    def __repr__(self) -> str:
        (h, w), (th, tw) = self.source_hw, self.tile_hw
        return f"Tiles({h}x{w} -> {len(self)} of {th}x{tw})"

    def images(self, image: Image, /, *, channel_axis: int | None = None, fill: Any = 0) -> list[Image]:
        """The tiles of an image, pixels as they are.

        Parameters
        ----------
        image : PIL image or array
            Of size `source_hw`; kinds and layouts as in `Warp.image`.
        channel_axis, fill
            As in `Warp.image`; `fill` is what a tile larger than the image shows beyond it.

        Returns
        -------
        list of images
            Of size `tile_hw`; kind, layout and dtype of `image`.
        """
        return [warp.image(image, channel_axis=channel_axis, fill=fill) for warp in self.warps]

    def merge(
        self,
        boxes: Sequence[BoxesXYXY],
        scores: Sequence[Any],
        labels: Sequence[Any] | None = None,
        /,
        *,
        iou: float = 0.5,
    ) -> Detections:
        """What was found on the tiles as detections on the image, each object once.

        Boxes that end at the inner edge of a tile, though they are smaller than the overlap, are pieces of what a neighbour
        shows whole, and are left out; then non-maximum suppression keeps the surest of those that overlap.

        Parameters
        ----------
        boxes : sequence of arrays of shape (n_i, 4), one for each tile
            x0, y0, x1, y1 in pixels of the tile; empty where nothing was found.
        scores : sequence of arrays of shape (n_i,)
        labels : sequence of int arrays of shape (n_i,), optional
            Classes, which do not suppress each other. Default: one class.
        iou : float, optional
            Intersection over union beyond which two boxes are one object, in [0, 1].

        Returns
        -------
        Detections

        Raises
        ------
        TypeError, ValueError
            If there is not one entry for each tile, or boxes, scores and labels do not meet.
        ImportError
            If neither OpenCV nor torchvision is installed.
        """
        iou = _checks.real_number(iou, "iou", minimum=0.0, maximum=1.0)
        found: list[tuple[Ndarray, Ndarray, Ndarray, Ndarray]] = []
        columns = {"boxes": boxes, "scores": scores, **({} if labels is None else {"labels": labels})}
        for name, column in columns.items():
            if len(column) != len(self):
                raise ValueError(f"`{name}` must have an entry for each of the {len(self)} tiles, got {len(column)}")
        for i, warp in enumerate(self.warps):
            here = _checks.boxes(boxes[i], f"boxes[{i}]")
            sure = _numbers(scores[i], f"scores[{i}]", len(here))
            kind = np.zeros(len(here)) if labels is None else _numbers(labels[i], f"labels[{i}]", len(here))
            whole = ~self._is_piece(i, here)
            tile = np.full(len(here), i)
            found.append((warp.inverse_boxes(here)[whole], sure[whole], kind[whole].astype(int), tile[whole]))
        merged = [np.concatenate(parts) for parts in zip(*found, strict=True)]
        kept = _suppress(merged[0], merged[1], merged[2], iou)
        return Detections(*(column[kept] for column in merged))

    def _is_piece(self, i: int, boxes: Ndarray) -> Ndarray:
        """Which boxes of a tile end within a pixel of an edge inside the image, and are smaller than the overlap."""
        window = self.warps[i].inverse_boxes(np.array([0.0, 0.0, self.tile_hw[1], self.tile_hw[0]]))
        piece = np.zeros(len(boxes), dtype=bool)
        for axis, n in enumerate(self.source_hw[::-1]):
            low, high, side = boxes[:, axis], boxes[:, axis + 2], self.tile_hw[::-1][axis]
            ends = (low < 1) & (window[axis] > 0) | (high > side - 1) & (window[axis + 2] < n)
            piece |= ends & (high - low <= self.overlap_hw[::-1][axis])
        return piece


def fit_tiles(source_hw: SizeHW, /, *, tile_hw: SizeHW, overlap: float = 0.2) -> Tiles:
    """The fewest evenly spaced tiles that cover an image and overlap.

    Parameters
    ----------
    source_hw, tile_hw : (int, int)
        Height and width of the image and of a tile. A tile larger than the image is padded.
    overlap : float, optional
        Share of a tile's sides that neighbours share at least, in [0, 0.9]; make it as large as what you look for.

    Returns
    -------
    Tiles

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.

    Examples
    --------
    >>> fit_tiles((1000, 1500), tile_hw=(640, 640))
    Tiles(1000x1500 -> 6 of 640x640)
    """
    source_hw, tile_hw = _checks.size_hw(source_hw, "source_hw"), _checks.size_hw(tile_hw, "tile_hw")
    overlap = _checks.real_number(overlap, "overlap", minimum=0.0, maximum=0.9)
    shared = tuple(math.ceil(overlap * side) for side in tile_hw)
    rows, columns = (_starts(n, side, both) for n, side, both in zip(source_hw, tile_hw, shared, strict=True))
    height, width = tile_hw
    warps = tuple(frames.crop(source_hw, (x, y, x + width, y + height)) for y in rows for x in columns)
    return Tiles(source_hw, tile_hw, (shared[0], shared[1]), warps)


def _starts(size: int, side: int, shared: int) -> list[int]:
    """First pixels of tiles along one axis."""
    if side >= size:
        return [0]
    count = math.ceil((size - shared) / max(side - shared, 1))
    return [i * (size - side) // (count - 1) for i in range(count)]


def _numbers(values: Any, name: str, count: int) -> Ndarray:
    """As many numbers as there are boxes, in float64."""
    array = _array.to_numpy(_array.asarray(values, name))
    if array.shape != (count,):
        raise ValueError(f"`{name}` must have shape ({count},), as its boxes, got {array.shape}")
    if not _array.is_real(array):
        raise TypeError(
            f"`{name}` must hold real numbers, got dtype {array.dtype}; of classes by name give their numbers"
        )
    return array.astype(np.float64)


def _suppress(boxes: Ndarray, scores: Ndarray, labels: Ndarray, iou: float) -> Ndarray:
    """Indices of the boxes that stay, the surest first."""
    if not len(boxes):
        return np.zeros(0, dtype=int)
    try:
        import cv2
    except ImportError:
        return _suppress_by_torchvision(boxes, scores, labels, iou)
    sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    lowest = float(scores.min()) - 1  # all scores count
    found = cv2.dnn.NMSBoxesBatched(sizes.tolist(), scores.tolist(), labels.tolist(), lowest, iou)
    kept: Ndarray = np.asarray(found, dtype=int).ravel()
    order: Ndarray = kept[np.argsort(-scores[kept], kind="stable")]
    return order


def _suppress_by_torchvision(boxes: Ndarray, scores: Ndarray, labels: Ndarray, iou: float) -> Ndarray:
    try:
        import torch
        from torchvision.ops import batched_nms
    except ImportError as error:
        raise ImportError(
            "merging detections needs OpenCV or torchvision for non-maximum suppression; pip install opencv-python-headless"
        ) from error
    kept = batched_nms(*(torch.from_numpy(a) for a in (boxes, scores, labels)), iou)
    return np.asarray(kept.numpy())
