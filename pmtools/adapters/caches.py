"""Key-value caches: found among a model's inputs and outputs, forked, cut back, and taken apart by rows.

Only this file knows what transformers calls a cache and how one is built. A fork shares what is never modified in place
and owns the rest, so two streams that start from one cache never mix.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


# ------------------------------------------------------------------------------- where transformers keeps a cache


@functools.cache
def cache_name() -> str:
    """The name of the cache in keyword arguments and outputs: "cache" from transformers 5.24 on, "past_key_values" before."""
    from transformers import GenerationMixin

    taken = inspect.signature(GenerationMixin.prepare_inputs_for_generation).parameters
    return "cache" if "cache" in taken else "past_key_values"


def find_cache(values: Any, /) -> Any:
    """The cache among keyword arguments or in an output, recognised by its type; None if there is none.

    Parameters
    ----------
    values : mapping, or anything
        A tensor of tokens, which `generate` may return, does not hold a cache.
    """
    from transformers.cache_utils import Cache

    found = values.values() if isinstance(values, Mapping) else ()
    return next((value for value in found if isinstance(value, Cache)), None)


def put_cache(output: Any, cache: Any, /) -> None:
    """Replace the cache of an output."""
    output[cache_name()] = cache


def check_cache(cache: Any, /) -> None:
    """Refuse caches that cannot be forked.

    Raises
    ------
    ValueError
        If the cache is static, quantised or offloaded, or there is none.
    """
    from transformers.cache_utils import StaticLayer

    if cache is None:
        raise ValueError(
            "`generate` must keep a cache here, but this call has none; set `model.generation_config.use_cache = True` "
            "and leave `use_cache` and `cache_implementation` out"
        )
    layers = getattr(cache, "layers", None)
    fixed = layers is None or any(isinstance(layer, StaticLayer) or "Quant" in _kinds(layer) for layer in layers)
    if fixed or getattr(cache, "offloading", False):
        kind = "an offloaded cache" if getattr(cache, "offloading", False) else f"a {type(cache).__name__}"
        raise ValueError(
            f"`generate` must use a growing cache (DynamicCache) here, got {kind}: streams cannot share static, "
            "quantised or offloaded ones; leave out `cache_implementation`, or set "
            "`model.generation_config.cache_implementation = None` where the checkpoint asks for it"
        )


def _kinds(layer: Any) -> str:
    return " ".join(kind.__name__ for kind in type(layer).__mro__)


def cached_tokens(cache: Any, /) -> int:
    """How many tokens of its sequences a cache holds, including those that sliding windows have dropped."""
    return int(cache.get_seq_length())


def check_filled(model: Any, output: Any, length: int, /) -> None:
    """Refuse a forward pass that did not leave all tokens in its cache: streams would go on from something else.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    output : transformers.ModelOutput
        From the forward pass.
    length : int
        Tokens of each sequence, including those that were in the cache before.

    Raises
    ------
    ValueError
        If the cache holds another number of tokens, or there is none.
    """
    cache = find_cache(output)
    held = 0 if cache is None else cached_tokens(cache)
    if held == length:
        return
    if drops_cache(model):
        raise ValueError(
            "`model` must keep a cache here, but gradient checkpointing in train mode leaves it out; call `model.eval()` "
            "before `generate`, and `model.train()` after it"
        )
    raise ValueError(
        f"`model` must keep {length} tokens in its cache here, got {held} after a forward pass: prompt tuning adds tokens "
        "of its own, for example; streams cannot go on from it, so use the model's own `generate`"
    )


def drops_cache(model: Any, /) -> bool:
    """Whether the model trains with gradient checkpointing, which keeps neither a cache nor the graph of a layer."""
    flags = (getattr(module, "gradient_checkpointing", False) for module in model.modules())
    return bool(model.training) and any(flags)


def cached_rows(cache: Any, /) -> int:
    """How many sequences a cache holds; 0 if it is empty."""
    return next((len(layer.keys) for layer in cache.layers if getattr(layer, "keys", None) is not None), 0)


# ----------------------------------------------------------------------------------------------- forks and rows


def empty_cache(model: Any, /) -> Any:
    """A new growing cache with the layer types of the model."""
    from transformers import DynamicCache

    return DynamicCache(config=model.config)


def has_recurrence(cache: Any, /) -> bool:
    """Whether some layer keeps a state instead of keys."""
    return any(_is_recurrent(layer) for layer in cache.layers)


def can_be_cut(cache: Any, /) -> bool:
    """Whether the cache can be cut: not with recurrent layers, nor with windows that have dropped keys."""
    return all(not _is_recurrent(layer) and not _has_dropped(layer) for layer in cache.layers)


def fork(cache: Any, length: int | None = None, /) -> Any:
    """A cache that starts as the first `length` tokens of another one and grows independently.

    Keys and values are shared, since growing layers never change them in place; recurrent states are copied.

    Parameters
    ----------
    cache : transformers.DynamicCache
        Not changed.
    length : int, optional
        Default: all of it.

    Returns
    -------
    transformers.DynamicCache

    Raises
    ------
    ValueError
        If a recurrent layer, or a sliding-window layer that has dropped keys, cannot be cut back.
    """
    from transformers import DynamicCache

    forked = DynamicCache()
    forked.layers = [_own(layer) for layer in cache.layers]
    if length is None or length >= cached_tokens(cache):
        return forked
    for layer in forked.layers:
        if _is_recurrent(layer):
            raise ValueError(
                "a recurrent layer cannot be cut back to fewer tokens; use refine='exact' or 'none' with this model"
            )
        if _has_dropped(layer):
            raise ValueError(
                "a sliding-window layer has dropped keys, so its cache cannot be cut back; use refine='exact' or "
                "'none', or a prompt that fits into the window"
            )
        if hasattr(layer, "cumulative_length"):  # a sliding window
            layer.cumulative_length = length
        if getattr(layer, "keys", None) is not None:
            layer.keys, layer.values = layer.keys[..., :length, :], layer.values[..., :length, :]
    return forked


def cache_rows(cache: Any, rows: Sequence[int] | torch.Tensor, /) -> Any:
    """A fork that holds some rows of a cache, in the order of `rows`; a row may be repeated."""
    import torch

    forked = fork(cache)
    for layer in forked.layers:
        map_states(layer, lambda state: state[torch.as_tensor(rows, device=state.device)])
    return forked


def joined_caches(caches: Sequence[Any], /) -> Any:
    """Caches of one row each as the rows of one; the shorter ones are padded on the left with zeros, to be masked."""
    import torch

    def joined(*states: torch.Tensor) -> torch.Tensor:
        longest = max(state.shape[-2] for state in states)
        pad = torch.nn.functional.pad
        return torch.cat([pad(state, (0, 0, longest - state.shape[-2], 0)) for state in states])

    if len(caches) == 1:
        return caches[0]
    whole = fork(caches[0])
    for index, layer in enumerate(whole.layers):
        map_states(layer, joined, *(cache.layers[index] for cache in caches[1:]))
    return whole


def single_caches(cache: Any, pads: Sequence[int], /) -> list[Any]:
    """The rows of a cache as caches of their own, each without its padding on the left.

    Parameters
    ----------
    cache : transformers.DynamicCache
    pads : sequence of int
        Padding of each row.
    """
    if len(pads) == 1 and not pads[0]:
        return [cache]
    found = []
    for row, pad in enumerate(pads):
        single = fork(cache)
        for layer in single.layers:
            map_states(layer, lambda state, row=row, pad=pad: state[row : row + 1, ..., pad:, :].clone())
        found.append(single)
    return found


def map_states(layer: Any, change: Callable[..., Any], /, *others: Any) -> None:
    """Replace every tensor with rows of a cache layer by `change(tensor, *the same of other layers)`."""
    for name, value in vars(layer).items():
        if _has_rows(value):
            setattr(layer, name, change(value, *(getattr(other, name) for other in others)))
        elif isinstance(value, dict):  # recurrent layers number their states
            new = {
                key: change(state, *(getattr(other, name)[key] for other in others)) if _has_rows(state) else state
                for key, state in value.items()
            }
            setattr(layer, name, new)


def _has_rows(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.ndim > 1


def _own(layer: Any) -> Any:
    mine = copy.copy(layer)
    if _is_recurrent(layer):  # its states are modified in place
        for name, value in vars(layer).items():
            if isinstance(value, dict):
                setattr(mine, name, dict(value))
        map_states(mine, lambda state: state.clone())
    return mine


def _is_recurrent(layer: Any) -> bool:
    return hasattr(layer, "recurrent_states") or hasattr(layer, "conv_states")


def _has_dropped(layer: Any) -> bool:
    seen = getattr(layer, "cumulative_length", None)
    return seen is not None and getattr(layer, "keys", None) is not None and layer.keys.shape[-2] < int(seen)
