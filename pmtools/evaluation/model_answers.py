"""Answers of any vision-language model with every method, by transformers' `generate`, in batches.

An item has an index, a picture and, if they are known, the true boxes. This file knows neither benchmarks nor names of
methods.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pmtools import _checks, decoding
from pmtools.adapters.heatmaps import AttentionHeatmap, CLIPRelevance
from pmtools.adapters.image_inputs import input_device
from pmtools.adapters.offloaded import parameter
from pmtools.adapters.prompts import Prompts
from pmtools.alternatives import ALTERNATIVES
from pmtools.evaluation.batch import Batch
from pmtools.evaluation.methods import METHODS

__all__ = ["ModelAnswers", "UnusableMethodError", "weights_digest"]


class UnusableMethodError(ValueError):
    """Raised if a method cannot be used with the model; the message names it and says why."""


class ModelAnswers:
    """Answers questions about pictures by `generate`; an `Answerer`.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    processor : transformers.ProcessorMixin
        Of that model; set to pad on the left, as generation in batches needs it.
    text : callable
        Returns the text that goes with an item's picture.
    settings : mapping, optional
        Arguments of `PerceptionMagnifier`; its map and warp also serve the ablations, alternatives and controls. Images
        are magnified once, from the first token's attention (`refresh="first"`), as in the official scripts for yes/no
        benchmarks, unless `settings` say otherwise.
    alternatives : mapping of str to dict, optional
        `gain` and `kernel_size` of an alternative's map, if they differ from those of `settings`.
    seed : int, optional
        For the random controls, where each item has its own stream, and for VCD's noise.
    max_new_tokens : int, optional
    name : str, optional
        Of the model, for the record of the setup.
    clip : str, optional
        Folder or hub name of a CLIP, for the method "api-c".
    preset : {"mme", "pope"}, optional
        The hyper-parameters of the method "pm-official".
    max_pixels : int, optional
        Most pixels of an image for the model, whatever the method; see `pmtools.adapters.pixel_budget`.

    Attributes
    ----------
    setup : dict
        What the answers depend on.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        /,
        *,
        text: Callable[[Any], str],
        settings: Mapping[str, Any] | None = None,
        alternatives: Mapping[str, Mapping[str, Any]] | None = None,
        seed: int = 0,
        max_new_tokens: int = 16,
        name: str = "",
        clip: str | None = None,
        preset: str = "mme",
        max_pixels: int | None = None,
    ) -> None:
        self.model, self.text = model, text
        self.processor = processor if max_pixels is None else decoding.Greedy(processor).processor.within(max_pixels)
        self.seed, self.preset, self.clip = seed, preset, clip
        self.max_new_tokens = _checks.whole_number(max_new_tokens, "max_new_tokens")
        self.settings = {"refresh": "first", **(settings or {})}
        self.alternatives = {
            _checks.choice(name, "alternatives", ALTERNATIVES): dict(own) for name, own in (alternatives or {}).items()
        }
        tokenizer = processor.tokenizer
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        decoding.PerceptionMagnifier(processor, **self.settings)  # raises for settings that are out of range
        self.setup = {
            "model": name,
            "weights": weights_digest(model),
            "dtype": str(model.dtype).removeprefix("torch."),
            "settings": self.settings,
            "alternatives": self.alternatives,
            "seed": seed,
            "max_new_tokens": max_new_tokens,
        }
        if max_pixels is not None:
            self.setup["max_pixels"] = max_pixels
        self._relevance: CLIPRelevance | None = None
        if clip is not None:
            self.setup["clip"] = Path(clip).resolve().name if Path(clip).is_dir() else clip

    def __call__(
        self, items: Sequence[Any], methods: Sequence[str], /, *, maps: dict[AttentionHeatmap, Any] | None = None
    ) -> dict[str, list[str]]:
        """Replies of each method to each item.

        Parameters
        ----------
        items : sequence
            With `index` and `image`; with `relevant_boxes_xyxy` for the methods of `methods.TRUE_BOXES`.
        methods : sequence of str
            Keys of `pmtools.evaluation.methods.METHODS`.
        maps : dict, optional
            The model's attention to these items. Filled here; calls with other settings can share it.

        Returns
        -------
        dict of str to list of str

        Raises
        ------
        ValueError
            If a method is unknown.
        UnusableMethodError
            If a method cannot be used with the model.
        """
        batch = self.batch(items, maps)
        images = [[item.image] for item in items]
        texts = [self._prompt(self.text(item)) for item in items]
        replies = {}
        for method in methods:
            make = METHODS[_checks.choice(method, "methods", METHODS)]
            try:
                decoder = make(batch)
                replies[method] = decoder.generate(
                    self.model, images, texts, max_new_tokens=self.max_new_tokens, do_sample=False, num_beams=1
                )
            except (TypeError, ValueError) as error:
                raise UnusableMethodError(f"the method {method!r} cannot be used with this model: {error}") from error
        return replies

    def prompts(self, items: Sequence[Any], /) -> Prompts:
        """The items' texts and pictures as the model takes them.

        Parameters
        ----------
        items : sequence
            With `image`.

        Returns
        -------
        Prompts
        """
        processor = decoding.Greedy(self.processor).processor
        texts = [processor.as_prompt(self._prompt(self.text(item)), 1) for item in items]
        inputs = processor(images=[[item.image] for item in items], text=texts, return_tensors="pt", padding=True)
        return Prompts.from_inputs(self.model, processor, inputs)

    def batch(self, items: Sequence[Any], maps: dict[AttentionHeatmap, Any] | None = None, /) -> Batch:
        """The input of a method's row: items, and the options of these answers.

        Parameters
        ----------
        items : sequence
        maps : dict, optional
            As in a call.

        Returns
        -------
        Batch
        """
        return Batch(
            items,
            self.processor,
            self.settings,
            self.alternatives,
            self.seed,
            self.preset,
            self.relevance,
            {} if maps is None else maps,
        )

    def _prompt(self, text: str) -> str:
        if getattr(self.processor, "chat_template", None):
            return text  # `generate` makes a chat turn of it
        return f"{getattr(self.processor, 'image_token', '<image>')}\n{text}"

    def relevance(self) -> CLIPRelevance:
        """API-C's map, from the CLIP of `clip`; loaded once.

        Raises
        ------
        ValueError
            If `clip` is None.
        """
        if self.clip is None:
            raise ValueError(
                "`clip` must name a CLIP model for the method 'api-c', got None; give its folder or hub name"
            )
        if self._relevance is None:
            self._relevance = CLIPRelevance.from_pretrained(self.clip, device=str(input_device(self.model)))
        return self._relevance


def weights_digest(model: Any, /) -> str:
    """A short digest of a model's weights, which distinguishes models of the same name.

    It uses the shape and the first values of each parameter, so it is cheap. Where they wait to be used does not matter.

    Parameters
    ----------
    model : torch.nn.Module

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    ValueError
        If the model has no weights.
    """
    digest = hashlib.sha256()
    for name, weights in model.named_parameters():
        first = parameter(model, name).detach().reshape(-1)[:64].float().cpu().numpy()
        digest.update(f"{name} {tuple(weights.shape)}".encode() + first.tobytes())
    return digest.hexdigest()[:16]
