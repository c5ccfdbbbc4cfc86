"""Continued conversations: the cache of an earlier call holds the first tokens, which are not run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pmtools.adapters.caches import cache_name, cached_rows, cached_tokens, find_cache
from pmtools.adapters.image_inputs import image_inputs
from pmtools.adapters.prompts import Prompts

if TYPE_CHECKING:
    import torch


def continued_arguments(
    model: Any,
    processor: Any,
    input_ids: torch.Tensor,
    images: list[list[Any]],
    arguments: dict[str, Any],
    /,
    *,
    copies: int,
    keeps_prompts: bool,
    mask_length: int | None,
) -> dict[str, Any]:
    """The keyword arguments of a loop that goes on from a cache; unchanged if the cache is empty.

    transformers makes positions and image inputs for the new tokens alone, while streams without a cache need those of
    the whole conversation, so they are prepared as for a first call.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    processor : SourceProcessor
    input_ids : integer tensor of shape (B, T)
        The whole conversation.
    images : list of lists of PIL images
        All images of each row.
    arguments : dict
        The arguments of a `custom_generate` callable.
    copies : int
        Rows for each prompt: beams, or returned sequences.
    keeps_prompts : bool
        Whether the method runs the prompts of the inputs, so that their keys and values can be kept.
    mask_length : int, optional
        Length of the attention mask, if it was dropped because nothing is masked.

    Raises
    ------
    ValueError
        If the cache does not hold the first tokens of each row, the model's attention to its prompt is bidirectional,
        or the method edits the prompt.
    """
    cache = find_cache(arguments)
    if cache is None or not (held := cached_tokens(cache)):
        return arguments
    if not keeps_prompts:
        raise ValueError(
            f"`{cache_name()}` must be empty or left out, got {held} tokens in it: this method edits the images again for each "
            "question, so nothing from an earlier one can be kept; give the whole conversation and no cache"
        )
    mask = arguments.get("attention_mask")
    _check_start(cache, held, input_ids, mask_length if mask is None else mask.shape[1], copies)
    ones = input_ids.new_ones(input_ids.shape)
    types = Prompts.types_in(arguments)
    prompts = Prompts(model, processor, input_ids, ones if mask is None else mask, images, types)
    if prompts.layout.suffix_token_type is not None:
        raise ValueError(
            f"`{cache_name()}` cannot hold the start of a conversation with {model.config.model_type} models, which read their "
            "prompt both ways; give the whole conversation and no cache"
        )
    sequences, image = prompts.prepared()
    given = image_inputs(model, arguments)
    rest = {name: value for name, value in arguments.items() if name not in given}
    positions = {name: value for name, value in sequences.options.items() if name == "position_ids"}
    return {**rest, **image, **positions}


def _check_start(cache: Any, held: int, input_ids: torch.Tensor, mask_length: int | None, copies: int) -> None:
    rows, length = input_ids.shape
    name = cache_name()
    if held >= length or mask_length not in (None, length):
        raise ValueError(
            f"`{name}` must hold the first tokens of `input_ids`, got {held} tokens in it and {length} in `input_ids`, with a "
            f"mask of {mask_length or length}; give the whole conversation in `input_ids`, what the cache holds included"
        )
    if copies > 1 or cached_rows(cache) != rows:
        raise ValueError(
            f"`{name}` must hold one row for each of {rows // copies} prompts, without beams or several sequences for a prompt, "
            f"got {cached_rows(cache)} rows and {copies} for a prompt; give the whole conversation and no cache"
        )
