r"""What the last query of a forward pass attends to, captured while the model runs its own fast attention.

For the time of a `with` block the attention of the text model's layers is intercepted, and each adds one row of scores,
$\mathrm{softmax}(q_{last} K^\top / \sqrt d)$, kept at the wanted columns only. The model is not patched, no attention
matrix is built, and the output stays the same to the last bit.

This file knows nothing about images: columns are key positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from pmtools import _checks
from pmtools.adapters.caches import drops_cache
from pmtools.adapters.interception import (
    attention_layers,
    compressed_layers,
    cross_layers,
    intercepted_attention,
    last_query_scores,
    softmax_with_sinks,
    text_decoder,
)

if TYPE_CHECKING:
    import torch

#: The first layer whose attention counts, counted from 1, as a share of the depth: 12 of 32 in the paper.
AUTO_START = 12 / 32


class AttentionTap:
    """Attention of the last query, from the latest forward pass inside `capture_attention`.

    Attributes
    ----------
    maps : tensor of shape (B, layers, n)
        Maximum over the heads, float32, in [0, 1]; 0 where `columns` is -1. It has a gradient where the model's output
        has one; under gradient checkpointing, `backward` through it raises `ValueError`.
    head_maps : tensor of shape (B, layers, heads, n)
        Before the maximum; only with `heads=True`.
    layers : tuple of int
        0-based indices of the captured layers, ascending.
    """

    def __init__(self, columns: torch.Tensor, layers: tuple[int, ...], heads: bool, cross: bool) -> None:
        self.layers = layers
        self._columns, self._heads, self._cross = columns, heads, cross
        self._beyond = int(columns.max()) + 1 if columns.numel() else 0  # once: asking waits for a GPU
        self._rows: dict[int, torch.Tensor] = {}
        self._length: int | None = None  # tokens so far, in the latest pass
        self._checkpointed = False  # in the latest pass

    @property
    def maps(self) -> torch.Tensor:  # noqa: D102 - described in the class
        return self._stacked() if not self._heads else self.head_maps.amax(2)

    @property
    def head_maps(self) -> torch.Tensor:
        """The maps of single heads.

        Raises
        ------
        ValueError
            If they were not kept.
        """
        if not self._heads:
            raise ValueError("single heads were not kept; open `capture_attention(..., heads=True)`")
        return self._stacked()

    def _stacked(self) -> torch.Tensor:
        import torch

        missing = [layer for layer in self.layers if layer not in self._rows]
        if missing and self._length is None:
            raise RuntimeError(
                f"no attention was captured in layers {missing}: run the model inside the `with` block first"
            )
        if missing:
            raise ValueError(
                f"`layers` must have attention in the latest forward pass, but {missing} had none: they may be recurrent, or "
                "attend to images and the pass had none; leave them out of `layers`"
            )
        first = self._rows[self.layers[0]]
        stacked = torch.stack([self._rows[layer].to(first.device) for layer in self.layers], dim=1)
        if self._checkpointed and torch.is_grad_enabled():
            stacked.requires_grad_().register_hook(_refuse_gradient)  # type: ignore[no-untyped-call]
        return stacked

    def _start(self, decoder: Any, length: int) -> None:
        """Called before every forward pass."""
        import torch

        self._rows.clear()
        self._length = length
        self._checkpointed = torch.is_grad_enabled() and drops_cache(decoder)

    def _record(
        self,
        attend: Any,
        module: Any,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any,
        *args: Any,
        **options: Any,
    ) -> tuple[Any, Any]:
        """Called around every layer's attention."""
        import torch

        layer = getattr(module, "layer_idx", None)
        # a checkpoint runs its layer again in `backward`: with no graph of ours, and after later passes
        if layer in self.layers and not (self._checkpointed and layer in self._rows):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self._checkpointed):
                places = self._places(query.shape[0], key)
                self._rows[layer] = _row(module, query, key, attention_mask, places, self._heads, options)
        return attend(module, query, key, value, attention_mask, *args, **options)  # type: ignore[no-any-return]

    def _places(self, batch: int, key: torch.Tensor) -> torch.Tensor:
        """Positions of the columns among a layer's keys; -1 for those that it has dropped."""
        keys = key.shape[2]
        length = keys if self._cross or self._length is None else self._length
        if self._columns.shape[0] != batch:
            raise ValueError(
                f"`columns` must have one row per sequence, {batch} in this forward pass, got {self._columns.shape[0]}"
            )
        if self._beyond > length:
            raise ValueError(f"`columns` must be below {length}, the keys of this forward pass, got {self._beyond - 1}")
        columns = self._columns.to(key.device)
        dropped = max(length - keys, 0)  # a static cache has more keys than tokens: free room at its end
        return (columns - dropped).clamp(min=-1).where(columns >= 0, -1)


@contextmanager
def capture_attention(
    model: Any, columns: torch.Tensor, /, *, layers: Sequence[int] | None = None, heads: bool = False
) -> Iterator[AttentionTap]:
    r"""Capture what the last query attends to at some key positions, in every forward pass inside the block.

    Per layer, $\max_h \mathrm{softmax}_k(q_h \cdot k_h)$ with the model's own scaling, mask, soft cap, position bias, sinks
    and key-value groups, in float32. The model may run prefill or decoding steps, with any cache and any registered attention
    implementation but "flex_attention". Where a layer with a sliding window or in chunks has dropped the first keys,
    which the last query cannot see, columns move with the others, and those that are gone get 0.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A text or vision-language model whose attention goes through transformers' registry.
    columns : integer tensor of shape (B, n)
        Key positions, counted from the start of the sequence, padding included; -1 pads rows that have fewer. In
        cross-attention layers, positions among the keys that they attend to: those of the images.
    layers : sequence of int, optional
        0-based layer indices: some that attend to the sequence, or cross-attention layers. Default: all that attend to
        the sequence, token by token.
    heads : bool, optional
        Keep every head's map too: `tap.head_maps`.

    Yields
    ------
    AttentionTap
        `tap.maps` of shape (B, layers, n), from the latest forward pass.

    Raises
    ------
    TypeError, ValueError
        If `columns` is not an integer tensor of shape (B, n), or `layers` names a layer that the model does not have,
        or both cross-attention layers and others, or one whose keys stand for several tokens, or if `model` is an encoder
        and a decoder. A forward pass raises `ValueError` if its batch is not that of `columns`, if a column lies beyond its
        keys, or if the model does not take its attention from the registry, or gives it a tensor that is not known here.

    Notes
    -----
    The configuration's attention implementation is restored on every exit, also after an exception. Recording is per
    thread; the configuration is shared, so other threads may run the same model meanwhile and record nothing. A copy made
    of the model inside the block runs its own attention and records nothing.

    With gradient checkpointing a layer keeps no graph, so maps can be read but not trained through: call
    `model.gradient_checkpointing_disable()` for their gradient.

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
    wanted = tuple(sorted(set(attention_layers(decoder) if layers is None else layers)))
    if not wanted or wanted[0] < 0 or wanted[-1] >= count:
        raise ValueError(f"`layers` must be 0-based indices below {count}, the model's layers, got {layers}")
    if compressed := sorted(set(compressed_layers(decoder)) & set(wanted)):
        raise ValueError(
            f"`layers` must attend to tokens one by one, but some keys of {compressed} stand for several tokens each, so columns "
            "do not find them; leave these layers out of `layers`"
        )
    cross = set(cross_layers(decoder)) & set(wanted)
    if cross and len(cross) < len(wanted):
        raise ValueError(
            f"`layers` must be cross-attention layers or others, since columns mean other keys there, got both: {sorted(cross)} "
            f"are the cross-attention ones of {list(wanted)}"
        )

    tap = AttentionTap(columns, wanted, heads, bool(cross))
    with intercepted_attention(decoder, tap._record, start=partial(tap._start, decoder)):
        yield tap


def heat_layers(count: int, start_layer: int | str, allowed: Sequence[int] | None) -> list[int]:
    """The 0-based layers whose attention counts.

    Parameters
    ----------
    count : int
        Layers of the text model.
    start_layer : int or "auto"
        First of them, 1-based; "auto" is 12 of 32, in proportion.
    allowed : sequence of int, optional
        0-based layers that tell where the model looks. Default: all.

    Returns
    -------
    list of int

    Raises
    ------
    ValueError
        If none is left.
    """
    first = max(1, round(AUTO_START * count)) if isinstance(start_layer, str) else start_layer
    layers = [layer for layer in range(first - 1, count) if allowed is None or layer in allowed]
    if not layers and allowed and isinstance(start_layer, str):
        return [allowed[-1]]
    if not layers:
        raise ValueError(
            f"`start_layer` must leave layers whose attention counts, got {start_layer} of {count}; use 'auto'"
        )
    return layers


def _row(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    attention_mask: torch.Tensor | None,
    places: torch.Tensor,
    heads: bool,
    options: dict[str, Any],
) -> torch.Tensor:
    """Softmax of the last query's scores at `places`, 0 where they are -1: (B, n), or (B, heads, n)."""
    share = softmax_with_sinks(last_query_scores(module, query, key, attention_mask, options), options)
    share = share.gather(-1, places.clamp(min=0)[:, None].expand(-1, share.shape[1], -1))
    share = share * (places >= 0)[:, None]  # (B, heads, n)
    return share if heads else share.amax(1)


def _refuse_gradient(_: torch.Tensor) -> None:
    raise ValueError(
        "captured attention has no gradient under gradient checkpointing, which keeps no graph of a layer; call "
        "`model.gradient_checkpointing_disable()`, or `detach()` the maps"
    )
