"""`pmtools score`: the numbers of MME, POPE, LLaVA-Bench and lmms-eval's runs from files of answers; no model is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pmtools.cli import judging
from pmtools.cli import options as opt
from pmtools.cli.console import CommandError, progress, quoted, stderr, usage_error
from pmtools.cli.examples import examples
from pmtools.cli.paired import BASELINE, HEAD, cells, closing, corrected, legend
from pmtools.cli.tables import fill, print_json, print_table
from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.llava_bench import (
    count_tokens,
    read_llava_bench,
    read_reviews,
    review_answers,
    score_llava_bench,
)
from pmtools.evaluation.lmms_samples import TaskScores, compare_scores, read_samples, score_samples
from pmtools.evaluation.matching import Matching, match_answers, read_answers
from pmtools.evaluation.mme import (
    COGNITION,
    HALLUCINATION,
    PERCEPTION,
    label_mme_from_folder,
    label_yes_then_no,
    read_mme_questions,
    read_mme_results,
    score_mme,
)
from pmtools.evaluation.pope import read_pope, score_pope
from pmtools.evaluation.questions import Question

if TYPE_CHECKING:
    from pmtools.evaluation.statistics import Interval

app = typer.Typer(help="Score answers to MME, POPE and LLaVA-Bench, and compare lmms-eval's runs; needs no model.")


@app.callback(invoke_without_command=True)
def _score(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


class Missing(StrEnum):
    """What questions without exactly one answer do."""

    ERROR = "error"
    WRONG = "wrong"


def _file(help: str, *names: str) -> Any:
    return opt.value("FILE", help, *names, exists=True, dir_okay=False)


def _folder(help: str) -> Any:
    return opt.value("DIR", help, exists=True, file_okay=False)


AnswersOption = Annotated[Path | None, _file("The model's answers, JSON lines.")]
MissingOption = Annotated[
    Missing, opt.value("error|wrong", "What answers that are missing or duplicate do: stop, or count as wrong.")
]
JsonOption = Annotated[bool, opt.flag("Print one JSON object instead of a table.", "--json")]


@app.command(epilog=examples("score mme"))
def mme(
    *,
    questions: Annotated[Path | None, _file("MME's questions, JSON lines.")] = None,
    answers: AnswersOption = None,
    official: Annotated[
        Path | None,
        _folder("MME's own files. Alone: `<category>.txt` with replies, to score; else where labels come from."),
    ] = None,
    missing: MissingOption = Missing.ERROR,
    as_json: JsonOption = False,
) -> None:
    """MME: accuracy, accuracy+ and score a category; perception, cognition and hallucination totals.

    Answers are in the order of the questions, or carry `image` and the question (`prompt`). Where neither the questions
    nor `--official` have labels, the first question of an image is yes and the second no.
    """
    if (questions is None) != (answers is None) or (questions is None and official is None):
        raise usage_error("say what to score: --questions with --answers, or --official")
    if questions is None and missing is Missing.WRONG:
        raise usage_error("--missing goes with --answers; the files of --official have all replies")
    with _one_line_errors():
        if questions is not None and answers is not None:
            asked = _label_mme(read_mme_questions(questions), official)
            matching = match_answers(asked, read_answers(answers), missing=missing)
        elif official is not None:
            asked, replies = read_mme_results(official)
            matching = Matching(tuple(replies))
        score = score_mme(asked, matching.replies)
    if as_json:
        print_json(score.to_dict() | _leftovers(matching))
        return
    rows = [
        [name, c.n, f"{c.accuracy:.3f}", f"{c.accuracy_plus:.3f}", f"{c.score:.2f}", *_ends(score.intervals, name, 1)]
        for name, c in score.categories.items()
    ]
    totals = [
        [name, "", "", "", f"{getattr(score, name):.2f}", *_ends(score.intervals, name, 1)]
        for name in ("perception", "cognition", "hallucination")
        if name in score.intervals
    ]
    count = sum(category.n for category in score.categories.values())
    print_table(
        ["MME", "n", "accuracy", "accuracy+", "score", "95 % from", "to"],
        rows,
        totals,
        legend="n: questions; accuracy+: share of images with both answers right; score: 100 accuracy + 100 accuracy+; "
        "95 %: bootstrap over images.",
        closing=f"Of {count} answers, {sum(c.n * c.accuracy for c in score.categories.values()) / count:.1%} are right.",
    )
    members = {"perception": PERCEPTION, "cognition": COGNITION, "hallucination": HALLUCINATION}
    for name, categories in members.items():
        lacking = [category for category in categories if category in score.absent]
        if lacking and name in score.intervals:
            _note(f"{name}: without {', '.join(lacking)}")
    _note_leftovers(matching)


def _label_mme(questions: list[Question], official: Path | None) -> list[Question]:
    if official is not None:
        return label_mme_from_folder(questions, official)
    return questions if questions[0].label is not None else label_yes_then_no(questions)


@app.command(epilog=examples("score pope"))
def pope(
    *,
    questions: Annotated[Path, _file("POPE's questions with labels, JSON lines.")],
    answers: Annotated[Path, _file("The model's answers, JSON lines.")],
    missing: MissingOption = Missing.ERROR,
    as_json: JsonOption = False,
) -> None:
    """POPE: accuracy, precision, recall, F1 and how often the model says yes.

    Answers carry `question_id`, or `image` and the question (`prompt`), or are in the order of the questions.
    """
    with _one_line_errors():
        asked = read_pope(questions)
        matching = match_answers(asked, read_answers(answers), missing=missing)
        score = score_pope(asked, matching.replies)
    if as_json:
        print_json(score.to_dict() | _leftovers(matching))
        return
    rows = [
        [name.replace("_", " "), f"{getattr(score, name):.4f}", *_ends(score.intervals, name, 4)]
        for name in score.intervals
    ]
    print_table(
        [f"POPE, n = {score.n}", "value", "95 % from", "to"],
        rows,
        legend="yes is the positive class; yes ratio: share of answers that say yes; 95 %: bootstrap over images.",
        closing=f"Of {score.n} answers, {score.accuracy:.1%} are right, and {score.yes_ratio:.1%} say yes.",
    )
    _note_leftovers(matching)


@app.command("lmms-eval", epilog=examples("score lmms-eval"))
def lmms_eval(
    settings: Annotated[list[Path], typer.Argument(metavar="DIR...", exists=True, file_okay=False, show_default=False)],
    *,
    baseline: Annotated[str, opt.value("NAME", "The method that the others are compared with.")] = BASELINE,
    metric: Annotated[
        str | None, opt.value("NAME", "Of the samples. Default: the first that all questions have.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """lmms-eval's samples of several runs: paired differences from a baseline, clustered by image.

    Each DIR is one setting, for example a model at one number of pixels, with a folder for every method in it: what lmms-eval
    wrote with `--model pmtools_hf --log_samples --output_path DIR/METHOD`.
    """
    found: dict[tuple[str, str, str], dict[str, TaskScores]] = {}  # by task, metric and setting, of each method
    with _one_line_errors():
        for folder in settings:
            methods = sorted(path.name for path in folder.iterdir() if path.is_dir())
            if baseline not in methods or len(methods) < 2:
                raise usage_error(
                    f"{quoted(folder)} must have a folder {baseline!r} and those of other methods, got "
                    f"{', '.join(methods) or 'none'}; or name another --baseline"
                )
            for method in methods:
                for task, samples in read_samples(folder / method).items():
                    for name, scores in score_samples(samples, metric=metric).items():
                        found.setdefault((task, name, str(folder)), {})[method] = scores
        tests = corrected(
            {
                (*key, method): compare_scores(scores[baseline], scores[method])
                for key, scores in found.items()
                for method in scores
                if method != baseline and baseline in scores
            }
        )
    if not tests:
        raise CommandError(f"no task was run both with {baseline} and with another method", exit_code=1)
    if as_json:
        print_json({"comparisons": [_compared(key, found[key[:3]], baseline, entry) for key, entry in tests.items()]})
        return
    for task, name in dict.fromkeys(key[:2] for key in found):
        some = {key: scores for key, scores in found.items() if key[:2] == (task, name)}
        every = next(one for scores in some.values() for one in scores.values())
        typer.echo(f"{task}, {name}, n = {len(every.values)}, {len(set(every.pictures.values()))} images")
        rows = []
        for key, of in some.items():
            for method, one in sorted(of.items(), key=lambda pair: pair[0] != baseline):
                compared = cells(tests[*key, method], 3) if (*key, method) in tests else [""] * len(HEAD)
                rows.append([Path(key[2]).name, method, f"{one.tokens:.0f}", f"{one.mean:.4g}", *compared])
        print_table(["setting", "method", "tokens", "score", *HEAD], rows, narrow=True)
    what = "questions (MME: images) with a higher score, or a lower"
    typer.echo(fill(f"tokens: of a prompt, its images included; {legend(what, baseline, len(tests))}"))
    typer.echo(fill(closing(tests.values(), baseline)))


def _compared(
    key: tuple[str, str, str, str], scores: Mapping[str, TaskScores], baseline: str, entry: Mapping[str, Any]
) -> dict[str, Any]:
    """A comparison for JSON."""
    named = dict(zip(("task", "metric", "setting", "method"), key, strict=True))
    pair = {"first": scores[baseline], "second": scores[key[3]]}
    means = {name: {"score": one.mean, "tokens": one.tokens} for name, one in pair.items()}
    return {**named, "baseline": baseline, **means, **entry}


@app.command(epilog=examples("score llava-bench"))
def llava_bench(
    *,
    reviews: Annotated[Path, opt.value("FILE", "Reviews, JSON lines; a judge adds to it.", dir_okay=False)],
    skip_unread: judging.SkipUnreadOption = False,
    as_json: JsonOption = False,
    data: Annotated[Path | None, _folder("LLaVA-Bench as published; to have answers judged.")] = None,
    answers: AnswersOption = None,
    judge_model: judging.JudgeModelOption = None,
    judge_url: judging.JudgeUrlOption = None,
    judge_prices: judging.JudgePricesOption = None,
) -> None:
    """LLaVA-Bench: 100 x the model's scores / the reference's, overall and per category.

    With `--data`, `--answers` and `--judge-model`, answers that FILE has no review of are judged first. The key is read
    from OPENAI_API_KEY.
    """
    prices = judging.read_prices(judge_prices)
    if any(option is not None for option in (data, answers, judge_model)):
        if data is None or answers is None or judge_model is None:
            raise usage_error("a judge needs all of --data, --answers and --judge-model")
        _judge_answers(data, answers, reviews, judge_model, judge_url)
    with _one_line_errors():
        found, skipped = read_reviews(reviews, skip_unread=skip_unread)
        score = score_llava_bench(found, skipped=skipped)
        tokens = count_tokens(reviews)
    cost = None if prices is None else judging.cost(prices, tokens)
    if as_json:
        counted = {"tokens": dict(zip(("prompt", "completion"), tokens, strict=True))}
        print_json(score.to_dict() | counted | ({} if cost is None else {"cost": cost}))
        return
    rows = [[name, f"{ratio:.1f}", *_ends(score.intervals, name, 1)] for name, ratio in score.categories.items()]
    overall = ["overall", f"{score.overall:.1f}", *_ends(score.intervals, "overall", 1)]
    print_table(
        [f"LLaVA-Bench, n = {score.n}", "score", "95 % from", "to"],
        rows,
        [overall],
        legend="score: 100 x the model's scores / the reference's, as the judge gave them; 95 %: bootstrap.",
        closing=f"Over {score.n} reviews, the model gets {score.overall:.1f} % of the reference's scores.",
    )
    if skipped:
        _note(f"{skipped} reviews without scores left out")
    if any(tokens):
        price = "" if cost is None else f", cost {cost:.4f}"
        _note(f"judge: {tokens[0]} + {tokens[1]} tokens{price}")


def _judge_answers(data: Path, answers: Path, reviews: Path, model: str, url: str | None) -> None:
    judge = judging.make_judge(model, url)
    with _one_line_errors(), judging.judging():
        items = read_llava_bench(data)
        matching = match_answers([item.question for item in items], read_answers(answers))
        replies = [reply for reply in matching.replies if reply is not None]
        with progress(len(items), "judging") as (_, step):
            review_answers(items, replies, judge, reviews, progress=step)


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """What is wrong with files, in the words of the command line."""
    try:
        yield
    except RecordError as error:
        text = str(error).replace('missing="wrong"', "--missing wrong").replace("skip_unread=True", "--skip-unread")
        raise CommandError(text, exit_code=1) from None
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror or error}", exit_code=1) from None


def _leftovers(matching: Matching) -> dict[str, int]:
    return {"missing": matching.missing, "duplicate": matching.duplicate, "unmatched": matching.unmatched}


def _note_leftovers(matching: Matching) -> None:
    wrong, counts = matching.missing + matching.duplicate, _leftovers(matching)
    if any(counts.values()):
        listed = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        _note(f"answers: {listed}; {wrong} questions counted as wrong")


def _ends(intervals: Mapping[str, Interval], name: str, digits: int) -> list[str]:
    return [f"{end:.{digits}f}" for end in intervals[name]]


def _note(text: str) -> None:
    """A remark about the table, where it does not mix with it."""
    stderr().print(text)
