"""Questions of the published benchmarks: their fields, their lines in files, and selecting the first ones.

This file knows no benchmark and no folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pmtools.evaluation.json_lines import Record

__all__ = [
    "Question",
    "first_questions",
    "image_stem",
    "normalize_question",
    "question_record",
    "questions_digest",
    "read_question",
]

_INSTRUCTION = re.compile(r"\s*(?:please\s+)?answer (?:yes or no|the question|this question|with)\b[^.]*\.?$")


@dataclass(frozen=True)
class Question:
    """One question of a benchmark.

    Attributes
    ----------
    question_id : str or None
    image : str
        As the file names it.
    text : str
    category : str
    label : str or None
        `"yes"` or `"no"`.
    place : str
        `file:line` that it was read from.
    """

    question_id: str | None
    image: str
    text: str
    category: str = ""
    label: str | None = None
    place: str = ""


def read_question(record: Record, /, *, category: str) -> Question:
    """The question in a line of a file: `question_id`, `image`, `text`, and `label` or `answer` if labelled.

    Parameters
    ----------
    record : Record
    category : str
        Its place in the file depends on the benchmark.

    Returns
    -------
    Question

    Raises
    ------
    RecordError
        If a field is missing or malformed.
    """
    return Question(
        question_id=record.identifier("question_id"),
        image=record.text("image"),
        text=record.text("text", "question"),
        category=category,
        label=record.yes_or_no("label", "answer"),
        place=record.place,
    )


def question_record(question: Question, /) -> dict[str, Any]:
    """The JSON line that `read_question` reads back.

    Parameters
    ----------
    question : Question

    Returns
    -------
    dict
        `question_id`, `image`, `text`, `category`, `label`; without unknown ones.
    """
    names = ("question_id", "image", "text", "category", "label")
    values = {name: getattr(question, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def questions_digest(questions: Sequence[Question], /) -> str:
    """A short digest of questions and labels, which distinguishes files of the same name.

    Parameters
    ----------
    questions : sequence of Question

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    text = json.dumps([question_record(question) for question in questions])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def normalize_question(text: str, /) -> str:
    """A question without the differences between releases: case, spacing, the spelling "imange", instructions at the end.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> normalize_question("Is there an orange in the imange?\\nAnswer the question using a single word or phrase.")
    'is there an orange in the image?'
    """
    text = " ".join(text.replace("<image>", " ").lower().split()).replace("imange", "image")
    while "answer" in text and (shorter := _INSTRUCTION.sub("", text)) != text and shorter:
        text = shorter
    return text


def image_stem(image: str, /) -> str:
    """The name of a picture's file without folder and suffix.

    Parameters
    ----------
    image : str

    Returns
    -------
    str

    Examples
    --------
    >>> image_stem("celebrity/images/tt0032138_shota.jpg")
    'tt0032138_shota'
    """
    return PurePosixPath(image.replace("\\", "/")).stem


def first_questions(questions: Sequence[Question], limit: int, /, *, whole_pictures: bool = False) -> list[Question]:
    """The first questions of a benchmark.

    Parameters
    ----------
    questions : sequence of Question
    limit : int
    whole_pictures : bool, optional
        Extend the selection until no picture has questions on both sides of its end.

    Returns
    -------
    list of Question
    """
    if not whole_pictures or limit >= len(questions):
        return list(questions[:limit])
    last = {(question.category, question.image): index for index, question in enumerate(questions)}
    end, index = limit, 0
    while index < end:
        end = max(end, last[questions[index].category, questions[index].image] + 1)
        index += 1
    return list(questions[:end])
