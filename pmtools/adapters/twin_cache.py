"""Two streams of equal length in one cache, so that a step of both is one forward pass, as the adaptive mode needs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pmtools.adapters.caches import fork, map_states

if TYPE_CHECKING:
    import torch


def twin_cache(original: Any, magnified: Any, /, *, on_reorder: Callable[[torch.Tensor], None]) -> Any:
    """Two caches of B rows as one of 2 B rows.

    transformers' loops see the first stream's cache: when beams are reordered, both halves follow, and `on_reorder` is
    called with the rows' origins.

    Parameters
    ----------
    original, magnified : transformers.DynamicCache
        Of B rows each and equal length.
    on_reorder : callable
        `on_reorder(origins)` with an integer tensor of shape (B,).

    Returns
    -------
    transformers.DynamicCache
        Rows 0 to B - 1 are the original stream, B to 2 B - 1 the magnified one.
    """
    import torch

    twin = _twin_cache_class()()
    twin.on_reorder = on_reorder
    twin.layers = fork(original).layers
    for layer, other in zip(twin.layers, magnified.layers, strict=True):
        map_states(layer, lambda first, second: torch.cat([first, second]), other)
    return twin


@functools.cache
def _twin_cache_class() -> Any:
    import torch
    from transformers import DynamicCache

    class TwinCache(DynamicCache):  # type: ignore[misc]
        def reorder_cache(self, beam_idx: torch.Tensor) -> None:
            super().reorder_cache(torch.cat([beam_idx, beam_idx + len(beam_idx)]))
            self.on_reorder(beam_idx)

    return TwinCache


def first_rows(cache: Any, count: int, /) -> Any:
    """A fork that holds the first rows of a cache, and shares their memory."""
    forked = fork(cache)
    for layer in forked.layers:
        map_states(layer, lambda state: state[:count])
    return forked


def replace_rows(cache: Any, rows: Sequence[int] | torch.Tensor, new: Any, /) -> None:
    """Replace some rows of a cache by the rows of another cache of the same length."""
    import torch

    def replaced(state: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return state.index_copy(0, torch.as_tensor(rows, device=state.device), other)

    for layer, other in zip(cache.layers, new.layers, strict=True):
        map_states(layer, replaced, other)
