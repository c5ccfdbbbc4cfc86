"""What the model itself attends to, as the Perception Magnifier and API-L see it.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)
- API, [arXiv:2409.17143](https://arxiv.org/abs/2409.17143)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmtools import _checks
from pmtools.adapters.attention import AUTO_START, capture_attention
from pmtools.adapters.caches import empty_cache
from pmtools.adapters.interception import text_decoder
from pmtools.adapters.prompts import Prompts
from pmtools.refinement import refine

if TYPE_CHECKING:
    import torch

HEADS = ("max", "mean")


@dataclass(frozen=True)
class AttentionHeatmap:
    """What the last token of the prompt attends to, averaged over layers.

    Attributes
    ----------
    layers : "deep", "single", float or sequence of int, optional
        "deep": from 12/32 of the depth on, as in the paper. "single": the first of these alone. A share of the depth, in [0, 1):
        the one layer there. Or 0-based layers. Families with sliding-window layers have the others only.
    heads : {"max", "mean"}, optional
        How the heads of a layer become one map.
    refined : bool, optional
        Hide what stood out and look again, as the paper does; see `pmtools.refine`.
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
    refined: bool = False
    threshold: float = 0.3
    max_iterations: int = 8

    def __post_init__(self) -> None:
        _checks.choice(self.heads, "heads", HEADS)
        if isinstance(self.layers, str):
            _checks.choice(self.layers, "layers", ("deep", "single"))
        elif isinstance(self.layers, float):
            _checks.real_number(self.layers, "layers", minimum=0.0, maximum=1 - 1e-9)

    def __call__(self, prompts: Prompts, /) -> list[list[torch.Tensor]]:
        """Heatmaps of the images of each prompt; attention sums to at most 1 over a prompt's images and text."""
        import torch

        model, tokens = prompts.model, prompts.tokens()
        sequences, image = prompts.prepared()
        layers = self._layers(prompts)
        takes_part = (tokens.coverage > 0)[:, None]  # (B, 1, n)

        def attend(shown: torch.Tensor | None) -> torch.Tensor:
            some = sequences
            if shown is not None:
                some = sequences.hiding(tokens.scatter((takes_part & ~shown)[:, 0], sequences.length))
            with capture_attention(model, tokens.columns, layers=layers, heads=self.heads == "mean") as tap:
                some.run(empty_cache(model), image=image)
            maps = tap.maps if self.heads == "max" else tap.head_maps.mean(2)
            return (maps.mean(1) * tokens.coverage)[:, None]

        with torch.no_grad():
            if not self.refined:
                return tokens.heatmaps(attend(None)[:, 0])
            found = refine(attend, visible=takes_part, threshold=self.threshold, max_iterations=self.max_iterations)
        return tokens.heatmaps(found.aggregate[:, 0])

    def _layers(self, prompts: Prompts) -> list[int]:
        count = text_decoder(prompts.model).config.num_hidden_layers
        telling = prompts.layout.heat_layers or tuple(range(count))
        if isinstance(self.layers, float):
            return [min(telling, key=lambda layer: abs(layer - int(self.layers * count)))]
        if not isinstance(self.layers, str):
            return list(self.layers)
        first = max(1, round(AUTO_START * count)) - 1
        deep = [layer for layer in telling if layer >= first] or [telling[-1]]
        return deep if self.layers == "deep" else deep[:1]
