"""Matching of answers to questions that files identify by id, by picture and text, or only by order.

Ids repeat (MME gives the two questions of a picture one id, POPE numbers each split from 1), releases spell questions
differently, and runs are cut short; an answer is never assigned to a question by guessing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pmtools import _checks
from pmtools.evaluation.json_lines import PathLike, Record, RecordError, read_records
from pmtools.evaluation.questions import Question, image_stem, normalize_question

__all__ = [
    "Answer",
    "Matching",
    "answer_record",
    "match_answers",
    "read_answers",
]

_SHOWN = 3  # of the answers or questions that a message is about


@dataclass(frozen=True)
class Answer:
    """One reply of a model, with all that the file says about its question.

    Attributes
    ----------
    reply : str
    question_id, image, text : str or None
        Of the question.
    place : str
        `file:line` it was read from.
    """

    reply: str
    question_id: str | None = None
    image: str | None = None
    text: str | None = None
    place: str = ""


@dataclass(frozen=True)
class Matching:
    """The reply to each question, and what could not be matched.

    Attributes
    ----------
    replies : tuple of str or None
        In the order of the questions; None counts as wrong.
    missing, duplicate, unmatched : int
        Questions without an answer, questions with more than one, answers without a question.
    """

    replies: tuple[str | None, ...]
    missing: int = 0
    duplicate: int = 0
    unmatched: int = 0


def read_answers(path: PathLike, /) -> list[Answer]:
    """A model's answers from JSON lines, as LLaVA, POPE or pmtools write them.

    The reply is `answer` or `response`, and then `text` is the question; or it is `text`, with the question under
    `prompt` or `question`. `question_id` and `image` are read if present.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of Answer

    Raises
    ------
    RecordError
        If a line is malformed, has no reply, or has two.
    OSError
        If the file cannot be opened.
    """
    return [_answer(record) for record in read_records(path)]


def _answer(record: Record) -> Answer:
    replies = [name for name in ("answer", "response") if name in record.fields]
    asked = [name for name in ("prompt", "question") if name in record.fields]
    if len(replies) > 1 or (replies and asked and "text" in record.fields):
        names = " and ".join(f"`{name}`" for name in [*replies, *asked, "text"] if name in record.fields)
        raise record.error(f"{names} leave open which of them is the reply; keep `prompt` and `text` only")
    return Answer(
        reply=record.text(*replies) if replies else record.text("text", "answer"),
        question_id=record.identifier("question_id"),
        image=record.optional_text("image"),
        text=record.optional_text(*asked) if asked else record.optional_text("text") if replies else None,
        place=record.place,
    )


def answer_record(question: Question, reply: str, /) -> dict[str, Any]:
    """The JSON line that `read_answers` reads back, with everything that identifies the question.

    Parameters
    ----------
    question : Question
    reply : str

    Returns
    -------
    dict
        `question_id`, `image`, `prompt`, `text`.
    """
    known = {"question_id": question.question_id} if question.question_id is not None else {}
    return {**known, "image": question.image, "prompt": question.text, "text": reply}


def match_answers(questions: Sequence[Question], answers: Sequence[Answer], /, *, missing: str = "error") -> Matching:
    """The answer of each question.

    Answers with the question's text are joined by (image, text), or by (id, text) if they have no image; the others by
    id. If questions share a key and differ in label, or if answers carry nothing, order decides, and whatever the
    answers carry must agree with it.

    Parameters
    ----------
    questions, answers : sequence
    missing : str, optional
        `"error"`, or `"wrong"`: questions without an answer, or with several, count as answered wrongly.

    Returns
    -------
    Matching

    Raises
    ------
    RecordError
        If answers are missing, duplicate or unmatched (the message names them), or if it is unclear which question they
        belong to.
    """
    _checks.choice(missing, "missing", ("error", "wrong"))
    names = _shared_names(questions, answers)
    key_of = _key_function(names, questions, answers)
    wanted: dict[Any, list[int]] = defaultdict(list)
    for index, question in enumerate(questions):
        wanted[key_of(question)].append(index)
    given: dict[Any, list[int]] = defaultdict(list)
    for index, answer in enumerate(answers):
        given[key_of(answer)].append(index)
    if all(_interchangeable([questions[i] for i in members]) for members in wanted.values()):
        found = {key: (members, given.get(key, [])) for key, members in wanted.items()}
        stray = [i for key, members in given.items() if key not in wanted for i in members]
    else:
        _check_order(questions, answers, key_of if names else None)
        found = {i: ([i], [i] if i < len(answers) else []) for i in range(len(questions))}
        stray = list(range(len(questions), len(answers)))
    if missing == "error":
        _refuse_leftovers(questions, answers, found.values(), stray, names)
    return _collect(len(questions), answers, found.values(), stray)


def _shared_names(questions: Sequence[Question], answers: Sequence[Answer]) -> list[str]:
    """The key that all questions and answers carry, by which they are joined."""
    names = ["image", "text", "question_id"]
    names = [name for name in names if all(getattr(item, name) is not None for item in (*questions, *answers))]
    # ids differ between releases, pictures and texts do not
    return names[:2] if names[:2] == ["image", "text"] else names


def _key_function(
    names: Sequence[str], questions: Sequence[Question], answers: Sequence[Answer]
) -> Callable[[Question | Answer], tuple[str, ...]]:
    # answers may name pictures by their path: celebrity/images/1.jpg is celebrity/1.jpg
    same_names = {question.image for question in questions} >= {answer.image for answer in answers}
    read: dict[str, Callable[[Any], str]] = {
        "image": lambda item: item.image if same_names else image_stem(item.image),
        "text": lambda item: normalize_question(item.text),
        "question_id": lambda item: str(item.question_id),
    }
    return lambda item: tuple(read[name](item) for name in names)


def _interchangeable(questions: Sequence[Question]) -> bool:
    """Whether the assignment of these answers among their questions does not matter."""
    return len({(q.category, q.label, normalize_question(q.text), q.image) for q in questions}) == 1


def _check_order(
    questions: Sequence[Question], answers: Sequence[Answer], key_of: Callable[..., tuple[str, ...]] | None
) -> None:
    """Refuse answers whose keys, if any, are not in the order of the questions; a run may have been cut short."""
    if key_of is None:
        if len(questions) != len(answers):
            raise RecordError(
                f"{len(answers)} answers to {len(questions)} questions, and nothing in them says which belongs to which; "
                "add `image` and `prompt` (the question) to each answer"
            )
        return
    for number, (question, answer) in enumerate(zip(questions, answers, strict=False), 1):
        if key_of(question) == key_of(answer):
            continue
        wanted, given = Counter(map(key_of, questions)), Counter(map(key_of, answers))
        uneven = [key for key in {**wanted, **given} if wanted[key] != given[key]]
        counts = [f"{given[key]} for the {wanted[key]} questions of {_keyed(key)}" for key in uneven[:_SHOWN]]
        raise RecordError(
            f"{answer.place}: this answer is about {_keyed(key_of(answer))}, but question {number} is about "
            f"{_keyed(key_of(question))}"
            + (f"; number of answers: {', '.join(counts)}{_more(uneven)}" if uneven else "")
            + "; several questions share what the answers carry, so they must be in question order, "
            "or carry `image` and `prompt` (the question)"
        )


def _refuse_leftovers(
    questions: Sequence[Question],
    answers: Sequence[Answer],
    found: Iterable[tuple[list[int], list[int]]],
    stray: Sequence[int],
    names: Sequence[str],
) -> None:
    """Raise an error that names everything without a partner, if there is any."""
    absent = sorted(index for asked, replied in found for index in asked[len(replied) :])
    extra = sorted(index for asked, replied in found for index in replied[len(asked) :])
    parts = [
        _named("missing", [_place(questions[i]) for i in absent]),
        _named("duplicate", [_place(answers[i]) for i in extra]),
        _named("unmatched", [_place(answers[i]) for i in stray]),
    ]
    if any(parts):
        carried = " and ".join(f"`{name}`" for name in names)
        raise RecordError(
            f"{'; '.join(filter(None, parts))}. Answers were joined by {carried or 'position'}. "
            'Give missing="wrong" to count the questions of missing and duplicate answers as wrong'
        )


def _collect(
    n: int, answers: Sequence[Answer], found: Iterable[tuple[list[int], list[int]]], stray: Sequence[int]
) -> Matching:
    replies: list[str | None] = [None] * n
    missing = duplicate = 0
    for asked, replied in found:
        if len(replied) > len(asked):
            duplicate += len(asked)
            continue
        missing += len(asked) - len(replied)
        for question, answer in zip(asked, replied, strict=False):
            replies[question] = answers[answer].reply
    return Matching(tuple(replies), missing, duplicate, len(stray))


def _named(what: str, places: Sequence[str]) -> str:
    if not places:
        return ""
    noun = f"answer{'s' if len(places) > 1 else ''}"
    head = f"{len(places)} {what} {noun}" if what != "missing" else f"{len(places)} {noun} missing, to the question"
    return f"{head}: {', '.join(places[:_SHOWN])}{_more(places)}"


def _place(item: Question | Answer) -> str:
    about = [ascii(part) for part in (item.question_id, item.image, item.text) if part is not None]
    return " ".join([item.place, f"({', '.join(about)})" if about else ""]).strip()


def _keyed(key: tuple[str | None, ...]) -> str:
    return " ".join(map(ascii, key))


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
