"""Attend, show, answer: methods that look once, show the model an alternative of the image and decode from that.

The prompt with the alternatives is a second stream; the first one is not run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmtools import _array, _checks
from pmtools._brief import brief
from pmtools.adapters.caches import cache_name, find_cache, put_cache
from pmtools.adapters.heatmaps import AttentionHeatmap, HeatmapSource, heatmap_source
from pmtools.adapters.prompts import Prompts
from pmtools.adapters.sequences import TokenSequences
from pmtools.adapters.source_images import SourceImages
from pmtools.alternatives import ALTERNATIVES, Edited
from pmtools.decoding._filmstrip import Steps
from pmtools.decoding.method import DecodingMethod
from pmtools.decoding.second_stream import SecondStream
from pmtools.perception import perception_map
from pmtools.settings import DEFAULTS, WarpSettings
from pmtools.typing import Heatmap
from pmtools.warp import Warp

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class ImagePromptingStep:
    """What the method saw and showed in its only step, before the first token.

    Lists have one entry per prompt, each with one entry per image.

    Attributes
    ----------
    heatmaps : list of lists of arrays of shape (h, w)
    shown : list of lists of lists of PIL images
        What replaces each image.
    frames : list of lists of Warp
        From each image to its alternative.
    """

    heatmaps: list[list[Heatmap]]
    shown: list[list[list[Any]]]
    frames: list[list[Warp]]

    def __repr__(self) -> str:
        return brief(self)

    def pictures(self) -> dict[str, Any]:
        """What the first prompt's first image was replaced by, by name: a notebook shows them."""
        shown = self.shown[0][0] if self.shown and self.shown[0] else []
        return {f"shown {number}" if number else "shown": image for number, image in enumerate(shown)}


class ImagePrompting(DecodingMethod):
    """Any heatmap with any alternative: attend, make the alternative of the image, answer from it.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    alternative : str or callable
        A name in `pmtools.alternatives.ALTERNATIVES`, or `alternative(image, perception_map)` that returns an `Edited`.
    heatmap : str, array of shape (h, w), or callable, optional
        Where it looks: a name in `pmtools.adapters.heatmaps.SOURCES`, a map of your own, or a source. Default: the model's
        refined attention, as for the Perception Magnifier.
    gain, kernel_size
        Of the perception map; see `pmtools.perception_map`. Not used for sources that return final maps.
    **options
        Of the alternative.

    Attributes
    ----------
    last : list of ImagePromptingStep
        The one step of the latest call.

    Raises
    ------
    TypeError, ValueError
        If an option is out of range; when called, if an alternative changes the size of an image in a family that writes text
        between image tokens.

    References
    ----------
    - Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183), table of alternatives

    Examples
    --------
    >>> from PIL import Image
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> model = tiny_model()
    >>> method = ImagePrompting(tiny_processor(model), alternative="blur", heatmap="relative", sigma=5.0)
    >>> answer = method.generate(model, Image.new("RGB", (60, 40)), "Is it blue?", max_new_tokens=2)
    >>> method.last[0].shown[0][0][0].size
    (60, 40)
    """

    _keeps_prompts = False

    def __init__(
        self,
        processor: Any,
        *,
        alternative: str | Callable[..., Edited],
        heatmap: str | Heatmap | HeatmapSource = "refined",
        gain: float = DEFAULTS.gain,
        kernel_size: int = DEFAULTS.kernel_size,
        **options: Any,
    ) -> None:
        super().__init__(processor)
        if not callable(alternative):
            alternative = ALTERNATIVES[_checks.choice(alternative, "alternative", ALTERNATIVES)]
        self.alternative, self.options = alternative, options
        self.heatmap = heatmap_source(heatmap)
        self.warp_settings = WarpSettings(gain=gain, kernel_size=kernel_size)

    def new_run(self, model: Any, images: SourceImages) -> ImagePromptingRun:
        """One call of `generate`."""
        return ImagePromptingRun(self, images)

    def shown(self, image: Any, heatmap: Heatmap) -> tuple[list[Any], Warp]:
        """The images that replace an image; a subclass may show several.

        Parameters
        ----------
        image : PIL image
        heatmap : array of shape (h, w)

        Returns
        -------
        list of PIL images, and Warp
            The frame of the last of them.
        """
        weights = heatmap
        if not getattr(self.heatmap, "perceptual", False):
            settings = self.warp_settings
            weights = perception_map(heatmap, gain=settings.gain, kernel_size=settings.kernel_size)
        edited = self.alternative(image, _array.to_numpy(weights), **self.options)
        return [edited.image], edited.frame


def method_of(name: str, /) -> type[ImagePrompting]:
    """The decoding method that answers from an alternative.

    Parameters
    ----------
    name : str
        In `pmtools.alternatives.ALTERNATIVES`.

    Returns
    -------
    type
        `method(processor, **options)`, with the options of `ImagePrompting` and of the alternative.
    """

    class AlternativePrompting(ImagePrompting):
        def __init__(self, processor: Any, **options: Any) -> None:
            super().__init__(processor, alternative=name, **options)

    summary = (inspect.getdoc(ALTERNATIVES[name]) or name).splitlines()[0]
    AlternativePrompting.__doc__ = (
        f"{summary}\n\nOptions are those of `ImagePrompting` and of `pmtools.alternatives.{name}`."
    )
    return AlternativePrompting


def options_like_pm(alternative: str, settings: Mapping[str, Any], /) -> dict[str, Any]:
    """Options that make an alternative use the Perception Magnifier's map.

    Parameters
    ----------
    alternative : str
        A name in `pmtools.alternatives.ALTERNATIVES`.
    settings : mapping
        Arguments of `PerceptionMagnifier`.

    Returns
    -------
    dict
        Of `ImagePrompting`: `heatmap`, and those of gain, smoothing and warp that the settings have and it takes.
    """
    names = ("start_layer", "heads", "sinks", "threshold", "relative_threshold", "max_iterations")
    looks = {name: settings[name] for name in names if name in settings}
    taken = inspect.signature(ALTERNATIVES[alternative]).parameters
    shown = ["gain", "kernel_size", *(name for name in (*vars(DEFAULTS), "antialias") if name in taken)]
    shows = {name: settings[name] for name in shown if name in settings}
    return {"heatmap": AttentionHeatmap(refine="exact", **looks), **shows}


class ImagePromptingRun:
    """One call of `generate` by an `ImagePrompting`."""

    def __init__(self, method: ImagePrompting, images: SourceImages) -> None:
        self.method, self.images = method, images
        self.steps: list[ImagePromptingStep] = Steps()
        self._stream: SecondStream | None = None

    def step(self, sequences: TokenSequences, inputs: dict[str, Any], image: dict[str, Any], /) -> Any:
        """Logits of the prompts with the alternatives; the cache that transformers keeps stays empty."""
        from transformers.modeling_outputs import CausalLMOutputWithPast

        if self._stream is None:
            prompts = Prompts.from_sequences(self.method.processor, sequences, self.images)
            self._stream = SecondStream(self._with_alternatives(prompts), prompt_length=sequences.length)
        logits: torch.Tensor = self._stream(sequences.input_ids)
        return CausalLMOutputWithPast(logits=logits[:, None], **{cache_name(): find_cache(inputs)})

    def finish(self, output: Any, /) -> Any:
        """What `generate` returns, with the cache of the prompts with the alternatives."""
        if self._stream is not None and find_cache(output) is not None:
            put_cache(output, self._stream.cache)
        return output

    def _with_alternatives(self, prompts: Prompts) -> Prompts:
        heatmaps = [list(row) for row in self.method.heatmap(prompts)]
        found = [
            [self.method.shown(image, heatmap) for image, heatmap in zip(*row, strict=True)]
            for row in zip(prompts.images, heatmaps, strict=True)
        ]
        shown: Sequence[Sequence[list[Any]]] = [[images for images, _ in row] for row in found]
        frames = [[frame for _, frame in row] for row in found]
        self.steps.append(ImagePromptingStep(heatmaps, [list(row) for row in shown], frames))
        return prompts.with_images(shown)
