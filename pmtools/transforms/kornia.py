"""Magnification as an augmentation of kornia, for images, masks, boxes and keypoints, with its exact inverse.

Examples
--------
>>> from pmtools import zoom_warp
>>> transform = Magnify(zoom_warp([8, 8, 16, 16], source_hw=(64, 64), zoom=2))
>>> transform(torch.zeros(2, 3, 64, 64)).shape
torch.Size([2, 3, 64, 64])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from kornia.augmentation import GeometricAugmentationBase2D
from kornia.geometry.boxes import Boxes
from kornia.geometry.keypoints import Keypoints

from pmtools import Warp, _checks

#: Makes one warp, or a batch of as many, for images (B, C, H, W).
Fit: TypeAlias = Callable[[torch.Tensor], Warp]


class Magnify(GeometricAugmentationBase2D):  # type: ignore[misc]
    """Magnify a batch, with its masks, boxes and keypoints, in `AugmentationSequential` or alone.

    `AugmentationSequential.inverse` undoes it exactly. It is not a matrix, so `transform_matrix` is the identity.

    Convention: kornia's boxes and keypoints count pixel centres, and its boxes hold their last pixel; both are taken to
    continuous pixel-edge coordinates and back on the way.

    Parameters
    ----------
    warp : Warp or callable
        One warp, or a batch of as many as there are images, of their size; or a function of the images that returns it.
    antialias : bool, optional
        As in `Warp.image`.

    Attributes
    ----------
    fitted : Warp or None
        What the latest images went through: masks, boxes and keypoints after them, and the inverse, do too.

    Raises
    ------
    TypeError
        If `warp` is neither.
    RuntimeError
        If masks, boxes or keypoints come before the images that the function makes the warp for.
    """

    def __init__(self, warp: Warp | Fit, /, *, antialias: bool = True) -> None:
        super().__init__(p=1.0)
        if not isinstance(warp, Warp) and not callable(warp):
            raise TypeError(f"`warp` must be a Warp, or a function that makes one, got {_checks.describe(warp)}")
        self.warp, self.antialias = warp, antialias
        self.fitted: Warp | None = warp if isinstance(warp, Warp) else None

    def compute_transformation(self, input: torch.Tensor, params: Any, flags: Any) -> torch.Tensor:
        """The identity: magnification is not a matrix."""
        identity: torch.Tensor = self.identity_matrix(input)
        return identity

    def apply_transform(self, input: torch.Tensor, params: Any, flags: Any, transform: Any = None) -> torch.Tensor:
        """Images (B, C, H, W), magnified."""
        self.fitted = self.warp if isinstance(self.warp, Warp) else self.warp(input)
        result: torch.Tensor = self.fitted.image(input, antialias=self.antialias)
        return result

    def apply_transform_mask(self, input: torch.Tensor, params: Any, flags: Any, transform: Any = None) -> torch.Tensor:
        """Masks (B, C, H, W), magnified."""
        result: torch.Tensor = self._latest().mask(input)
        return result

    def apply_transform_box(self, input: Boxes, params: Any, flags: Any, transform: Any = None) -> Boxes:
        """Boxes, magnified: their corners."""
        return _mapped_boxes(input, self._latest())

    def apply_transform_keypoint(self, input: Keypoints, params: Any, flags: Any, transform: Any = None) -> Keypoints:
        """Keypoints, magnified."""
        return _mapped_keypoints(input, self._latest())

    def inverse_inputs(
        self, input: torch.Tensor, params: Any, flags: Any, transform: Any = None, **_: Any
    ) -> torch.Tensor:
        """Images again as they were, as far as the magnified ones still hold them."""
        result: torch.Tensor = self._latest().inverse_image(self.transform_tensor(input))
        return result

    def inverse_masks(
        self, input: torch.Tensor, params: Any, flags: Any, transform: Any = None, **_: Any
    ) -> torch.Tensor:
        """Masks again as they were, as far as the magnified ones still hold them."""
        result: torch.Tensor = self._latest().inverse_mask(self.transform_tensor(input))
        return result

    def inverse_boxes(self, input: Boxes, params: Any, flags: Any, transform: Any = None, **_: Any) -> Boxes:
        """Boxes again as they were."""
        return _mapped_boxes(input, self._latest().inverse())

    def inverse_keypoints(
        self, input: Keypoints, params: Any, flags: Any, transform: Any = None, **_: Any
    ) -> Keypoints:
        """Keypoints again as they were."""
        return _mapped_keypoints(input, self._latest().inverse())

    def _latest(self) -> Warp:
        if self.fitted is None:
            raise RuntimeError(
                "the images must come first, since the warp is made for them; name them first in data_keys"
            )
        return self.fitted


def _mapped_boxes(boxes: Boxes, warp: Warp) -> Boxes:
    """Corners with the last pixel left out are continuous edges."""
    moved, corners = boxes.clone(), _wide(boxes.data)
    last_pixel = corners.new_tensor(_LAST_PIXEL)
    moved._data = (warp.points(corners + last_pixel) - last_pixel).to(boxes.data.dtype)
    return moved


def _mapped_keypoints(keypoints: Keypoints, warp: Warp) -> Keypoints:
    moved = keypoints.clone()
    moved._data = warp.points(_wide(keypoints.data) + 0.5) - 0.5
    return moved


def _wide(data: torch.Tensor) -> torch.Tensor:
    """In 32 bits at least: in half precision half a pixel is lost before anything has moved."""
    return data.to(torch.promote_types(data.dtype, torch.float32))


#: From kornia's four corners, which hold the last pixel, to edges.
_LAST_PIXEL = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
