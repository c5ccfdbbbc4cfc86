r"""Multi-modal mutual information decoding: the image counts more, the longer ago it was seen.

References
----------
- M3ID, [arXiv:2403.14003](https://arxiv.org/abs/2403.14003)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pmtools import _checks
from pmtools.adapters.prompts import Prompts
from pmtools.decoding.contrast import conditional_gain
from pmtools.decoding.second_stream import ContrastiveMethod, SecondStream

if TYPE_CHECKING:
    import torch


class M3ID(ContrastiveMethod):
    r"""Multi-modal mutual information decoding, [arXiv:2403.14003](https://arxiv.org/abs/2403.14003).

    $\log p_c + [\max \log p_c < \log \alpha]\, \frac{1 - g_t}{g_t}\, (\log p_c - \log p_u)$, with $p_c$ given the image, $p_u$
    without it and $g_t = e^{-\lambda t}$ at the $t$-th token.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    decay : float, optional
        $\lambda$, >= 0; 0 is plain decoding.
    confidence : float, optional
        $\alpha$, in (0, 1]: where the likeliest token is at least this likely, nothing changes. The paper gives no
        value; by default every token is contrasted, and the cutoff keeps to the plausible ones, as re-implementations
        do.
    cutoff : float, optional
        Tokens less likely than this share of the likeliest are excluded, in [0, 1].

    Raises
    ------
    TypeError, ValueError
        If an option is out of range.

    Examples
    --------
    >>> from PIL import Image
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> model = tiny_model()
    >>> m3id = M3ID(tiny_processor(model))
    >>> inputs = m3id.processor(images=Image.new("RGB", (60, 40)), text="Is <image> blue?", return_tensors="pt")
    >>> output = model.generate(**inputs, custom_generate=m3id, max_new_tokens=2)
    """

    def __init__(
        self,
        processor: Any,
        *,
        decay: float = 0.02,
        confidence: float | None = None,
        cutoff: float = 0.1,
    ) -> None:
        super().__init__(processor)
        self.decay = _checks.real_number(decay, "decay", minimum=0.0)
        self.confidence = (
            None
            if confidence is None
            else _checks.real_number(confidence, "confidence", minimum=0.0, maximum=1.0, exclusive_minimum=True)
        )
        self.cutoff = _checks.real_number(cutoff, "cutoff", minimum=0.0, maximum=1.0)

    @property
    def contrasts(self) -> bool:
        """Whether the image is asked for more and more."""
        return self.decay != 0

    def references(self, prompts: Prompts, prompt_length: int) -> list[SecondStream]:
        """The prompt without its images."""
        return [SecondStream(prompts.without_images(), prompt_length=prompt_length)]

    def combine(self, scores: torch.Tensor, references: list[torch.Tensor], step: int) -> torch.Tensor:
        """The gain of the image, growing with the step."""
        options = {"decay": self.decay, "confidence": self.confidence, "cutoff": self.cutoff}
        return conditional_gain(scores, references[0], step=step, **options)  # type: ignore[arg-type]
