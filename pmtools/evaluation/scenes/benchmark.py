"""Run the scenes benchmark with several methods, resumably, and write its tables and plots.

A model is a function that answers.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pmtools.evaluation.answering import Answerer, answer_items, write_whole
from pmtools.evaluation.answers import read_word, read_yes_no
from pmtools.evaluation.scenes.drawing import COLORS, SHAPES, SIDE
from pmtools.evaluation.scenes.items import SceneItem, scene_items
from pmtools.evaluation.scenes.questions import NUMBERS
from pmtools.evaluation.scenes.report import plot_accuracy, summarize, table

__all__ = ["evaluate_scenes", "grade", "run_scenes"]

_OPTIONS = {"open_color": COLORS, "open_shape": SHAPES, "open_count": NUMBERS}


def grade(item: SceneItem, reply: str, /) -> bool:
    """Whether a reply is correct: MME's rule for yes and no, one exact word for open questions.

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
    """Answer scene questions with every method, resuming from the folder, and return all records.

    Parameters
    ----------
    items : iterable of SceneItem
    answer : Answerer
    methods : sequence of str
    out : str or Path
        Folder, to which `answers/<method>.jsonl` are written.
    **options
        `setup`, `batch_size` and `progress` of `pmtools.evaluation.answering.answer_items`.

    Returns
    -------
    list of dict
        `index`, `method`, `image`, `category`, `size`, `question`, `answer`, `reply`, `right`; of the given items and
        methods, ordered by method and index.

    Raises
    ------
    ValueError
        If a method is named twice, the folder holds answers of another setup, or another run is using it.
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
    side: int = SIDE,
    batch_size: int = 48,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Run the scenes benchmark, resumably, and write its tables and plots.

    Parameters
    ----------
    answer : Answerer
        `ModelAnswers`; its `setup`, if it has one, is kept with the answers.
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
    side : int, optional
        Pixels a side of the pictures, as in `scene_items`.
    batch_size : int, optional
    progress : callable, optional
        Called with the number of answers done since the last call; `limit * len(methods)` in all.

    Returns
    -------
    dict
        As `pmtools.evaluation.scenes.report.summarize`.
    """
    setup = {"benchmark": "scenes", "seed": seed, "split": split, "side": side, **getattr(answer, "setup", {})}
    items = scene_items(seed=seed, limit=limit, split=split, side=side)
    records = run_scenes(items, answer, methods=methods, out=out, setup=setup, batch_size=batch_size, progress=progress)
    summary, folder = summarize(records), Path(out)
    write_whole(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    tables = [table(summary, columns=c) for c in ("by_category", "by_size", "by_category_and_size", "mme")]
    write_whole(folder / "tables.md", "\n\n".join(tables) + "\n")
    if importlib.util.find_spec("matplotlib"):
        for columns in ("by_size", "by_category"):
            plot_accuracy(summary, folder / f"{columns}.png", columns=columns)
    return summary
