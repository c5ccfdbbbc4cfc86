"""`pmtools eval mme`: MME from a local folder."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from pmtools.cli.eval import options as shared
from pmtools.cli.eval.answering import Part, answer_parts
from pmtools.cli.tables import print_table
from pmtools.evaluation.mme import COGNITION, HALLUCINATION, PERCEPTION, MMEScore, read_mme, score_mme
from pmtools.evaluation.picture_files import with_pictures
from pmtools.evaluation.questions import first_questions


def mme(
    *,
    data: shared.DataOption,
    out: shared.OutOption,
    questions: shared.QuestionsOption = None,
    methods: shared.MethodsOption = None,
    model: shared.ModelOption = None,
    device: shared.DeviceOption = None,
    clip: shared.ClipOption = None,
    limit: shared.LimitOption = None,
    seed: shared.SeedOption = 0,
    instruction: shared.InstructionOption = "",
    batch_size: shared.BatchOption = None,
    max_new_tokens: shared.TokensOption = 16,
    as_json: shared.JsonOption = False,
) -> None:
    """MME: answers of each method, and their scores. Without `--methods`: greedy and pm.

    DIR has MME's release, a folder a category, or one file of questions. With `--limit`, pictures stay whole.
    """
    with shared.reported():
        asked = read_mme(data, questions=questions)
        some = asked if limit is None else first_questions(asked, limit, whole_pictures=True)
        score_mme(some, [None] * len(some), rounds=1)  # refuses what could not be scored when all is answered
        part = Part(out, asked, with_pictures(some, data))
    replies = answer_parts(
        "mme",
        [part],
        methods=methods,
        model=model,
        device=device,
        clip=clip,
        batch_size=batch_size,
        seed=seed,
        max_new_tokens=max_new_tokens,
        instruction=instruction,
    )
    scores = {name: score_mme(some, texts) for name, texts in replies[0].items()}
    shared.write_scores(out, {name: score.to_dict() for name, score in scores.items()}, as_json)
    if not as_json:
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
    print_table(["method", *head], rows, narrow=True)
    for group in (HALLUCINATION, PERCEPTION[len(HALLUCINATION) :], COGNITION):
        categories = [category for category in group if category in first.categories]
        if categories:
            rows = [[name, *(f"{score.categories[c].score:.2f}" for c in categories)] for name, score in scores.items()]
            print_table(["method", *(category.replace("_", "\n") for category in categories)], rows, narrow=True)
