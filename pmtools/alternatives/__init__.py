"""What else one can do with a perception map: the alternatives that magnification is compared with, interchangeable.

Every alternative is one file and one row of `ALTERNATIVES`, and they share one signature:
`alternative(image, perception_map, /, **options) -> Edited`.

Examples
--------
>>> image = np.zeros((60, 80, 3), dtype=np.uint8)
>>> where = np.zeros((6, 8))
>>> where[2, 3] = 1
>>> sorted(ALTERNATIVES)
['bbox', 'blur', 'crop', 'magnify', 'mask']
>>> ALTERNATIVES["crop"](image, where).frame.inverse_points([[0, 0]])
array([[30., 20.]])
"""

from __future__ import annotations

from pmtools.alternatives.bbox import bbox
from pmtools.alternatives.blur import blur
from pmtools.alternatives.crop import crop
from pmtools.alternatives.edited import Alternative, Edited
from pmtools.alternatives.magnify import magnify
from pmtools.alternatives.mask import mask

#: The alternatives by name.
ALTERNATIVES: dict[str, Alternative] = {
    "magnify": magnify,
    "blur": blur,
    "mask": mask,
    "bbox": bbox,
    "crop": crop,
}

__all__ = ["ALTERNATIVES", "Alternative", "Edited", "bbox", "blur", "crop", "magnify", "mask"]
