"""Run methods over a benchmark, resumably: one JSON line an answer, nothing lost and nothing twice.

Knows items and a function that answers them; it knows neither models nor methods.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from pmtools.evaluation.answers import read_word, read_yes_no
from pmtools.evaluation.report import plot_accuracy, summarize, table
from pmtools.evaluation.scene_drawing import COLORS, SHAPES
from pmtools.evaluation.scenes import NUMBERS, SceneItem, scene_items

__all__ = ["Answerer", "evaluate_scenes", "grade", "read_records", "run_scenes"]

RECORDS, SETUP = "answers.jsonl", "setup.json"
_OPTIONS = {"open_color": COLORS, "open_shape": SHAPES, "open_count": NUMBERS}


class Answerer(Protocol):
    """Answers a batch of items with several methods at once, so that the methods can share work."""

    def __call__(self, items: Sequence[SceneItem], methods: Sequence[str], /) -> dict[str, list[str]]:
        """Replies per method, in the order of the items."""


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
    items: Iterable[SceneItem],
    answer: Answerer,
    /,
    *,
    methods: Sequence[str],
    out: str | Path,
    setup: dict[str, Any] | None = None,
    batch_size: int = 32,
    progress: Callable[[int], object] | None = None,
) -> list[dict[str, Any]]:
    """Answer every item with every method, going on where the folder says, and return all records.

    Parameters
    ----------
    items : iterable of SceneItem
    answer : Answerer
    methods : sequence of str
    out : str or Path
        Folder; `answers.jsonl` grows in it.
    setup : dict, optional
        What the answers depend on (model, seed, split, settings), JSON-able. A folder made with another one is refused.
    batch_size : int, optional
    progress : callable, optional
        Called with the number of answers that are new or were found.

    Returns
    -------
    list of dict
        `method`, `index`, `image`, `category`, `size`, `question`, `answer`, `reply`, `right`; of the wished-for items
        and methods, by method and index.

    Raises
    ------
    ValueError
        If a method is named twice, or the folder holds answers of another setup.
    """
    if len(set(methods)) != len(methods) or not methods:
        raise ValueError(f"`methods` must name at least one method and none twice, got {list(methods)}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    _check_setup(folder / SETUP, setup)
    records = {(r["method"], r["index"]): r for r in read_records(folder)}
    wished = []
    with _appending(folder / RECORDS) as lines:
        for batch in _batches(items, batch_size):
            wished += [(method, item.index) for item in batch for method in methods]
            open_items = {m: [i for i in batch if (m, i.index) not in records] for m in methods}
            # methods that lack the same items go together and share their work
            for lacking, group in itertools.groupby(methods, key=lambda m: tuple(i.index for i in open_items[m])):
                names = list(group)
                if lacking:
                    todo = open_items[names[0]]
                    fresh = _records(todo, answer(todo, names))
                    lines.write("".join(json.dumps(record) + "\n" for record in fresh))
                    lines.flush()
                    records.update({(record["method"], record["index"]): record for record in fresh})
            if progress:
                progress(len(batch) * len(methods))
    order = {method: k for k, method in enumerate(methods)}
    return [records[key] for key in sorted(wished, key=lambda key: (order[key[0]], key[1]))]


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
        `SceneMethods` or `GeneratedAnswers`; its `setup`, if it has one, is kept with the answers.
    methods : sequence of str
        Include `"greedy"` to have the paired tests.
    out : str or Path
        Folder for `answers.jsonl`, `setup.json`, `summary.json`, `tables.md` and, where matplotlib is installed,
        `by_size.png` and `by_category.png`.
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
    setup = {"seed": seed, "split": split, **getattr(answer, "setup", {})}
    items = scene_items(seed=seed, limit=limit, split=split)
    records = run_scenes(items, answer, methods=methods, out=out, setup=setup, batch_size=batch_size, progress=progress)
    summary = summarize(records)
    folder = Path(out)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    tables = [table(summary, columns=c) for c in ("by_category", "by_size", "by_category_and_size", "mme")]
    (folder / "tables.md").write_text("\n\n".join(tables) + "\n")
    if importlib.util.find_spec("matplotlib"):
        for columns in ("by_size", "by_category"):
            plot_accuracy(summary, folder / f"{columns}.png", columns=columns)
    return summary


def read_records(folder: str | Path, /) -> list[dict[str, Any]]:
    """All whole records of a folder; a line that a kill cut short is taken out of the file.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    list of dict
    """
    path = Path(folder) / RECORDS
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    return [json.loads(line) for line in content[:whole].splitlines()]


def _appending(path: Path) -> Any:
    return path.open("a", encoding="utf-8")


def _batches(items: Iterable[SceneItem], size: int) -> Iterator[list[SceneItem]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _check_setup(path: Path, setup: dict[str, Any] | None) -> None:
    if setup is None:
        return
    text = json.dumps(setup, indent=2, sort_keys=True) + "\n"
    if path.exists() and path.read_text() != text:
        raise ValueError(
            f"`out` holds answers of another setup, see {path}; give another folder, or delete this one to start anew"
        )
    path.write_text(text)


def _records(items: Sequence[SceneItem], replies: dict[str, list[str]]) -> list[dict[str, Any]]:
    return [
        {
            "method": method,
            "index": item.index,
            "image": item.image_index,
            "category": item.question.category,
            "size": item.size,
            "question": item.question.text,
            "answer": item.question.answer,
            "reply": reply,
            "right": grade(item, reply),
        }
        for method, texts in replies.items()
        for item, reply in zip(items, texts, strict=True)
    ]
