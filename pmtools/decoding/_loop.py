"""Decoding methods inside transformers' own loops: the loop runs on a thin proxy whose forward pass is the method's step.

Greedy, sampling and beam search, logits processors, stopping criteria, scores and streamers stay transformers' code;
the proxy sees what a step is about to run and lets the method answer. The model itself is not touched.
"""

from __future__ import annotations

import inspect
import types
from typing import TYPE_CHECKING, Any, Protocol

from pmtools.adapters.streams import TokenSequences, check_cache, check_padding, image_inputs

if TYPE_CHECKING:
    import torch


class Step(Protocol):
    """A method's forward pass."""

    def __call__(self, sequences: TokenSequences, inputs: dict[str, Any], image: dict[str, Any], /) -> Any:
        """Model output whose logits decide the next token.

        Parameters
        ----------
        sequences : TokenSequences
            All tokens so far.
        inputs : dict
            What transformers would give the model now.
        image : dict
            The image inputs of the prompt.
        """


def run_loop(
    model: Any,
    step: Step,
    input_ids: torch.Tensor,
    /,
    *,
    generation_config: Any,
    streamer: Any = None,
    **arguments: Any,
) -> Any:
    """transformers' loop for a generation configuration, with `step` in the place of the model's forward pass.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    step : callable
    input_ids : integer tensor of shape (B, T)
    generation_config : transformers.GenerationConfig
    streamer : transformers streamer, optional
        Gets the prompt and every new token.
    **arguments
        The rest of what a `custom_generate` callable receives.

    Returns
    -------
    tensor or transformers.ModelOutput
        As `generate` returns.

    Raises
    ------
    ValueError
        If the configuration or the inputs ask for something that a step cannot keep.
    """
    from transformers.generation.configuration_utils import GenerationMode

    mode = generation_config.get_generation_mode()
    beams = mode in (GenerationMode.BEAM_SEARCH, GenerationMode.BEAM_SAMPLE)
    if not beams and mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE):
        raise ValueError(
            f"`generate` must run greedy search, sampling or beam search here, got {mode.value}; leave out the arguments that "
            "ask for it"
        )
    if beams and streamer is not None:
        raise ValueError(
            "`streamer` cannot be used with beam search, whose tokens change until the end; leave one of them out"
        )
    if not arguments.get("use_cache"):
        raise ValueError("`use_cache` must be True here, got False: the streams live in their caches; leave it out")
    if generation_config.prefill_chunk_size is not None:
        raise ValueError("`prefill_chunk_size` must be None here: the image's tokens are attended to in one piece")
    if arguments.get("inputs_embeds") is not None:
        raise ValueError(
            "`inputs_embeds` cannot be used here: image tokens are found in `input_ids`; give these instead"
        )
    if arguments.get("pixel_values_videos") is not None or "video" in arguments.get("mm_encoder_outputs", {}):
        raise ValueError("videos cannot be magnified; give still images")
    check_padding(arguments.get("attention_mask"))
    check_cache(arguments.get("past_key_values"))

    proxy = _Proxy(model, step)
    if beams:
        return type(model)._beam_search(proxy, input_ids, generation_config=generation_config, **arguments)
    if streamer is not None:
        streamer.put(input_ids.cpu())
    return type(model)._sample(proxy, input_ids, generation_config=generation_config, streamer=streamer, **arguments)


class _Proxy:
    """What transformers' loops take for the model."""

    _calls_the_model = frozenset({"_prefill"})  # its helpers that call `self(...)`

    def __init__(self, model: Any, step: Step) -> None:
        self._model, self._step = model, step
        self._pending: tuple[TokenSequences, dict[str, Any]]  # the loops prepare before they call

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        if name in self._calls_the_model and inspect.ismethod(found):
            return types.MethodType(found.__func__, self)
        return found

    def _valid_auto_compile_criteria(self, *_: Any, **__: Any) -> bool:
        return False  # a compiled model would go past the proxy

    def prepare_inputs_for_generation(self, input_ids: torch.Tensor, **keywords: Any) -> Any:
        image = image_inputs(self._model, keywords)
        apart = {"past_key_values", "attention_mask", "next_sequence_length", "is_first_iteration", "use_cache", *image}
        options = {name: value for name, value in keywords.items() if name not in apart and value is not None}
        mask = keywords.get("attention_mask")
        self._pending = TokenSequences(self._model, input_ids, mask, options), image
        return self._model.prepare_inputs_for_generation(input_ids, **keywords)

    def __call__(self, **inputs: Any) -> Any:
        sequences, image = self._pending
        return self._step(sequences, inputs, image)
