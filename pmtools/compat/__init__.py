r"""The official implementation's numbers, quirks included, for reproducing the paper's tables.

Every function here computes what the published code computes, in its order and its precision: float32 statistics,
8-bit maps, point sampling in index coordinates. The toolkit's own functions (`pmtools.magnify` and its neighbours)
leave the quirks out and are what new work should use; nothing here knows them, and nothing there uses these.

Chain: attention -> `official_heatmap` -> `official_perception_map` (`official_perception_tokens` is the step before 8
bits) -> `official_coordinates` -> `official_magnify`, or one of `official_mask`, `official_blur`, `official_crop`,
`official_bbox`.

Quirks that are kept on purpose:

- a uniform map is not the identity: the coordinates run from about -1 to N - 1, and what lies outside the image is
  black;
- a zero in the 8-bit map's marginal drops those columns or rows, and zeros in front make the first coordinate NaN
  (black);
- a constant heatmap gives NaN tokens, an 8-bit map of zeros, and a black image;
- the map is quantised to 8 bits, the image is point-sampled: compressed regions alias.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)
- API, whose post-processing it shares, [arXiv:2409.17143](https://arxiv.org/abs/2409.17143)
"""

from __future__ import annotations

from pmtools.compat.alternatives import official_bbox, official_blur, official_crop, official_mask
from pmtools.compat.maps import (
    official_heatmap,
    official_highlight,
    official_perception_map,
    official_perception_tokens,
)
from pmtools.compat.warp import OfficialCoordinates, official_coordinates, official_magnify

__all__ = [  # noqa: RUF022  in the order of the chain
    "official_heatmap",
    "official_highlight",
    "official_perception_tokens",
    "official_perception_map",
    "OfficialCoordinates",
    "official_coordinates",
    "official_magnify",
    "official_mask",
    "official_blur",
    "official_crop",
    "official_bbox",
]
