r"""Image-biased decoding: towards the model's answer if it attended more to the image.

Experimental: the paper gives no values for its options. These were chosen with the embedded demo model on the scenes'
tuning split, `python tests/benchmarks/tune_methods.py OUT`: of nine pairs, the one with the most correct answers
(`docs/log.md`).

References
----------
- IBD, [arXiv:2402.18476](https://arxiv.org/abs/2402.18476)
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from pmtools import _checks
from pmtools.adapters.editing import biased_image, edited_attention
from pmtools.adapters.prompts import Prompts
from pmtools.decoding.contrast import image_biased
from pmtools.decoding.second_stream import ContrastiveMethod, SecondStream

if TYPE_CHECKING:
    import torch


class IBD(ContrastiveMethod):
    r"""Image-biased decoding, [arXiv:2402.18476](https://arxiv.org/abs/2402.18476). Experimental.

    $z + a\, I\, (\hat z - z)$ where plausible. $\hat z$ comes from the same model with attention scores
    $(q \cdot k + \epsilon) / \sqrt d$ for image keys $k$; $I$ is the Jensen-Shannon divergence of both predictions in bits, so
    that nothing changes where they agree.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    strength : float, optional
        $a$, >= 0; 0 is plain decoding.
    bias : float, optional
        $\epsilon$, >= 0; 0 is plain decoding. It is divided by $\sqrt d$: for the same shift in a model whose heads are wider
        than the demo model's 32, multiply it by the root of the ratio.
    cutoff : float, optional
        Tokens less likely than this share of the likeliest are excluded, in [0, 1].

    Raises
    ------
    TypeError, ValueError
        If an option is out of range; when called, if the model has sliding-window layers that drop keys.
    """

    def __init__(self, processor: Any, *, strength: float = 1.0, bias: float = 2.0, cutoff: float = 0.1) -> None:
        super().__init__(processor)
        self.strength = _checks.real_number(strength, "strength", minimum=0.0)
        self.bias = _checks.real_number(bias, "bias", minimum=0.0)
        self.cutoff = _checks.real_number(cutoff, "cutoff", minimum=0.0, maximum=1.0)

    @property
    def contrasts(self) -> bool:
        """Whether strength and bias change anything."""
        return self.strength != 0 and self.bias != 0

    def references(self, prompts: Prompts, prompt_length: int) -> list[SecondStream]:
        """The same prompt, with attention to the image raised."""
        image_token_id = prompts.layout.image_token_id

        def within(input_ids: torch.Tensor) -> AbstractContextManager[None]:
            is_image = input_ids == image_token_id
            is_image[:, prompts.input_ids.shape[1] :] = False  # image tokens that the model wrote show nothing
            return edited_attention(prompts.model, biased_image(is_image, bias=self.bias))

        return [SecondStream(prompts, prompt_length=prompt_length, within=within)]

    def combine(self, scores: torch.Tensor, references: list[torch.Tensor], step: int) -> torch.Tensor:
        """The image-biased scores."""
        return image_biased(scores, references[0], strength=self.strength, cutoff=self.cutoff)
