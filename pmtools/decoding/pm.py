"""Perception Magnifier: decode from an image that is magnified where the model looks.

The public class and its settings; what happens at each step is in `_magnifying_run.py`.

References
----------
- Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pmtools import _checks
from pmtools.adapters.heatmaps import AttentionHeatmap, HeatmapSource, heatmap_source
from pmtools.adapters.source_images import SourceImages
from pmtools.decoding._adaptive_run import AdaptiveRun
from pmtools.decoding._magnifying_run import MagnifyingRun
from pmtools.decoding.method import DecodingMethod
from pmtools.settings import DEFAULTS, WarpSettings
from pmtools.typing import Heatmap

REFRESH = ("first", "every", "adaptive")
PREPROCESS = ("processor", "fused")


class PerceptionMagnifier(DecodingMethod):
    r"""Magnify what the model looks at, and answer from that: Perception Magnifier.

    A `custom_generate` callable of transformers' `generate`. At each step: the last query's attention to the image
    tokens, max over heads, mean over the layers from `start_layer` on; refined by hiding what stood out and looking
    again; the images magnified by it; the next token from the magnified images' logits. Every argument of `generate`
    keeps its meaning.

    Parameters
    ----------
    processor : transformers processor
        The model's own: `image_processor`, `tokenizer`, and a call that makes inputs of both.
    start_layer : int or "auto", optional
        First layer whose attention counts, 1-based: 12 of 32 in the paper, "auto" the same share of any depth.
    heads, sinks
        Which attention heads count, and which places do not: as in `AttentionHeatmap`; `pmtools calibrate` finds both.
    gain, kernel_size, marginal, floor, max_magnification, equal_peaks, antialias
        Of the warp: as in `pmtools.magnify`.
    threshold, relative_threshold, max_iterations
        Of the refinement: as in `pmtools.refine`.
    refine : {"exact", "cached", "none"}, optional
        How tokens are hidden. "exact": from every query, so the sequence runs again from the image on.
        "cached": from the last query only, a pass of one token. "none": not at all.
    refresh : {"every", "first", "adaptive"}, optional
        When images are magnified: at every token (the method); once, from the first token's attention (cheaper); or
        where the warp moved by more than `tolerance` patches since, with both streams kept in one cache.
    tolerance : float, optional
        Patches, >= 0; for "adaptive". 0 equals "every", infinity equals "first".
    kept_streams : int, optional
        How many sequences with hidden tokens "exact" keeps for the next steps, at most, in all sequences of a call together: one
        that comes back then costs only the tokens that are new. Useful from `max_iterations` times the sequences on. Each takes
        as much memory as a sequence's key-value cache, 0.5 MiB a token for LLaVA-1.5-7B in half precision. With
        `refresh="every"` each sequence's magnified stream is kept as well, and runs on while its pixels stay the same. 0 keeps
        nothing.
    preprocess : {"processor", "fused"}, optional
        "processor": magnify at source size, then the model's image processor. "fused": one resampling from source pixels to the
        model's input, on the device; pixels differ slightly.
    gate : float, optional
        Share of the image, in (0, 1]: where the heatmap looks at more than that (`pmtools.perception.spread`), the image
        stays as it is, since nothing stands out or what does is large already. Default: no such limit.
    heatmap : str, array of shape (h, w), grey PIL image, or callable, optional
        "attention": the model's, by the options above. Or any source of `pmtools.adapters.heatmaps`, by name or as it is:
        an `AttentionHeatmap` brings layers and refinement of its own; maps of the others are not refined, and are asked
        for once, at the prompt, or again at each step by `GivenHeatmap` of a function `heatmap(image, step)`.

    Attributes
    ----------
    last : list of MagnifierStep
        The steps of the latest call.
    processor : SourceProcessor
        Makes inputs that carry their images: use it in the place of the model's own.

    Notes
    -----
    The attentions and hidden states in what `generate` returns are the original stream's; with `refresh="first"` they are
    the magnified one's, the only stream that runs on.

    The cache that comes with `return_dict_in_generate=True` is the original stream's always, with `refresh="first"` that of
    the prompt. With the next question it goes back in, by the name it came with: the inputs are those of the whole
    conversation, images and answer included, and begin with the tokens that are in the cache. These are not run again in
    the original stream, and the answer is that to the conversation as one prompt. Not with beams, or several sequences
    for a prompt, or models that read their prompt both ways (PaliGemma).

    Raises
    ------
    TypeError, ValueError
        If an option is out of range; when called, if the inputs and images do not fit each other or the model.

    References
    ----------
    - Perception Magnifier, [arXiv:2503.10183](https://arxiv.org/abs/2503.10183)

    Examples
    --------
    >>> from PIL import Image
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> model = tiny_model()
    >>> pm = PerceptionMagnifier(tiny_processor(model))
    >>> image = Image.new("RGB", (64, 48))
    >>> inputs = pm.processor(images=image, text="What is <image>?", return_tensors="pt")
    >>> output = model.generate(**inputs, custom_generate=pm, max_new_tokens=2, do_sample=False)
    >>> pm.last[-1].warps[0][0]
    Warp(48x64 -> 48x64)
    """

    def __init__(
        self,
        processor: Any,
        *,
        start_layer: int | str = "auto",
        heads: str | Sequence[tuple[int, int]] = "max",
        sinks: Sequence[tuple[float, float]] = (),
        gain: float = DEFAULTS.gain,
        kernel_size: int = DEFAULTS.kernel_size,
        threshold: float = 0.3,
        relative_threshold: float = 0.0,
        max_iterations: int = 8,
        refine: str = "exact",
        refresh: str = "every",
        tolerance: float = 0.5,
        kept_streams: int = 8,
        preprocess: str = "processor",
        marginal: str = DEFAULTS.marginal,
        floor: float = DEFAULTS.floor,
        max_magnification: float | None = DEFAULTS.max_magnification,
        equal_peaks: bool = DEFAULTS.equal_peaks,
        antialias: bool = True,
        gate: float | None = None,
        heatmap: str | Heatmap | HeatmapSource = "attention",
    ) -> None:
        super().__init__(processor)
        self.warp_settings = WarpSettings(
            gain=gain,
            kernel_size=kernel_size,
            marginal=marginal,
            floor=floor,
            max_magnification=max_magnification,
            equal_peaks=equal_peaks,
        )
        self.refresh = _checks.choice(refresh, "refresh", REFRESH)
        self.tolerance = (
            float("inf") if tolerance == float("inf") else _checks.real_number(tolerance, "tolerance", minimum=0.0)
        )
        self.kept_streams = _checks.whole_number(kept_streams, "kept_streams", minimum=0)
        self.preprocess = _checks.choice(preprocess, "preprocess", PREPROCESS)
        self.antialias = _checks.flag(antialias, "antialias")
        self.gate = (
            None
            if gate is None
            else _checks.real_number(gate, "gate", minimum=0.0, maximum=1.0, exclusive_minimum=True)
        )
        attention = AttentionHeatmap(
            start_layer=start_layer,
            heads=heads,
            sinks=sinks,
            refine=refine,
            threshold=threshold,
            relative_threshold=relative_threshold,
            max_iterations=max_iterations,
        )
        own = isinstance(heatmap, str) and heatmap == "attention"
        self.heatmap: HeatmapSource = attention if own else heatmap_source(heatmap)

    def new_run(self, model: Any, images: SourceImages) -> MagnifyingRun:
        """One call of `generate`."""
        kind = AdaptiveRun if self.refresh == "adaptive" else MagnifyingRun
        return kind(self, model, images)
