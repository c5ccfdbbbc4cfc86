"""What every decoding method shares: it is a `custom_generate` callable, and it can answer a question in one call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from pmtools import _checks
from pmtools.adapters.image_inputs import input_device
from pmtools.adapters.sequences import TokenSequences
from pmtools.decoding._conversation import continued_arguments
from pmtools.decoding._loop import run_loop
from pmtools.decoding._processor import SourceProcessor, check_family
from pmtools.decoding._stopping import StopsAtStrings

if TYPE_CHECKING:
    import torch


class Run(Protocol):
    """One call of `generate` by a method."""

    steps: list[Any]

    def step(self, sequences: TokenSequences, inputs: dict[str, Any], image: dict[str, Any], /) -> Any:
        """The method's forward pass; see `pmtools.decoding._loop.Step`."""

    def finish(self, output: Any, /) -> Any:
        """What `generate` returns, from what the loop returned."""


@contextlib.contextmanager
def _ended_on_error(streamer: Any) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if streamer is not None:
            streamer.end()  # who reads it, in another thread, would wait for ever
        raise


class DecodingMethod:
    """A way of choosing the next token, for `model.generate(..., custom_generate=method)`.

    A method adds `_new_run`, which makes the object that holds the state of one call.

    Parameters
    ----------
    processor : transformers processor
        The model's own: `image_processor`, `tokenizer`, and a call that makes inputs of both.
    streamer : transformers streamer, optional
        `generate` does not hand its own `streamer` on to `custom_generate`; give it here.

    Attributes
    ----------
    processor : SourceProcessor
        Makes inputs that carry their images: use it in the place of the model's own.
    last : list
        The steps of the latest call.
    """

    _keeps_prompts = True  # whether a conversation may go on from the cache of an earlier call

    def __init__(self, processor: Any, *, streamer: Any = None) -> None:
        if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
            raise TypeError(
                "`processor` must be the model's processor, with `image_processor` and `tokenizer`, got "
                f"{_checks.describe(processor)}; load it with AutoProcessor.from_pretrained"
            )
        self.processor = SourceProcessor(processor)
        self.streamer = streamer
        self.last: list[Any] = []

    def _new_run(self, model: Any, images: list[list[Any]]) -> Run:
        raise NotImplementedError

    def _logits_processors(self, processors: Any) -> Any:
        """The logits processors that transformers has put together."""
        return processors

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        images: Any = None,
        pm_images: Any = None,
        **model_kwargs: Any,
    ) -> Any:
        """What `generate(custom_generate=...)` calls; `images` and `pm_images` are its own arguments of `generate`.

        `images` is one PIL image, one per prompt, or a list of lists with the images of each prompt; `pm_images` comes
        with the inputs that `processor` makes.
        """
        with _ended_on_error(self.streamer):
            check_family(model, self.processor)
            copies = max(generation_config.num_beams, generation_config.num_return_sequences)
            sources = self.processor.sources(images, pm_images, input_ids.shape[0] // copies)
            run = self._new_run(model, [row for row in sources for _ in range(copies)])
            self.last = run.steps
            model_kwargs = continued_arguments(
                model,
                self.processor,
                input_ids,
                sources,
                model_kwargs,
                copies=copies,
                keeps_prompts=self._keeps_prompts,
                mask_length=getattr(generation_config, "_mask_length", None),
            )
            output = run_loop(
                model,
                run.step,
                input_ids,
                logits_processor=self._logits_processors(logits_processor),
                stopping_criteria=stopping_criteria,
                generation_config=generation_config,
                streamer=self.streamer,
                **model_kwargs,
            )
            return run.finish(output)

    def generate(
        self, model: Any, images: Any, prompt: Any, /, *, streamer: Any = None, stop_strings: Any = None, **options: Any
    ) -> Any:
        """Answer a question about images: processor, `generate` and decoding in one call.

        `generate` loses `streamer` and the tokenizer for `stop_strings` on the way to a `custom_generate` callable;
        here both work, `stop_strings` with any tokenizer.

        Parameters
        ----------
        model : transformers.PreTrainedModel
        images : PIL image, or uint8 or uint16 array (H, W) or (H, W, C), or list of them or of lists
            Of each prompt.
        prompt : str or list of str
            With the processor's image token for each image; a prompt without one becomes a chat turn by the
            processor's template.
        streamer : transformers streamer, optional
            Gets the tokens as they come; its `end` is called where the run raises, too.
        stop_strings : str or list of str, optional
            Where to stop: once the answer holds one of them.
        **options
            Of `model.generate`.

        Returns
        -------
        str, or list of str
            The answers, without the prompt: one for a single prompt, unless several sequences are asked for.

        Raises
        ------
        TypeError, ValueError
            If prompt and images do not fit each other or the model.
        """
        if options.get("assistant_model") is not None:  # `model.generate` would drop it without a word
            raise ValueError("`assistant_model` cannot be used here: each token needs the whole method; leave it out")
        streamer = self.streamer if streamer is None else streamer
        with _ended_on_error(streamer):
            prompts = [prompt] if isinstance(prompt, str) else list(prompt)
            nested = self.processor.nested(images, len(prompts))
            texts = [self.processor.as_prompt(text, len(row)) for text, row in zip(prompts, nested, strict=True)]
            inputs = self.processor(images=nested, text=texts, return_tensors="pt", padding=True)
            inputs = inputs.to(input_device(model))
            if stop_strings is not None:
                stop = StopsAtStrings(self.processor.tokenizer, stop_strings, inputs["input_ids"].shape[1])
                options["stopping_criteria"] = [*(options.get("stopping_criteria") or []), stop]
        own, self.streamer = self.streamer, streamer
        try:
            output = model.generate(**inputs, custom_generate=self, **options)
        finally:
            self.streamer = own
        ids = getattr(output, "sequences", output)[:, inputs["input_ids"].shape[1] :]
        answers = [text.strip() for text in self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]
        return answers[0] if isinstance(prompt, str) and len(answers) == 1 else answers
