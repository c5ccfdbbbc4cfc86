"""Greedy, PM, its ablations, the alternatives and the controls, for single-token answers in batches.

Plain forward passes of any transformers model of the Llava family with one square image (`scenes` are square) and
answers of one token, such as the demo model: everything a question needs is the logits of its last token. Methods of a
batch share the plain pass and the heatmap. For other models use `PerceptionMagnifier` and `generate`.
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

from pmtools import _checks, heatmaps
from pmtools._magnify import fit_warp
from pmtools.alternatives import ALTERNATIVES
from pmtools.decoding.vicrop import best_window
from pmtools.evaluation.generation import truth_map, weights_digest
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
    """One batch: the plain pass and the maps, computed once and on demand."""

    def __init__(self, methods: SceneMethods, items: Sequence[SceneItem]) -> None:
        self.methods, self.items = methods, items
        self.model, self.settings = methods.model, methods.settings
        self.images = _each(lambda item: item.image, items)
        self._heat: dict[tuple[float, ...], np.ndarray[Any, Any]] = {}
        self._plain: Any = None

    # --- the model ------------------------------------------------------------------------------------------------

    def _inputs(self, images: Sequence[Any], *, per_question: int = 1) -> dict[str, Any]:
        texts = [self.methods.prompt(item.question.text, per_question) for item in self.items]
        inputs = self.methods.processor(images=list(images), text=texts, return_tensors="pt", padding=True)
        return {
            key: value.to(self.model.device, self.model.dtype if key == "pixel_values" else None)
            for key, value in inputs.items()
        }

    def _replies(self, logits: Any) -> list[str]:
        tokenizer = self.methods.processor.tokenizer
        return [str(tokenizer.decode([token])).strip() for token in logits[:, -1].argmax(-1).tolist()]

    def _see(self, images: Sequence[Any], *, per_question: int = 1) -> list[str]:
        """Replies to other images, `per_question` after one another for each question."""
        import torch

        with torch.inference_mode():
            output = self.model(**self._inputs(images, per_question=per_question), use_cache=False, logits_to_keep=1)
        return self._replies(output.logits)

    def _plain_pass(self) -> Any:
        """Logits and per-layer maps of the plain image, and a function for passes with hidden tokens."""
        import torch

        if self._plain is None:
            inputs = self._inputs(self.images)
            columns = (inputs["input_ids"] == self.model.config.image_token_id).nonzero()[:, 1]
            columns = columns.reshape(len(self.items), -1)
            with torch.inference_mode():
                # the picture is encoded once; passes with hidden tokens differ in the attention mask alone
                embedded = self.model.get_input_embeddings()(inputs["input_ids"])
                features = self.model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output
                rows = torch.arange(len(self.items), device=columns.device)[:, None]
                embedded[rows, columns] = torch.stack(list(features)).to(embedded.dtype)

            def attend(visible: Any = None) -> tuple[Any, np.ndarray[Any, Any]]:
                from pmtools.adapters.attention import capture_attention

                mask = inputs["attention_mask"].clone()
                if visible is not None:
                    hidden = ~torch.as_tensor(visible.reshape(len(self.items), -1), device=mask.device)
                    mask[rows, columns] = mask[rows, columns].masked_fill(hidden, 0)
                with torch.inference_mode(), capture_attention(self.model, columns) as tap:
                    output = self.model(inputs_embeds=embedded, attention_mask=mask, use_cache=False, logits_to_keep=1)
                    maps = tap.maps.float().cpu().numpy()  # (batch, layers, tokens)
                side = round(maps.shape[-1] ** 0.5)
                return output.logits, maps.reshape(*maps.shape[:2], side, side)

            logits, maps = attend()
            self._plain = (logits, maps, attend)
        return self._plain

    def heatmap(self, *, refined: bool = True, all_layers: bool = True) -> np.ndarray[Any, Any]:
        """Heatmaps (batch, h, w)."""
        s = self.settings
        key = (refined, all_layers, s.start_layer, *((s.threshold, s.max_iterations) if refined else ()))
        if key not in self._heat:
            _, first, attend = self._plain_pass()
            start = self.settings.start_layer - 1
            layers = slice(start, None) if all_layers else slice(start, start + 1)

            def layer_mean(visible: Any) -> np.ndarray[Any, Any]:
                maps = first if visible is None else attend(visible)[1]
                mean: np.ndarray[Any, Any] = maps[:, layers].mean(axis=1)
                return mean

            if refined:
                found = refine(
                    layer_mean, threshold=self.settings.threshold, max_iterations=self.settings.max_iterations
                )
                self._heat[key] = np.asarray(found.aggregate)
            else:
                self._heat[key] = layer_mean(None)
        return self._heat[key]

    def with_settings(self, settings: Settings) -> _Batch:
        """The same batch under other settings; what both need is computed once."""
        other = copy(self)
        other.settings = settings
        return other

    # --- the methods ----------------------------------------------------------------------------------------------

    def answer(self, method: str) -> list[str]:
        if method == "greedy":
            return self._replies(self._plain_pass()[0])
        if method.startswith("pm"):
            refined = method in {"pm", "pm-single-layer"}
            all_layers = method in {"pm", "pm-no-refinement"}
            return self._magnified(self.heatmap(refined=refined, all_layers=all_layers))
        if method in ALTERNATIVES:
            own = {"gain": self.settings.gain, "kernel_size": self.settings.kernel_size}
            maps = perception_map(self.heatmap(), **{**own, **self.methods.edits.get(method, {})})
            edit: Any = ALTERNATIVES[method]
            return self._see(_each(lambda image, m: _squared(edit(image, m).image), self.images, maps))
        if method.startswith("window"):
            windows = _each(self._window, self.images, self.heatmap())
            if method == "window":
                return self._see(windows)
            pairs = [image for pair in zip(self.images, windows, strict=True) for image in pair]
            return self._see(pairs, per_question=2)
        if method.startswith("oracle"):
            return self._see(_each(self._told, itertools.repeat(method), self.items, self.images))
        control = heatmaps.CONTROLS[method]
        streams = [np.random.default_rng((self.methods.seed, item.index)) for item in self.items]
        return self._magnified(
            np.stack([control(heat, rng=rng) for heat, rng in zip(self.heatmap(), streams, strict=True)])
        )

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
        return self._see(_each(lambda warp, image: warp.image(image), warps, self.images))

    def _window(self, image: Any, heat: np.ndarray[Any, Any]) -> Any:
        """The window that stands out most, at least as large as the model's input."""
        size = (image.height, image.width)
        box = best_window(heat, source_hw=size, window=self.model.config.vision_config.image_size)
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
        batch.answer("greedy")  # the plain pass, before the batch is copied
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
