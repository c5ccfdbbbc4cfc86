"""Plain forward passes of a Llava over a batch of questions whose answers are one token.

Everything a question needs is the logits of its last token. Knows a model and pictures; not why the pictures look as
they do, nor what the attention is for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from pmtools.adapters.image_inputs import input_device


class Passes:
    """A batch of questions, each about one picture, and what the model says and looks at.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Of the Llava family: one image placeholder, a square token grid.
    processor : transformers.ProcessorMixin
        Its tokenizer pads on the left.
    questions : sequence of str
    images : sequence of PIL.Image.Image
        One a question.
    prompt : callable
        Makes the text for a question and a number of images.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        questions: Sequence[str],
        images: Sequence[Any],
        /,
        *,
        prompt: Callable[[str, int], str],
    ) -> None:
        self.model, self.processor = model, processor
        self.questions, self.images, self.prompt = questions, images, prompt

    def replies(self) -> list[str]:
        """What the model says of the pictures as they are."""
        return self._read(self._plain[0])

    def maps(self, visible: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
        """Attention of the last token to the pictures as they are, the maximum over the heads.

        Parameters
        ----------
        visible : bool array of shape (batch, h, w), optional
            Image tokens that are not hidden. Default: all.

        Returns
        -------
        array of shape (batch, layers, h, w)
        """
        return (self._plain if visible is None else self._attend(visible))[1]

    def see(self, images: Sequence[Any], *, per_question: int = 1) -> list[str]:
        """What the model says of other pictures.

        Parameters
        ----------
        images : sequence of PIL.Image.Image
            `per_question` after one another for each question.
        per_question : int, optional

        Returns
        -------
        list of str
        """
        import torch

        with torch.inference_mode():
            output = self.model(**self._inputs(images, per_question=per_question), use_cache=False, logits_to_keep=1)
        return self._read(output.logits)

    def _inputs(self, images: Sequence[Any], *, per_question: int = 1) -> dict[str, Any]:
        texts = [self.prompt(question, per_question) for question in self.questions]
        inputs = self.processor(images=list(images), text=texts, return_tensors="pt", padding=True)
        return {
            key: value.to(input_device(self.model), self.model.dtype if key == "pixel_values" else None)
            for key, value in inputs.items()
        }

    def _read(self, logits: Any) -> list[str]:
        tokenizer = self.processor.tokenizer
        return [str(tokenizer.decode([token])).strip() for token in logits[:, -1].argmax(-1).tolist()]

    @cached_property
    def _plain(self) -> tuple[Any, np.ndarray[Any, Any]]:
        return self._attend(None)

    @cached_property
    def _embedded(self) -> tuple[Any, Any, Any]:
        """Embeddings (batch, tokens, width), attention mask, and where the picture's tokens stand, (batch, h * w).

        The picture is encoded once: passes with hidden tokens differ in the attention mask alone.
        """
        import torch

        inputs = self._inputs(self.images)
        columns = (inputs["input_ids"] == self.model.config.image_token_id).nonzero()[:, 1]
        columns = columns.reshape(len(self.questions), -1)
        with torch.inference_mode():
            embedded = self.model.get_input_embeddings()(inputs["input_ids"])
            features = self.model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output
            embedded[_rows(columns), columns] = torch.stack(list(features)).to(embedded.dtype)
        return embedded, inputs["attention_mask"], columns

    def _attend(self, visible: np.ndarray[Any, Any] | None) -> tuple[Any, np.ndarray[Any, Any]]:
        """Logits, and the maps (batch, layers, h, w)."""
        import torch

        from pmtools.adapters.attention import capture_attention

        embedded, mask, columns = self._embedded
        if visible is not None:
            hidden = ~torch.as_tensor(visible.reshape(len(columns), -1), device=mask.device)
            mask = mask.clone()
            mask[_rows(columns), columns] = mask[_rows(columns), columns].masked_fill(hidden, 0)
        with torch.inference_mode(), capture_attention(self.model, columns) as tap:
            output = self.model(inputs_embeds=embedded, attention_mask=mask, use_cache=False, logits_to_keep=1)
            maps = tap.maps.float().cpu().numpy()  # (batch, layers, tokens)
        side = round(maps.shape[-1] ** 0.5)
        return output.logits, maps.reshape(*maps.shape[:2], side, side)


def _rows(columns: Any) -> Any:
    """The question of each entry, shape (batch, 1)."""
    import torch

    return torch.arange(len(columns), device=columns.device)[:, None]
