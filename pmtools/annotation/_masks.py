"""COCO's run-length masks through a warp.

Knows run lengths and masks; compressed ones are read and written by pycocotools.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pmtools.turns import Turned
from pmtools.typing import Ndarray
from pmtools.warp import Warp


def mapped_rle(rle: dict[str, Any], warp: Warp | Turned, place: str) -> tuple[dict[str, Any], int, int]:
    """A run-length mask through a warp, compressed or not as it was, and its pixels before and after."""
    size: Any = rle.get("size")
    sides = size.tolist() if hasattr(size, "tolist") else size
    if not isinstance(sides, (list, tuple)) or tuple(sides) != warp.source_hw:
        raise ValueError(f"{place} must have the size of the warp's source, {list(warp.source_hw)}, got size {size}")
    counts = rle.get("counts")
    mask = _decoded(counts, warp.source_hw, place)
    moved = warp.mask(mask)
    after = {**rle, "size": list(warp.target_hw), "counts": _encoded(moved, type(counts))}
    return after, int(mask.sum()), int(moved.sum())


def _decoded(counts: Any, size_hw: tuple[int, int], place: str) -> Ndarray:
    if isinstance(counts, (list, tuple)):
        runs = np.asarray(counts, dtype=np.int64)
        if (runs < 0).any() or int(runs.sum()) != size_hw[0] * size_hw[1]:
            raise ValueError(f"{place} must count {size_hw[0] * size_hw[1]} pixels, got runs of {int(runs.sum())}")
        flat = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8)
        return flat.reshape(size_hw, order="F")
    if not isinstance(counts, (str, bytes)):
        raise TypeError(f"{place} must have counts, a list or a compressed string, got {type(counts).__name__}")
    text = counts.encode("ascii") if isinstance(counts, str) else counts
    mask: Ndarray = np.asarray(_pycocotools().decode({"size": list(size_hw), "counts": text}))
    return mask


def _encoded(mask: Ndarray, kind: type) -> Any:
    if issubclass(kind, (list, tuple)):
        flat = np.concatenate([[0], mask.reshape(-1, order="F"), [1 - mask[-1, -1]]])
        runs = np.diff(np.flatnonzero(np.diff(flat)), prepend=0)
        return [int(n) for n in runs]
    counts: bytes = _pycocotools().encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts.decode("ascii") if issubclass(kind, str) else counts


def _pycocotools() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ImportError(
            "compressed run-length masks of COCO need pycocotools; pip install pycocotools, or give polygons"
        ) from error
    return mask
