"""The official Perception Magnifier, quirks included, inside `generate`: for reproducing the paper's tables on LLaVA-1.5.

Unlike `PerceptionMagnifier`, it pads first and counts the padding as image; divides the sum of its
N - L + 1 layers by N - L; splits by a scale-dependent two-means over hidden tokens too; always hides at least once and
leaves the pass that ends the loop out of the average; hides from every query at the prompt and from the last one only
later; magnifies by `pmtools.compat`. Only this file uses it.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools import _checks, compat
from pmtools.adapters.attention import AttentionTap
from pmtools.adapters.heatmaps.attention import AttentionHeatmap, ModelAttention, RefinedMass
from pmtools.adapters.image_tokens import ImageTokens
from pmtools.adapters.interception import text_decoder
from pmtools.adapters.source_images import SourceImages
from pmtools.adapters.streams import Original, RowImages
from pmtools.decoding._magnifying_run import MagnifyingRun
from pmtools.decoding.pm import PerceptionMagnifier

if TYPE_CHECKING:
    import torch

#: The published hyper-parameters: the paper's, for MME and the rest, and those of the official POPE script.
PRESETS: dict[str, dict[str, Any]] = {
    "mme": {"gain": 10.0, "kernel_size": 3, "threshold": 0.3},
    "pope": {"gain": 15.0, "kernel_size": 5, "threshold": 0.4},
}


class OfficialMagnifier(PerceptionMagnifier):
    """The official implementation's numbers, quirks included; `warps` of its steps are 8-bit perception maps.

    Parameters
    ----------
    processor : transformers processor
        LLaVA-1.5's.
    preset : {"mme", "pope"}, optional
        The paper's hyper-parameters, or those of the official POPE script.
    refresh : {"first", "every"}, optional
        "first": magnify once, as the scripts for MME and POPE do. "every": as the one for open answers does.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above; the message names it.
    """

    def __init__(self, processor: Any, *, preset: str = "mme", refresh: str = "first") -> None:
        _checks.choice(preset, "preset", PRESETS)
        _checks.choice(refresh, "refresh", ("first", "every"))
        super().__init__(processor, **PRESETS[preset], max_iterations=8, refine="exact", refresh=refresh)

    def _logits_processors(self, processors: Any) -> Any:
        from transformers import LogitsProcessorList, TopKLogitsWarper

        # the official sampling has no top-k; transformers' default is 50
        return LogitsProcessorList(item for item in processors if not isinstance(item, TopKLogitsWarper))

    def new_run(self, model: Any, images: SourceImages) -> OfficialRun:
        """One call of `generate`, on the padded images.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described above; the message names it.
        """
        if model.config.model_type != "llava":
            raise ValueError(
                f"`model` must be LLaVA-1.5 for the official preset, got a {model.config.model_type} model"
            )
        canvases = self.processor.made_with(images.options).canvases(images.rows)
        return OfficialRun(self, model, SourceImages(canvases, images.options))  # padding is image from here on


class OfficialRun(MagnifyingRun):
    """One call of `generate` by `OfficialMagnifier`."""

    def __init__(self, pm: PerceptionMagnifier, model: Any, images: SourceImages) -> None:
        super().__init__(pm, model, images)
        self.view = compat.official_magnify

    def _model_attention(self, settings: AttentionHeatmap) -> ModelAttention:
        return OfficialAttention(
            settings, self.model, self.layout
        )  # after the prompt it does not run hidden sets again

    @staticmethod
    def _told_by(warp: Any) -> Hashable:
        found: Hashable = warp.tobytes()  # an 8-bit map
        return found

    def _warps(self, heatmaps: list[list[torch.Tensor]], rows: list[int]) -> list[list[Any]]:
        settings = self.pm.warp_settings
        return [
            [
                compat.official_perception_map(
                    heatmap.cpu().numpy(),
                    gain=settings.gain,
                    kernel_size=settings.kernel_size,
                    size_hw=(image.height, image.width),
                )
                for heatmap, image in zip(maps, self.images[row], strict=True)
            ]
            for maps, row in zip(heatmaps, rows, strict=True)
        ]


class OfficialAttention(ModelAttention):
    """The official layer sum and refinement."""

    def _layer_mean(self, tap: AttentionTap) -> torch.Tensor:
        divisor = text_decoder(self.model).config.num_hidden_layers - (tap.layers[0] + 1)  # N - L, one too few
        mean: torch.Tensor = tap.maps.sum(1) / divisor
        return mean

    def refined(self, mass: torch.Tensor, tokens: ImageTokens, original: Original, images: RowImages, /) -> RefinedMass:
        """At least one pass with hidden tokens; the pass that ends the loop is left out of the average."""
        how = "exact" if original.sequences.length == original.prompt_length else "cached"
        looks = self.looks(tokens, original, images, how)
        visible = mass.new_ones(mass.shape).bool()
        running = visible[:, :1]
        total, passes = mass.new_zeros(mass.shape), mass.new_zeros(mass.shape)
        for _ in range(self.settings.max_iterations):
            total, passes = total + running * mass, passes + (running & visible)
            visible = visible & ~(running & self._highlights(mass))
            rows = running.nonzero()[:, 0]
            mass = mass.index_copy(0, rows, looks.without(~visible, rows.tolist()))
            running = running & (mass.sum(-1, keepdim=True) > self.settings.threshold)
            if not bool(running.any()):
                break
        return looks.refined(total / passes, (~running[:, 0]).tolist())

    def _highlights(self, mass: torch.Tensor) -> torch.Tensor:
        values = mass.float().cpu().numpy()[:, None]  # (rows, 1, n)
        return mass.new_tensor(np.stack([compat.official_highlight(row)[0] for row in values])).bool()
