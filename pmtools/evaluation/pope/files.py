"""POPE's questions from local files.

Nothing is downloaded. Questions come back in the order of the files.
"""

from __future__ import annotations

from pathlib import Path

from pmtools.evaluation.json_lines import PathLike, RecordError, file_names, read_records
from pmtools.evaluation.questions import Question, read_question

__all__ = ["read_pope", "read_pope_folder"]


def read_pope_folder(folder: PathLike, /, *, questions: PathLike | None = None) -> dict[str, list[Question]]:
    """POPE's files of questions in a folder, by file name without suffix: random, popular and adversarial, or one of them.

    Parameters
    ----------
    folder : path
        With `*pope*.json` or `.jsonl`, directly or in subfolders, or with one file of any other name.
    questions : path, optional
        Read only this file.

    Returns
    -------
    dict of str to list of Question

    Raises
    ------
    RecordError
        If there is no such file, or it is malformed.
    """
    root = Path(folder)
    files = [Path(questions)] if questions is not None else []
    for pattern in ("*pope*.json*", "*/*pope*.json*", "*.json*"):
        files = files or sorted(path for path in root.glob(pattern) if path.suffix in {".json", ".jsonl"})
    if not files or (len(files) > 1 and not any("pope" in path.name for path in files)):
        raise RecordError(f"{folder}: must hold *pope*.json, got {file_names(files)}; name the file of questions")
    return {path.stem: read_pope(path) for path in files}


def read_pope(path: PathLike, /) -> list[Question]:
    """POPE's questions from JSON lines, or a JSON array of them: `question_id`, `image`, `text`, `label`.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of Question
        With `category`, the split, where the file has it.

    Raises
    ------
    RecordError
        If a line is malformed.
    OSError
        If the file cannot be opened.
    """
    return [read_question(record, category=record.optional_text("category") or "") for record in read_records(path)]
