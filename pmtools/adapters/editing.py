r"""Attention edited while the model runs: more of it goes to the image, inside a `with` block.

As in `pmtools.adapters.attention`, the attention of the text model's layers is intercepted; nothing is patched. An edit sees
queries, keys, values and mask of a layer, and the function to attend with.

Two edits: one adds to the last query's scores in proportion to their size (PAI), one adds a constant to every query's (IBD).

Blocks of this file and of `capture_attention` may be nested; the one opened last sees a layer first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pmtools.adapters.interception import (
    Wrapper,
    implementation,
    intercepted_attention,
    last_query_scores,
    scaling,
    softmax_with_sinks,
    text_decoder,
)

if TYPE_CHECKING:
    import torch


@contextmanager
def edited_attention(model: Any, edit: Wrapper, /) -> Iterator[None]:
    """Let `edit` attend in every layer of the text model, in this thread.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A text or vision-language model whose attention goes through transformers' registry.
    edit : callable
        `edit(attend, module, query, key, value, attention_mask, *args, **options)` returns what `attend` of these arguments
        would: output of shape (B, queries, heads, width), and weights or None.

    Raises
    ------
    ValueError
        If the model does not take its attention from the registry, or takes it from neither "sdpa" nor "eager".

    Notes
    -----
    The configuration's attention implementation is restored on every exit, also after an exception.
    """
    decoder = text_decoder(model)
    if not (base := implementation(decoder)).endswith(("sdpa", "eager")):
        raise ValueError(
            f"attention implementation {base!r} cannot be edited: its masks are not tensors of (queries, keys); "
            "load the model with attn_implementation='sdpa'"
        )
    with intercepted_attention(decoder, edit):
        yield


def boosted_image(is_image: torch.Tensor, /, *, strength: float, layers: Collection[int] | None = None) -> Wrapper:
    r"""An edit that raises the last query's scores of image keys: $s \leftarrow s + a\,|s|$ before the softmax.

    Parameters
    ----------
    is_image : bool tensor of shape (B, keys)
        Key positions of image tokens, padding included.
    strength : float
        $a$, >= 0.
    layers : collection of int, optional
        0-based layers. Default: all.

    Returns
    -------
    callable
        For `edited_attention`.

    References
    ----------
    - PAI, [arXiv:2407.21771](https://arxiv.org/abs/2407.21771)
    """

    def edit(
        attend: Any, module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *args: Any, **options: Any
    ) -> tuple[Any, Any]:
        import torch

        output, weights = attend(module, query, key, value, attention_mask, *args, **options)
        if layers is not None and module.layer_idx not in layers:
            return output, weights
        scores = last_query_scores(module, query, key, attention_mask, options)  # (B, heads, keys)
        on = _fitting(is_image, query.shape[2], key.shape[2])[:, None] & scores.isfinite()  # hidden keys stay hidden
        scores = torch.where(on, scores + strength * scores.abs(), scores)
        share = softmax_with_sinks(scores, options).to(value.dtype)
        batch, heads, keys = share.shape
        groups = value.shape[1]
        last = (share.reshape(batch, groups, heads // groups, keys) @ value).reshape(batch, heads, -1)
        return torch.cat([output[:, :-1], last[:, None]], dim=1), weights

    return edit


def biased_image(is_image: torch.Tensor, /, *, bias: float) -> Wrapper:
    r"""An edit that adds to every query's score of image keys: $(q \cdot k + \epsilon) / \sqrt d$.

    Parameters
    ----------
    is_image : bool tensor of shape (B, keys)
        Key positions of image tokens, padding included.
    bias : float
        $\epsilon$, >= 0.

    Returns
    -------
    callable
        For `edited_attention`.

    References
    ----------
    - IBD, [arXiv:2402.18476](https://arxiv.org/abs/2402.18476)
    """

    def edit(
        attend: Any, module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *args: Any, **options: Any
    ) -> tuple[Any, Any]:
        mask = _additive_mask(query, key, attention_mask)
        on = _fitting(is_image, query.shape[2], key.shape[2])[:, None, None]
        mask = mask + on.to(mask) * (bias * scaling(module, query, options))
        return attend(module, query, key, value, mask, *args, **options)  # type: ignore[no-any-return]

    return edit


# ------------------------------------------------------------------------------------------------ the arithmetic


def _additive_mask(query: torch.Tensor, key: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """The mask as numbers to add to scores, (B or 1, 1 or heads, queries, keys)."""
    import torch

    queries, keys = query.shape[2], key.shape[2]
    if attention_mask is None:  # transformers leaves out a mask that the causal kernel applies by itself
        attention_mask = torch.ones(1, 1, queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
    if attention_mask.dtype != torch.bool:
        return attention_mask[..., -keys:]
    # not -inf: rows of padding see nothing, and would become NaN
    zeros = torch.zeros(attention_mask.shape, dtype=query.dtype, device=query.device)
    return zeros.masked_fill(~attention_mask, torch.finfo(query.dtype).min)[..., -keys:]


def _fitting(is_image: torch.Tensor, queries: int, keys: int) -> torch.Tensor:
    """The flags of a layer's keys: a sliding-window layer has dropped the first ones in steps after the prompt."""
    tokens = is_image.shape[1]
    if tokens < keys or (tokens > keys and queries == keys):
        raise ValueError(f"`is_image` must have one entry per key, {keys} in this layer, got {tokens}")
    return is_image[:, -keys:]
