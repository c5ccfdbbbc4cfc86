"""A model's answers to questions about pictures in a folder: what `pmtools eval mme`, `pope` and `llava-bench` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmtools.cli import options as opt
from pmtools.cli.eval import options as shared
from pmtools.cli.models import demo_prompt, load_model
from pmtools.evaluation.picture_files import PictureQuestion
from pmtools.evaluation.questions import Question

DEFAULT = ("greedy", "pm")


@dataclass(frozen=True)
class Part:
    """One file of questions, those of them that are asked, and the folder for their answers."""

    out: Path
    file: Sequence[Question]
    items: Sequence[PictureQuestion]

    @property
    def questions(self) -> list[Question]:
        """Those that are asked."""
        return [item.question for item in self.items]


def answer_parts(
    benchmark: str,
    parts: Sequence[Part],
    options: shared.Answering,
    /,
    *,
    instruction: str = "",
    settings: Mapping[str, Any] | None = None,
) -> list[dict[str, list[str]]]:
    """The replies of each method to each part, from the options as they were given.

    `settings` of PM go before those of the model. The embedded model is asked where it knows all the words, and then
    without the instruction.

    Raises
    ------
    CommandError
        If something cannot be used.
    """
    from pmtools.evaluation.answering import answer_questions
    from pmtools.evaluation.methods import METHODS, TRUE_BOXES
    from pmtools.evaluation.questions import questions_digest

    known = [name for name in METHODS if name not in TRUE_BOXES]
    names = shared.read_methods(options.methods, default=DEFAULT, known=known, clip=options.clip)
    for part in parts:
        opt.check_folder(part.out, "--out")
    with shared.reported():
        loaded = load_model(options.model, options.device, command="eval", settings=options.settings)
        if loaded.demo is not None:
            for question in (question for part in parts for question in part.questions):
                demo_prompt(loaded.demo, question.text)
            instruction = ""
        answer = shared.answers_of(
            loaded,
            text=lambda item: f"{item.question.text} {instruction}".strip(),
            settings=settings or {},
            seed=options.seed,
            max_new_tokens=options.max_new_tokens,
            clip=options.clip,
            preset="pope" if benchmark == "pope" else "mme",
            max_pixels=options.max_pixels,
        )
        names = shared.usable_methods(names, options.methods, answer, parts[0].items[0])
    with shared.reported(), shared.bar(sum(len(part.items) for part in parts) * len(names)) as step:
        return [
            answer_questions(
                part.items,
                answer,
                methods=names,
                out=part.out,
                setup={"benchmark": benchmark, "questions": questions_digest(part.file), "instruction": instruction},
                batch_size=options.batch_size or shared.usual_batch(loaded),
                progress=step,
            )
            for part in parts
        ]
