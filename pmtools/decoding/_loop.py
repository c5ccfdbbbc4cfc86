"""Decoding methods inside transformers' own loops: the loop runs on a view of the model whose forward pass is the step.

Greedy, sampling and beam search, logits processors, stopping criteria, scores and streamers stay transformers' code;
the view receives the inputs of each step and lets the method answer. The model itself does not change.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any, Protocol

from pmtools._versions import untested_transformers
from pmtools.adapters.caches import cache_name, cached_tokens, check_cache, empty_cache, find_cache
from pmtools.adapters.image_inputs import image_inputs, uncached_images
from pmtools.adapters.sequences import TokenSequences, check_padding
from pmtools.decoding._view import view_of

if TYPE_CHECKING:
    import torch


#: Caches that work with the streams, and caches that save memory, which the streams cannot do: those are refused. The
#: others have a fixed size, for speed.
GROWING_CACHES = (None, "dynamic", "offloaded", "quantized")
_GUESSED = "several tokens are guessed at once, but each needs the whole method"
#: Settings that make decoding faster and change no token, and why a step cannot keep them.
FASTER = {
    "prompt_lookup_num_tokens": _GUESSED,
    "assistant_early_exit": _GUESSED,
    "use_mtp": _GUESSED,
    "prefill_chunk_size": "the image's tokens are attended to in one piece",
}


class Step(Protocol):
    """A method's forward pass."""

    def __call__(self, sequences: TokenSequences, inputs: dict[str, Any], image: dict[str, Any], /) -> Any:
        """Model output whose logits determine the next token.

        Parameters
        ----------
        sequences : TokenSequences
            All tokens so far.
        inputs : dict
            What transformers would pass to the model now.
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
    """transformers' loop for a generation configuration, with `step` instead of the model's forward pass.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    step : callable
    input_ids : integer tensor of shape (B, T)
    generation_config : transformers.GenerationConfig
    streamer : transformers streamer, optional
        Gets the prompt and every new token. **arguments The rest of what a `custom_generate` callable receives.

    Returns
    -------
    tensor or transformers.ModelOutput
        As `generate` returns.

    Raises
    ------
    ValueError
        If the configuration or the inputs ask for something that a step cannot do.
    RuntimeError
        If this version of transformers has no such loop, or its loop bypasses the step.
    """
    beams = generation_config.num_beams > 1
    _check_mode(generation_config, model.generation_config)
    if beams and streamer is not None:
        raise ValueError(
            "`streamer` cannot be used with beam search, whose tokens change until the end; leave one of them out"
        )
    if arguments.get("inputs_embeds") is not None:
        raise ValueError(
            "`inputs_embeds` cannot be used here: image tokens are found in `input_ids`; give these instead"
        )
    if arguments.get("pixel_values_videos") is not None or "video" in arguments.get("mm_encoder_outputs", {}):
        raise ValueError("videos cannot be magnified; give still images")
    check_padding(arguments.get("attention_mask"))
    _growing_cache(arguments, generation_config, model)
    generation_config.prefill_chunk_size = None  # `generate` has made this copy for the call
    view = _stepping(model, step)
    arguments["logits_processor"] = _each_after_a_step(view, arguments["logits_processor"])
    name = "_beam_search" if beams else "_sample"
    loop = getattr(view, name, None)
    if loop is None:
        raise untested_transformers(f"has no `{name}`, the loop that the method runs in")
    if beams:
        return loop(input_ids, generation_config=generation_config, **arguments)
    arguments["stopping_criteria"] = _noting_the_ended(view, arguments["stopping_criteria"])
    if streamer is not None:
        streamer.put(input_ids.cpu())
    return loop(input_ids, generation_config=generation_config, streamer=streamer, **arguments)


def _check_mode(asked: Any, stored: Any) -> None:
    """Refuse what a step cannot do: always what changes tokens, and what only makes them faster if this call asked for it."""
    from transformers.generation.configuration_utils import GenerationMode

    mode = asked.get_generation_mode()
    own = (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE, GenerationMode.BEAM_SEARCH, GenerationMode.BEAM_SAMPLE)
    if mode not in (*own, GenerationMode.ASSISTED_GENERATION):
        names = ("force_words_ids", "constraints", "num_beam_groups", "penalty_alpha", "dola_layers")
        off = ", ".join(f"`{name}=None`" for name in names if getattr(asked, name, None) not in (None, 1))
        raise ValueError(
            f"`generate` must run greedy search, sampling or beam search here, got {mode.value}; give {off}, which "
            "overrides the checkpoint's too"
        )
    for name, why in FASTER.items():
        value = getattr(asked, name, None)
        if value and value != getattr(stored, name, None):
            raise ValueError(f"`{name}` must be None here, got {value}: {why}; leave it out")


def _growing_cache(arguments: dict[str, Any], asked: Any, model: Any) -> None:
    """Check the call's cache; use a growing one if only the checkpoint asks for none or for a fixed one."""
    stored, cache = model.generation_config, find_cache(arguments)
    if not arguments.get("use_cache"):
        if stored.use_cache is not False:
            raise ValueError("`use_cache` must be True here, got False: the streams live in their caches; leave it out")
        arguments["use_cache"], cache = True, empty_cache(model)
    elif asked.cache_implementation is not None and asked.cache_implementation == stored.cache_implementation:
        cache = empty_cache(model)
    check_cache(cache)
    arguments[cache_name()] = cache


def _stepping(model: Any, step: Step) -> Any:
    """A view of the model whose forward pass is the step.

    Everything that transformers' loops call on it, now or in a later release, is bound to it, so no loop bypasses the
    step.
    """

    members = {
        "prepare_inputs_for_generation": _prepare,
        "__call__": _call,
        "_valid_auto_compile_criteria": _nothing_compiles,
    }
    return view_of(model, members, viewed=model, step=step, steps=0, pending=None, ended=None, prompt_length=None)


def _prepare(self: Any, input_ids: torch.Tensor, **keywords: Any) -> Any:
    model = self.viewed
    image = image_inputs(model, keywords)
    apart = {cache_name(), "attention_mask", "next_sequence_length", "is_first_iteration", "use_cache", *image}
    options = {name: value for name, value in keywords.items() if name not in apart and value is not None}
    mask = keywords.get("attention_mask")
    if self.prompt_length is None:
        self.prompt_length = input_ids.shape[1]
    sequences = TokenSequences(
        model, input_ids, mask, options, ended=self.ended, prompt_length=self.prompt_length
    ).with_types_of_words()
    if self.pending is None and (cached := cached_tokens(find_cache(keywords))):  # a conversation goes on
        is_image = sequences.is_image(model.config.image_token_id)
        rest = {name: value for name, value in keywords.items() if name not in image}
        keywords = {**rest, **uncached_images(model, image, is_image, cached)}
    self.pending = sequences, image
    return model.prepare_inputs_for_generation(input_ids, **keywords)


def _call(self: Any, **inputs: Any) -> Any:
    self.steps += 1
    sequences, image = self.pending  # the loops prepare before they call
    return self.step(sequences, inputs, image)


def _nothing_compiles(self: Any, *_: Any, **__: Any) -> bool:
    return False  # a compiled model would bypass the step


def _noting_the_ended(view: Any, criteria: Any) -> Any:
    """The stopping criteria, which also record the rows that have ended: a loop goes on until all of them have."""
    found = _noting_criteria()(criteria)
    found.view = view
    return found


@functools.cache
def _noting_criteria() -> type:
    from transformers import StoppingCriteriaList

    class Noting(StoppingCriteriaList):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
            done: torch.Tensor = super().__call__(input_ids, scores, **options)
            self.view.ended = done if self.view.ended is None else self.view.ended | done
            return done

    return Noting


def _each_after_a_step(view: Any, processors: Any) -> Any:
    """The logits processors behind one that raises if a token is chosen without a step of the method."""
    from transformers import LogitsProcessorList

    calls = itertools.count(1)

    def check(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if view.steps < next(calls):
            raise untested_transformers(
                "chose a token without calling the method's step, so it would have been plain decoding"
            )
        return scores

    return LogitsProcessorList([check, *processors])
