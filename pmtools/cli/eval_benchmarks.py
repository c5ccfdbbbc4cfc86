"""`pmtools eval mme` and `pmtools eval pope`: published benchmarks from a local folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pmtools.cli import eval_options as shared
from pmtools.cli import options as opt
from pmtools.cli.console import quoted, stderr
from pmtools.cli.models import LoadedModel, load_model
from pmtools.cli.tables import print_json, print_table
from pmtools.evaluation import datasets
from pmtools.evaluation.matching import Question
from pmtools.evaluation.mme import COGNITION, HALLUCINATION, PERCEPTION, MMEScore, score_mme
from pmtools.evaluation.pictures import PictureQuestion, with_pictures
from pmtools.evaluation.pope import POPEScore, score_pope

if TYPE_CHECKING:
    from pmtools.evaluation.generation import GeneratedAnswers

DataOption = Annotated[
    Path, opt.value("DIR", "The benchmark as published: questions and pictures.", exists=True, file_okay=False)
]
QuestionsOption = Annotated[
    Path | None, opt.value("FILE", "Its questions, JSON lines. Default: what is in DIR.", exists=True, dir_okay=False)
]
LimitOption = Annotated[int | None, opt.value("N", "Only the first N questions of a file.", min=1)]
InstructionOption = Annotated[str, opt.value("TEXT", "What is added to every question.")]

_DEFAULT = ("greedy", "pm")


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
        asked = datasets.read_mme(data, questions=questions)
        some = asked if limit is None else datasets.first_questions(asked, limit, whole_pictures=True)
        part = _Part(out, asked, with_pictures(some, data))
    replies = _answer(
        "mme",
        [part],
        methods,
        model,
        device,
        seed,
        batch_size,
        instruction=instruction,
        max_new_tokens=max_new_tokens,
        clip=clip,
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
        files = datasets.read_pope_folder(data, questions=questions)
        parts = {
            name: _Part(out / name if len(files) > 1 else out, asked, with_pictures(asked[:limit], data))
            for name, asked in files.items()
        }
    replies = _answer(
        "pope",
        list(parts.values()),
        methods,
        model,
        device,
        seed,
        batch_size,
        instruction=instruction,
        max_new_tokens=max_new_tokens,
        clip=clip,
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


@dataclass(frozen=True)
class _Part:
    """One file of questions, and those of them that are asked."""

    out: Path
    file: list[Question]
    items: list[PictureQuestion]

    @property
    def questions(self) -> list[Question]:
        return [item.question for item in self.items]


def _answer(
    benchmark: str,
    parts: Sequence[_Part],
    methods: str | None,
    model: str | None,
    device: str | None,
    seed: int,
    batch_size: int | None,
    **options: Any,
) -> list[dict[str, list[str]]]:
    """The replies of each method to each part."""
    from pmtools.evaluation.generation import METHODS, ORACLES
    from pmtools.evaluation.runner import answer_questions, questions_digest

    known = [name for name in METHODS if name not in ORACLES]
    names = shared.read_methods(methods, default=_DEFAULT, known=known, clip=options["clip"])
    for part in parts:
        shared.check_folder(part.out)
    with shared.reported():
        loaded = load_model(model, device, command="eval")
        answer = _answers(loaded, parts, seed=seed, **options)
    with shared.reported(), shared.bar(sum(len(part.items) for part in parts) * len(names)) as step:
        return [
            answer_questions(
                part.items,
                answer,
                methods=names,
                out=part.out,
                setup={
                    "benchmark": benchmark,
                    "questions": questions_digest(part.file),
                    "instruction": options["instruction"],
                },
                batch_size=batch_size or shared.usual_batch(loaded),
                progress=step,
            )
            for part in parts
        ]


def _answers(
    loaded: LoadedModel, parts: Sequence[_Part], *, instruction: str, max_new_tokens: int, **options: Any
) -> GeneratedAnswers:
    """The model as an answerer; the embedded one where it knows all the words, and then without an instruction."""
    from pmtools.evaluation.generation import GeneratedAnswers

    if loaded.demo is not None:
        for part in parts:
            for question in part.questions:
                loaded.demo.prompt(question.text)
        instruction, max_new_tokens = "", 1
    return GeneratedAnswers(
        loaded.model,
        loaded.processor,
        text=lambda item: f"{item.question.text} {instruction}".strip(),
        settings=loaded.settings,
        max_new_tokens=max_new_tokens,
        name=loaded.name,
        **options,
    )


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
