"""Magnification as a transform of torchvision: images, videos, masks, boxes of any format and keypoints together.

Examples
--------
>>> from pmtools import zoom_warp
>>> transform = Magnify(lambda image, boxes: zoom_warp(boxes, source_hw=image.shape[-2:], zoom=2))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import PIL.Image
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from pmtools import Warp, _checks, annotation

#: Makes the warp for an image and its boxes, x0, y0, x1, y1 of shape (n, 4), none where the sample has none; of rotated
#: boxes it gets the upright ones around them.
Fit: TypeAlias = Callable[[Any, Any], Warp]


class Magnify(v2.Transform):  # type: ignore[misc]
    """Magnify everything in a sample.

    Convention: boxes and keypoints are continuous pixel-edge coordinates, as torchvision's `Resize` reads them; its flips take
    keypoints for pixels' centres.

    Parameters
    ----------
    warp : Warp or callable
        One warp for all images, of its source's size; or a function of an image and its boxes (corners) that returns one.
        `warp.inverse()` undoes it.
    clip : bool, optional
        Cut upright boxes to what the result shows of the image.
    antialias, fill
        As in `Warp.image`; masks are filled with 0.

    Raises
    ------
    TypeError, ValueError
        If `warp` is neither, or a sample has no image and no size that the function could be called with.
    """

    _transformed_types = (
        torch.Tensor,
        PIL.Image.Image,
        tv_tensors.Image,
        tv_tensors.Video,
        tv_tensors.Mask,
        tv_tensors.BoundingBoxes,
        tv_tensors.KeyPoints,
    )

    def __init__(self, warp: Warp | Fit, /, *, clip: bool = False, antialias: bool = True, fill: Any = 0) -> None:
        super().__init__()
        if not isinstance(warp, Warp) and not callable(warp):
            raise TypeError(f"`warp` must be a Warp, or a function that makes one, got {_checks.describe(warp)}")
        self.warp, self.clip, self.antialias, self.fill = warp, clip, antialias, fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The warp of a sample."""
        if isinstance(self.warp, Warp):
            return {"warp": self.warp}
        pictures = [
            one for one in flat_inputs if isinstance(one, (PIL.Image.Image, torch.Tensor)) and not _is_other(one)
        ]
        if not pictures:
            raise ValueError("a sample must have an image for the function that makes its warp, got none; give a Warp")
        found = [one for one in flat_inputs if isinstance(one, tv_tensors.BoundingBoxes)]
        corners = torch.cat([_corners(one) for one in found]) if found else torch.empty(0, 4)
        return {"warp": self.warp(pictures[0], corners)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One part of a sample, magnified."""
        warp = params["warp"]
        if isinstance(inpt, tv_tensors.BoundingBoxes):
            return annotation.boxes(inpt, warp, clip=self.clip)
        if isinstance(inpt, tv_tensors.KeyPoints):
            _check_canvas(inpt, warp)
            mapped = warp.points(inpt.as_subclass(torch.Tensor))
            return tv_tensors.wrap(mapped, like=inpt, canvas_size=warp.target_hw)
        if isinstance(inpt, tv_tensors.Mask):
            return tv_tensors.wrap(warp.mask(inpt.as_subclass(torch.Tensor)), like=inpt)
        if isinstance(inpt, PIL.Image.Image):
            return warp.image(inpt, antialias=self.antialias, fill=self.fill)
        result = warp.image(inpt.as_subclass(torch.Tensor), antialias=self.antialias, fill=self.fill)
        return tv_tensors.wrap(result, like=inpt) if isinstance(inpt, tv_tensors.TVTensor) else result


def _corners(boxes: Any) -> torch.Tensor:
    """Corners (n, 4): of boxes that are not upright those of the upright box around."""
    format = boxes.format.value.lower()
    if format in ("xyxy", "xywh", "cxcywh"):
        return annotation.convert(boxes, format, "xyxy")  # type: ignore[no-any-return]
    vertices = annotation.convert(boxes, format, "xyxyxyxy").reshape(-1, 4, 2)
    return torch.cat([vertices.amin(1), vertices.amax(1)], dim=1)


def _is_other(value: Any) -> bool:
    return isinstance(value, (tv_tensors.Mask, tv_tensors.BoundingBoxes, tv_tensors.KeyPoints))


def _check_canvas(keypoints: Any, warp: Warp) -> None:
    if tuple(keypoints.canvas_size) != warp.source_hw:
        raise ValueError(
            f"keypoints must be on an image of {warp.source_hw}, the source of the warp, got canvas_size "
            f"{tuple(keypoints.canvas_size)}; fit the warp for that size"
        )
