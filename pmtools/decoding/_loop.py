"""Decoding methods inside transformers' own loops: the loop runs on a view of the model whose forward pass is the step.

Greedy, sampling and beam search, logits processors, stopping criteria, scores and streamers stay transformers' code;
the view sees what a step is about to run and lets the method answer. The model itself is not touched.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Protocol

from pmtools._versions import untested_transformers
from pmtools.adapters.caches import cache_name, cached_tokens, check_cache, find_cache
from pmtools.adapters.image_inputs import image_inputs
from pmtools.adapters.sequences import TokenSequences, check_padding

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
    RuntimeError
        If this transformers has no such loop, or one that goes past the step.
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
    cache = find_cache(arguments)
    check_cache(cache)
    if cached_tokens(cache):
        raise ValueError(
            f"`{cache_name()}` must be empty, got {cached_tokens(cache)} cached tokens; give the whole conversation as "
            "the prompt"
        )

    view = _view(model, step)
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


def _view(model: Any, step: Step) -> Any:
    """The model with another forward pass: an object of a subclass of the model's class, with the model's state.

    Whatever transformers' loops call on it, now or in a later release, is bound to it, so none of them goes past the
    step.
    """

    class View(type(model)):  # type: ignore[misc]
        def _valid_auto_compile_criteria(self, *_: Any, **__: Any) -> bool:
            return False  # a compiled model would go past the step

        def prepare_inputs_for_generation(self, input_ids: torch.Tensor, **keywords: Any) -> Any:
            image = image_inputs(model, keywords)
            apart = {cache_name(), "attention_mask", "next_sequence_length", "is_first_iteration", "use_cache", *image}
            options = {name: value for name, value in keywords.items() if name not in apart and value is not None}
            mask = keywords.get("attention_mask")
            view.pending = TokenSequences(model, input_ids, mask, options, ended=view.ended), image
            return model.prepare_inputs_for_generation(input_ids, **keywords)

        def __call__(self, **inputs: Any) -> Any:
            view.steps += 1
            sequences, image = view.pending  # the loops prepare before they call
            return step(sequences, inputs, image)

    view: Any = object.__new__(View)
    # what the model's instance overrides, as PEFT and accelerate do, is called on the model itself
    state = {name: value for name, value in vars(model).items() if name not in vars(View)}
    view.__dict__ = {**state, "steps": 0, "pending": None, "ended": None}
    return view


def _noting_the_ended(view: Any, criteria: Any) -> Any:
    """The stopping criteria, with the rows that have ended noted: a loop goes on until all of them have."""
    from transformers import StoppingCriteriaList

    class Noting(StoppingCriteriaList):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
            done: torch.Tensor = super().__call__(input_ids, scores, **options)
            view.ended = done if view.ended is None else view.ended | done
            return done

    return Noting(criteria)


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
