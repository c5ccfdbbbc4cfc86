"""`pmtools eval mme`: MME from a local folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from pmtools.cli import options as opt
from pmtools.cli.eval import options as shared
from pmtools.cli.eval.answering import Part, answer_parts
from pmtools.cli.paired import BASELINE, corrected, print_paired
from pmtools.cli.tables import print_table
from pmtools.evaluation.mme import (
    COGNITION,
    HALLUCINATION,
    PERCEPTION,
    MMEScore,
    picture_points,
    read_mme,
    right_pairs,
    score_mme,
)
from pmtools.evaluation.picture_files import with_pictures
from pmtools.evaluation.questions import first_questions
from pmtools.evaluation.statistics import paired_difference


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
    tests = _against_greedy({name: right_pairs(some, texts) for name, texts in replies[0].items()})
    numbers = {name: score.to_dict() for name, score in scores.items()}
    for (name, total), entry in tests.items():
        numbers[name].setdefault("vs_greedy", {})[total] = entry
    shared.write_scores(options.out, numbers, options.as_json)
    if not options.as_json:
        _print_mme(scores, f"MME, n = {len(some)}")
        if tests:
            print_paired(["method", "total"], tests, what="images with more points, or fewer", digits=1)


def _against_greedy(
    pairs: Mapping[str, Mapping[str, list[tuple[bool, bool]]]],
) -> dict[tuple[str, str], dict[str, Any]]:
    """The difference of each method in each total, in points; images are the units."""
    tests = {}
    for name in [name for name in pairs if BASELINE in pairs and name != BASELINE]:
        for total, members in (("hallucination", HALLUCINATION), ("perception", PERCEPTION), ("cognition", COGNITION)):
            first, second = (
                picture_points({one: rights for one, rights in found.items() if one in members})
                for found in (pairs[BASELINE], pairs[name])
            )
            if first:
                tests[name, total] = paired_difference(first, second, range(len(first)))
    return corrected(tests)


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
