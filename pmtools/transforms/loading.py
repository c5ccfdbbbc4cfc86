"""Warps in the samples of PyTorch's `DataLoader`.

Examples
--------
>>> from pmtools import frames
>>> collate([{"warp": frames.identity((4, 4)), "label": 1}, {"warp": frames.identity((4, 4)), "label": 2}])
{'warp': Warp(4x4 -> 4x4, batch of 2), 'label': tensor([1, 2])}
"""

from __future__ import annotations

from typing import Any

from torch.utils.data._utils.collate import collate as _collate
from torch.utils.data._utils.collate import default_collate_fn_map

from pmtools import Warp


def collate(batch: list[Any], /) -> Any:
    """PyTorch's `default_collate`, with warps of the same sizes in a batch of warps.

    Parameters
    ----------
    batch : list of samples
        Tensors, arrays, numbers, strings, warps, and dicts, tuples and lists of them.

    Returns
    -------
    a sample of batches

    Raises
    ------
    TypeError, ValueError
        If warps have different sizes, and as `default_collate` does.
    """
    return _collate(batch, collate_fn_map={**default_collate_fn_map, Warp: _stacked})


def _stacked(batch: list[Warp], *, collate_fn_map: Any = None) -> Warp:
    return Warp.stack(batch)
