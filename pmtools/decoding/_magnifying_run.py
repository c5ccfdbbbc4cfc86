"""One call of `generate` by the Perception Magnifier, step by step: attend, refine, map, magnify, answer.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools import _array, frames
from pmtools._magnify import fit_warp, warp_from_perception
from pmtools.adapters.caches import cache_rows, find_cache, put_cache
from pmtools.adapters.heatmaps import AttentionHeatmap
from pmtools.adapters.heatmaps.attention import ModelAttention
from pmtools.adapters.heatmaps.given import given_map
from pmtools.adapters.image_inputs import encoded_images, images_of_rows, input_device
from pmtools.adapters.image_tokens import ImageTokens
from pmtools.adapters.layouts import image_token_layout
from pmtools.adapters.pixels import check_fusible, encode_fused
from pmtools.adapters.prompts import Prompts
from pmtools.adapters.sequences import TokenSequences
from pmtools.adapters.source_images import SourceImages
from pmtools.adapters.streams import KeptStreams, Original, RowImages
from pmtools.decoding._filmstrip import Steps
from pmtools.decoding._steps import MagnifierStep, magnified_images, through_warp
from pmtools.perception import spread
from pmtools.typing import SizeHW
from pmtools.warp import Warp

if TYPE_CHECKING:
    import torch

    from pmtools.decoding.pm import PerceptionMagnifier


class MagnifyingRun:
    """One call of `generate`: its image tokens, the state of each sequence, and the steps so far.

    Rows are sequences: prompts, times beams or returned sequences. The original stream keeps its cache; the magnified
    one runs again from the first image on.
    """

    def __init__(self, pm: PerceptionMagnifier, model: Any, images: SourceImages) -> None:
        self.pm, self.model, self.sources, self.images = pm, model, images, images.rows
        self.processor = pm.processor.made_with(images.options)
        self.image_processor = self.processor.image_processor
        self.layout = image_token_layout(model, self.processor)
        if pm.preprocess == "fused":
            check_fusible(model, self.processor, self.layout, images.options)
        self.steps: list[MagnifierStep] = Steps()
        self.heatmaps: list[list[torch.Tensor]] = [[] for _ in images]
        self.warps: list[list[Warp]] = [[] for _ in images]
        self.prompt_cache: Any = None  # the original stream's, if the magnified one runs on alone
        self.on_device: dict[int, torch.Tensor] = {}  # source pixels, by the identity of their image
        self.view: Callable[[Any, Any], Any] = partial(through_warp, antialias=pm.antialias)

    def step(self, sequences: TokenSequences, inputs: dict[str, Any], image: dict[str, Any], /) -> Any:
        """Logits for the next token, from the magnified images."""
        started = time.perf_counter()
        self.forwards: Counter[str] = Counter()
        self.iterations = [0] * len(self.images)
        self.repeated = [0] * len(self.images)
        self.ran_on = [False] * len(self.images)
        self.met_threshold = [False] * len(self.images)
        if not self.steps:
            self._start(sequences, image)
        if self.layout.suffix_token_type is not None:  # run again, a sequence would attend to its answer both ways
            sequences = sequences.with_suffix_type(self.prompt_length, self.layout.suffix_token_type)

        output, rows = self._decide(sequences, inputs)

        self.steps.append(
            MagnifierStep(
                heatmaps=list(self.heatmaps),
                warps=list(self.warps),
                refreshed=tuple(row in rows for row in range(len(self.images))),
                iterations=tuple(self.iterations),
                repeated=tuple(self.repeated),
                ran_on=tuple(self.ran_on),
                met_threshold=tuple(self.met_threshold),
                forwards=dict(self.forwards),
                seconds=time.perf_counter() - started,
                _sources=self.images,
                _view=self.view,
            )
        )
        return output

    def finish(self, output: Any) -> Any:
        """What `generate` returns, with the original stream's cache, which holds only the prompt if the stream stopped there."""
        if self.prompt_cache is not None and find_cache(output) is not None:
            put_cache(output, self.prompt_cache)
        return output

    # ------------------------------------------------------------------------------------------------- the method

    def _decide(self, sequences: TokenSequences, inputs: dict[str, Any]) -> tuple[Any, list[int]]:
        """The original stream's output with the magnified stream's logits, and the rows that were magnified again."""
        if self.steps and self.pm.refresh == "first":  # only the magnified stream is left
            return self._counted("magnified", sequences.forward(inputs)), []
        output, cache, mass = self._original_stream(sequences, inputs)
        rows = self._rows_to_refresh(sequences, mass)
        if rows:
            owners = [id(self.images[row]) for row in rows]  # beams share their prompt's list
            original = Original(sequences.rows(rows), self._rows_of(cache, rows), self.tokens.first, owners)
            magnified = self._method(original, mass, rows)
            self._join(output, magnified, rows)
        return output, rows

    def _method(self, original: Original, mass: torch.Tensor | None, rows: list[int]) -> Any:
        """The paper's step for some rows: the output of their magnified stream."""
        heatmaps = self._heatmaps(mass, rows)  # 1. what the last query of the original stream attends to
        heatmaps = self._refined(heatmaps, original, mass, rows)  # 2. hidden where it stands out, asked again
        warps = self._warps(heatmaps, rows)  # 3. perception map, marginals, CDFs
        pictures = self._pictures(warps, rows)  # 4. the images through the inverse CDFs, as the model takes them
        output = self._magnified_stream(original, pictures, rows)  # 5. the next token is the magnified images'
        for row, maps, found in zip(rows, heatmaps, warps, strict=True):
            self.heatmaps[row], self.warps[row] = maps, found
        return output

    # ------------------------------------------------------------------------------------------------ the streams

    def _start(self, sequences: TokenSequences, image: dict[str, Any]) -> None:
        self.tokens = ImageTokens(
            self.layout, sequences.input_ids, [[(item.height, item.width) for item in row] for row in self.images]
        )
        self.prompt_length = sequences.length
        self._image = encoded_images(self.model, image)
        self._is_image = sequences.is_image(self.layout.image_token_id)
        every = self.pm.refresh == "every" and self.pm.kept_streams
        self.streams = KeptStreams(self.model, self.layout, len(self.images) if every else 0)  # magnified ones
        given = self.pm.heatmap
        self.attention = self._model_attention(given) if isinstance(given, AttentionHeatmap) else None
        self.prompts = Prompts.from_sequences(self.pm.processor, sequences, self.sources)

    def _original_images(self, rows: list[int]) -> dict[str, Any]:
        return images_of_rows(self._image, self._is_image, self._encoded_rows)(rows)

    def _encoded_rows(self, rows: list[int]) -> dict[str, Any]:
        return encoded_images(self.model, self._encoded([self.images[row] for row in rows]))

    def _model_attention(self, settings: AttentionHeatmap) -> ModelAttention:
        kept = 0 if self.pm.refresh == "first" else self.pm.kept_streams
        return ModelAttention(settings, self.model, self.layout, kept_streams=kept)

    def _original_stream(self, sequences: TokenSequences, inputs: dict[str, Any]) -> tuple[Any, Any, Any]:
        """Output, cache, and what the last query attends to on each image, (rows, n); None without attention."""
        output, mass = self._looked("original", self.tokens, lambda: sequences.forward(inputs))
        return output, find_cache(output), mass

    def _looked(self, stream: str, tokens: ImageTokens, forward: Callable[[], Any]) -> tuple[Any, torch.Tensor | None]:
        output, mass = self.attention.look(tokens, forward) if self.attention else (forward(), None)
        return self._counted(stream, output), mass

    def _rows_to_refresh(self, sequences: TokenSequences, mass: torch.Tensor | None) -> list[int]:
        """Every row except those whose answer has ended and, after the first step, those without images."""
        rows = range(len(self.images)) if sequences.ended is None else (~sequences.ended).nonzero()[:, 0].tolist()
        return [row for row in rows if self.images[row] or not self.steps]

    def _rows_of(self, cache: Any, rows: list[int]) -> Any:
        """The original stream's cache for some rows; itself for all of them."""
        return cache if len(rows) == len(self.images) else cache_rows(cache, rows)

    def _join(self, output: Any, magnified: Any, rows: list[int]) -> None:
        """Replace the output's logits by those of the magnified images."""
        if len(rows) == len(self.images):
            output.logits = magnified.logits[:, -1:]
        else:
            output.logits = output.logits[:, -1:].clone()
            output.logits[rows] = magnified.logits[:, -1:]
        if self.pm.refresh == "first":
            self.prompt_cache = find_cache(output)
            put_cache(output, find_cache(magnified))

    # ------------------------------------------------------------------------------------ 1. heatmap, 2. refinement

    def _heatmaps(self, mass: torch.Tensor | None, rows: list[int]) -> list[list[torch.Tensor]]:
        """The heatmap of every image of some rows, unrefined."""
        if mass is not None:
            return self.tokens.select(rows).heatmaps(mass[rows])
        if self.steps and not getattr(self.pm.heatmap, "every_step", False):
            return [self.heatmaps[row] for row in rows]
        found = self.pm.heatmap(replace(self.prompts, step=len(self.steps)))  # one list a prompt
        copies = len(self.images) // len(self.prompts.images)
        like = self.tokens.coverage
        return [[_array.asarray_like(given_map(heatmap), like) for heatmap in found[row // copies]] for row in rows]

    def _refined(
        self, heatmaps: list[list[torch.Tensor]], original: Original, mass: torch.Tensor | None, rows: list[int]
    ) -> list[list[torch.Tensor]]:
        """The heatmaps after refinement; only attention is refined."""
        if mass is None or self.attention is None:
            return heatmaps
        tokens = self.tokens.select(rows)
        found = self.attention.refined(
            mass[rows], tokens, original, lambda some: self._original_images([rows[row] for row in some])
        )
        for place, row in enumerate(rows):
            self.iterations[row], self.repeated[row] = found.iterations[place], found.repeated[place]
            self.met_threshold[row] = found.met_threshold[place]
        if not found.forwards:
            return heatmaps
        self.forwards["refine"] += found.forwards
        return tokens.heatmaps(found.mass)

    # --------------------------------------------------------------------- 3. perception map, 4. magnified images

    def _warps(self, heatmaps: list[list[torch.Tensor]], rows: list[int]) -> list[list[Warp]]:
        settings = self.pm.warp_settings

        def fit(heatmap: torch.Tensor, source_hw: SizeHW) -> Warp:
            if self.pm.gate is not None and spread(heatmap) > self.pm.gate:
                return frames.identity(source_hw)
            if getattr(self.pm.heatmap, "perceptual", False):  # the map is final
                return warp_from_perception(heatmap, settings, source_hw=source_hw)
            warp: Warp = fit_warp(heatmap, source_hw=source_hw, **vars(settings))
            return warp

        return [
            [fit(heatmap, (image.height, image.width)) for heatmap, image in zip(maps, self.images[row], strict=True)]
            for maps, row in zip(heatmaps, rows, strict=True)
        ]

    def _pictures(self, warps: list[list[Warp]], rows: list[int]) -> tuple[list[Hashable], RowImages]:
        """What tells the magnified images of each row from others, and the model's pixel inputs of some of them."""
        images = [self.images[row] for row in rows]
        shown: list[Hashable] = [tuple(map(self._told_by, row)) for row in warps]
        if self.pm.preprocess == "processor":
            return shown, lambda some: self._encoded(
                magnified_images(self.view, [images[row] for row in some], [warps[row] for row in some])
            )
        return shown, lambda some: encode_fused(
            self.model,
            self.image_processor,
            self.layout,
            [self._pixels(image) for row in some for image in images[row]],
            [warp for row in some for warp in warps[row]],
            antialias=self.pm.antialias,
        )

    @staticmethod
    def _told_by(warp: Any) -> Hashable:
        """What tells a magnified image from others of its original: where it is equal, the pixels are."""
        found: Hashable = warp
        return found

    def _encoded(self, images: list[list[Any]]) -> dict[str, Any]:
        return self.processor.encode(self.model, images)

    def _pixels(self, image: Any) -> torch.Tensor:
        """An image as (3, H, W) floats in 0 to 255 on the device, moved there once."""
        import torch

        if id(image) not in self.on_device:
            pixels = torch.from_numpy(np.array(image)).to(input_device(self.model))
            self.on_device[id(image)] = pixels.permute(2, 0, 1).float()
        return self.on_device[id(image)]

    # ------------------------------------------------------------------------------------- 5. the magnified stream

    def _magnified_stream(self, original: Original, shown: tuple[list[Hashable], RowImages], rows: list[int]) -> Any:
        """The sequences with the magnified images: those that the model saw last run on, others run from the first image on."""
        pictures, pixels = shown
        every = list(range(len(rows)))
        logits: Any = None
        for part in self.streams.parts(original, every, pixels, pictures=pictures):
            output = self._counted("magnified", part.run())
            self.streams.keep(part, find_cache(output))
            if len(part.rows) == len(rows):
                logits = output.logits
            else:
                logits = (
                    output.logits.new_zeros(len(rows), *output.logits[:, -1:].shape[1:]) if logits is None else logits
                )
                logits[part.rows] = output.logits[:, -1:]
            for row in part.rows:
                self.ran_on[rows[row]] = part.runs_on
                self.forwards["encode"] += 0 if part.runs_on else len(self.images[rows[row]])
        output.logits = logits
        return output

    def _counted(self, stream: str, output: Any) -> Any:
        self.forwards[stream] += 1
        return output
