"""What the model attends to more for this question than for a general one, as in ViCrop.

References
----------
- ViCrop, [arXiv:2502.17422](https://arxiv.org/abs/2502.17422)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmtools.adapters.heatmaps.attention import AttentionHeatmap
from pmtools.adapters.prompts import Prompts
from pmtools.adapters.tokenizing import InTurn

if TYPE_CHECKING:
    import torch

#: ViCrop's layer, as a share of the depth.
VICROP_LAYER = 14 / 32
#: The general question.
GENERAL_QUESTION = "Write a general description of the image."


@dataclass(frozen=True)
class RelativeAttention:
    """Where the model looks more for this question than for others: its attention divided by that for a general one.

    Attributes
    ----------
    layer : float or int, optional
        0-based, or a share of the depth. ViCrop: 14 of 32.
    question : str, optional
        The general one. Default: the processor's `general_question`, if it has one, as the demo model's has; else ViCrop's.

    Raises
    ------
    ValueError
        When called, if a word of the general question is unknown to the tokenizer.

    References
    ----------
    - ViCrop, [arXiv:2502.17422](https://arxiv.org/abs/2502.17422)
    """

    layer: float | int = VICROP_LAYER
    question: str | None = None

    def __call__(self, prompts: Prompts, /) -> list[list[torch.Tensor]]:
        """Heatmaps of the images of each prompt."""
        attention = AttentionHeatmap(self.layer if isinstance(self.layer, float) else [self.layer], heads="mean")
        general = attention(general_prompts(prompts, self._question(prompts.processor)))
        return [
            [asked / anyway.clamp(min=1e-12) for asked, anyway in zip(*row, strict=True)]
            for row in zip(attention(prompts), general, strict=True)
        ]

    def _question(self, processor: Any) -> str:
        question = self.question or str(getattr(processor, "general_question", GENERAL_QUESTION))
        tokenizer = InTurn(processor.tokenizer)
        unknown = tokenizer.unk_token_id
        if unknown is not None and unknown in tokenizer(question, add_special_tokens=False)["input_ids"]:
            raise ValueError(
                f"`question` must be in words that the model knows, got {question!r}; give "
                "RelativeAttention(question=...) a general question in its words"
            )
        return question


def general_prompts(prompts: Prompts, question: str, /) -> Prompts:
    """The same images with one question for all, in the processor's chat template where it has one.

    Parameters
    ----------
    prompts : Prompts
    question : str
    """
    processor = prompts.processor
    if getattr(processor, "chat_template", None):
        texts = [processor.as_prompt(question, len(row)) for row in prompts.images]
    else:
        mark = getattr(processor, "image_token", "<image>")
        texts = [mark * len(row) + "\n" + question for row in prompts.images]
    inputs = processor(images=prompts.images, text=texts, return_tensors="pt", padding=True)
    return Prompts.from_inputs(prompts.model, processor, inputs)
