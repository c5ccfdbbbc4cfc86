"""What a layout says beside its grids, from the configuration and the model's own signature."""

from __future__ import annotations

import inspect
from typing import Any

_FULL = "full_attention"
#: Options of configurations that let image tokens see each other both ways.
_BOTH_WAYS = ("use_bidirectional_attention", "use_bidirectional_image_attention")


def heat_layers(model: Any, /) -> tuple[int, ...] | None:
    """The layers that see the whole sequence, where others do not.

    Windows forget the image, and recurrent layers have no attention.
    """
    kinds = list(getattr(model.get_decoder().config, "layer_types", None) or ())
    telling = tuple(layer for layer, kind in enumerate(kinds) if kind == _FULL)
    return telling if telling and len(telling) < len(kinds) else None


def keeps_prefix(model: Any, /) -> bool:
    """Whether the text before the first image keeps its keys and values when the image changes.

    No where that is not certain: where the attention mask is made from the types of all tokens, or images are seen both ways,
    or a layer's cache cannot be cut.
    """
    if "token_type_ids" in inspect.signature(model.forward).parameters:
        return False
    config = model.get_decoder().config
    if any(getattr(config, name, None) for name in _BOTH_WAYS) or getattr(model, "_is_stateful", False):
        return False
    return all(kind == _FULL for kind in getattr(config, "layer_types", None) or ())


def pads_to_square(image_processor: Any, /) -> bool:
    """Whether images are padded to a square first, since the processor would crop their centre.

    A processor that pads is left to it: what it shows is read off, and so is where.
    """
    tiled = getattr(image_processor, "image_grid_pinpoints", None)
    return bool(getattr(image_processor, "do_center_crop", False) and not tiled)


def wrapping_tokens(model: Any, processor: Any, /) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that configuration or processor name as those right before and after an image, for templates to write."""
    holders = (model.config, processor)
    named = [[getattr(holder, name, None) for holder in holders for name in names] for names in (_OPENING, _CLOSING)]
    opening, closing = (tuple(dict.fromkeys(token for token in some if isinstance(token, int))) for some in named)
    return opening, closing


_OPENING = ("vision_start_token_id", "start_image_token_id", "image_start_token_id", "boi_token_id", "boi_token_index")
_CLOSING = ("vision_end_token_id", "end_image_token_id", "image_end_token_id", "eoi_token_id", "eoi_token_index")
