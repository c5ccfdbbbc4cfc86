r"""Visual debias decoding: what the image says beyond the same question asked without one.

References
----------
- VDD, [arXiv:2403.05262](https://arxiv.org/abs/2403.05262)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pmtools import _checks
from pmtools.adapters.prompts import Prompts
from pmtools.decoding.contrast import contrast
from pmtools.decoding.second_stream import ContrastiveMethod, SecondStream

if TYPE_CHECKING:
    import torch

INSTEAD = ("none", "unknown", "both")


class VDD(ContrastiveMethod):
    r"""Visual debias decoding, [arXiv:2403.05262](https://arxiv.org/abs/2403.05262).

    $(1 + a)\, z(v) - a\, z(u)$ where plausible, with $z(u)$ the logits without the image.

    Parameters
    ----------
    processor : transformers processor
        The model's own.
    instead : {"both", "none", "unknown"}, optional
        What replaces the image: nothing, the tokenizer's unknown token, or each in turn, with the mean of both logits.
    strength : float, optional
        $a$, >= 0; 0 is plain decoding.
    cutoff : float, optional
        Tokens less likely than this share of the likeliest are excluded, in [0, 1].

    Raises
    ------
    TypeError, ValueError
        If an option is out of range, or an unknown token is needed and the tokenizer has none.

    Examples
    --------
    >>> from PIL import Image
    >>> from pmtools.testing.models import tiny_model, tiny_processor
    >>> model = tiny_model()
    >>> vdd = VDD(tiny_processor(model), instead="none")
    >>> inputs = vdd.processor(images=Image.new("RGB", (60, 40)), text="Is <image> blue?", return_tensors="pt")
    >>> output = model.generate(**inputs, custom_generate=vdd, max_new_tokens=2)
    """

    def __init__(self, processor: Any, *, instead: str = "both", strength: float = 1.0, cutoff: float = 0.1) -> None:
        super().__init__(processor)
        self.instead = _checks.choice(instead, "instead", INSTEAD)
        self.strength = _checks.real_number(strength, "strength", minimum=0.0)
        self.cutoff = _checks.real_number(cutoff, "cutoff", minimum=0.0, maximum=1.0)
        unknown = self.processor.tokenizer.unk_token_id
        if unknown is None and instead != "none":
            raise ValueError(f"`instead` must be 'none' with a tokenizer that has no unknown token, got {instead!r}")
        self._fillers = {"none": [None], "unknown": [unknown], "both": [None, unknown]}[instead]

    @property
    def contrasts(self) -> bool:
        """Whether the strength is above 0."""
        return self.strength != 0

    def references(self, prompts: Prompts, prompt_length: int) -> list[SecondStream]:
        """The prompts without images, or with a word in their place."""
        return [
            SecondStream(prompts.without_images(filler=filler), prompt_length=prompt_length) for filler in self._fillers
        ]

    def combine(self, scores: torch.Tensor, references: list[torch.Tensor], step: int) -> torch.Tensor:
        """The contrast with the mean of the references."""
        reference = sum(references[1:], references[0]) / len(references)
        return contrast(scores, reference, strength=self.strength, cutoff=self.cutoff)
