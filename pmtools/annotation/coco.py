"""COCO's records through a warp: boxes, polygons, run lengths, keypoints, and what is computed from them.

Knows the fields of COCO's annotations and of detectron2's (`bbox_mode`); fields without a geometry stay as they are.

References
----------
- COCO's data format, [cocodataset.org](https://cocodataset.org/#format-data)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from pmtools import _array, _checks
from pmtools.annotation import _fields, formats, polygons
from pmtools.annotation._masks import mapped_rle
from pmtools.turns import Turned
from pmtools.warp import Warp

#: One warp for all, or one for each image, by its id or, in a whole data set, its file name.
Warps: TypeAlias = Warp | Turned | Mapping[Any, Warp | Turned]

#: Geometries beside the box that are mapped.
_MAPPED = ("segmentation", "keypoints")


def coco_annotations(
    records: Iterable[Mapping[str, Any]],
    warp: Warps,
    /,
    *,
    clip: bool = False,
    min_visible: float | None = None,
    tolerance: float = polygons.TOLERANCE,
) -> list[dict[str, Any]]:
    """COCO annotations or detections through a warp.

    `bbox`, `segmentation` (polygons and run lengths, compressed or not) and `keypoints` are mapped. `area` changes by the factor
    by which the segmentation, or else the box, has grown; `num_keypoints` is counted again where keypoints are gone.

    Convention: continuous pixel-edge coordinates; pixel `i` covers `[i, i + 1)`.

    Parameters
    ----------
    records : iterable of dict
        They are not changed. `bbox` is x, y, width, height, unless detectron2's `bbox_mode` says 0 (two corners) or 4 (centre,
        width, height and degrees); a `bbox_format` that says otherwise is refused.
    warp : Warp or mapping from `image_id` to Warp
        `warp.inverse()` undoes it.
    clip : bool, optional
        Cut boxes and polygons to what the result shows of the source, and make keypoints beyond it absent.
    min_visible : float, optional
        Drop annotations of which a smaller share of the box is shown, in [0, 1]; 0 drops what is not shown at all. Default:
        keep all.
    tolerance : float, optional
        Pixels that a side of a polygon may be off before it gets more vertices.

    Returns
    -------
    list of dict

    Raises
    ------
    TypeError, ValueError
        If a record describes another geometry (an angle, more corners, in `attributes` too), its numbers are not boxes,
        polygons or keypoints, or there is no warp for its image.
    ImportError
        If a mask is compressed and pycocotools is not installed.

    Examples
    --------
    >>> from pmtools import frames
    >>> half = frames.resize((100, 100), (50, 50))
    >>> coco_annotations([{"bbox": [10, 20, 30, 40], "area": 1200, "category_id": 3}], half)
    [{'bbox': [5.0, 10.0, 15.0, 20.0], 'area': 300.0, 'category_id': 3}]
    """
    if min_visible is not None:
        min_visible = _checks.real_number(min_visible, "min_visible", minimum=0.0, maximum=1.0)
    clip = _checks.flag(clip, "clip")
    found = []
    for i, record in enumerate(_listed(records, "records")):
        place = f"annotation {record.get('id', i)}" if isinstance(record, Mapping) else f"annotation {i}"
        if not isinstance(record, Mapping):
            raise TypeError(f"{place} must be a dict, got {_checks.describe(record)}")
        one = _warp_of(warp, record.get("image_id"), place)
        if min_visible is not None and not _is_visible(record, one, min_visible, place):
            continue
        mapping = _Record(record, one, place, clip=clip, tolerance=tolerance)
        mapped = mapping.mapped()
        if min_visible is None or not mapping.has_vanished:
            found.append(mapped)
    return found


def coco_dataset(
    dataset: Mapping[str, Any],
    warp: Warps,
    /,
    *,
    clip: bool = False,
    min_visible: float | None = None,
    tolerance: float = polygons.TOLERANCE,
) -> dict[str, Any]:
    """A whole COCO data set through warps: its annotations, and the width and height of its images.

    Parameters
    ----------
    dataset : dict
        With `images` and `annotations`; everything else stays.
    warp : Warp or mapping to Warp
        From the id or the `file_name` of each image.
    clip, min_visible, tolerance
        As in `coco_annotations`.

    Returns
    -------
    dict

    Raises
    ------
    TypeError, ValueError
        If an image has another size than the source of its warp, and as for `coco_annotations`.
    """
    if not isinstance(dataset, Mapping) or not {"images", "annotations"} <= set(dataset):
        raise ValueError(
            f"`dataset` must have images and annotations, got {_checks.describe(dataset)}; for a list of annotations use "
            "coco_annotations"
        )
    warps, images = {}, []
    for i, image in enumerate(_listed(dataset["images"], "dataset['images']")):
        if not isinstance(image, Mapping):
            raise TypeError(f"`dataset['images'][{i}]` must be a dict, got {_checks.describe(image)}")
        place = f"image {image.get('id')}"
        keys = [key for key in (image.get("id"), image.get("file_name")) if isinstance(warp, Mapping) and key in warp]
        one = _warp_of(warp, keys[0] if keys else image.get("file_name"), place)
        size = image.get("height", one.source_hw[0]), image.get("width", one.source_hw[1])
        if size != one.source_hw:
            raise ValueError(
                f"{place} must be of the size of its warp's source, {one.source_hw}, got height and width {size}; "
                "is it the warp of this image, and not its inverse?"
            )
        warps[image.get("id")] = one
        images.append({**image, "height": one.target_hw[0], "width": one.target_hw[1]})
    mapped = coco_annotations(dataset["annotations"], warps, clip=clip, min_visible=min_visible, tolerance=tolerance)
    return {**dataset, "images": images, "annotations": mapped}


def _warp_of(warp: Warps, image: Any, place: str) -> Warp | Turned:
    if isinstance(warp, Mapping):
        if image not in warp:
            other = next((key for key in warp if str(key) == str(image)), None)
            way = "add it to the mapping" if other is None else f"the mapping has {other!r}: make both of one type"
            raise ValueError(f"{place} must have a warp, got none for the image {image!r}; {way}")
        warp = warp[image]
    if not isinstance(warp, (Warp, Turned)):
        raise TypeError(f"`warp` must be a Warp, or a mapping to Warps, got {_checks.describe(warp)}")
    if warp.batch_shape:
        raise ValueError(f"{place} goes through one warp, got a batch of {len(warp)}; give {{image_id: warp[i]}}")
    return warp


def box_of(record: Mapping[str, Any], place: str) -> tuple[list[float], str] | None:
    """The numbers of a record's box, and their format; refused where the record says that it is another geometry."""
    turned = _fields.turned(record)
    if turned:
        raise ValueError(
            f"{place} must be upright, got {', '.join(turned)}; give the upright box around it, its four corners as "
            "segmentation, or its angle with bbox_mode 4"
        )
    if record.get("bbox") is None:
        return None
    said = _fields.formats_said(record)
    format = next(iter(said.values()), "xywh")
    in_words = {found for name, found in said.items() if isinstance(record[name], str)}
    if format is None or not in_words <= {"xywh"} or len(set(said.values())) > 1:
        came = " and ".join(f"{name} {record[name]!r}" for name in said)
        raise ValueError(
            f"{place} must have a bbox of corner and size, got {came}; convert it, or say bbox_mode 0 (corners) or 4 (with an "
            "angle)"
        )
    return _numbers(record["bbox"], {"cxcywhr": 5}.get(format, 4), f"{place}: bbox"), format


def _is_visible(record: Mapping[str, Any], warp: Warp | Turned, least: float, place: str) -> bool:
    box = box_of(record, place)
    if box is None:
        return True
    share = float(formats.visible_share(np.array(box[0]), warp, format=box[1]))
    return share > 0 and share >= least


class _Record:
    """One annotation on its way through a warp."""

    def __init__(
        self, record: Mapping[str, Any], warp: Warp | Turned, place: str, *, clip: bool, tolerance: float
    ) -> None:
        self.record, self.warp, self.place = record, warp, place
        self.clip, self.tolerance = clip, tolerance
        #: Area of the record's geometry before and after, of the segmentation rather than the box.
        self.areas: tuple[float, float] | None = None

    @property
    def has_vanished(self) -> bool:
        """Whether there was an area, of which nothing is left."""
        return self.areas is not None and self.areas[0] > 0 and self.areas[1] == 0

    def mapped(self) -> dict[str, Any]:
        """The record with all that depends on the geometry mapped."""
        changed: dict[str, Any] = {}
        box = box_of(self.record, self.place)
        stale = [name for name in _fields.others(self.record) if name not in _MAPPED]
        if stale:
            raise ValueError(f"{self.place} has {', '.join(stale)}, which would not be mapped; leave it out")
        if box is not None:
            changed["bbox"] = self._mapped_box(*box)
        if _given(self.record.get("segmentation")):
            changed["segmentation"] = self._mapped_segmentation(self.record["segmentation"])
        if _given(self.record.get("keypoints")):
            changed.update(self._mapped_keypoints(self.record["keypoints"]))
        if self.record.get("area") is not None:
            changed["area"] = self._mapped_area()
        return {**self.record, **changed}

    def _mapped_box(self, box: list[float], format: str) -> list[float]:
        mapped: list[float] = formats.boxes(
            np.array(box), self.warp, format=format, clip=self.clip and format != "cxcywhr"
        ).tolist()
        sizes = [formats.convert(b, format, "xywh")[2:] if format == "xyxy" else b[2:4] for b in (box, mapped)]
        self.areas = float(sizes[0][0] * sizes[0][1]), float(sizes[1][0] * sizes[1][1])
        return mapped

    def _mapped_segmentation(self, segmentation: Any) -> Any:
        place = f"{self.place}: segmentation"
        if isinstance(segmentation, Mapping):
            rle, *pixels = mapped_rle(dict(segmentation), self.warp, place)
            self.areas = float(pixels[0]), float(pixels[1])
            return rle
        segmentation = _plain(segmentation)
        if not isinstance(segmentation, list) or any(isinstance(ring, (int, float)) for ring in segmentation):
            raise TypeError(
                f"{place} must be polygons, a list of flat lists x, y, x, y ..., or a run-length mask, got "
                f"{_checks.describe(segmentation)}"
            )
        rings = [np.array(_numbers(ring, None, place)).reshape(-1, 2) for ring in segmentation]
        mapped = [polygons.polygon(ring, self.warp, tolerance=self.tolerance, clip=self.clip) for ring in rings]
        before, after = (sum(polygons.area(ring) for ring in some) for some in (rings, mapped))
        self.areas = before, after
        return [ring.ravel().tolist() for ring in mapped if len(ring)]

    def _mapped_keypoints(self, keypoints: Any) -> dict[str, Any]:
        numbers = _numbers(keypoints, None, f"{self.place}: keypoints", multiple=3)
        rows = np.array(numbers).reshape(-1, 3)
        mapped = formats.keypoints(rows, self.warp, clip=self.clip)
        # visibilities of whole numbers stay whole, as COCO has them
        flat = [[x, y, type(v)(new)] for (x, y, new), v in zip(mapped.tolist(), numbers[2::3], strict=True)]
        count = {"num_keypoints": int((mapped[:, 2] > 0).sum())} if "num_keypoints" in self.record else {}
        return {"keypoints": list(itertools.chain.from_iterable(flat)), **count}

    def _mapped_area(self) -> float:
        area = _numbers([self.record["area"]], 1, f"{self.place}: area")[0]
        if self.areas is None:
            raise ValueError(f"{self.place} must have a bbox or a segmentation for its area to be mapped, got neither")
        before, after = self.areas
        return area * after / before if before > 0 else after


def _numbers(values: Any, count: int | None, place: str, *, multiple: int = 2) -> list[Any]:
    """A flat list of finite numbers as they are, `count` of them or a multiple."""
    wanted = f"{count} finite numbers" if count else f"a flat list of finite numbers, {multiple} each"
    numbers = _plain(values)
    if not isinstance(numbers, list) or not all(
        isinstance(n, (int, float)) and not isinstance(n, bool) and np.isfinite(n) for n in numbers
    ):
        raise TypeError(f"{place} must be {wanted}, got {_checks.describe(values)}")
    if len(numbers) != count if count else len(numbers) % multiple:
        raise ValueError(f"{place} must be {wanted}, got {len(numbers)} of them")
    return numbers


def _plain(values: Any) -> Any:
    """Arrays, tensors and tuples as lists, and NumPy's scalars in them as numbers of Python."""
    if isinstance(values, (list, tuple)):
        return [value.item() if isinstance(value, np.generic) else value for value in values]
    return values.tolist() if _array.is_array(values) and hasattr(values, "tolist") else values


def _given(value: Any) -> bool:
    """Whether a field holds something; arrays have no truth of their own."""
    return value is not None and (not hasattr(value, "__len__") or len(value) > 0)


def _listed(values: Any, name: str) -> list[Any]:
    """Records, as a list."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"`{name}` must be a list of dicts, one for each, got {_checks.describe(values)}")
    return list(values)
