"""`pmtools eval llava-bench`: open answers of each method, and a judge's scores of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pmtools.cli import judging
from pmtools.cli import options as opt
from pmtools.cli.console import progress, quoted, stderr
from pmtools.cli.eval import options as shared
from pmtools.cli.eval.answering import Part, answer_parts
from pmtools.cli.tables import print_json, print_table
from pmtools.evaluation.llava_bench import (
    LLaVABenchScore,
    OpenQuestion,
    count_tokens,
    read_llava_bench,
    read_reviews,
    review_answers,
    score_llava_bench,
)
from pmtools.evaluation.picture_files import with_pictures

if TYPE_CHECKING:
    from pmtools.evaluation.llava_bench import Judge


@opt.taking(shared.Answering, max_new_tokens=1024)
def llava_bench(
    *,
    options: shared.Answering,
    refresh: Annotated[
        Literal["first", "every", "adaptive"], opt.value("first|every|adaptive", "When pm magnifies again.")
    ] = "every",
    judge_model: judging.JudgeModelOption = None,
    judge_url: judging.JudgeUrlOption = None,
    judge_prices: judging.JudgePricesOption = None,
    skip_unread: judging.SkipUnreadOption = False,
) -> None:
    """LLaVA-Bench: open answers of each method; with `--judge-model`, their scores too. Without `--methods`: greedy and pm.

    The judge's key is read from OPENAI_API_KEY. Answers and reviews that are in OUT are neither made nor paid for again.
    """
    prices = judging.read_prices(judge_prices)
    judge = None if judge_model is None else judging.make_judge(judge_model, judge_url)
    with shared.reported():
        asked = read_llava_bench(options.data)
        some = asked[: options.limit]
        pictured = with_pictures([item.question for item in some], options.data)
    (replies,) = answer_parts(
        "llava-bench",
        [Part(options.out, [item.question for item in asked], pictured)],
        options,
        settings={"refresh": refresh},
    )
    stderr().print(f"wrote questions and answers to {quoted(options.out)}")
    if judge is None:
        stderr().print("no judge: give --judge-model to have them scored")
        if options.as_json:
            print_json({"methods": {name: {"n": len(texts)} for name, texts in replies.items()}})
        return
    scores, numbers = _judged(judge, some, replies, options.out, prices, skip_unread)
    if options.as_json:
        print_json({"methods": numbers})
        return
    _print_scores(scores, f"LLaVA-Bench, n = {len(some)}, judged by {judge.model}")
    for name, entry in numbers.items():
        tokens = entry["tokens"]
        price = f", cost {entry['cost']:.4f}" if "cost" in entry else ""
        stderr().print(f"{name}: {tokens['prompt']} + {tokens['completion']} tokens of the judge's{price}")


def _judged(
    judge: Judge,
    items: Sequence[OpenQuestion],
    replies: Mapping[str, Sequence[str]],
    out: Path,
    prices: tuple[float, float] | None,
    skip_unread: bool,
) -> tuple[dict[str, LLaVABenchScore], dict[str, dict[str, Any]]]:
    """The score of each method; and all its numbers, which go into the folder too."""
    from pmtools.evaluation.answering import write_whole

    scores: dict[str, LLaVABenchScore] = {}
    numbers: dict[str, dict[str, Any]] = {}
    with shared.reported(), judging.judging(), progress(len(items) * len(replies), "judging") as (_, step):
        for name, texts in replies.items():
            path = out / "reviews" / f"{name}.jsonl"
            review_answers(items, texts, judge, path, progress=step)
            found, skipped = read_reviews(path, skip_unread=skip_unread)
            scores[name] = score_llava_bench(found, skipped=skipped)
            tokens = count_tokens(path)
            numbers[name] = scores[name].to_dict() | {
                "tokens": dict(zip(("prompt", "completion"), tokens, strict=True))
            }
            if prices is not None:
                numbers[name]["cost"] = judging.cost(prices, tokens)
        write_whole(out / "summary.json", json.dumps({"judge": judge.model, "methods": numbers}, indent=2) + "\n")
    return scores, numbers


def _print_scores(scores: Mapping[str, LLaVABenchScore], title: str) -> None:
    categories = list(dict.fromkeys(name for score in scores.values() for name in score.categories))
    rows = [
        [
            method,
            f"{score.overall:.1f}",
            "-".join(f"{end:.1f}" for end in score.intervals["overall"]),
            *(f"{score.categories[name]:.1f}" if name in score.categories else "" for name in categories),
        ]
        for method, score in scores.items()
    ]
    typer.echo(title)
    best = max(scores, key=lambda name: scores[name].overall)
    print_table(
        ["method", "overall", "95 %", *categories],
        rows,
        narrow=True,
        legend="100 x the method's scores / the reference's, as the judge gave them; 95 %: bootstrap over questions.",
        closing=f"The highest overall score is {scores[best].overall:.1f}, that of {best}.",
    )
