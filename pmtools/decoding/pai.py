r"""Pay attention to the image: more of the last query's attention to the image, then guidance away from text alone.

Experimental: checked against its formulas on tiny models, not against the published results. The strengths are the paper's; they
are meant to be chosen for each model, as `tests/benchmarks/tune_methods.py` does on the scenes' tuning split.

References
----------
- PAI, [arXiv:2407.21771](https://arxiv.org/abs/2407.21771)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pmtools import _checks
from pmtools.adapters.editing import boosted_image, edited_attention
from pmtools.adapters.interception import text_decoder
from pmtools.adapters.layouts import image_token_layout
from pmtools.adapters.prompts import Prompts
from pmtools.adapters.sequences import TokenSequences
from pmtools.decoding.contrast import contrast
from pmtools.decoding.second_stream import ContrastiveMethod, SecondStream

if TYPE_CHECKING:
    import torch


class PAI(ContrastiveMethod):
    r"""Pay attention to the image, [arXiv:2407.21771](https://arxiv.org/abs/2407.21771). Experimental.

    Before the softmax, the last query's scores of image keys become $s + a\,|s|$; the logits then
    $g\,(\log p_c - \log p_u) + \log p_u$ where plausible, with $p_u$ without the image and without this edit.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    strength : float, optional
        $a$, >= 0; 0 leaves the attention unchanged. Default: the paper's. It makes the embedded demo model worse, less
        so the smaller it is (`docs/log.md`), so no better one could be chosen there.
    guidance : float, optional
        $g$, >= 1; 1 leaves the logits unchanged.
    cutoff : float, optional
        Of the guidance: tokens less likely than this share of the likeliest are excluded, in [0, 1].
    first_layer : int, optional
        0-based; attention is edited from here on. In families with sliding-window layers, in the others only.

    Raises
    ------
    TypeError, ValueError
        If an option is out of range.

    Notes
    -----
    `logits_processor` is the guidance alone.
    """

    def __init__(
        self,
        processor: Any,
        *,
        strength: float = 0.2,
        guidance: float = 1.1,
        cutoff: float = 0.1,
        first_layer: int = 2,
    ) -> None:
        super().__init__(processor)
        self.strength = _checks.real_number(strength, "strength", minimum=0.0)
        self.guidance = _checks.real_number(guidance, "guidance", minimum=1.0)
        self.cutoff = _checks.real_number(cutoff, "cutoff", minimum=0.0, maximum=1.0)
        self.first_layer = _checks.whole_number(first_layer, "first_layer", minimum=0)

    @property
    def contrasts(self) -> bool:
        """Whether there is guidance."""
        return self.guidance != 1

    def _forward(self, sequences: TokenSequences, inputs: dict[str, Any]) -> Any:
        if self.strength == 0:
            return super()._forward(sequences, inputs)
        model = sequences.model
        layout = image_token_layout(model, self.processor)
        count = text_decoder(model).config.num_hidden_layers
        layers = {layer for layer in layout.heat_layers or range(count) if layer >= self.first_layer}
        is_image = sequences.is_image(layout.image_token_id)
        with edited_attention(model, boosted_image(is_image, strength=self.strength, layers=layers)):
            return super()._forward(sequences, inputs)

    def references(self, prompts: Prompts, prompt_length: int) -> list[SecondStream]:
        """The prompt without its images."""
        return [SecondStream(prompts.without_images(), prompt_length=prompt_length)]

    def combine(self, scores: torch.Tensor, references: list[torch.Tensor], step: int) -> torch.Tensor:
        """Guidance away from the text alone."""
        return contrast(scores, references[0], strength=self.guidance - 1, cutoff=self.cutoff)
