"""Reviews of answers to LLaVA-Bench: the request to a judge, its reply, and the file that keeps it.

Resumable: an answer is judged once. This file knows a judge that answers, not where it runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pmtools.evaluation.json_lines import PathLike, Record, RecordError, adding_to, keep_whole_lines, read_records
from pmtools.evaluation.llava_bench.files import OpenQuestion
from pmtools.evaluation.llava_bench.scoring import Review

if TYPE_CHECKING:
    from pmtools.evaluation.llava_bench.judge import Verdict

__all__ = ["count_tokens", "judge_content", "read_reviews", "read_scores", "review_answers"]

INSTRUCTION = "You compare two answers to a question about a picture. You are fair, exact and brief."
PROMPT = (
    "Above you find a question that somebody asked about a picture, a description of that picture which only you can "
    "see, and two answers. Judge how helpful, relevant, accurate and detailed each answer is. Statements about the "
    "picture that the description contradicts count against an answer, and its length alone counts for nothing.\n"
    "Write on the first line two numbers from 1 to 10 with a space between them and nothing else: your score of the "
    "first answer, then of the second. Explain them on the lines below; the order of the answers must not matter."
)
UNREAD = (-1.0, -1.0)  # LLaVA's mark of a review without two scores
_TWO_SCORES = re.compile(r"[\s*\[(]*(\d+(?:\.\d+)?)[\s,;*]+(\d+(?:\.\d+)?)[\s*\]).]*")
_ASKS = 3  # how often a judge is asked for two scores


class _Asker(Protocol):
    """Gives verdicts: a `Judge`, or a stand-in."""

    @property
    def model(self) -> str: ...

    def ask(self, instruction: str, content: str, /) -> Verdict: ...


def judge_content(item: OpenQuestion, reply: str, /) -> str:
    """The judge's prompt: context, question, reference, the model's answer, and the instructions.

    Parameters
    ----------
    item : OpenQuestion
    reply : str

    Returns
    -------
    str
    """
    role = item.role or "Assistant"
    answers = [f"[{role} {k}]\n{text}\n\n[End of {role} {k}]" for k, text in ((1, item.reference), (2, reply))]
    parts = [f"[Context]\n{item.context}", f"[Question]\n{item.question.text}", *answers]
    return "\n\n".join([*parts, f"[System]\n{item.prompt or PROMPT}"]) + "\n\n"


def read_scores(review: str, /) -> tuple[float, float] | None:
    """The two scores on the first line of a review, or None where there are not exactly two numbers from 0 to 10.

    Parameters
    ----------
    review : str

    Returns
    -------
    (float, float) or None
        Reference, model.

    Examples
    --------
    >>> read_scores("8 6.5\\nThe second answer ..."), read_scores("8, 6"), read_scores("Both are good.")
    ((8.0, 6.5), (8.0, 6.0), None)
    """
    line = next((line for line in review.splitlines() if line.strip()), "")
    match = _TWO_SCORES.fullmatch(line)
    scores = tuple(map(float, match.groups())) if match else ()
    return (scores[0], scores[1]) if scores and max(scores) <= 10 else None


def review_answers(
    questions: Sequence[OpenQuestion],
    replies: Sequence[str],
    judge: _Asker,
    out: PathLike,
    /,
    *,
    progress: Callable[[], object] | None = None,
) -> None:
    """Have every answer judged, resuming after the last review in the file.

    Each review is a JSON line with `question_id`, `category`, `tuple`, `content`, `judge`, `usage`, and a digest of the
    request. A judge that does not give two scores is asked up to three times; then `tuple` is [-1, -1].

    Parameters
    ----------
    questions : sequence of OpenQuestion
    replies : sequence of str
        The model's answers, in the order of the questions.
    judge : Judge
    out : path
        Each review adds a line; reviews that it holds are not requested again.
    progress : callable, optional
        Called after each question.

    Raises
    ------
    ValueError
        If the numbers of replies and questions differ, or another run is adding to `out`.
    RecordError
        If `out` holds reviews of other answers, or by another judge.
    JudgeError
        If the endpoint does not answer. Earlier reviews are kept.
    """
    if len(questions) != len(replies):
        raise ValueError(
            f"`replies` must hold one reply per question, got {len(replies)} for {len(questions)} questions"
        )
    path = Path(out)
    contents = [judge_content(item, reply) for item, reply in zip(questions, replies, strict=True)]
    digests = [hashlib.sha256(f"{judge.model}\n{INSTRUCTION}\n{text}".encode()).hexdigest()[:16] for text in contents]
    wanted = {str(item.question.question_id): d for item, d in zip(questions, digests, strict=True)}
    with adding_to(path) as add:
        done = _reviewed(path, wanted)
        for item, content, digest in zip(questions, contents, digests, strict=True):
            if str(item.question.question_id) not in done:
                add([_review(item, content, judge) | {"digest": digest}])
            if progress:
                progress()


def _review(item: OpenQuestion, content: str, judge: _Asker) -> dict[str, Any]:
    tokens = {"prompt_tokens": 0, "completion_tokens": 0}
    for _ in range(_ASKS):
        verdict = judge.ask(INSTRUCTION, content)
        tokens["prompt_tokens"] += verdict.prompt_tokens
        tokens["completion_tokens"] += verdict.completion_tokens
        scores = read_scores(verdict.text)
        if scores:
            break
    return {
        "question_id": item.question.question_id,
        "category": item.question.category,
        "tuple": list(scores or UNREAD),
        "content": verdict.text,
        "judge": judge.model,
        "usage": tokens,
    }


def _reviewed(path: Path, digests: Mapping[str, str]) -> set[str]:
    """The questions with a review in the file."""
    if not keep_whole_lines(path):
        return set()
    done = set()
    for record in read_records(path):
        number = record.identifier("question_id")
        if record.fields.get("digest") != digests.get(str(number), ""):
            raise record.error("this review is of another answer, question or judge; give another file for the reviews")
        done.add(str(number))
    return done


def read_reviews(path: PathLike, /, *, skip_unread: bool = False) -> tuple[list[Review], int]:
    """Reviews from JSON lines with `tuple` = [reference, model] and `category`.

    Parameters
    ----------
    path : path
    skip_unread : bool, optional
        Leave reviews out whose scores could not be read, [-1, -1].

    Returns
    -------
    (list of Review, int)
        The second value is the number that was left out.

    Raises
    ------
    RecordError
        If a line is malformed, a question is reviewed twice, or a score is not from 0 to 10.
    OSError
        If the file cannot be opened.
    """
    found: list[Review] = []
    seen: dict[str, str] = {}
    skipped = 0
    for record in read_records(path):
        reference, model = _scores(record)
        number = record.identifier("question_id")
        if number is not None and seen.setdefault(number, record.place) != record.place:
            raise record.error(f"the question {number!a} is already reviewed at {seen[number]}")
        if (reference, model) == UNREAD:
            if not skip_unread:
                raise record.error(
                    "the judge gave no scores, [-1, -1]; give skip_unread=True to leave such reviews out"
                )
            skipped += 1
            continue
        if not (0 <= reference <= 10 and 0 <= model <= 10):
            raise record.error(f"`tuple` must hold scores from 0 to 10, got [{reference:g}, {model:g}]")
        found.append(Review(record.text("category"), reference, model, number, record.place))
    if not found:
        raise RecordError(f"{path}: none of the {skipped} reviews has scores")
    return found, skipped


def _scores(record: Record) -> tuple[float, float]:
    value = record.fields.get("tuple")
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(isinstance(score, int | float) and not isinstance(score, bool) for score in value)
    ):
        raise record.error(f"`tuple` must be [reference, model], two numbers, got {ascii(value)[:60]}")
    return float(value[0]), float(value[1])


def count_tokens(path: PathLike, /) -> tuple[int, int]:
    """Tokens that the reviews in a file used, for prompts and completions; 0 if the file does not say.

    Parameters
    ----------
    path : path

    Returns
    -------
    (int, int)
    """
    usages = [record.fields.get("usage") for record in read_records(path)]
    known = [usage for usage in usages if isinstance(usage, dict)]
    prompt, completion = (
        sum(count for usage in known if isinstance(count := usage.get(name), int))
        for name in ("prompt_tokens", "completion_tokens")
    )
    return prompt, completion
