"""The model's own attention, as the Perception Magnifier and API-L use it: attend, hide what stands out, attend again.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)
- API, [arXiv:2409.17143](https://arxiv.org/abs/2409.17143)
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmtools import _checks
from pmtools.adapters.attention import AttentionTap, capture_attention, heat_layers
from pmtools.adapters.caches import cache_rows, empty_cache, find_cache, fork
from pmtools.adapters.image_inputs import encoded_images, images_of_rows
from pmtools.adapters.image_tokens import ImageTokens
from pmtools.adapters.interception import attention_layers, text_decoder
from pmtools.adapters.layouts import ImageTokenLayout
from pmtools.adapters.prompts import Prompts
from pmtools.adapters.streams import KeptStreams, Original, RowImages
from pmtools.refinement import refine

if TYPE_CHECKING:
    import torch

HEADS = ("max", "mean")
REFINE = ("none", "exact", "cached")


@dataclass(frozen=True)
class AttentionHeatmap:
    """The attention of the last token, averaged over layers.

    Attributes
    ----------
    layers : "deep", "single", float or sequence of int, optional
        "deep": from `start_layer` on, as in the paper. "single": that layer alone. A share of the depth, in [0, 1): the
        one layer there. Or 0-based layers. In families with sliding-window or recurrent layers, only the other layers
        count.
    heads : {"max", "mean"} or sequence of (int, int), optional
        How the heads of a layer become one map. Or the mean of these heads alone, each by its layer and its number in the
        layer, 0-based; `layers` and `start_layer` then say nothing. `pmtools calibrate` finds them.
    start_layer : int or "auto", optional
        First layer that counts, 1-based: 12 of 32 in the paper, "auto" the same share of any depth.
    refine : {"none", "exact", "cached"}, optional
        Hide what stood out and look again, as in the paper; see `pmtools.refine`. "exact" hides it from every query, so
        the sequence runs again from the image on. "cached" hides it from the last query only, in a pass of one token.
    threshold : float, optional
    max_iterations : int, optional
        Of the refinement, as in `pmtools.refine`; so is `relative_threshold`.
    sinks : sequence of (float, float), optional
        Places (x, y), as shares of the image in [0, 1], whose tokens count for nothing: those that are attended to whatever
        is asked.
    relative_threshold : float, optional
        A threshold as a share of the first pass's attention.

    Raises
    ------
    TypeError, ValueError
        If an option is out of range; when called, if the model has no such layer.

    References
    ----------
    - Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)
    """

    layers: str | float | Sequence[int] = "deep"
    heads: str | Sequence[tuple[int, int]] = "max"
    start_layer: int | str = "auto"
    refine: str = "none"
    threshold: float = 0.3
    max_iterations: int = 8
    sinks: Sequence[tuple[float, float]] = ()
    relative_threshold: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.heads, str):
            _checks.choice(self.heads, "heads", HEADS)
        else:
            object.__setattr__(self, "heads", _checked_heads(self.heads))
        object.__setattr__(self, "sinks", _checked_sinks(self.sinks))
        _checks.choice(self.refine, "refine", REFINE)
        if isinstance(self.layers, str):
            _checks.choice(self.layers, "layers", ("deep", "single"))
        elif isinstance(self.layers, float):
            _checks.real_number(self.layers, "layers", minimum=0.0, maximum=1 - 1e-9)
        if self.start_layer != "auto":
            _checks.whole_number(self.start_layer, "start_layer")
        _checks.real_number(self.threshold, "threshold", minimum=0.0)
        _checks.real_number(self.relative_threshold, "relative_threshold", minimum=0.0, maximum=1.0)
        _checks.whole_number(self.max_iterations, "max_iterations", minimum=0)

    def __call__(self, prompts: Prompts, /) -> list[list[torch.Tensor]]:
        """Heatmaps of the images of each prompt; attention sums to at most 1 over a prompt's images and text."""
        import torch

        tokens = prompts.tokens()
        sequences, pixels = prompts.prepared()
        attention = ModelAttention(self, prompts.model, prompts.layout)
        with torch.no_grad():
            image = encoded_images(prompts.model, pixels)
            output, mass = attention.look(tokens, lambda: sequences.run(empty_cache(prompts.model), image=image))
            original = Original(sequences, find_cache(output), tokens.first, range(len(prompts.images)))
            is_image = sequences.is_image(prompts.layout.image_token_id)
            found = attention.refined(mass, tokens, original, images_of_rows(image, is_image, prompts.encoded))
        return tokens.heatmaps(found.mass)


@dataclass(frozen=True, eq=False)
class RefinedMass:
    """The result of refinement.

    Attributes
    ----------
    mass : float tensor of shape (rows, n)
        Per token, the mean over the passes that saw it.
    iterations : list of int
        Passes with hidden tokens, of each row.
    forwards : int
        Passes with hidden tokens over the batch.
    met_threshold : list of bool
        Whether a threshold ended the refinement of each row.
    repeated : list of int
        Those of the iterations whose hidden tokens had been hidden before, so that only new tokens were run.
    """

    mass: torch.Tensor
    iterations: list[int]
    forwards: int
    met_threshold: list[bool]
    repeated: list[int]


class ModelAttention:
    """One model's attention to its image tokens, by the settings of an `AttentionHeatmap`, in one call of `generate`.

    Parameters
    ----------
    settings : AttentionHeatmap
    model : transformers.PreTrainedModel
    layout : ImageTokenLayout
    kept_streams : int, optional
        How many sequences with hidden tokens are kept for the next steps.
    """

    def __init__(
        self, settings: AttentionHeatmap, model: Any, layout: ImageTokenLayout, /, *, kept_streams: int = 0
    ) -> None:
        self.settings, self.model, self.layout = settings, model, layout
        self.streams = KeptStreams(model, layout, kept_streams)
        decoder = text_decoder(model)
        telling = layout.heat_layers or attention_layers(decoder)
        self.layers = _chosen_layers(settings, decoder.config.num_hidden_layers, telling)

    def look(self, tokens: ImageTokens, forward: Callable[[], Any], /) -> tuple[Any, torch.Tensor]:
        """A forward pass, and its last query's attention to each image: (rows, n), mean over layers, without padding."""
        with capture_attention(
            self.model, tokens.columns, layers=self.layers, heads=self.settings.heads != "max"
        ) as tap:
            output = forward()
        mass = self._layer_mean(tap).to(tokens.coverage) * tokens.coverage
        return output, mass * ~tokens.at(self.settings.sinks) if self.settings.sinks else mass

    def _layer_mean(self, tap: AttentionTap) -> torch.Tensor:
        import torch

        heads = self.settings.heads
        if not isinstance(heads, str):
            count = tap.head_maps.shape[2]
            if beyond := [pair for pair in heads if pair[1] >= count]:
                raise ValueError(f"`heads` must be below {count}, the heads of this model's layers, got {beyond[0]}")
            chosen = [tap.head_maps[:, tap.layers.index(layer), head] for layer, head in heads]
            return torch.stack(chosen).mean(0)  # (rows, n)
        maps = tap.maps if heads == "max" else tap.head_maps.mean(2)
        return maps.mean(1)  # (rows, layers, n)

    def refined(self, mass: torch.Tensor, tokens: ImageTokens, original: Original, images: RowImages, /) -> RefinedMass:
        """Attend, hide the highlight, attend again; with `refine="none"` the mass is unchanged.

        Parameters
        ----------
        mass : float tensor of shape (B, n)
            From `look` at these sequences.
        tokens : ImageTokens
            Theirs.
        original : Original
            The stream that the mass is from.
        images : callable
            `images(rows)` makes the image inputs of some of the sequences, when they are needed.
        """
        everything = tokens.coverage > 0
        looks = self.looks(tokens, original, images, self.settings.refine)
        if looks.how == "none":
            return looks.refined(mass, [False] * len(mass))
        visible, latest = everything, mass

        def attend(shown: torch.Tensor | None) -> torch.Tensor:
            nonlocal visible, latest
            if shown is not None:  # rows that see what they saw have stopped
                rows = (shown[:, 0] != visible).any(-1).nonzero()[:, 0]
                visible = shown[:, 0]
                latest = latest.index_copy(0, rows, looks.without(everything & ~visible, rows.tolist()))
            return latest[:, None]  # (B, 1, n)

        found = refine(
            attend,
            visible=everything[:, None],
            threshold=self.settings.threshold,
            relative_threshold=self.settings.relative_threshold,
            max_iterations=self.settings.max_iterations,
        )
        met = found.met_threshold & everything.any(-1)
        return looks.refined(found.aggregate[:, 0], met.tolist())

    def looks(self, tokens: ImageTokens, original: Original, images: RowImages, how: str, /) -> Looks:
        """What runs and counts the passes with hidden tokens of one step; the arguments are those of `Looks`."""
        return Looks(self, tokens, original, images, how)


class Looks:
    """Passes with hidden tokens, of one step.

    Parameters
    ----------
    attention : ModelAttention
    tokens : ImageTokens
    original : Original
    images : callable
        As for `ModelAttention.refined`.
    how : {"none", "exact", "cached"}
        Whether tokens are hidden from every query, or from the last one alone.
    """

    def __init__(
        self, attention: ModelAttention, tokens: ImageTokens, original: Original, images: RowImages, how: str, /
    ) -> None:
        self.attention, self.tokens, self.original, self.images, self.how = attention, tokens, original, images, how
        self.forwards = 0
        self.iterations = [0] * len(original.owners)
        self.repeated = [0] * len(original.owners)

    def without(self, hidden: torch.Tensor, rows: list[int], /) -> torch.Tensor:
        """The last query's attention in some rows with image tokens hidden.

        Parameters
        ----------
        hidden : bool tensor of shape (B, n)
        rows : list of int

        Returns
        -------
        float tensor of shape (rows, n)
        """
        import torch

        for row in rows:
            self.iterations[row] += 1
        sequences = self.original.sequences
        hidden = self.tokens.scatter(hidden, sequences.length)
        hidden[:, -1] = False  # the query itself, where the prompt ends with its image
        if self.how == "cached":  # the cache keeps the rest unchanged
            masked, cache = sequences.hiding(hidden).rows(rows), fork(self.original.cache, sequences.length - 1)
            start = cache if len(rows) == sequences.input_ids.shape[0] else cache_rows(cache, rows)
            self.forwards += 1
            return self.attention.look(self.tokens.select(rows), lambda: masked.run(start))[1]
        places, found = [], []
        for part in self.attention.streams.parts(self.original, rows, self.images, hidden=hidden):
            tokens = self.tokens.select(part.rows).moved(part.kept)
            output, mass = self.attention.look(tokens, part.run)
            self.attention.streams.keep(part, find_cache(output))
            self.forwards += 1
            for row in part.rows:
                self.repeated[row] += part.runs_on
            places += [rows.index(row) for row in part.rows]
            found.append(mass)
        return torch.cat(found)[torch.as_tensor(places, device=hidden.device).argsort()]

    def refined(self, mass: torch.Tensor, met_threshold: list[bool], /) -> RefinedMass:
        """The result of the passes."""
        return RefinedMass(mass, self.iterations, self.forwards, met_threshold, self.repeated)


def _chosen_layers(settings: AttentionHeatmap, count: int, telling: Sequence[int]) -> list[int]:
    """The 0-based layers that count, of `count`; `telling` are those that tell where the model looks."""
    if not isinstance(settings.heads, str):
        layers = sorted({layer for layer, _ in settings.heads})
        if other := [layer for layer in layers if layer not in telling]:
            raise ValueError(
                f"`heads` must be of layers that tell where this model looks, {list(telling)}, got layer {other[0]}; run "
                "`pmtools calibrate` for this model"
            )
        return layers
    if isinstance(settings.layers, float):
        return [min(telling, key=lambda layer: abs(layer - int(settings.layers * count)))]  # type: ignore[operator]
    if not isinstance(settings.layers, str):
        return list(settings.layers)
    deep = heat_layers(count, settings.start_layer, telling)
    return deep if settings.layers == "deep" else deep[:1]


def _checked_heads(heads: Any) -> tuple[tuple[int, int], ...]:
    try:
        pairs = tuple((operator.index(layer), operator.index(head)) for layer, head in heads)
    except (TypeError, ValueError):
        pairs = ()
    if not pairs or min(min(pair) for pair in pairs) < 0:
        raise ValueError(
            f"`heads` must be 'max', 'mean' or pairs (layer, head) of numbers from 0, at least one, got {heads!r}"
        )
    return pairs


def _checked_sinks(sinks: Any) -> tuple[tuple[float, float], ...]:
    try:
        places = tuple((float(x), float(y)) for x, y in sinks)
    except (TypeError, ValueError):
        places = ((-1.0, -1.0),)
    if not all(0 <= share <= 1 for place in places for share in place):
        raise ValueError(f"`sinks` must be places (x, y), as shares of the image in [0, 1], got {sinks!r}")
    return places
