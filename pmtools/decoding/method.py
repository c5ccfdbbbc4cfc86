"""The base of every decoding method: a `custom_generate` callable that can also answer a question in one call."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from pmtools import _checks
from pmtools.adapters.image_inputs import image_inputs, input_device
from pmtools.adapters.sequences import TokenSequences
from pmtools.adapters.source_images import SourceImages
from pmtools.decoding._conversation import continued_arguments
from pmtools.decoding._loop import FASTER, GROWING_CACHES, run_loop
from pmtools.decoding._plain import PlainRun
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


class DecodingMethod:
    """A way of choosing the next token, for `model.generate(..., custom_generate=method)`.

    All state belongs to a call, so one method serves any number of threads. A method defines `new_run`, which makes the
    object that holds the state of one call.

    Parameters
    ----------
    processor : transformers processor
        The model's own: `image_processor`, `tokenizer`, and a call that makes inputs of both.

    Attributes
    ----------
    processor : SourceProcessor
        Makes inputs that carry their images: use it instead of the model's own.
    last : list
        The steps of this thread's latest call, once it has begun; of the latest one anywhere in a thread that made none.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """

    streamer = None  # it belongs to a call: see `streaming`
    _keeps_prompts = True  # whether a conversation may go on from the cache of an earlier call

    def __init__(self, processor: Any) -> None:
        if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
            raise TypeError(
                "`processor` must be the model's processor, with `image_processor` and `tokenizer`, got "
                f"{_checks.describe(processor)}; load it with AutoProcessor.from_pretrained"
            )
        made = type(processor) is SourceProcessor  # another method's, which passes `isinstance` as the model's own
        self.processor = processor if made else SourceProcessor(processor)
        self._steps = _StepsByThread()

    @property
    def last(self) -> list[Any]:
        """The steps of the latest call."""
        return self._steps.latest()

    def new_run(self, model: Any, images: SourceImages) -> Run:
        """One call of `generate`; a method says here what happens at each step.

        Parameters
        ----------
        model : transformers.PreTrainedModel
        images : SourceImages
            Of each prompt.

        Returns
        -------
        Run
            With `steps`, `step(sequences, inputs, image)` and `finish(output)`.
        """
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

        `images` is one image, one per prompt, or a list of lists with the images of each prompt; `pm_images` is part of
        the inputs that `processor` makes. Prompts without any image are answered by plain decoding.
        """
        call = self.streaming(None)
        rest = (input_ids, logits_processor, stopping_criteria, generation_config)
        return call(model, *rest, images=images, pm_images=pm_images, **model_kwargs)

    def streaming(self, streamer: Any, /) -> MethodCall:
        """The method with a streamer, for one call of `generate(custom_generate=...)`, which does not forward `streamer`.

        Parameters
        ----------
        streamer : transformers streamer, or None
            Gets the prompt and every new token; its `end` is also called if the run raises.

        Examples
        --------
        >>> from transformers import TextStreamer
        >>> from pmtools.decoding import Greedy
        >>> from pmtools.testing.models import tiny_model, tiny_processor
        >>> model = tiny_model()
        >>> method = Greedy(tiny_processor(model))
        >>> streamer = TextStreamer(method.processor.tokenizer, skip_prompt=True)
        >>> call = method.streaming(streamer)  # model.generate(**inputs, custom_generate=call)
        """
        return MethodCall(self, streamer)

    def generate_ids(
        self,
        model: Any,
        /,
        inputs: Any = None,
        *,
        streamer: Any = None,
        tokenizer: Any = None,
        **options: Any,
    ) -> Any:
        """`model.generate` by this method: token ids in, token ids out.

        `streamer` and `stop_strings`, which `generate` does not forward to a `custom_generate` callable, work here, the
        latter with any tokenizer and also from generation configurations, which an argument overrides.

        Parameters
        ----------
        model : transformers.PreTrainedModel
        inputs : integer tensor of shape (B, T), optional
            Token ids, if they are not among the options as `input_ids`.
        streamer : transformers streamer, optional
            Gets the prompt and every new token; its `end` is also called if the run raises.
        tokenizer : transformers tokenizer, optional
            Finds the stop strings. Default: the processor's.
        **options
            Those of `model.generate`, with inputs of `processor` or with `images`. `stop_strings`, a string or a list of
            them, end an answer as soon as it holds one. Default: those of the generation configuration; None for none.

        Returns
        -------
        tensor or transformers.ModelOutput
            As `model.generate` returns.

        Raises
        ------
        TypeError, ValueError
            If inputs, images and model do not fit each other, or an option would go past the method.
        """
        call = self.streaming(streamer)
        with call.ended_on_error():
            check_model(model)
            _check_options(options)
            ids = options.get("input_ids") if inputs is None else inputs
            if ids is not None and options.get("images") is not None:  # `generate` makes features of the pixels
                images, carried = options.pop("images"), options.pop("pm_images", None)
                options["pm_images"] = self.processor.sources(model, images, carried, len(ids), options)
            stop_strings = _settled(options, model.generation_config)
            if stop_strings is not None and ids is not None:
                stop = StopsAtStrings(tokenizer or self.processor.tokenizer, stop_strings, ids.shape[1])
                options["stopping_criteria"] = [*(options.get("stopping_criteria") or []), stop]
            given = {} if inputs is None else {"inputs": inputs}
            return model.generate(**given, custom_generate=call, **options)

    def generate(self, model: Any, images: Any, prompt: Any, /, *, streamer: Any = None, **options: Any) -> Any:
        """Answer a question about images: processor, `generate` and decoding in one call.

        Parameters
        ----------
        model : transformers.PreTrainedModel
        images : image, path, URL or base64, or list of them or of lists; None or [] for none
            Of each prompt, as `processor` takes them. A prompt without images is answered plainly.
        prompt : str or list of str
            With the processor's image token for each image; a prompt without one becomes a chat turn by the
            processor's template.
        streamer
            As in `generate_ids`.
        **options
            Of `generate_ids`, `stop_strings` among them.

        Returns
        -------
        str, or list of str
            The answers, without the prompt: one for a single prompt, unless several sequences are asked for.

        Raises
        ------
        TypeError, ValueError
            If prompt and images do not fit each other or the model, or an option would go past the method.
        """
        with self.streaming(streamer).ended_on_error():
            check_model(model)
            prompts = _prompts(prompt)
            nested = self.processor.nested(images, len(prompts))
            texts = [self.processor.as_prompt(text, len(row)) for text, row in zip(prompts, nested, strict=True)]
            inputs = self.processor(images=nested, text=texts, return_tensors="pt", padding=True)
            inputs = inputs.to(input_device(model))
        output = self.generate_ids(model, **inputs, streamer=streamer, **options)
        ids = getattr(output, "sequences", output)[:, inputs["input_ids"].shape[1] :]
        answers = [text.strip() for text in self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]
        return answers[0] if isinstance(prompt, str) and len(answers) == 1 else answers


class MethodCall:
    """A method and what belongs to one call of `generate`: its streamer; a `custom_generate` callable.

    Parameters
    ----------
    method : DecodingMethod
    streamer : transformers streamer, or None
    """

    def __init__(self, method: DecodingMethod, streamer: Any, /) -> None:
        self.method, self.streamer = method, streamer
        self._ended = False

    @contextlib.contextmanager
    def ended_on_error(self) -> Iterator[None]:
        """Call the streamer's `end` if the block raises: otherwise its reader, in another thread, would wait forever.

        A streamer that can be cancelled belongs to a server, which reports the error to its reader; `end` would hide
        it.
        """
        try:
            yield
        except BaseException:
            if self.streamer is not None and not self._ended and not hasattr(self.streamer, "cancel"):
                self._ended = True
                self.streamer.end()
            raise

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
        """What `generate(custom_generate=...)` calls; see `DecodingMethod`."""
        method = self.method
        with self.ended_on_error():
            check_family(model, method.processor)
            copies = max(generation_config.num_beams, generation_config.num_return_sequences)
            prompts = input_ids.shape[0] // copies
            if images is None and pm_images is None and not image_inputs(model, model_kwargs):
                pm_images = SourceImages([[] for _ in range(prompts)])  # made by the model's own processor, from text
            sources = method.processor.sources(model, images, pm_images, prompts, model_kwargs)
            run = method.new_run(model, sources.repeated(copies)) if any(sources) else PlainRun(model)
            method._steps.begin(run.steps)
            if any(sources):
                model_kwargs = continued_arguments(
                    model,
                    method.processor.made_with(sources.options),
                    input_ids,
                    sources.repeated(copies).rows,
                    model_kwargs,
                    copies=copies,
                    keeps_prompts=method._keeps_prompts,
                    mask_length=getattr(generation_config, "_mask_length", None),
                )
            output = run_loop(
                model,
                run.step,
                input_ids,
                logits_processor=method._logits_processors(logits_processor),
                stopping_criteria=stopping_criteria,
                generation_config=generation_config,
                streamer=self.streamer,
                **model_kwargs,
            )
            return run.finish(output)


def check_model(model: Any, /) -> None:
    """Refuse what has no `generate`: wrappers hide it.

    Raises
    ------
    TypeError
        With the name of the model inside, if there is one.
    """
    if callable(getattr(model, "generate", None)):
        return
    names = ("module", "model", "base_model", "_fsdp_wrapped_module")
    inside = [name for name in names if callable(getattr(getattr(model, name, None), "generate", None))]
    way = f"give the one inside, model.{inside[0]}" if inside else "load it with AutoModelForImageTextToText"
    raise TypeError(f"`model` must be a transformers model that generates, got a {type(model).__name__}; {way}")


def _prompts(prompt: Any) -> list[str]:
    """A prompt or several as a list."""
    listed = isinstance(prompt, Iterable) and not isinstance(prompt, (str, bytes, Mapping))
    prompts = list(prompt) if listed else [prompt]
    if not prompts or not all(isinstance(text, str) for text in prompts):
        raise TypeError(
            f"`prompt` must be a string or a list of them, got {_checks.describe(prompt)}; the order is model, images, "
            "prompt, and a chat becomes inputs by `processor.apply_chat_template`"
        )
    return prompts


def _settled(options: dict[str, Any], stored: Any) -> Any:
    """Stop strings of call and configurations, removed from the options: transformers wants a tokenizer, and drops it.

    A configuration given in the call is overridden like the checkpoint's, as long as no token changes.
    """
    config = options.get("generation_config")

    def setting(name: str) -> Any:
        """As transformers finds it: in the call, None included; else in its configuration; else in the checkpoint's."""
        if name in options:
            return options[name]
        given = getattr(config, name, None)
        return getattr(stored, name, None) if given is None else given

    if setting("token_healing"):
        raise ValueError(
            "`token_healing` cannot be used here: it rewrites the prompt, with a tokenizer that transformers does not forward; "
            "leave it out, or give `token_healing=False`, which overrides the generation configuration's"
        )
    found = setting("stop_strings")
    options.pop("stop_strings", None)
    if config is not None:
        config = options["generation_config"] = copy.deepcopy(config)
        config.stop_strings = None
        config.use_cache = True
        if config.cache_implementation not in GROWING_CACHES:
            config.cache_implementation = "dynamic"
        for name in FASTER:
            setattr(config, name, None)
    # the checkpoint fills in what a configuration lacks; an argument overrides both
    if stored.stop_strings is not None:
        options["stop_strings"] = None
    return found


def _check_options(options: dict[str, Any]) -> None:
    """Refuse options with which `model.generate` would silently bypass the method."""
    if options.get("assistant_model") is not None:
        raise ValueError("`assistant_model` cannot be used here: each token needs the whole method; leave it out")
    if options.get("cache_implementation") == "paged":
        raise ValueError(
            "`cache_implementation` must not be 'paged' here: transformers would answer by plain decoding in its "
            "continuous batches; leave it out"
        )
    if options.get("custom_generate") is not None:
        raise ValueError("`custom_generate` cannot be used here: the method itself takes its place; leave it out")


class _StepsByThread:
    """The steps of each thread's latest call. Copies and pickles of a method start without any."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._anywhere: list[Any] = []

    def begin(self, steps: list[Any]) -> None:
        self._own.steps = self._anywhere = steps

    def latest(self) -> list[Any]:
        steps: list[Any] = getattr(self._own, "steps", self._anywhere)
        return steps

    def __reduce__(self) -> Any:
        return _StepsByThread, ()
