"""One call of `generate` by the Perception Magnifier, step by step: attend, refine, magnify, answer.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools import _array
from pmtools._magnify import fit_warp
from pmtools.adapters.attention import AttentionTap, capture_attention, heat_layers
from pmtools.adapters.caches import cache_rows, empty_cache, find_cache, fork, put_cache
from pmtools.adapters.heatmaps.given import given_map
from pmtools.adapters.image_inputs import encoded_images, kept_features, takes_features
from pmtools.adapters.image_tokens import ImageTokens
from pmtools.adapters.interception import text_decoder
from pmtools.adapters.layouts import image_token_layout
from pmtools.adapters.pixels import encode, encode_fused
from pmtools.adapters.sequences import TokenSequences
from pmtools.adapters.twin_cache import replace_rows, twin_cache
from pmtools.decoding._steps import MagnifierStep, magnified_images, through_warp
from pmtools.refinement import refine
from pmtools.warp import Warp

if TYPE_CHECKING:
    import torch

    from pmtools.decoding.pm import PerceptionMagnifier


class MagnifyingRun:
    """One call of `generate`: its image tokens, the state of each sequence, and the steps so far.

    Rows are sequences: prompts, times beams or returned sequences.
    """

    def __init__(self, pm: PerceptionMagnifier, model: Any, images: list[list[Any]]) -> None:
        self.pm, self.model, self.images = pm, model, images
        self.image_processor = pm.processor.image_processor
        self.layout = image_token_layout(model, pm.processor)
        self.layers = heat_layers(text_decoder(model).config.num_hidden_layers, pm.start_layer, self.layout.heat_layers)
        self.all_rows = list(range(len(images)))
        self.steps: list[MagnifierStep] = []
        self.heatmaps: list[list[torch.Tensor]] = [[] for _ in images]
        self.warps: list[list[Warp]] = [[] for _ in images]
        self.probes: list[list[Warp]] = [[] for _ in images]  # warps of the unrefined heatmaps of the last refresh
        self.on_device: dict[int, torch.Tensor] = {}  # source pixels, by the identity of their image
        self.view: Callable[[Any, Any], Any] = partial(through_warp, antialias=pm.antialias)

    # ---------------------------------------------------------------------------------------------- one step

    def step(self, sequences: TokenSequences, inputs: dict[str, Any], image: dict[str, Any], /) -> Any:
        """Logits for the next token; which streams run depends on `refresh`."""
        started = time.perf_counter()
        self.forwards: Counter[str] = Counter()
        self.refreshed, self.iterations = [False] * len(self.images), [0] * len(self.images)
        if not self.steps:
            self._start(sequences, image)
        if self.layout.suffix_token_type is not None:  # a sequence that runs again would see its answer both ways
            sequences = sequences.with_suffix_type(self.prompt_length, self.layout.suffix_token_type)

        if not self.steps or self.pm.refresh == "every":
            output = self._full_step(sequences, inputs)
        elif self.pm.refresh == "first":  # the magnified stream is all that is left
            output = self._counted("magnified", self.model(**inputs))
        else:
            output = self._twin_step(sequences, find_cache(inputs))

        self.steps.append(
            MagnifierStep(
                heatmaps=list(self.heatmaps),
                warps=list(self.warps),
                refreshed=tuple(self.refreshed),
                iterations=tuple(self.iterations),
                forwards=dict(self.forwards),
                seconds=time.perf_counter() - started,
                _sources=self.images,
                _view=self.view,
            )
        )
        return output

    def finish(self, output: Any) -> Any:
        """What `generate` returns; two streams in one cache become the original one."""
        if self.pm.refresh == "adaptive" and (cache := find_cache(output)) is not None:
            put_cache(output, cache_rows(cache, self.all_rows))
        return output

    def _start(self, sequences: TokenSequences, image: dict[str, Any]) -> None:
        sizes = [[(source.height, source.width) for source in row] for row in self.images]
        self.tokens = ImageTokens(self.layout, sequences.input_ids, sizes)
        self.prompt_length = sequences.length
        self.original = encoded_images(self.model, image)

    def _full_step(self, sequences: TokenSequences, inputs: dict[str, Any]) -> Any:
        """The method for all sequences, with the original stream as transformers runs it."""
        rows = self.all_rows
        # 1. heatmap: what the last query of the original stream attends to
        output, mass = self._attended("original", self.tokens, lambda: self.model(**inputs))
        unrefined = self._heatmaps(mass)
        # 2. to 4. refinement, perception map, warp
        cache = find_cache(output)
        self._look(sequences, mass, unrefined, cache, rows)
        # 5. the next token comes from the magnified images
        magnified = self._magnified_stream(sequences, cache, rows)
        output.logits = magnified.logits[:, -1:]
        if self.pm.refresh == "first":
            put_cache(output, find_cache(magnified))
        elif self.pm.refresh == "adaptive":
            self.probes = self._warps(unrefined, rows)
            put_cache(output, twin_cache(cache, find_cache(magnified), on_reorder=self._reorder))
        return output

    def _twin_step(self, sequences: TokenSequences, twin: Any) -> Any:
        """Both streams in one pass, and the method anew for the sequences whose warp has moved."""
        count, twice = len(self.all_rows), self.all_rows * 2
        # 1. heatmap; the first rows are the original stream
        both = sequences.rows(twice)
        output, mass = self._attended("both", self.tokens.select(twice), lambda: both.run(twin))
        mass, output.logits = mass[:count], output.logits[count:, -1:]
        for name in ("hidden_states", "attentions"):  # where asked for: the original stream's
            if output.get(name) is not None:
                output[name] = tuple(layer[:count] for layer in output[name])
        unrefined = self._heatmaps(mass)
        probes = self._warps(unrefined, self.all_rows)
        moved = self._moved(probes, unrefined)
        if moved:
            some, original = sequences.rows(moved), cache_rows(twin, moved)
            # 2. to 4.
            self._look(some, mass[moved], [unrefined[row] for row in moved], original, moved)
            # 5.
            magnified = self._magnified_stream(some, original, moved)
            replace_rows(twin, [row + count for row in moved], find_cache(magnified))
            output.logits[moved] = magnified.logits[:, -1:]
            for row in moved:
                self.probes[row] = probes[row]
        return output

    # ----------------------------------------------------------------------------------- 1. heatmap, 2. refinement

    def _attended(self, stream: str, tokens: ImageTokens, forward: Callable[[], Any]) -> tuple[Any, torch.Tensor]:
        """A forward pass and what its last query attends to on each image: (rows, n), layer mean, padding left out."""
        with capture_attention(self.model, tokens.columns, layers=self.layers) as tap:
            output = self._counted(stream, forward())
        return output, self._layer_mean(tap).to(tokens.coverage) * tokens.coverage

    def _layer_mean(self, tap: AttentionTap) -> torch.Tensor:
        return tap.maps.mean(1)  # (rows, layers, n)

    def _heatmaps(self, mass: torch.Tensor) -> list[list[torch.Tensor]]:
        """The heatmap of every image, unrefined, or the caller's."""
        given = self.pm.heatmap
        if isinstance(given, str):
            return self.tokens.heatmaps(mass)
        step = len(self.steps)
        return [
            [_array.asarray_like(given_map(given(image, step) if callable(given) else given), mass) for image in row]
            for row in self.images
        ]

    def _look(
        self,
        sequences: TokenSequences,
        mass: torch.Tensor,
        unrefined: list[list[torch.Tensor]],
        cache: Any,
        rows: list[int],
    ) -> None:
        """Steps 2 to 4 for some rows: new heatmaps and warps."""
        heatmaps = unrefined
        if self.pm.refine != "none" and isinstance(self.pm.heatmap, str):
            tokens = self.tokens.select(rows)
            heatmaps = tokens.heatmaps(self._refined(sequences, tokens, mass, cache, rows))
        for row, maps, warps in zip(rows, heatmaps, self._warps(heatmaps, rows), strict=True):
            self.heatmaps[row], self.warps[row], self.refreshed[row] = maps, warps, True

    def _refined(
        self, sequences: TokenSequences, tokens: ImageTokens, mass: torch.Tensor, cache: Any, rows: list[int]
    ) -> torch.Tensor:
        """Attend, hide the highlight, attend again: the mean per token over the passes that saw it, (rows, n)."""
        visible = tokens.coverage > 0
        image = self._original_images(rows) if self.pm.refine == "exact" else {}

        def attend(shown: torch.Tensor | None) -> torch.Tensor:
            if shown is None:
                return mass[:, None]  # (rows, 1, n)
            hidden = visible & ~shown[:, 0]
            return self._hidden_pass(sequences, tokens, hidden, cache, image, self.pm.refine)[:, None]

        found = refine(
            attend, visible=visible[:, None], threshold=self.pm.threshold, max_iterations=self.pm.max_iterations
        )
        passes = sum(mask.any(-1)[:, 0].long() for mask in found.masks) - 1  # (rows,); the first hides nothing
        for row, count in zip(rows, passes.tolist(), strict=True):
            self.iterations[row] = count
        aggregate: torch.Tensor = found.aggregate[:, 0]
        return aggregate

    def _hidden_pass(
        self,
        sequences: TokenSequences,
        tokens: ImageTokens,
        hidden: torch.Tensor,
        cache: Any,
        image: dict[str, Any],
        how: str,
    ) -> torch.Tensor:
        """What the last query attends to with some image tokens hidden, (rows, n)."""
        hidden = tokens.scatter(hidden, sequences.length)
        if how == "cached":  # from the last query only: the rest is remembered as it was
            masked = sequences.hiding(hidden)
            return self._attended("refine", tokens, lambda: masked.run(fork(cache, sequences.length - 1)))[1]
        start = self._prefix(cache)
        if not (self.layout.prefix_reuse and takes_features(self.model)):
            masked = sequences.hiding(hidden)
            return self._attended("refine", tokens, lambda: masked.run(start, image=image))[1]
        # a token that nobody may look at may as well be absent: the same numbers from a shorter sequence
        shorter, kept = sequences.without(hidden)
        is_image = sequences.input_ids == self.layout.image_token_id
        stays = is_image.new_zeros(is_image.shape).scatter(1, kept, True)
        features = kept_features(image, stays[is_image].nonzero()[:, 0])
        return self._attended("refine", tokens.moved(kept), lambda: shorter.run(start, image=features))[1]

    # --------------------------------------------------------------------- 3. perception map, 4. magnified images

    def _warps(self, heatmaps: list[list[torch.Tensor]], rows: list[int]) -> list[list[Warp]]:
        return [
            [
                fit_warp(heatmap, source_hw=(image.height, image.width), **self.pm.warp_options)
                for heatmap, image in zip(maps, self.images[row], strict=True)
            ]
            for maps, row in zip(heatmaps, rows, strict=True)
        ]

    def _moved(self, probes: list[list[Warp]], heatmaps: list[list[torch.Tensor]]) -> list[int]:
        """The rows in which some part of an image now comes from more than `tolerance` patches away."""
        return [
            row
            for row, parts in enumerate(zip(probes, self.probes, heatmaps, strict=True))
            if any(_movement(new, old, m.shape) > self.pm.tolerance for new, old, m in zip(*parts, strict=True))
        ]

    # ------------------------------------------------------------------------------------- 5. the magnified stream

    def _magnified_stream(self, sequences: TokenSequences, cache: Any, rows: list[int]) -> Any:
        """The sequences with the magnified images in them, run from the first image on."""
        images, warps = [self.images[row] for row in rows], [self.warps[row] for row in rows]
        self.forwards["encode"] += sum(len(row) for row in images)
        if self.pm.preprocess == "fused":
            pixels = encode_fused(
                self.model,
                self.image_processor,
                self.layout,
                [self._pixels(image) for row in images for image in row],
                [warp for row in warps for warp in row],
                antialias=self.pm.antialias,
            )
        else:
            pixels = self._encoded(magnified_images(self.view, images, warps))
        return self._counted("magnified", sequences.run(self._prefix(cache), image=pixels))

    def _encoded(self, images: list[list[Any]]) -> dict[str, Any]:
        return encode(self.model, self.image_processor, self.layout, self.pm.processor.canvases(images))

    def _original_images(self, rows: list[int]) -> dict[str, Any]:
        if len(rows) == len(self.images):
            return self.original
        return encoded_images(self.model, self._encoded([self.images[row] for row in rows]))

    def _pixels(self, image: Any) -> torch.Tensor:
        """An image as (3, H, W) floats in 0 to 255 on the device, moved there once."""
        import torch

        if id(image) not in self.on_device:
            pixels = torch.from_numpy(np.array(image)).to(self.model.device)
            self.on_device[id(image)] = pixels.permute(2, 0, 1).float()
        return self.on_device[id(image)]

    def _prefix(self, cache: Any) -> Any:
        """The cache of what comes before the first image, where it may be kept; otherwise an empty one."""
        if self.layout.prefix_reuse and self.tokens.first:
            return fork(cache, self.tokens.first)
        return empty_cache(self.model)

    # ------------------------------------------------------------------------------------------------ bookkeeping

    def _reorder(self, origins: torch.Tensor) -> None:
        """Beams have moved: each row continues the row it came from."""
        for state in (self.heatmaps, self.warps, self.probes):
            state[:] = [state[row] for row in origins.tolist()]

    def _counted(self, stream: str, output: Any) -> Any:
        self.forwards[stream] += 1
        return output


def _movement(new: Warp, old: Warp, grid_hw: Sequence[int]) -> float:
    """How far apart the sources of the same output points are under two warps, at most, in cells of the grid."""
    import torch

    height, width = new.target_hw
    share = torch.linspace(0, 1, 4 * max(grid_hw) + 1, dtype=torch.float64)[:, None]
    points = share * torch.tensor([width, height], dtype=torch.float64)
    cell = torch.tensor([width / grid_hw[1], height / grid_hw[0]], dtype=torch.float64)
    return float(((new.inverse_points(points) - old.inverse_points(points)) / cell).abs().max())
