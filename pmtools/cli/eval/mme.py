"""`pmtools eval mme`: MME from a local folder."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from pmtools.cli import options as opt
from pmtools.cli.eval import options as shared
from pmtools.cli.eval.answering import Part, answer_parts
from pmtools.cli.tables import print_table
from pmtools.evaluation.mme import COGNITION, HALLUCINATION, PERCEPTION, MMEScore, read_mme, score_mme
from pmtools.evaluation.picture_files import with_pictures
from pmtools.evaluation.questions import first_questions


@opt.taking(shared.Answering)
def mme(
    *,
    options: shared.Answering,
    questions: shared.QuestionsOption = None,
    instruction: shared.InstructionOption = "",
) -> None:
    """MME: answers of each method, and their scores. Without `--methods`: greedy and pm.

    DIR has MME's release, a folder a category, or one file of questions. With `--limit`, pictures stay whole.
    """
    with shared.reported():
        asked = read_mme(options.data, questions=questions)
        some = asked if options.limit is None else first_questions(asked, options.limit, whole_pictures=True)
        score_mme(some, [None] * len(some), rounds=1)  # refuses what could not be scored when all is answered
        part = Part(options.out, asked, with_pictures(some, options.data))
    replies = answer_parts(
        "mme",
        [part],
        options,
        instruction=instruction,
    )
    scores = {name: score_mme(some, texts) for name, texts in replies[0].items()}
    shared.write_scores(options.out, {name: score.to_dict() for name, score in scores.items()}, options.as_json)
    if not options.as_json:
        _print_mme(scores, f"MME, n = {len(some)}")


def _print_mme(scores: Mapping[str, MMEScore], title: str) -> None:
    """The totals with their intervals, then the categories' scores, a group a table."""
    first = next(iter(scores.values()))
    totals = [name for name in ("hallucination", "perception", "cognition") if name in first.intervals]
    head = [part for name in totals for part in (name, "95 %")]
    rows = [
        [
            name,
            *(
                cell
                for total in totals
                for cell in (f"{getattr(score, total):.2f}", shared.span(score.intervals[total], 0))
            ),
        ]
        for name, score in scores.items()
    ]
    typer.echo(title)
    best = max(scores, key=lambda name: getattr(scores[name], totals[0])) if totals else None
    print_table(
        ["method", *head],
        rows,
        narrow=True,
        legend="Sums of the scores of their categories, 100 accuracy + 100 accuracy+ each; 95 %: bootstrap over images.",
        closing=f"The highest {totals[0]} is {getattr(scores[best], totals[0]):.2f}, that of {best}." if best else "",
    )
    for group in (HALLUCINATION, PERCEPTION[len(HALLUCINATION) :], COGNITION):
        categories = [category for category in group if category in first.categories]
        if categories:
            rows = [[name, *(f"{score.categories[c].score:.2f}" for c in categories)] for name, score in scores.items()]
            print_table(["method", *(category.replace("_", "\n") for category in categories)], rows, narrow=True)
