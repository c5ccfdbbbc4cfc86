"""Answers of any vision-language model, with every method there is: transformers' `generate`, in batches.

An item has an index and a picture; where the true boxes are known, it has them too. Which benchmark it is from is not
known here. `scene_methods` is the fast way for models whose answers are one token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pmtools import _checks, decoding
from pmtools.adapters.attention import heat_layers
from pmtools.adapters.heatmaps import AttentionHeatmap, CLIPRelevance, HeatmapSource
from pmtools.adapters.image_inputs import input_device
from pmtools.adapters.interception import text_decoder
from pmtools.adapters.layouts import image_token_layout
from pmtools.alternatives import ALTERNATIVES
from pmtools.evaluation.controls import ControlMaps, TrueMaps

__all__ = ["METHODS", "GeneratedAnswers", "UnusableMethodError", "weights_digest"]


class UnusableMethodError(ValueError):
    """A method does not go with the model; the message names it and says why."""


class GeneratedAnswers:
    """Answers questions about pictures by `generate`; an `Answerer`.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    processor : transformers.ProcessorMixin
        Of that model; set to pad on the left, as generation in batches needs it.
    text : callable
        The words that go with an item's picture.
    settings : mapping, optional
        Arguments of `PerceptionMagnifier`; its map and warp also serve the ablations, alternatives and controls. Images
        are magnified once, from the first token's attention (`refresh="first"`), as the official scripts for yes/no
        benchmarks do, unless it says otherwise.
    edits : mapping of str to dict, optional
        `gain` and `kernel_size` of the map that an alternative edits by, where they are not those of `settings`.
    seed : int, optional
        Of the random controls, where each item has its own stream, and of VCD's noise.
    max_new_tokens : int, optional
    name : str, optional
        Of the model, for the record of the setup.
    clip : str, optional
        Folder or hub name of a CLIP, for the method "api-c".
    preset : {"mme", "pope"}, optional
        Whose hyper-parameters the method "pm-official" has.

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
        edits: Mapping[str, Mapping[str, Any]] | None = None,
        seed: int = 0,
        max_new_tokens: int = 16,
        name: str = "",
        clip: str | None = None,
        preset: str = "mme",
    ) -> None:
        self.model, self.processor, self.text, self.seed = model, processor, text, seed
        self.max_new_tokens = _checks.whole_number(max_new_tokens, "max_new_tokens")
        self.settings = {"refresh": "first", **(settings or {})}
        self.edits = {_checks.choice(name, "edits", ALTERNATIVES): dict(own) for name, own in (edits or {}).items()}
        tokenizer = processor.tokenizer
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        decoding.PerceptionMagnifier(processor, **self.settings)  # refuses settings that are out of range
        self.setup = {
            "model": name,
            "weights": weights_digest(model),
            "dtype": str(model.dtype).removeprefix("torch."),
            "settings": self.settings,
            "edits": self.edits,
            "seed": seed,
            "max_new_tokens": max_new_tokens,
        }
        self.preset, self.clip = preset, clip
        if clip is not None:
            self.setup["clip"] = Path(clip).resolve().name if Path(clip).is_dir() else clip

    def __call__(self, items: Sequence[Any], methods: Sequence[str], /) -> dict[str, list[str]]:
        """Replies of each method to each item.

        Parameters
        ----------
        items : sequence
            With `index` and `image`; with `relevant_boxes_xyxy` for the methods of `controls.ORACLES`.
        methods : sequence of str
            Keys of `METHODS`.

        Returns
        -------
        dict of str to list of str

        Raises
        ------
        ValueError
            If a method is unknown.
        UnusableMethodError
            If it does not go with the model.
        """
        images = [[item.image] for item in items]
        texts = [self._prompt(self.text(item)) for item in items]
        replies = {}
        for method in methods:
            make = METHODS[_checks.choice(method, "methods", METHODS)]
            try:
                decoder = make(self, items)
                replies[method] = decoder.generate(
                    self.model, images, texts, max_new_tokens=self.max_new_tokens, do_sample=False, num_beams=1
                )
            except (TypeError, ValueError) as error:
                raise UnusableMethodError(f"the method {method!r} cannot be used with this model: {error}") from error
        return replies

    def _prompt(self, text: str) -> str:
        if getattr(self.processor, "chat_template", None):
            return text  # `generate` makes a chat turn of it
        return f"{getattr(self.processor, 'image_token', '<image>')}\n{text}"

    def attention(self, *, all_layers: bool = True, refined: bool = True) -> AttentionHeatmap:
        """PM's heatmap under the settings, or an ablation of it.

        Parameters
        ----------
        all_layers : bool, optional
            From the start layer on, or it alone.
        refined : bool, optional

        Returns
        -------
        AttentionHeatmap
        """
        layout = image_token_layout(self.model, self.processor)
        depth = text_decoder(self.model).config.num_hidden_layers
        layers = heat_layers(depth, self.settings.get("start_layer", "auto"), layout.heat_layers)
        limits = {name: self.settings[name] for name in ("threshold", "max_iterations") if name in self.settings}
        return AttentionHeatmap(layers if all_layers else layers[:1], refine="exact" if refined else "none", **limits)

    @cached_property
    def relevance(self) -> CLIPRelevance:
        """API-C's map, by the CLIP that was named.

        Raises
        ------
        ValueError
            If none was.
        """
        if self.clip is None:
            raise ValueError(
                "`clip` must name a CLIP model for the method 'api-c', got None; give its folder or hub name"
            )
        return CLIPRelevance.from_pretrained(self.clip, device=str(input_device(self.model)))

    def edited(self, edit: str, source: HeatmapSource) -> decoding.ImagePrompting:
        """The method that edits the image by a source's map, with the gain, smoothing and warp of the settings.

        Parameters
        ----------
        edit : str
            A name in `pmtools.alternatives.ALTERNATIVES`.
        source : HeatmapSource

        Returns
        -------
        ImagePrompting
        """
        names = ("gain", "kernel_size", *(("marginal", "floor", "antialias") if edit == "magnify" else ()))
        options = {name: self.settings[name] for name in names if name in self.settings}
        options |= self.edits.get(edit, {})
        return decoding.ImagePrompting(self.processor, edit=edit, heatmap=source, **options)


# --------------------------------------------------------------------------------------------------- the methods

Make = Callable[[GeneratedAnswers, Sequence[Any]], decoding.DecodingMethod]


class _Window(decoding.ViCrop):
    """ViCrop's window without the original beside it."""

    def _shown(self, image: Any, heatmap: Any) -> tuple[list[Any], Any]:
        shown, frame = super()._shown(image, heatmap)
        return shown[1:], frame


def _published(name: str, /) -> Make:
    """A decoding method with its own defaults."""
    return lambda answers, items: decoding.METHODS[name](answers.processor)


def _magnifier(**options: Any) -> Make:
    return lambda answers, items: decoding.PerceptionMagnifier(answers.processor, **(answers.settings | options))


def _alternative(edit: str, **ablation: bool) -> Make:
    return lambda answers, items: answers.edited(edit, answers.attention(**ablation))


def _control(name: str) -> Make:
    return lambda answers, items: answers.edited("magnify", ControlMaps(name, answers.attention(), items, answers.seed))


METHODS: dict[str, Make] = {
    "greedy": _published("greedy"),
    "pm": _magnifier(),
    "pm-no-refinement": _magnifier(refine="none"),
    "pm-single-layer": _alternative("magnify", all_layers=False),
    "pm-neither": _alternative("magnify", all_layers=False, refined=False),
    "blur": _alternative("blur"),
    "mask": _alternative("mask"),
    "bbox": _alternative("bbox"),
    "crop": _alternative("crop"),
    "window": lambda answers, items: _Window(answers.processor, heatmap=answers.attention()),
    "window+original": lambda answers, items: decoding.ViCrop(answers.processor, heatmap=answers.attention()),
    "uniform": _control("uniform"),
    "shuffled": _control("shuffled"),
    "rolled": _control("rolled"),
    "oracle": lambda answers, items: answers.edited("magnify", TrueMaps(items)),
    "oracle-crop": lambda answers, items: answers.edited("crop", TrueMaps(items)),
    "pm-official": lambda answers, items: decoding.OfficialMagnifier(answers.processor, preset=answers.preset),
    "vcd": lambda answers, items: decoding.VCD(answers.processor, seed=answers.seed),
    "api-c": lambda answers, items: decoding.API(answers.processor, heatmap=answers.relevance),
}
"""How each method is made, from the answerer and the items of a batch; `scene_methods.METHODS` describes most of them."""

METHODS |= {name: _published(name) for name in decoding.METHODS if name not in METHODS}


def weights_digest(model: Any, /) -> str:
    """A short digest of a model's weights, that tells models under one name apart.

    From the shape and the first values of each parameter, so that it costs nothing.

    Parameters
    ----------
    model : torch.nn.Module

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, weights in model.named_parameters():
        first = weights.detach().reshape(-1)[:64].float().cpu().numpy()
        digest.update(f"{name} {tuple(weights.shape)}".encode() + first.tobytes())
    return digest.hexdigest()[:16]
