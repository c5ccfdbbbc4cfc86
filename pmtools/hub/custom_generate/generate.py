"""Perception Magnifier, and the methods that it is compared with, as a `custom_generate` folder of transformers.

`model.generate(custom_generate=FOLDER, trust_remote_code=True, processor=processor, images=[image], **inputs)`, with
`pmtools.decoding.HUB_FOLDER` or a hub repository that holds a copy of it.
"""

from __future__ import annotations

import inspect
from typing import Any


def generate(
    model: Any,
    processor: Any = None,
    method: str = "pm",
    method_options: dict[str, Any] | None = None,
    synced_gpus: Any = None,
    **options: Any,
) -> Any:
    """`model.generate` by a decoding method of pmtools.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    processor : transformers processor
        The model's own.
    method : str, optional
        A name in `pmtools.decoding.METHODS`.
    method_options : dict, optional
        Options of the method: `gain`, `refine`, `refresh`, ...
    synced_gpus
        Not used: the method runs in one process.
    **options
        Options of `generate`: inputs, `images`, `streamer`, `stop_strings`, `max_new_tokens`, ...
    """
    from transformers import GenerationMixin

    from pmtools.decoding import magnified

    if processor is None:
        raise ValueError(
            "`processor` must be the model's own processor; pass `processor=AutoProcessor.from_pretrained(...)`"
        )
    filled_in = inspect.signature(GenerationMixin.generate).parameters  # None by transformers; others by the caller
    given = {name: value for name, value in options.items() if value is not None or name not in filled_in}
    return magnified(model, processor, method=method, **(method_options or {})).generate(**given)
