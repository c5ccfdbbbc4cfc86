"""Run a benchmark with several methods, resumably, and write its tables and plots.

Knows benchmarks and reports; of models it knows a function that answers.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pmtools.evaluation.answers import read_word, read_yes_no
from pmtools.evaluation.matching import answer_record
from pmtools.evaluation.pictures import PictureQuestion
from pmtools.evaluation.questions import question_record
from pmtools.evaluation.report import plot_accuracy, summarize, table
from pmtools.evaluation.resumable import Answerer, answer_items, write_whole
from pmtools.evaluation.scene_drawing import COLORS, SHAPES
from pmtools.evaluation.scene_questions import NUMBERS
from pmtools.evaluation.scenes import SceneItem, scene_items

__all__ = ["answer_questions", "evaluate_scenes", "grade", "run_scenes"]

_OPTIONS = {"open_color": COLORS, "open_shape": SHAPES, "open_count": NUMBERS}


def grade(item: SceneItem, reply: str, /) -> bool:
    """Whether a reply answers an item rightly: MME's rule for yes and no, one exact word for open questions.

    Parameters
    ----------
    item : SceneItem
    reply : str

    Returns
    -------
    bool
    """
    question = item.question
    if question.answer in {"yes", "no"}:
        return read_yes_no(reply) == question.answer
    return read_word(reply, _OPTIONS[question.category]) == question.answer


def run_scenes(
    items: Iterable[SceneItem], answer: Answerer, /, *, methods: Sequence[str], out: str | Path, **options: Any
) -> list[dict[str, Any]]:
    """Answer scene questions with every method, going on where the folder says, and return all records.

    Parameters
    ----------
    items : iterable of SceneItem
    answer : Answerer
    methods : sequence of str
    out : str or Path
        Folder; in it `answers/<method>.jsonl` grow.
    **options
        `setup`, `batch_size` and `progress` of `pmtools.evaluation.resumable.answer_items`.

    Returns
    -------
    list of dict
        `index`, `method`, `image`, `category`, `size`, `question`, `answer`, `reply`, `right`; of the wished-for items
        and methods, by method and index.

    Raises
    ------
    ValueError
        If a method is named twice, the folder holds answers of another setup, or another run is at work in it.
    """
    found = answer_items(items, answer, methods=methods, out=out, record=_record, **options)
    return [{"method": method, **record} for method, records in found.items() for record in records]


def _record(item: SceneItem, reply: str) -> dict[str, Any]:
    return {
        "image": item.image_index,
        "category": item.question.category,
        "size": item.size,
        "question": item.question.text,
        "answer": item.question.answer,
        "reply": reply,
        "right": grade(item, reply),
    }


def evaluate_scenes(
    answer: Answerer,
    /,
    *,
    methods: Sequence[str],
    out: str | Path,
    limit: int = 3300,
    seed: int = 0,
    split: str = "test",
    batch_size: int = 48,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Run the scenes benchmark, resumably, and write its tables and plots.

    Parameters
    ----------
    answer : Answerer
        `SceneMethods`, `GeneratedAnswers` or `Routes`; its `setup`, if it has one, is kept with the answers.
    methods : sequence of str
        Include `"greedy"` to have the paired tests.
    out : str or Path
        Folder for `answers/<method>.jsonl`, `setup.json`, `summary.json`, `tables.md` and, where matplotlib is
        installed, `by_size.png` and `by_category.png`.
    limit : int, optional
        Number of questions.
    seed : int, optional
        Of the benchmark.
    split : {"test", "tune"}, optional
    batch_size : int, optional
    progress : callable, optional
        Called with the number of answers done since the last call; `limit * len(methods)` in all.

    Returns
    -------
    dict
        As `pmtools.evaluation.report.summarize`.
    """
    setup = {"benchmark": "scenes", "seed": seed, "split": split, **getattr(answer, "setup", {})}
    items = scene_items(seed=seed, limit=limit, split=split)
    records = run_scenes(items, answer, methods=methods, out=out, setup=setup, batch_size=batch_size, progress=progress)
    summary, folder = summarize(records), Path(out)
    write_whole(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    tables = [table(summary, columns=c) for c in ("by_category", "by_size", "by_category_and_size", "mme")]
    write_whole(folder / "tables.md", "\n\n".join(tables) + "\n")
    if importlib.util.find_spec("matplotlib"):
        for columns in ("by_size", "by_category"):
            plot_accuracy(summary, folder / f"{columns}.png", columns=columns)
    return summary


# ------------------------------------------------------------------------------------------------- yes/no benchmarks


def answer_questions(
    items: Sequence[PictureQuestion],
    answer: Answerer,
    /,
    *,
    methods: Sequence[str],
    out: str | Path,
    setup: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, list[str]]:
    """Answer MME, POPE or questions like theirs, resumably, into files that their scorers take as they are.

    Parameters
    ----------
    items : sequence of PictureQuestion
    answer : Answerer
        `GeneratedAnswers`; its `setup`, if it has one, is kept with the answers.
    methods : sequence of str
    out : str or Path
        Folder for `answers/<method>.jsonl`, `questions.jsonl` (those of this run, with labels) and `setup.json`.
    setup : mapping, optional
        What else the answers depend on: the benchmark, a digest of its questions.
    **options
        `batch_size` and `progress` of `pmtools.evaluation.resumable.answer_items`.

    Returns
    -------
    dict of str to list of str
        The replies of each method, in the order of the items.
    """
    found = answer_items(
        items,
        answer,
        methods=methods,
        out=out,
        record=lambda item, reply: answer_record(item.question, reply),
        setup={**(setup or {}), **getattr(answer, "setup", {})},
        **options,
    )
    rows = [json.dumps(question_record(item.question)) + "\n" for item in items]
    write_whole(Path(out) / "questions.jsonl", "".join(rows))
    return {method: [each["text"] for each in answers] for method, answers in found.items()}
