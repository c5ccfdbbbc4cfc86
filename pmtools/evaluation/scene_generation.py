"""Scene questions for any vision-language model: transformers' `generate` and the decoding methods of this package.

One question at a time, with words that ask for a short answer. `scene_methods` is the fast way for the demo model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pmtools import _checks
from pmtools.decoding import METHODS
from pmtools.evaluation.scenes import SceneItem

__all__ = ["GeneratedAnswers", "instruction"]


def instruction(item: SceneItem, /) -> str:
    """The question with what MME adds to yes/no questions, or a wish for one word.

    Parameters
    ----------
    item : SceneItem

    Returns
    -------
    str
    """
    yes_no = item.question.answer in {"yes", "no"}
    return f"{item.question.text} {'Please answer yes or no.' if yes_no else 'Answer with one word.'}"


class GeneratedAnswers:
    """Answers scene questions by `generate`; an `Answerer` for `run_scenes`.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    processor : transformers.ProcessorMixin
    options : mapping of str to dict, optional
        Options of each method.
    max_new_tokens : int, optional
    name : str, optional
        Of the model, for the record of the setup.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        /,
        *,
        options: Mapping[str, dict[str, Any]] | None = None,
        max_new_tokens: int = 16,
        name: str = "",
    ) -> None:
        self.model, self.processor, self.max_new_tokens = model, processor, max_new_tokens
        self.options = dict(options or {})
        self.setup = {"model": name, "options": {k: dict(v) for k, v in self.options.items()}, "tokens": max_new_tokens}

    def __call__(self, items: Sequence[SceneItem], methods: Sequence[str], /) -> dict[str, list[str]]:
        """Replies of each method, a key of `pmtools.decoding.METHODS`, to each item."""
        replies: dict[str, list[str]] = {}
        for method in methods:
            decoder = METHODS[_checks.choice(method, "methods", METHODS)](
                self.processor, **self.options.get(method, {})
            )
            replies[method] = [
                str(
                    decoder.generate(
                        self.model,
                        item.image,
                        instruction(item),
                        max_new_tokens=self.max_new_tokens,
                        do_sample=False,
                    )
                )
                for item in items
            ]
        return replies
