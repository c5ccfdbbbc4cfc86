"""Greedy, PM, its ablations, the alternatives and the controls, for single-token answers in batches.

For any transformers model of the Llava family that sees one square image (`scenes` are square) and answers with one
token, such as the demo model. Methods of a batch share the plain pass and the heatmap. For other models use
`PerceptionMagnifier` and `generate`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pmtools import _checks
from pmtools._magnify import fit_warp
from pmtools.alternatives import ALTERNATIVES
from pmtools.decoding.vicrop import best_window
from pmtools.evaluation._passes import Passes
from pmtools.evaluation.controls import control_maps, truth_map
from pmtools.evaluation.generation import weights_digest
from pmtools.evaluation.runner import grade
from pmtools.evaluation.scenes import SceneItem
from pmtools.frames import crop as crop_frame
from pmtools.frames import pad_to_square
from pmtools.marginals import DEFAULT_FLOOR
from pmtools.perception import perception_map
from pmtools.refinement import refine

__all__ = ["METHODS", "SceneMethods", "Settings", "compare_settings"]

METHODS = {
    "greedy": "the plain image",
    "pm": "Perception Magnifier: refined map of the layers from `start_layer` on, magnified",
    "pm-no-refinement": "the first pass's map",
    "pm-single-layer": "the map of layer `start_layer` alone, refined",
    "pm-neither": "the first pass's map of layer `start_layer` alone",
    "blur": "background blurred, by PM's map",
    "mask": "background dimmed to black, by PM's map",
    "bbox": "a red box drawn around the heaviest region of PM's map",
    "crop": "the box around all that PM's map marks",
    "window": "the square window that stands out most in PM's heatmap (ViCrop's search)",
    "window+original": "the image and that window, two images in one prompt, as ViCrop does",
    "uniform": "control: magnified by a constant map",
    "shuffled": "control: PM's map with its cells in random order",
    "rolled": "control: PM's map moved to a random place",
    "oracle": "control: magnified by the true boxes of the objects asked about",
    "oracle-crop": "control: the box around the true boxes",
}
"""Names of the methods and what the model sees."""


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of PM for one model; the names are those of `PerceptionMagnifier`."""

    start_layer: int = 3
    gain: float = 10.0
    kernel_size: int = 3
    threshold: float = 0.3
    max_iterations: int = 8
    marginal: str = "max"
    floor: float = DEFAULT_FLOOR


class SceneMethods:
    """Answers batches of scene questions with the methods of `METHODS`; an `Answerer` for `run_scenes`.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Of the Llava family: one image placeholder, `<image>`, a square token grid.
    processor : transformers.ProcessorMixin
        Of that model; its tokenizer pads on the left.
    settings : Settings, optional
    edits : mapping of str to dict, optional
        `gain` and `kernel_size` of the map that an alternative edits by, where they are not those of `settings`.
    prompt : callable, optional
        Makes the text for a question and a number of images. Default: placeholders, then the question.
    seed : int, optional
        Of the random controls; each question has its own stream.
    name : str, optional
        Of the model, for the record of the setup.

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
        settings: Settings | None = None,
        edits: Mapping[str, Mapping[str, Any]] | None = None,
        prompt: Callable[[str, int], str] | None = None,
        seed: int = 0,
        name: str = "demo model",
    ) -> None:
        if processor.tokenizer.padding_side != "left":
            raise ValueError('`processor` must pad on the left; set `processor.tokenizer.padding_side = "left"`')
        self.model, self.processor = model, processor
        self.settings = settings or Settings()
        self.edits = {_checks.choice(name, "edits", ALTERNATIVES): dict(own) for name, own in (edits or {}).items()}
        self.prompt = prompt or (lambda question, images: "<image>" * images + question)
        self.seed = seed
        self.setup = {
            "model": name,
            "weights": weights_digest(model),
            "controls": seed,
            "settings": asdict(self.settings),
            "edits": self.edits,
        }
        layers = model.config.get_text_config().num_hidden_layers
        _checks.whole_number(self.settings.start_layer, "start_layer", minimum=1, maximum=layers)

    def __call__(self, items: Sequence[SceneItem], methods: Sequence[str], /) -> dict[str, list[str]]:
        """Replies of each method to each item.

        Parameters
        ----------
        items : sequence of SceneItem
        methods : sequence of str
            Keys of `METHODS`.

        Returns
        -------
        dict of str to list of str
        """
        for method in methods:
            _checks.choice(method, "methods", METHODS)
        batch = _Batch(self, items)
        return {method: batch.answer(method) for method in methods}

    def heatmaps(self, items: Sequence[SceneItem], /) -> np.ndarray[Any, Any]:
        """PM's refined heatmaps of the plain images, shape (n, h, w).

        Parameters
        ----------
        items : sequence of SceneItem

        Returns
        -------
        array of shape (n, h, w)
        """
        return _Batch(self, items).heatmap()


class _Batch:
    """One batch of items under some settings: the pictures that each method shows, and the replies to them."""

    def __init__(self, methods: SceneMethods, items: Sequence[SceneItem]) -> None:
        self.methods, self.items, self.settings = methods, items, methods.settings
        self.images = _each(lambda item: item.image, items)
        questions = [item.question.text for item in items]
        self.passes = Passes(methods.model, methods.processor, questions, self.images, prompt=methods.prompt)
        self._heat: dict[tuple[float, ...], np.ndarray[Any, Any]] = {}

    def with_settings(self, settings: Settings) -> _Batch:
        """The same batch under other settings; what both need is computed once."""
        other = copy(self)
        other.settings = settings
        return other

    def heatmap(self, *, refined: bool = True, all_layers: bool = True) -> np.ndarray[Any, Any]:
        """Heatmaps (batch, h, w), computed once and on demand."""
        s = self.settings
        key = (refined, all_layers, s.start_layer, *((s.threshold, s.max_iterations) if refined else ()))
        if key not in self._heat:
            start = s.start_layer - 1
            layers = slice(start, None) if all_layers else slice(start, start + 1)

            def layer_mean(visible: Any) -> np.ndarray[Any, Any]:
                mean: np.ndarray[Any, Any] = self.passes.maps(visible)[:, layers].mean(axis=1)
                return mean

            if refined:
                found = refine(layer_mean, threshold=s.threshold, max_iterations=s.max_iterations)
                self._heat[key] = np.asarray(found.aggregate)
            else:
                self._heat[key] = layer_mean(None)
        return self._heat[key]

    def answer(self, method: str) -> list[str]:
        if method == "greedy":
            return self.passes.replies()
        if method.startswith("pm"):
            refined = method in {"pm", "pm-single-layer"}
            all_layers = method in {"pm", "pm-no-refinement"}
            return self._magnified(self.heatmap(refined=refined, all_layers=all_layers))
        if method in ALTERNATIVES:
            own = {"gain": self.settings.gain, "kernel_size": self.settings.kernel_size}
            maps = perception_map(self.heatmap(), **{**own, **self.methods.edits.get(method, {})})
            edit: Any = ALTERNATIVES[method]
            return self.passes.see(_each(lambda image, m: _squared(edit(image, m).image), self.images, maps))
        if method.startswith("window"):
            windows = _each(self._window, self.images, self.heatmap())
            if method == "window":
                return self.passes.see(windows)
            pairs = [image for pair in zip(self.images, windows, strict=True) for image in pair]
            return self.passes.see(pairs, per_question=2)
        if method.startswith("oracle"):
            return self.passes.see(_each(self._told, itertools.repeat(method), self.items, self.images))
        maps = control_maps(method, self.heatmap()[:, None], self.items, seed=self.methods.seed)
        return self._magnified(np.concatenate(maps))

    def _magnified(self, heat: np.ndarray[Any, Any]) -> list[str]:
        s = self.settings
        warps = fit_warp(
            heat,
            source_hw=(self.images[0].height, self.images[0].width),
            gain=s.gain,
            kernel_size=s.kernel_size,
            marginal=s.marginal,
            floor=s.floor,
        )
        return self.passes.see(_each(lambda warp, image: warp.image(image), warps, self.images))

    def _window(self, image: Any, heat: np.ndarray[Any, Any]) -> Any:
        """The window that stands out most, at least as large as the model's input."""
        size = (image.height, image.width)
        box = best_window(heat, source_hw=size, window=self.methods.model.config.vision_config.image_size)
        return crop_frame(size, box).image(image)

    def _told(self, method: str, item: SceneItem, image: Any) -> Any:
        """The image edited by the map of the true boxes."""
        if method == "oracle-crop":
            return _squared(ALTERNATIVES["crop"](image, truth_map(item)).image)
        warp = {"marginal": self.settings.marginal, "floor": self.settings.floor}
        edit: Any = ALTERNATIVES["magnify"]
        return edit(image, truth_map(item), **warp).image


def compare_settings(
    model: Any,
    processor: Any,
    candidates: Sequence[Settings],
    /,
    *,
    items: Iterable[SceneItem],
    method: str = "pm",
    prompt: Callable[[str, int], str] | None = None,
    batch_size: int = 48,
) -> list[tuple[Settings, float]]:
    """A method's accuracy under several settings, best first; heatmaps that settings share are computed once.

    Choose on the `"tune"` split of `scene_items`, report on `"test"`.

    Parameters
    ----------
    model, processor, prompt
        As for `SceneMethods`.
    candidates : sequence of Settings
    items : iterable of SceneItem
    method : str, optional
        A key of `METHODS`.
    batch_size : int, optional

    Returns
    -------
    list of (Settings, float)
        Share of right answers; of equals the earlier candidate comes first.
    """
    right = [0] * len(candidates)
    total = 0
    methods = SceneMethods(model, processor, settings=candidates[0], prompt=prompt)
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, batch_size)):
        total += len(chunk)
        batch = _Batch(methods, chunk)
        for k, settings in enumerate(candidates):
            replies = batch.with_settings(settings).answer(method)
            right[k] += sum(grade(item, reply) for item, reply in zip(chunk, replies, strict=True))
    if not total:
        raise ValueError("`items` must hold at least one question")
    scored = [(settings, hits / total) for settings, hits in zip(candidates, right, strict=True)]
    return sorted(scored, key=lambda pair: -pair[1])


def _each(work: Callable[..., Any], *columns: Iterable[Any]) -> list[Any]:
    """`work` on each row of the columns, in a thread for each core: pictures are worked on outside Python's lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, *columns))


def _squared(image: Any) -> Any:
    """An image on a gray square, as Llava was trained to see images that are not square."""
    if image.width == image.height:
        return image
    return pad_to_square((image.height, image.width)).image(image, fill=115)
