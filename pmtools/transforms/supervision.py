"""`supervision.Detections` through a warp, both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
from supervision import Detections
from supervision.config import ORIENTED_BOX_COORDINATES

from pmtools import Warp, _checks, annotation


def detections(
    detections: Detections, warp: Warp, /, *, clip: bool = False, min_visible: float | None = None
) -> Detections:
    """Detections on an image as detections on its magnified one.

    Boxes, masks and the corners of oriented boxes are mapped; classes, confidences, tracker ids and data stay.

    Parameters
    ----------
    detections : supervision.Detections
        On an image of the size of the warp's source. It is not changed.
    warp : Warp
        `warp.inverse()` undoes it.
    clip : bool, optional
        Cut boxes to what the result shows of the source.
    min_visible : float, optional
        Drop detections of which a smaller share of the box is shown, in [0, 1]; 0 drops what is not shown at all. Default:
        keep all.

    Returns
    -------
    supervision.Detections

    Raises
    ------
    TypeError, ValueError
        If something else came, or the masks have another size than the warp's source.
    """
    if not isinstance(detections, Detections):
        raise TypeError(f"`detections` must be supervision.Detections, got {_checks.describe(detections)}")
    if min_visible is not None:
        min_visible = _checks.real_number(min_visible, "min_visible", minimum=0.0, maximum=1.0)
        share = annotation.visible_share(detections.xyxy, warp)
        detections = detections[(share > 0) & (share >= min_visible)]
    data = dict(detections.data)
    if ORIENTED_BOX_COORDINATES in data:
        corners = np.asarray(data[ORIENTED_BOX_COORDINATES])
        data[ORIENTED_BOX_COORDINATES] = warp.points(corners.reshape(-1, 4, 2)).reshape(corners.shape)
    return Detections(
        xyxy=annotation.boxes(detections.xyxy, warp, clip=clip),
        mask=_mapped_mask(detections.mask, warp),
        confidence=detections.confidence,
        class_id=detections.class_id,
        tracker_id=detections.tracker_id,
        data=data,
        metadata=detections.metadata,
    )


def _mapped_mask(mask: Any, warp: Warp) -> Any:
    """Masks (n, H, W), as an array also where supervision keeps crops of them."""
    if mask is None:
        return None
    whole = np.asarray(mask if isinstance(mask, np.ndarray) else mask.to_dense())
    if not len(whole):
        return np.zeros((0, *warp.target_hw), dtype=bool)
    return warp.mask(whole)
