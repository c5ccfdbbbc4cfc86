"""`pmtools eval pope`: POPE from a local folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from pmtools.cli import options as opt
from pmtools.cli.eval import options as shared
from pmtools.cli.eval.answering import Part, answer_parts
from pmtools.cli.paired import BASELINE, corrected, print_paired
from pmtools.cli.tables import print_table
from pmtools.evaluation.picture_files import with_pictures
from pmtools.evaluation.pope import POPEScore, read_pope_folder, read_pope_reply, score_pope
from pmtools.evaluation.questions import Question
from pmtools.evaluation.statistics import paired_difference


@opt.taking(shared.Answering)
def pope(
    *,
    options: shared.Answering,
    questions: shared.QuestionsOption = None,
    instruction: shared.InstructionOption = "Please answer this question with one word.",
) -> None:
    """POPE: answers of each method, and their scores. Without `--methods`: greedy and pm.

    DIR has files of questions, such as `coco_pope_random.json`, and the pictures, for example in `val2014`. Several files get a
    folder of OUT each, and are scored each and together.
    """
    out = options.out
    with shared.reported():
        files = read_pope_folder(options.data, questions=questions)
        parts = {
            name: Part(
                out / name if len(files) > 1 else out, asked, with_pictures(asked[: options.limit], options.data)
            )
            for name, asked in files.items()
        }
        for part in parts.values():
            score_pope(part.questions, [None] * len(part.items), rounds=1)
    replies = answer_parts(
        "pope",
        list(parts.values()),
        options,
        instruction=instruction,
    )
    tables = {
        name: {method: score_pope(part.questions, texts) for method, texts in found.items()}
        for (name, part), found in zip(parts.items(), replies, strict=True)
    }
    every = [question for part in parts.values() for question in part.questions]
    together = {
        method: score_pope(every, [text for found in replies for text in found[method]]) for method in replies[0]
    }
    numbers = {method: score.to_dict() for method, score in together.items()}
    if len(parts) > 1:
        for method, entry in numbers.items():
            entry["files"] = {name: scores[method].to_dict() for name, scores in tables.items()}
        tables["all"] = together
    tests = _against_greedy(
        every, {method: [text for found in replies for text in found[method]] for method in together}
    )
    for (method,), entry in tests.items():
        numbers[method]["vs_greedy"] = entry
    shared.write_scores(out, numbers, options.as_json)
    if not options.as_json:
        for name, scores in tables.items():
            _print_pope(scores, f"POPE, {name}, n = {next(iter(scores.values())).n}")
        if tests:
            print_paired(["method"], tests, what="questions right only there, or only with greedy")


def _against_greedy(
    questions: Sequence[Question], replies: Mapping[str, Sequence[str]]
) -> dict[tuple[str], dict[str, Any]]:
    """The difference of each method in accuracy, over all files."""
    right = {
        name: [read_pope_reply(text) == question.label for question, text in zip(questions, texts, strict=True)]
        for name, texts in replies.items()
    }
    pictures = [question.image for question in questions]
    others = [name for name in right if BASELINE in right and name != BASELINE]
    return corrected({(name,): paired_difference(right[BASELINE], right[name], pictures) for name in others})


def _print_pope(scores: Mapping[str, POPEScore], title: str) -> None:
    """Accuracy and F1 with their intervals, and what they are made of."""
    typer.echo(title)
    rows = [
        [
            name,
            f"{score.accuracy:.4f}",
            shared.span(score.intervals["accuracy"], 3),
            f"{score.f1:.4f}",
            shared.span(score.intervals["f1"], 3),
            *(f"{value:.4f}" for value in (score.precision, score.recall, score.yes_ratio)),
        ]
        for name, score in scores.items()
    ]
    best = max(scores, key=lambda name: scores[name].accuracy)
    print_table(
        ["method", "accuracy", "95 %", "F1", "95 %", "precision", "recall", "yes\nratio"],
        rows,
        narrow=True,
        legend="yes is the positive class; yes ratio: share of answers that say yes; 95 %: bootstrap over images.",
        closing=f"Most right answers, {scores[best].accuracy:.1%} of {scores[best].n}, are those of {best}.",
    )
