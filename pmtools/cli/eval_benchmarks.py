"""`pmtools eval mme` and `pmtools eval pope`: published benchmarks from a local folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pmtools.cli import eval_options as shared
from pmtools.cli import options as opt
from pmtools.cli.console import quoted, stderr
from pmtools.cli.eval_answers import Part, answer_parts
from pmtools.cli.tables import print_json, print_table
from pmtools.evaluation.mme import COGNITION, HALLUCINATION, PERCEPTION, MMEScore, score_mme
from pmtools.evaluation.mme_files import read_mme
from pmtools.evaluation.pictures import with_pictures
from pmtools.evaluation.pope import POPEScore, score_pope
from pmtools.evaluation.pope_files import read_pope_folder
from pmtools.evaluation.questions import first_questions

DataOption = Annotated[
    Path, opt.value("DIR", "The benchmark as published: questions and pictures.", exists=True, file_okay=False)
]
QuestionsOption = Annotated[
    Path | None, opt.value("FILE", "Its questions, JSON lines. Default: what is in DIR.", exists=True, dir_okay=False)
]
LimitOption = Annotated[int | None, opt.value("N", "Only the first N questions of a file.", min=1)]
InstructionOption = Annotated[str, opt.value("TEXT", "What is added to every question.")]


def mme(
    *,
    data: DataOption,
    out: shared.OutOption,
    questions: QuestionsOption = None,
    methods: shared.MethodsOption = None,
    model: shared.ModelOption = None,
    device: shared.DeviceOption = None,
    clip: shared.ClipOption = None,
    limit: LimitOption = None,
    seed: shared.SeedOption = 0,
    instruction: InstructionOption = "",
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
    _write(out, {name: score.to_dict() for name, score in scores.items()}, as_json)
    if not as_json:
        _print_mme(scores, f"MME, n = {len(some)}")


def pope(
    *,
    data: DataOption,
    out: shared.OutOption,
    questions: QuestionsOption = None,
    methods: shared.MethodsOption = None,
    model: shared.ModelOption = None,
    device: shared.DeviceOption = None,
    clip: shared.ClipOption = None,
    limit: LimitOption = None,
    seed: shared.SeedOption = 0,
    instruction: InstructionOption = "Please answer this question with one word.",
    batch_size: shared.BatchOption = None,
    max_new_tokens: shared.TokensOption = 16,
    as_json: shared.JsonOption = False,
) -> None:
    """POPE: answers of each method, and their scores. Without `--methods`: greedy and pm.

    DIR has files of questions, such as `coco_pope_random.json`, and the pictures, in `val2014` say. Several files get a folder of
    OUT each, and are scored each and together.
    """
    with shared.reported():
        files = read_pope_folder(data, questions=questions)
        parts = {
            name: Part(out / name if len(files) > 1 else out, asked, with_pictures(asked[:limit], data))
            for name, asked in files.items()
        }
        for part in parts.values():
            score_pope(part.questions, [None] * len(part.items), rounds=1)
    replies = answer_parts(
        "pope",
        list(parts.values()),
        methods=methods,
        model=model,
        device=device,
        clip=clip,
        batch_size=batch_size,
        seed=seed,
        max_new_tokens=max_new_tokens,
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
    _write(out, numbers, as_json)
    if not as_json:
        for name, scores in tables.items():
            _print_pope(scores, f"POPE, {name}, n = {next(iter(scores.values())).n}")


# ---------------------------------------------------------------------------------------------------- what they share


def _write(out: Path, numbers: dict[str, Any], as_json: bool) -> None:
    """The scores of each method, into the folder and for `--json`."""
    from pmtools.evaluation.resumable import write_whole

    with shared.reported():
        write_whole(out / "summary.json", json.dumps({"methods": numbers}, indent=2) + "\n")
    if as_json:
        print_json({"methods": numbers})
    else:
        stderr().print(f"wrote questions, answers and scores to {quoted(out)}")


def _print_mme(scores: Mapping[str, MMEScore], title: str) -> None:
    """The totals with their intervals, then the categories' scores, a group a table."""
    first = next(iter(scores.values()))
    totals = [name for name in ("hallucination", "perception", "cognition") if name in first.intervals]
    head = [part for name in totals for part in (name, "95 %")]
    rows = [
        [
            name,
            *(cell for total in totals for cell in (f"{getattr(score, total):.2f}", _span(score.intervals[total], 0))),
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


def _print_pope(scores: Mapping[str, POPEScore], title: str) -> None:
    """Accuracy and F1 with their intervals, and what they are made of."""
    typer.echo(title)
    rows = [
        [
            name,
            f"{score.accuracy:.4f}",
            _span(score.intervals["accuracy"], 3),
            f"{score.f1:.4f}",
            _span(score.intervals["f1"], 3),
            *(f"{value:.4f}" for value in (score.precision, score.recall, score.yes_ratio)),
        ]
        for name, score in scores.items()
    ]
    print_table(["method", "accuracy", "95 %", "F1", "95 %", "precision", "recall", "yes\nratio"], rows, narrow=True)


def _span(interval: tuple[float, float], digits: int) -> str:
    return "-".join(f"{end:.{digits}f}" for end in interval)
