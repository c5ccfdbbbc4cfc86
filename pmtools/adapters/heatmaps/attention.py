"""The model's own attention, as the Perception Magnifier and API-L use it: attend, hide what stands out, attend again.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)
- API, [arXiv:2409.17143](https://arxiv.org/abs/2409.17143)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmtools import _checks
from pmtools.adapters.attention import AttentionTap, capture_attention, heat_layers
from pmtools.adapters.caches import empty_cache, find_cache, fork, kept_start
from pmtools.adapters.image_inputs import encoded_images, kept_features, takes_features
from pmtools.adapters.image_tokens import ImageTokens
from pmtools.adapters.interception import attention_layers, text_decoder
from pmtools.adapters.layouts import ImageTokenLayout
from pmtools.adapters.prompts import Prompts
from pmtools.adapters.sequences import TokenSequences
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
    heads : {"max", "mean"}, optional
        How the heads of a layer become one map.
    start_layer : int or "auto", optional
        First layer that counts, 1-based: 12 of 32 in the paper, "auto" the same share of any depth.
    refine : {"none", "exact", "cached"}, optional
        Hide what stood out and look again, as in the paper; see `pmtools.refine`. "exact" hides it from every query, so
        the sequence runs again from the image on. "cached" hides it from the last query only, in a pass of one token.
    threshold : float, optional
    max_iterations : int, optional
        Of the refinement.

    Raises
    ------
    TypeError, ValueError
        If an option is out of range; when called, if the model has no such layer.

    References
    ----------
    - Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)
    """

    layers: str | float | Sequence[int] = "deep"
    heads: str = "max"
    start_layer: int | str = "auto"
    refine: str = "none"
    threshold: float = 0.3
    max_iterations: int = 8

    def __post_init__(self) -> None:
        _checks.choice(self.heads, "heads", HEADS)
        _checks.choice(self.refine, "refine", REFINE)
        if isinstance(self.layers, str):
            _checks.choice(self.layers, "layers", ("deep", "single"))
        elif isinstance(self.layers, float):
            _checks.real_number(self.layers, "layers", minimum=0.0, maximum=1 - 1e-9)
        if self.start_layer != "auto":
            _checks.whole_number(self.start_layer, "start_layer")
        _checks.real_number(self.threshold, "threshold", minimum=0.0)
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
            found = attention.refined(mass, sequences, tokens, find_cache(output), lambda: image)
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
        Whether the threshold ended the refinement of each row.
    """

    mass: torch.Tensor
    iterations: list[int]
    forwards: int
    met_threshold: list[bool]


class ModelAttention:
    """One model's attention to its image tokens, by the settings of an `AttentionHeatmap`, in one call of `generate`.

    Parameters
    ----------
    settings : AttentionHeatmap
    model : transformers.PreTrainedModel
    layout : ImageTokenLayout
    """

    def __init__(self, settings: AttentionHeatmap, model: Any, layout: ImageTokenLayout, /) -> None:
        self.settings, self.model, self.layout = settings, model, layout
        decoder = text_decoder(model)
        telling = layout.heat_layers or attention_layers(decoder)
        self.layers = _chosen_layers(settings, decoder.config.num_hidden_layers, telling)

    def look(self, tokens: ImageTokens, forward: Callable[[], Any], /) -> tuple[Any, torch.Tensor]:
        """A forward pass, and its last query's attention to each image: (rows, n), mean over layers, without padding."""
        with capture_attention(
            self.model, tokens.columns, layers=self.layers, heads=self.settings.heads == "mean"
        ) as tap:
            output = forward()
        return output, self._layer_mean(tap).to(tokens.coverage) * tokens.coverage

    def _layer_mean(self, tap: AttentionTap) -> torch.Tensor:
        maps = tap.maps if self.settings.heads == "max" else tap.head_maps.mean(2)
        return maps.mean(1)  # (rows, layers, n)

    def refined(
        self,
        mass: torch.Tensor,
        sequences: TokenSequences,
        tokens: ImageTokens,
        cache: Any,
        image: Callable[[], dict[str, Any]],
        /,
    ) -> RefinedMass:
        """Attend, hide the highlight, attend again; with `refine="none"` the mass is unchanged.

        Parameters
        ----------
        mass : float tensor of shape (rows, n)
            From `look` at these sequences.
        sequences : TokenSequences
        tokens : ImageTokens
            Of these rows.
        cache : transformers.DynamicCache
            Of these sequences; not changed.
        image : callable
            Makes the image inputs of these rows when they are needed.
        """
        how = self.settings.refine
        if how == "none":
            return RefinedMass(mass, [0] * len(mass), 0, [False] * len(mass))
        visible = tokens.coverage > 0
        encoded = image() if how == "exact" else {}

        def attend(shown: torch.Tensor | None) -> torch.Tensor:
            if shown is None:
                return mass[:, None]  # (rows, 1, n)
            return self.look_without(visible & ~shown[:, 0], sequences, tokens, cache, encoded, how)[:, None]

        found = refine(
            attend,
            visible=visible[:, None],
            threshold=self.settings.threshold,
            max_iterations=self.settings.max_iterations,
        )
        # (rows,); the first pass hides nothing, and a row without images has nothing to hide
        iterations = (sum(mask.any(-1)[:, 0].long() for mask in found.masks) - 1).clamp(min=0)
        met = found.met_threshold & visible.any(-1)
        return RefinedMass(found.aggregate[:, 0], iterations.tolist(), len(found.maps) - 1, met.tolist())

    def look_without(
        self,
        hidden: torch.Tensor,
        sequences: TokenSequences,
        tokens: ImageTokens,
        cache: Any,
        image: dict[str, Any],
        how: str,
        /,
    ) -> torch.Tensor:
        """The last query's attention with some image tokens hidden, (rows, n): hidden from it alone, or from every query."""
        hidden = tokens.scatter(hidden, sequences.length)
        if how == "cached":  # the cache keeps the rest unchanged
            masked = sequences.hiding(hidden)
            return self.look(tokens, lambda: masked.run(fork(cache, sequences.length - 1)))[1]
        start = kept_start(cache, tokens.first) if self.layout.prefix_reuse else None
        start = empty_cache(self.model) if start is None else start
        features = None
        if self.layout.prefix_reuse and takes_features(self.model):
            # a token that no query may see can be left out: a shorter sequence gives the same numbers
            shorter, kept = sequences.without(hidden)
            is_image = sequences.is_image(self.layout.image_token_id)
            stays = is_image.new_zeros(is_image.shape).scatter(1, kept, True)
            features = kept_features(image, stays[is_image].nonzero()[:, 0], int(is_image.sum()))
        if features is None:
            masked = sequences.hiding(hidden)
            return self.look(tokens, lambda: masked.run(start, image=image))[1]
        return self.look(tokens.moved(kept), lambda: shorter.run(start, image=features))[1]


def _chosen_layers(settings: AttentionHeatmap, count: int, telling: Sequence[int]) -> list[int]:
    """The 0-based layers that count, of `count`; `telling` are those that tell where the model looks."""
    if isinstance(settings.layers, float):
        return [min(telling, key=lambda layer: abs(layer - int(settings.layers * count)))]  # type: ignore[operator]
    if not isinstance(settings.layers, str):
        return list(settings.layers)
    deep = heat_layers(count, settings.start_layer, telling)
    return deep if settings.layers == "deep" else deep[:1]
