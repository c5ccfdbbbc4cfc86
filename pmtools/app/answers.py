"""The demo model, for a page with several users: loaded at the first question, one question at a time.

This file knows the model, its settings and images; no warp, no gradio.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools.app.actions import Settings, in_words
from pmtools.app.pictures import PageError, as_rgb
from pmtools.typing import Image

if TYPE_CHECKING:
    from pmtools.zoo import DemoModel

#: For pictures that come without their own.
QUESTIONS = (
    "Is there a red circle in this image?",
    "What color is the star?",
    "What shape is the blue object?",
    "How many red objects are there in this image?",
)


@dataclass(frozen=True)
class Reply:
    """The model's reply about a picture that was not magnified, and where it looked.

    Attributes
    ----------
    question : str
    answer : str
    heatmap : array of shape (h, w)
        Its attention before it answered, refined by the model's own settings.
    """

    question: str
    answer: str
    heatmap: np.ndarray[Any, Any]


class DemoAnswers:
    """Answers of the embedded demo model. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._demo: DemoModel | None = None

    def ask(self, image: Image, question: str, /) -> Reply:
        """Ask about an image that is not magnified.

        Parameters
        ----------
        image : PIL image or array
        question : str

        Returns
        -------
        Reply

        Raises
        ------
        PageError
            If the question has words that the model does not know, or torch or transformers is missing.
        """
        check(question)
        picture = as_rgb(image)
        with self._lock:
            demo = self._loaded()
            from pmtools.decoding import PerceptionMagnifier

            magnifier = PerceptionMagnifier(demo.processor, **demo.settings)
            magnifier.generate(demo.model, picture, demo.prompt(question), max_new_tokens=1, do_sample=False)
            heatmap = np.asarray(magnifier.last[0].heatmaps[0][0].detach().cpu(), dtype=np.float64)
            return Reply(question.strip(), demo.ask(picture, question), heatmap)

    def answer(self, image: Image, question: str, /) -> str:
        """Only the answer about an image.

        Parameters
        ----------
        image : PIL image or array
        question : str

        Returns
        -------
        str
        """
        check(question)
        with self._lock:
            return self._loaded().ask(as_rgb(image), question)

    def _loaded(self) -> DemoModel:
        if self._demo is None:
            try:
                import transformers

                from pmtools.zoo import demo_model

                transformers.utils.logging.disable_progress_bar()
                self._demo = demo_model()
            except ModuleNotFoundError as error:
                raise PageError(
                    f"Questions need {error.name}, which is not installed here: pip install 'pmtools[hf]'."
                ) from None
            except FileNotFoundError as error:
                raise PageError(in_words(str(error))) from None
        return self._demo


def check(question: object, /) -> None:
    """Refuse a question that the demo model cannot read.

    Parameters
    ----------
    question : str

    Raises
    ------
    PageError
        If it is empty, or has words that the model does not know; the message lists those that it knows.
    """
    from pmtools.zoo import check_question

    if not isinstance(question, str) or not question.strip():
        raise PageError("Type a question first, such as '" + QUESTIONS[0] + "'.")
    if len(question) > 200:
        raise PageError("The question must have up to 200 characters.")
    try:
        check_question(question)
    except (TypeError, ValueError) as error:
        raise PageError(in_words(str(error))) from None


def settings() -> Settings:
    """The settings that were chosen for the demo model.

    Returns
    -------
    Settings
    """
    from pmtools.zoo import DEMO_MODEL

    stored = json.loads((DEMO_MODEL / "settings.json").read_text("utf-8"))
    return Settings(**{name: stored[name] for name in vars(Settings()) if name in stored})
