"""Magnification as a transform of albumentations, for images, masks, boxes and keypoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from albumentations.core.transforms_interface import DualTransform
from albumentations.core.type_definitions import Targets

from pmtools import Warp, _checks, frames
from pmtools.typing import Ndarray

#: Makes the warp for an image and its boxes, x0, y0, x1, y1 in pixels of shape (n, 4), none where the sample has none.
Fit: TypeAlias = Callable[[Ndarray, Ndarray], Warp]


class Magnify(DualTransform):  # type: ignore[misc]
    """Magnify everything in a sample.

    Convention: albumentations' keypoints count pixel centres; they are moved by half a pixel on the way. Its boxes are
    pixel-edge coordinates, as ours.

    Parameters
    ----------
    warp : Warp or callable
        One warp for all images, of its source's size; or a function of an image and its boxes that returns one.
        `warp.inverse()` undoes it.
    antialias, fill
        As in `Warp.image`; masks are filled with 0.
    p : float, optional
        How often it is applied.

    Raises
    ------
    TypeError
        If `warp` is neither.
    """

    _targets = (Targets.IMAGE, Targets.MASK, Targets.BBOXES, Targets.KEYPOINTS)

    def __init__(self, warp: Warp | Fit, /, *, antialias: bool = True, fill: Any = 0, p: float = 1.0) -> None:
        super().__init__(p=p)
        if not isinstance(warp, Warp) and not callable(warp):
            raise TypeError(f"`warp` must be a Warp, or a function that makes one, got {_checks.describe(warp)}")
        self.warp, self.antialias, self.fill = warp, antialias, fill

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The warp of a sample."""
        if isinstance(self.warp, Warp):
            return {"warp": self.warp}
        size = params["shape"][:2]
        shares = np.asarray(data.get("bboxes", ()), dtype=np.float64)
        shares = shares[:, :4] if shares.size else np.empty((0, 4))
        image = data["image"] if "image" in data else data["images"][0]
        return {"warp": self.warp(image, frames.normalized(size).inverse_boxes(shares))}

    def apply(self, img: Ndarray, warp: Warp, **params: Any) -> Ndarray:
        """The image, magnified."""
        result: Ndarray = warp.image(img, antialias=self.antialias, fill=self.fill)
        return result

    def apply_to_mask(self, mask: Ndarray, warp: Warp, **params: Any) -> Ndarray:
        """A mask (H, W) or (H, W, C), magnified."""
        result: Ndarray = warp.mask(mask, channel_axis=-1 if mask.ndim == 3 else None)
        return result

    def apply_to_bboxes(self, bboxes: Ndarray, warp: Warp, **params: Any) -> Ndarray:
        """Boxes (n, 4 or more), parts of the image's sides, before and after."""
        if not len(bboxes):
            return bboxes  # of no columns, where the list was empty
        shares = frames.normalized(warp.source_hw).inverse().then(warp).then(frames.normalized(warp.target_hw))
        return np.concatenate([shares.boxes(bboxes[:, :4]), bboxes[:, 4:]], axis=1)

    def apply_to_keypoints(self, keypoints: Ndarray, warp: Warp, **params: Any) -> Ndarray:
        """Keypoints (n, 5 or more): x, y, z, angle and scale, which follow what the warp does at the point."""
        centres = np.asarray(keypoints[:, :2], dtype=np.float64) + 0.5
        stretch = warp.points(centres + 0.5) - warp.points(centres - 0.5)
        moved = np.array(keypoints, dtype=np.float64)
        moved[:, :2] = warp.points(centres) - 0.5
        if keypoints.shape[1] >= 5:
            angle = keypoints[:, 3]
            moved[:, 3] = np.arctan2(np.sin(angle) * stretch[:, 1], np.cos(angle) * stretch[:, 0])
            moved[:, 4] = keypoints[:, 4] * stretch.max(axis=1)
        return moved.astype(keypoints.dtype, copy=False)

    def get_transform_init_args_names(self) -> tuple[str, ...]:
        """What the transform is made of, for its repr."""
        return ("warp", "antialias", "fill")
