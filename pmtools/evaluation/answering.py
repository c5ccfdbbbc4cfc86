"""Answer every item with every method, resumably: one JSON line per answer, none lost and none repeated.

This file knows no models: items have an index, one function answers them, another makes records of the answers.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeAlias, TypeVar

from pmtools import _checks
from pmtools.evaluation.json_lines import RecordError, adding_to, exclusively, keep_whole_lines, naming, read_records
from pmtools.evaluation.matching import answer_record
from pmtools.evaluation.picture_files import PictureQuestion
from pmtools.evaluation.questions import question_record
from pmtools.io.files import remove_leftovers, replacing

__all__ = ["Answerer", "Item", "answer_items", "answer_questions", "answers_path", "found_answers", "write_whole"]

Answered: TypeAlias = dict[str, Any]
SETUP = "setup.json"


class Item(Protocol):
    """Something to answer, identified by its `index`."""

    @property
    def index(self) -> int:
        """The same in every run."""


AnyItem = TypeVar("AnyItem", bound=Item)


class Answerer(Protocol):
    """Answers a batch of items with several methods at once, so that the methods can share work."""

    def __call__(self, items: Sequence[Any], methods: Sequence[str], /) -> dict[str, list[str]]:
        """Replies per method, in the order of the items."""


def answer_items(
    items: Iterable[AnyItem],
    answer: Answerer,
    /,
    *,
    methods: Sequence[str],
    out: str | Path,
    record: Callable[[AnyItem, str], Answered],
    setup: Mapping[str, Any] | None = None,
    batch_size: int = 32,
    progress: Callable[[int], object] | None = None,
) -> dict[str, list[Answered]]:
    """Answer every item with every method, resuming from the folder, and return all records.

    Parameters
    ----------
    items : iterable of Item
    answer : Answerer
        Called with the items of a batch and the methods that still lack them.
    methods : sequence of str
    out : str or Path
        Folder, to which `answers/<method>.jsonl` are written.
    record : callable
        `record(item, reply)` returns a mapping that JSON can hold; the index is added.
    setup : mapping, optional
        What the answers depend on (model, seed, split, settings), as JSON can hold it. A folder made with another one is
        refused.
    batch_size : int, optional
    progress : callable, optional
        Called with the number of answers that were made or found.

    Returns
    -------
    dict of str to list of dict
        The records of each method, in the order of the items.

    Raises
    ------
    ValueError
        If no method is named, or one twice, the folder holds answers of another setup, or another run is using it.
    RecordError
        If another program changed a line of answers.
    OSError
        If the folder cannot be written to.
    """
    if len(set(methods)) != len(methods) or not methods:
        raise ValueError(f"`methods` must name at least one method and none twice, got {list(methods)}")
    _checks.whole_number(batch_size, "batch_size")
    folder = Path(out)
    folder.joinpath("answers").mkdir(parents=True, exist_ok=True)
    results: dict[str, list[Answered]] = {method: [] for method in methods}
    with contextlib.ExitStack() as open_files:
        open_files.enter_context(_locked(folder, setup))
        remove_leftovers(folder)
        known = {method: {r["index"]: r for r in found_answers(folder, method)} for method in methods}
        add = {method: open_files.enter_context(adding_to(answers_path(folder, method))) for method in methods}
        for batch in _batches(items, batch_size):
            for method, item in itertools.product(methods, batch):
                if item.index in known[method]:
                    _check_fields(known[method][item.index], record(item, ""), answers_path(folder, method))
            lacking = {
                method: tuple(item.index for item in batch if item.index not in known[method]) for method in methods
            }
            # methods that lack the same items are answered together and share work
            for indices in dict.fromkeys(filter(None, lacking.values())):
                todo = [item for item in batch if item.index in indices]
                replies = answer(todo, [method for method in methods if lacking[method] == indices])
                for method, texts in replies.items():
                    fresh = [
                        {"index": item.index, **record(item, text)} for item, text in zip(todo, texts, strict=True)
                    ]
                    add[method](fresh)
                    known[method] |= {each["index"]: each for each in fresh}
            for method in methods:
                results[method] += [known[method][item.index] for item in batch]
            if progress:
                progress(len(batch) * len(methods))
    return results


def answers_path(folder: str | Path, method: str, /) -> Path:
    """The file of a method's answers in the folder of a run.

    Parameters
    ----------
    folder : str or Path
    method : str

    Returns
    -------
    Path
    """
    return Path(folder) / "answers" / f"{method}.jsonl"


def found_answers(folder: str | Path, method: str, /) -> list[Answered]:
    """The complete records of a method in a folder; a line that was cut short when a run was killed is removed from the file.

    Parameters
    ----------
    folder : str or Path
    method : str

    Returns
    -------
    list of dict

    Raises
    ------
    RecordError
        If a complete line is not a JSON object with an `index`.
    """
    path = answers_path(folder, method)
    lines = read_records(path) if keep_whole_lines(path) else []
    for line in lines:
        if type(line.fields.get("index")) is not int:
            raise line.error(f"`index` must be an integer, got {line.fields.get('index')!r}; delete the line")
    return [dict(line.fields) for line in lines]


def write_whole(path: Path, text: str, /) -> Path:
    """Write a text file completely or not at all.

    Parameters
    ----------
    path : Path
    text : str

    Returns
    -------
    Path
    """
    content = text.encode()
    with replacing(path) as stream:
        stream.write(content)
    return path


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
    """Answer MME, POPE or similar questions, resumably, into files that their scorers read directly.

    Parameters
    ----------
    items : sequence of PictureQuestion
    answer : Answerer
        `ModelAnswers`; its `setup`, if it has one, is kept with the answers.
    methods : sequence of str
    out : str or Path
        Folder for `answers/<method>.jsonl`, `questions.jsonl` (those of this run, with labels) and `setup.json`.
    setup : mapping, optional
        What else the answers depend on: the benchmark, a digest of its questions.
    **options
        `batch_size` and `progress` of `answer_items`.

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


def _check_fields(found: Answered, fresh: Answered, path: Path) -> None:
    """Refuse a record whose fields differ in name or type from those of a new record."""
    for name, value in fresh.items():
        if type(found.get(name)) is not type(value):
            raise RecordError(
                f"{path}: the answer with index {found['index']} has no `{name}` as this command writes it; delete the line, "
                "and the question is asked again"
            )


def _batches(items: Iterable[AnyItem], size: int) -> Iterator[list[AnyItem]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


@contextlib.contextmanager
def _locked(folder: Path, setup: Mapping[str, Any] | None) -> Iterator[None]:
    """Lock the folder against other runs, and refuse those of another setup."""
    path = folder / SETUP
    with path.open("a+", encoding="utf-8") as file, exclusively(file, folder):
        file.seek(0)
        found, wanted = _text_of(file, path), json.dumps(setup or {}, indent=2, sort_keys=True) + "\n"
        if not wanted.startswith(found.strip()):
            raise ValueError(
                f"`out` holds answers of another setup, {_differing(found, wanted)}; see {path}. Give another folder, or "
                "delete this one to start again"
            )
        if found != wanted:  # new, or cut short when a run was killed
            with naming(file, path):
                file.truncate(0)
                file.write(wanted)
                file.flush()
        yield


def _text_of(file: TextIO, path: Path) -> str:
    try:
        return file.read()
    except UnicodeDecodeError:
        raise ValueError(
            f"`out` has a {path} that is not UTF-8; delete it to start again, or give another folder"
        ) from None


def _differing(found: str, wanted: str) -> str:
    """The entries in which two setups differ."""
    try:
        before, after = json.loads(found), json.loads(wanted)
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return "or of none"
    return "which differs in " + ", ".join(f"`{name}`" for name in names)
