"""The streams of a decoding step: sequences to run again with tokens hidden or other images, and their caches.

A stream shares what it can with another one by forking its cache: growing caches write new tensors, so a fork costs
nothing and the two never mix. Positions are always those of the whole sequence, whatever is hidden.

Knows nothing of heatmaps or of what the streams are for.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pmtools import _checks

if TYPE_CHECKING:
    import torch

_PER_TOKEN = ("token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids")


@dataclass(frozen=True)
class TokenSequences:
    """A batch of token sequences with what their forward passes need, images and caches apart.

    Attributes
    ----------
    model : transformers.PreTrainedModel
    input_ids : integer tensor of shape (B, T)
    attention_mask : integer tensor of shape (B, T), optional
        None where nothing is masked.
    options : dict
        Further keyword arguments of `prepare_inputs_for_generation`: positions, token types, logits to keep.
    """

    model: Any
    input_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    options: dict[str, Any]

    @property
    def length(self) -> int:
        """Tokens in each sequence, padding included."""
        return self.input_ids.shape[1]

    def run(self, cache: Any, *, image: dict[str, Any] | None = None) -> Any:
        """One forward pass over the tokens that the cache does not hold yet; it is filled on the way.

        Parameters
        ----------
        cache : transformers.DynamicCache
            Keys and values of the first tokens; empty to run everything.
        image : dict, optional
            Model inputs of the images, if image tokens are among the new ones.

        Returns
        -------
        transformers.ModelOutput
            Logits of the last position.
        """
        inputs = self.model.prepare_inputs_for_generation(
            self.input_ids,
            next_sequence_length=self.length - cache.get_seq_length(),
            past_key_values=cache,
            attention_mask=self.attention_mask,
            is_first_iteration=image is not None,
            **{**self.options, "use_cache": True},
            **(image or {}),
        )
        return self.model(**inputs, return_dict=True)

    def hiding(self, hidden: torch.Tensor, /) -> TokenSequences:
        """The same sequences with some tokens masked for every query; positions stay.

        Parameters
        ----------
        hidden : bool tensor of shape (B, T)
        """
        return replace(self, attention_mask=self._mask() * ~hidden)

    def without(self, hidden: torch.Tensor, /) -> tuple[TokenSequences, torch.Tensor]:
        """The same sequences with hidden tokens taken out, as many in every row as the row with the fewest has.

        What nobody may look at may as well be absent, as long as the others keep their positions. The tokens hidden
        beyond that number stay, masked.

        Parameters
        ----------
        hidden : bool tensor of shape (B, T)

        Returns
        -------
        sequences : TokenSequences
        kept : integer tensor of shape (B, T')
            Where the remaining tokens were.
        """
        gone = hidden & (hidden.cumsum(-1) <= hidden.sum(-1).min())
        rows, _ = hidden.shape
        kept = (~gone).nonzero()[:, 1].reshape(rows, -1)
        options = dict(self.options)
        for name in ("position_ids", *_PER_TOKEN):
            if (value := options.get(name)) is not None:
                options[name] = value.gather(-1, kept.expand(*value.shape[:-1], -1))
        mask = (self._mask() * ~hidden).gather(1, kept)
        return replace(self, input_ids=self.input_ids.gather(1, kept), attention_mask=mask, options=options), kept

    def rows(self, rows: Sequence[int] | torch.Tensor, /) -> TokenSequences:
        """Some of the sequences, in the order of `rows`; a row may come twice."""
        import torch

        rows = torch.as_tensor(rows, device=self.input_ids.device)
        options = dict(self.options)
        if (positions := options.get("position_ids")) is not None:  # (B, T), or (axes, B, T) for multimodal positions
            options["position_ids"] = positions.index_select(-2, rows)
        for name in _PER_TOKEN:
            if (value := options.get(name)) is not None:
                options[name] = value[rows]
        mask = None if self.attention_mask is None else self.attention_mask[rows]
        return replace(self, input_ids=self.input_ids[rows], attention_mask=mask, options=options)

    def with_suffix_type(self, prompt_length: int, token_type: int, /) -> TokenSequences:
        """The same sequences with another token type from `prompt_length` on; as they are where there are no types."""
        types = self.options.get("token_type_ids")
        if types is None:
            return self
        types = types.clone()
        types[:, prompt_length:] = token_type
        return replace(self, options={**self.options, "token_type_ids": types})

    def _mask(self) -> torch.Tensor:
        import torch

        return torch.ones_like(self.input_ids) if self.attention_mask is None else self.attention_mask


# ------------------------------------------------------------------------------------------------------- images


def image_inputs(model: Any, keywords: dict[str, Any], /) -> dict[str, Any]:
    """The model inputs that carry images: pixels and their geometry, or features encoded beforehand.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    keywords : dict
        Keyword arguments of a forward pass.

    Returns
    -------
    dict
    """
    names = {*inspect.signature(model.get_image_features).parameters, "mm_encoder_outputs", "batch_num_images"}
    found = {name: value for name, value in keywords.items() if name in names or name.startswith("pixel_")}
    return {name: value for name, value in found.items() if value is not None}


def encoded_images(model: Any, pixels: dict[str, Any], /) -> dict[str, Any]:
    """Pixels as features, where the model takes features, so that several passes share one run of the vision tower.

    transformers below 5.20 or so does not: there the pixels come back.
    """
    if "mm_encoder_outputs" in pixels or not takes_features(model):
        return pixels
    return {"mm_encoder_outputs": {"image": model.get_image_features(**pixels, return_dict=True)}}


def takes_features(model: Any, /) -> bool:
    """Whether the model's forward pass takes image features that were encoded beforehand."""
    return "mm_encoder_outputs" in inspect.signature(model.forward).parameters


def kept_features(image: dict[str, Any], kept: torch.Tensor, /) -> dict[str, Any]:
    """Encoded images with the features of some image tokens only.

    Parameters
    ----------
    image : dict
        From `encoded_images`.
    kept : integer tensor of shape (m,)
        Indices of the image tokens that stay, counted over the batch row by row.
    """
    import torch

    encoded = image["mm_encoder_outputs"]["image"]

    def keep(features: Any) -> Any:
        rest = torch.cat([item.reshape(-1, item.shape[-1]) for item in features])[kept]
        return rest[None] if isinstance(features, torch.Tensor) else [rest]

    chosen = copy.copy(encoded)
    chosen["pooler_output"] = keep(encoded["pooler_output"])
    if (deep := encoded.get("deepstack_features")) is not None:  # Qwen3-VL: features for its first layers too
        chosen["deepstack_features"] = [keep(layer) for layer in deep]
    return {"mm_encoder_outputs": {"image": chosen}}


# ------------------------------------------------------------------------------------------------------- caches


def check_cache(cache: Any, /) -> None:
    """Refuse caches that cannot be forked.

    Raises
    ------
    ValueError
        If the cache is static, quantised or offloaded, or holds something already.
    """
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    kinds = {type(layer) for layer in getattr(cache, "layers", [None])}
    if not kinds <= {DynamicLayer, DynamicSlidingWindowLayer} or getattr(cache, "offloading", False):
        raise ValueError(
            f"`past_key_values` must be a DynamicCache, got {_checks.describe(cache)}; leave out `cache_implementation`:"
            " static, quantised and offloaded caches cannot be shared between streams"
        )
    if cache.get_seq_length():
        raise ValueError(
            f"`past_key_values` must be empty, got {cache.get_seq_length()} cached tokens; give the whole conversation "
            "as the prompt"
        )


def check_padding(attention_mask: Any, /) -> None:
    """Refuse prompts that are padded on the right, where the next token belongs.

    Parameters
    ----------
    attention_mask : integer tensor of shape (B, T), or None
        Of the prompts; None where nothing is masked.

    Raises
    ------
    ValueError
        If the last token of a prompt is masked.
    """
    if attention_mask is not None and not bool(attention_mask[:, -1].all()):
        raise ValueError(
            "`attention_mask` must not end in 0, got prompts padded on the right, where the next token belongs; make the "
            'inputs with the method\'s `processor`, or set `processor.tokenizer.padding_side = "left"` first'
        )


def fork(cache: Any, length: int | None = None, /) -> Any:
    """A cache that starts as the first `length` tokens of another one and goes its own way; nothing is copied.

    Parameters
    ----------
    cache : transformers.DynamicCache
        Stays as it is.
    length : int, optional
        Default: all of it.

    Returns
    -------
    transformers.DynamicCache

    Raises
    ------
    ValueError
        If a sliding-window layer has dropped keys, so that a shorter cache cannot be had.
    """
    from transformers import DynamicCache

    forked = DynamicCache()
    forked.layers = [copy.copy(layer) for layer in cache.layers]
    if length is None or length >= cache.get_seq_length():
        return forked
    for layer in forked.layers:
        if hasattr(layer, "cumulative_length"):  # a sliding window
            if layer.keys.shape[-2] != layer.cumulative_length:
                raise ValueError(
                    "a sliding-window layer has dropped keys, so its cache cannot be cut back; use refine='exact' or "
                    "'none', or a prompt that fits into the window"
                )
            layer.cumulative_length = length
        layer.keys, layer.values = layer.keys[..., :length, :], layer.values[..., :length, :]
    return forked


def empty_cache(model: Any, /) -> Any:
    """A new growing cache with the layer types of the model."""
    from transformers import DynamicCache

    return DynamicCache(config=model.config)


def cache_rows(cache: Any, rows: Sequence[int] | torch.Tensor, /) -> Any:
    """A fork that holds some rows of a cache."""
    forked = fork(cache)
    for layer in forked.layers:
        layer.keys, layer.values = layer.keys[rows], layer.values[rows]
    return forked


def twin_cache(original: Any, magnified: Any, /, *, on_reorder: Callable[[torch.Tensor], None]) -> Any:
    """Two streams of equal length in one cache of 2 B rows, so that a step of both is one forward pass.

    To transformers' loops it looks like the first stream's cache: when beams move, both halves follow, and `on_reorder`
    is called with the rows' origins.

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
    from transformers import DynamicCache

    class TwinCache(DynamicCache):  # type: ignore[misc]
        def reorder_cache(self, beam_idx: torch.Tensor) -> None:
            super().reorder_cache(torch.cat([beam_idx, beam_idx + len(beam_idx)]))
            on_reorder(beam_idx)

    twin = TwinCache()
    twin.layers = fork(original).layers
    for layer, other in zip(twin.layers, magnified.layers, strict=True):
        layer.keys, layer.values = torch.cat([layer.keys, other.keys]), torch.cat([layer.values, other.values])
    return twin


def replace_rows(cache: Any, rows: Sequence[int] | torch.Tensor, new: Any, /) -> None:
    """Put the rows of another cache of the same length in the place of some of a cache's own."""
    import torch

    for layer, other in zip(cache.layers, new.layers, strict=True):
        index = torch.as_tensor(rows, device=layer.keys.device)
        layer.keys = layer.keys.index_copy(0, index, other.keys)
        layer.values = layer.values.index_copy(0, index, other.values)
