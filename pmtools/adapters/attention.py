r"""What the last query of a forward pass attends to, captured while the model runs its own fast attention.

transformers lets anyone register an attention function by name. For the time of a `with` block the text model's
configuration names one that calls the function it stands for and adds one row of scores per layer,
$\mathrm{softmax}(q_{last} K^\top / \sqrt d)$, kept at the wanted columns only. Nothing of the model is patched, no
attention matrix is built, and the output is bit for bit what it was.

Knows nothing of images: columns are key positions.

References
----------
- transformers, [attention interface](https://huggingface.co/docs/transformers/attention_interface)
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pmtools import _checks

if TYPE_CHECKING:
    import torch

_PREFIX = "pmtools_"
_taps = threading.local()  # .open: the taps of this thread, innermost last
_redirections: dict[int, tuple[Any, str, int]] = {}  # id(config) -> config, its own implementation, users
_lock = threading.Lock()


class AttentionTap:
    """Attention of the last query, from the latest forward pass inside `capture_attention`.

    Attributes
    ----------
    maps : tensor of shape (B, layers, n)
        Maximum over the heads, float32, in [0, 1]; 0 where `columns` is -1.
    head_maps : tensor of shape (B, layers, heads, n)
        Before the maximum; only with `heads=True`.
    layers : tuple of int
        0-based indices of the captured layers, ascending.
    """

    def __init__(self, columns: torch.Tensor, layers: tuple[int, ...], modules: frozenset[Any], heads: bool) -> None:
        self.layers = layers
        self._columns, self._modules, self._heads = columns, modules, heads
        self._rows: dict[int, torch.Tensor] = {}

    @property
    def maps(self) -> torch.Tensor:  # noqa: D102 - described in the class
        return self._stacked() if not self._heads else self.head_maps.amax(2)

    @property
    def head_maps(self) -> torch.Tensor:  # noqa: D102 - described in the class
        if not self._heads:
            raise ValueError("single heads were not kept; open `capture_attention(..., heads=True)`")
        return self._stacked()

    def _stacked(self) -> torch.Tensor:
        import torch

        missing = [layer for layer in self.layers if layer not in self._rows]
        if missing:
            raise RuntimeError(
                f"no attention was captured in layers {missing}: run the model inside the `with` block first"
            )
        first = self._rows[self.layers[0]]
        return torch.stack([self._rows[layer].to(first.device) for layer in self.layers], dim=1)

    def _record(self, module: Any, row: Callable[[torch.Tensor, bool], torch.Tensor]) -> None:
        layer = getattr(module, "layer_idx", None)
        if layer not in self.layers or module not in self._modules:
            return
        if layer == self.layers[0]:  # a new forward pass
            self._rows.clear()
        self._rows[layer] = row(self._columns, self._heads)


@contextmanager
def capture_attention(
    model: Any, columns: torch.Tensor, /, *, layers: Sequence[int] | None = None, heads: bool = False
) -> Iterator[AttentionTap]:
    r"""Capture what the last query attends to at some key positions, in every forward pass inside the block.

    Per layer, $\max_h \mathrm{softmax}_k(q_h \cdot k_h)$ with the model's own scaling, mask, soft cap and key-value
    groups, in float32. The model may run prefill or decoding steps, with any cache and any registered attention
    implementation but "flex_attention".

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A text or vision-language model whose attention goes through transformers' registry.
    columns : integer tensor of shape (B, n)
        Key positions, counted from the start of the sequence, padding included; -1 pads rows that have fewer.
    layers : sequence of int, optional
        0-based layer indices. Default: all.
    heads : bool, optional
        Keep every head's map too: `tap.head_maps`.

    Yields
    ------
    AttentionTap
        `tap.maps` of shape (B, layers, n), from the latest forward pass.

    Raises
    ------
    TypeError, ValueError
        If `columns` is not an integer tensor of shape (B, n), `layers` names a layer that the model has not, or the
        model does not take its attention from the registry. A forward pass raises `ValueError` if its batch is not
        that of `columns`, or if a sliding-window layer may have dropped keys, which would shift the columns.

    Notes
    -----
    The configuration's attention implementation is restored on every exit, also after an exception. Recording is per
    thread; the configuration is shared, so other threads may run the same model meanwhile and record nothing.

    Examples
    --------
    >>> import torch
    >>> from pmtools.testing.models import tiny_model
    >>> model = tiny_model()
    >>> with torch.no_grad(), capture_attention(model, torch.tensor([[1, 2, 4]]), layers=[2, 3]) as tap:
    ...     output = model(input_ids=torch.tensor([[20, 21, 22, 23, 24, 25]]))
    >>> tap.maps.shape  # (B, layers, n)
    torch.Size([1, 2, 3])
    """
    import torch

    if not isinstance(columns, torch.Tensor) or columns.ndim != 2 or columns.is_floating_point():
        raise TypeError(f"`columns` must be an integer tensor of shape (B, n), got {_checks.describe(columns)}")
    decoder = text_decoder(model)
    count = decoder.config.num_hidden_layers
    wanted = tuple(sorted(set(range(count) if layers is None else layers)))
    if not wanted or wanted[0] < 0 or wanted[-1] >= count:
        raise ValueError(f"`layers` must be 0-based indices below {count}, the model's layers, got {layers}")

    tap = AttentionTap(columns, wanted, frozenset(decoder.modules()), heads)
    stack = _taps.__dict__.setdefault("open", [])
    with _redirected(decoder):
        stack.append(tap)
        try:
            yield tap
        finally:
            stack.remove(tap)


def text_decoder(model: Any) -> Any:
    """The text model inside `model`, whose layers attend to everything.

    Raises
    ------
    ValueError
        If it does not take its attention from transformers' registry, so that nothing can be captured.
    """
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    if decoder is None or not getattr(decoder, "_supports_attention_backend", False):
        raise ValueError(
            f"`model` must take its attention from transformers' registry (`_supports_attention_backend`), got "
            f"{type(model).__name__}; models with their own attention code cannot be captured"
        )
    return decoder


@contextmanager
def _redirected(decoder: Any) -> Iterator[None]:
    """The decoder's configurations name the recording function; threads and nested blocks share it by count."""
    configs = {id(item.config): item.config for item in decoder.modules() if hasattr(item, "config")}
    taken = []
    try:
        with _lock:
            for key, config in configs.items():
                _, own, users = _redirections.get(key, (config, config._attn_implementation, 0))
                if not users:
                    config._attn_implementation = _register(own)
                _redirections[key] = config, own, users + 1
                taken.append(key)
        yield
    finally:
        with _lock:
            for key in taken:
                config, own, users = _redirections.pop(key)
                if users > 1:
                    _redirections[key] = config, own, users - 1
                else:
                    config._attn_implementation = own


def _register(base: str) -> str:
    """The name of the recording twin of the attention implementation `base`, registered on first use."""
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if base == "flex_attention" or base not in ALL_MASK_ATTENTION_FUNCTIONS:
        raise ValueError(
            f"attention implementation {base!r} cannot be captured: its masks are not tensors; "
            "load the model with attn_implementation='sdpa'"
        )
    name = _PREFIX + base
    if name not in ALL_ATTENTION_FUNCTIONS:
        AttentionInterface.register(name, _recording(base))
        # without a mask function of that name transformers passes no mask at all
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[base])
    return name


def _recording(base: str) -> Callable[..., Any]:
    def attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *args: Any, **kwargs: Any) -> Any:
        for tap in _taps.__dict__.get("open", ()):
            tap._record(module, lambda columns, heads: _row(module, query, key, attention_mask, columns, heads, kwargs))
        return _attention_function(base, module)(module, query, key, value, attention_mask, *args, **kwargs)

    return attention


def _attention_function(base: str, module: Any) -> Callable[..., Any]:
    """What the name stands for; "eager" has no registry entry but lives in the module's own modelling file."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if base != "eager":
        found: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS[base]
        return found
    for kind in type(module).__mro__:
        function = getattr(sys.modules.get(kind.__module__), "eager_attention_forward", None)
        if function is not None:
            return function  # type: ignore[no-any-return]
    raise ValueError(f"{type(module).__name__} has no eager attention function; use attn_implementation='sdpa'")


def _row(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    attention_mask: torch.Tensor | None,
    columns: torch.Tensor,
    heads: bool,
    options: dict[str, Any],
) -> torch.Tensor:
    """Softmax of the last query's scores at `columns`: (B, n), or (B, heads, n)."""
    import torch

    batch, n_heads, queries, width = query.shape
    groups, keys = key.shape[1:3]
    columns = columns.to(key.device)
    _check_columns(columns, batch, queries, keys, options.get("sliding_window"))

    last = query[:, :, -1].reshape(batch, groups, n_heads // groups, width)
    scaling = options.get("scaling") or getattr(module, "scaling", None) or width**-0.5
    scores = (last @ key.transpose(-1, -2)).reshape(batch, n_heads, keys) * scaling
    if (cap := options.get("softcap")) is not None:
        scores = torch.tanh(scores / cap) * cap
    if attention_mask is not None and attention_mask.ndim == 4:  # (B, 1 or heads, queries, keys)
        allowed = attention_mask[:, :, -1, -keys:]
        scores = scores.masked_fill(~allowed, -torch.inf) if allowed.dtype == torch.bool else scores + allowed
    elif attention_mask is not None:  # (B, keys), flash attention's
        scores = scores.masked_fill(~attention_mask[:, None, -keys:].bool(), -torch.inf)
    scores = scores.float()
    if (sinks := options.get("s_aux")) is not None:  # a learned score that takes part in the softmax only
        scores = torch.cat([scores, sinks.float().reshape(1, -1, 1).expand(batch, -1, 1)], dim=-1)

    share: torch.Tensor = scores.softmax(-1).gather(-1, columns.clamp(min=0)[:, None].expand(-1, n_heads, -1))
    share = share * (columns >= 0)[:, None]  # (B, heads, n)
    return share if heads else share.amax(1)


def _check_columns(columns: torch.Tensor, batch: int, queries: int, keys: int, window: int | None) -> None:
    if columns.shape[0] != batch:
        raise ValueError(
            f"`columns` must have one row per sequence, {batch} in this forward pass, got {columns.shape[0]}"
        )
    if window is not None and queries < keys >= window:
        raise ValueError(
            f"a layer with a sliding window of {window} may have dropped keys, so columns no longer say where they "
            "are; pass `layers=` without the sliding-window layers"
        )
