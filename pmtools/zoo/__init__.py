"""The embedded demo model: a small Llava trained here from nothing, shipped in the package.

Examples
--------
>>> demo = demo_model()                                                                             # doctest: +SKIP
>>> demo.ask(image, "Is there a red circle in this image?")                                         # doctest: +SKIP
'yes'
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["DEMO_MODEL", "DemoModel", "UnknownWordsError", "demo_model"]

DEMO_MODEL = Path(__file__).parent / "demo_model"
"""The folder of the shipped model; `from_pretrained` reads it."""

GENERAL_QUESTION = "What objects are there in this image?"
"""The general question of relative attention: the model knows no word of ViCrop's request for a description."""


class UnknownWordsError(ValueError):
    """A question holds words outside the demo model's vocabulary."""


@dataclass(frozen=True)
class DemoModel:
    """A model with its processor and settings.

    Attributes
    ----------
    model : transformers.LlavaForConditionalGeneration
        In evaluation mode.
    processor : transformers.LlavaProcessor
    settings : dict
        Arguments of `PerceptionMagnifier` chosen for this model on its tuning split.
    alternatives : dict of str to dict
        `gain` and `kernel_size` chosen for each alternative, likewise.
    """

    model: Any
    processor: Any
    settings: dict[str, Any]
    alternatives: dict[str, dict[str, Any]]

    def __repr__(self) -> str:
        count = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"DemoModel({type(self.model).__name__} of {count / 1e6:.1f} million parameters, settings={self.settings})"
        )

    def prompt(self, question: str, /, *, images: int = 1) -> str:
        """The processor's prompt for a question.

        Parameters
        ----------
        question : str
        images : int, optional
            Pictures that go with it.

        Returns
        -------
        str

        Raises
        ------
        UnknownWordsError
            If the question has words that the model does not know; the message lists those that it does.
        """
        check_question(question)
        text = question.strip()
        return "<image>" * images + (text if text.endswith("?") else text.rstrip(".") + "?")

    def ask(self, image: Any, question: str, /) -> str:
        """Answer a question about an image, without any magnification.

        Parameters
        ----------
        image : PIL image, or uint8 or uint16 array of shape (H, W) or (H, W, C)
        question : str

        Returns
        -------
        str
        """
        from pmtools.adapters.pixels import as_pil

        inputs = self.processor(images=[as_pil(image)], text=self.prompt(question), return_tensors="pt")
        generated = self.model.generate(**inputs, max_new_tokens=2, do_sample=False)
        reply = generated[0, inputs["input_ids"].shape[1] :]
        return str(self.processor.tokenizer.decode(reply, skip_special_tokens=True)).strip()


def check_question(question: str, /) -> None:
    """Raise `UnknownWordsError` if the demo model cannot read a question.

    Parameters
    ----------
    question : str
    """
    from pmtools.evaluation.scenes.drawing import COLORS, SHAPES
    from pmtools.zoo.vocabulary import unknown_words

    if not isinstance(question, str) or not question.strip():
        raise TypeError(f"`question` must be a text that is not empty, got {question!r}")
    unknown = unknown_words(question)
    if unknown:
        raise UnknownWordsError(
            f"`question` must use the demo model's words, got {', '.join(map(repr, unknown))}; it knows the colors "
            f"{', '.join(COLORS)}, the shapes {', '.join(SHAPES)}, numbers up to six, and asks such as 'Is there a red circle in "
            "this image?', 'Is the star blue?', 'What color is the star?', 'What shape is the red object?', 'How many red "
            "objects are there in this image?', 'Are there two crosses in this image?', 'Is the circle to the left of / to the "
            "right of / above / below the star?'"
        )


def demo_model(folder: str | Path | None = None, /, *, dtype: Any = None) -> DemoModel:
    """Load the embedded demo model; nothing is downloaded.

    Parameters
    ----------
    folder : str or Path, optional
        Another model of the same kind, written by `python -m training`.
    dtype : torch.dtype, optional
        Default: float32; the weights are stored in float16.

    Returns
    -------
    DemoModel

    Raises
    ------
    FileNotFoundError
        If the folder does not hold a model.
    """
    import torch
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    path = DEMO_MODEL if folder is None else Path(folder)
    if not (path / "model.safetensors").is_file():
        raise FileNotFoundError(f"no model in {path}; train one with `python -m training --out DIR` and pass DIR/model")
    model = LlavaForConditionalGeneration.from_pretrained(path, dtype=dtype or torch.float32).eval()
    chosen = (path / name for name in ("settings.json", "alternatives.json"))
    settings, alternatives = (json.loads(file.read_text()) if file.is_file() else {} for file in chosen)
    processor = AutoProcessor.from_pretrained(path)
    processor.general_question = GENERAL_QUESTION
    return DemoModel(model, processor, settings, alternatives)
