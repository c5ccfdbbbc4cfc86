r"""Attention changed on its way: more of it for the image, for the time of a `with` block.

As in `pmtools.adapters.attention`, the text model's configuration names a registered function that calls the one it stands
for; nothing is patched. An edit sees queries, keys, values and mask of a layer, and the function to attend with.

Two edits: one adds to the last query's scores in proportion to their size (PAI), one adds a constant to every query's (IBD).

Open blocks of this file and of `capture_attention` may nest; over the same model in several threads at a time they must all be
of one file, since the configuration is shared.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pmtools.adapters.attention import _attention_function, text_decoder

if TYPE_CHECKING:
    import torch

_PREFIX = "pmtools_edited_"
_edits = threading.local()  # .open: the edits of this thread, innermost last
_redirections: dict[int, tuple[Any, str, int]] = {}  # id(config) -> config, its own implementation, users
_lock = threading.Lock()

#: `edit(attend, module, query, key, value, attention_mask, *args, **options)` -> (output, weights), like `attend` itself.
Edit = Callable[..., tuple[Any, Any]]


@contextmanager
def edited_attention(model: Any, edit: Edit, /) -> Iterator[None]:
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
    stack = _edits.__dict__.setdefault("open", [])
    modules = frozenset(decoder.modules())
    entry = functools.partial(_only_in, modules, edit)
    with _redirected(decoder):
        stack.append(entry)
        try:
            yield
        finally:
            stack.remove(entry)


def boosted_image(is_image: torch.Tensor, /, *, strength: float, layers: Collection[int] | None = None) -> Edit:
    r"""An edit that raises what the last query makes of image keys: $s \leftarrow s + a\,|s|$ before the softmax.

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
        scores = _last_scores(module, query, key, attention_mask, options)  # (B, heads, keys)
        on = _fitting(is_image, scores.shape[-1])[:, None] & scores.isfinite()  # what is hidden stays hidden
        share = torch.where(on, scores + strength * scores.abs(), scores).softmax(-1).to(value.dtype)
        batch, heads, keys = share.shape
        groups = value.shape[1]
        last = (share.reshape(batch, groups, heads // groups, keys) @ value).reshape(batch, heads, -1)
        return torch.cat([output[:, :-1], last[:, None]], dim=1), weights

    return edit


def biased_image(is_image: torch.Tensor, /, *, bias: float) -> Edit:
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
        on = _fitting(is_image, key.shape[2])[:, None, None]
        mask = mask + on.to(mask) * (bias * _scaling(module, query, options))
        return attend(module, query, key, value, mask, *args, **options)  # type: ignore[no-any-return]

    return edit


# ------------------------------------------------------------------------------------------------ the arithmetic


def _scaling(module: Any, query: torch.Tensor, options: dict[str, Any]) -> float:
    found: float = options.get("scaling") or getattr(module, "scaling", None) or query.shape[-1] ** -0.5
    return found


def _last_scores(
    module: Any, query: torch.Tensor, key: torch.Tensor, attention_mask: torch.Tensor | None, options: dict[str, Any]
) -> torch.Tensor:
    """Scores of the last query before the softmax, masked, in float32: (B, heads, keys)."""
    import torch

    batch, heads, _, width = query.shape
    groups, keys = key.shape[1:3]
    last = query[:, :, -1].reshape(batch, groups, heads // groups, width)
    scores = (last @ key.transpose(-1, -2)).reshape(batch, heads, keys).float() * _scaling(module, query, options)
    if (cap := options.get("softcap")) is not None:
        scores = torch.tanh(scores / cap) * cap
    if attention_mask is None:  # the last query sees everything
        return scores
    allowed = attention_mask[:, :, -1, -keys:]
    if allowed.dtype == torch.bool:
        return scores.masked_fill(~allowed, -torch.inf)
    return (scores + allowed).masked_fill(allowed < torch.finfo(allowed.dtype).min / 2, -torch.inf)


def _additive_mask(query: torch.Tensor, key: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """The mask as numbers to add to scores, (B or 1, 1 or heads, queries, keys)."""
    import torch

    queries, keys = query.shape[2], key.shape[2]
    if attention_mask is None:  # transformers leaves out what a causal kernel knows by itself
        attention_mask = torch.ones(1, 1, queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
    if attention_mask.dtype != torch.bool:
        return attention_mask[..., -keys:]
    # not -inf: rows of padding see nothing, and would become NaN
    zeros = torch.zeros(attention_mask.shape, dtype=query.dtype, device=query.device)
    return zeros.masked_fill(~attention_mask, torch.finfo(query.dtype).min)[..., -keys:]


def _fitting(is_image: torch.Tensor, keys: int) -> torch.Tensor:
    if is_image.shape[1] != keys:
        raise ValueError(
            f"`is_image` must have one entry per key, {keys} in this layer, got {is_image.shape[1]}: a sliding-window layer "
            "drops keys, so its image tokens cannot be told; this model cannot be edited"
        )
    return is_image


# --------------------------------------------------------------------------------------------------- the registry


def _only_in(modules: frozenset[Any], edit: Edit, attend: Any, module: Any, *args: Any, **options: Any) -> Any:
    """Other models run unedited, though they may share the function."""
    if module not in modules:
        return attend(module, *args, **options)
    return edit(attend, module, *args, **options)


@contextmanager
def _redirected(decoder: Any) -> Iterator[None]:
    """The decoder's configurations name the editing function; counted, so that threads and nested blocks may share it."""
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
    """The name of the editing twin of the attention implementation `base`, registered on first use."""
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if not base.endswith(("sdpa", "eager")):
        raise ValueError(
            f"attention implementation {base!r} cannot be edited: its masks are not tensors of (queries, keys); "
            "load the model with attn_implementation='sdpa'"
        )
    name = _PREFIX + base
    if name not in ALL_ATTENTION_FUNCTIONS:
        AttentionInterface.register(name, _editing(base))
        # without a mask function of that name transformers passes no mask at all
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[base])
    return name


def _editing(base: str) -> Callable[..., Any]:
    def attention(module: Any, *args: Any, **options: Any) -> Any:
        attend = _attention_function(base, module)
        for edit in _edits.__dict__.get("open", ()):
            attend = functools.partial(edit, attend)
        return attend(module, *args, **options)

    return attention
