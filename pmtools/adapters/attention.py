r"""What the last query of a forward pass attends to, captured while the model runs its own fast attention.

For the time of a `with` block the attention of the text model's layers is intercepted, and each adds one row of scores,
$\mathrm{softmax}(q_{last} K^\top / \sqrt d)$, kept at the wanted columns only. Nothing of the model is patched, no
attention matrix is built, and the output is bit for bit what it was.

Knows nothing of images: columns are key positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pmtools import _checks
from pmtools.adapters.interception import intercepted_attention, last_query_scores, text_decoder

if TYPE_CHECKING:
    import torch

#: The first layer whose attention counts, counted from 1, as a share of the depth: 12 of 32 in the paper.
AUTO_START = 12 / 32


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

    def __init__(self, columns: torch.Tensor, layers: tuple[int, ...], heads: bool) -> None:
        self.layers = layers
        self._columns, self._heads = columns, heads
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
        """What is called around every layer's attention."""
        layer = getattr(module, "layer_idx", None)
        if layer in self.layers:
            if layer == self.layers[0]:  # a new forward pass
                self._rows.clear()
            self._rows[layer] = _row(module, query, key, attention_mask, self._columns, self._heads, options)
        return attend(module, query, key, value, attention_mask, *args, **options)  # type: ignore[no-any-return]


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

    tap = AttentionTap(columns, wanted, heads)
    with intercepted_attention(decoder, tap._record):
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
    columns: torch.Tensor,
    heads: bool,
    options: dict[str, Any],
) -> torch.Tensor:
    """Softmax of the last query's scores at `columns`: (B, n), or (B, heads, n)."""
    import torch

    batch, n_heads, queries, _ = query.shape
    columns = columns.to(key.device)
    _check_columns(columns, batch, queries, key.shape[2], options.get("sliding_window"))

    scores = last_query_scores(module, query, key, attention_mask, options)
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
