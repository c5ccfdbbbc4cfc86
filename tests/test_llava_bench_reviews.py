"""Reviews: what a judge's words count as, what the file holds, and nothing is asked twice."""

from __future__ import annotations

import json

import pytest
from benchmark_files import write_lines
from judge_stub import complaint

from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.llava_bench import (
    Judge,
    JudgeError,
    OpenQuestion,
    count_tokens,
    read_reviews,
    read_scores,
    review_answers,
)
from pmtools.evaluation.llava_bench.reviews import PROMPT
from pmtools.evaluation.questions import Question


@pytest.mark.parametrize(
    ("review", "scores"),
    [
        ("8 7\nBoth are good.", (8, 7)),
        ("8.5, 10", (8.5, 10)),
        ("\n 3 4 \n9 9", (3, 4)),
        ("**8 7**", (8, 7)),
        ("[8, 7]", (8, 7)),
        ("8", None),
        ("8 7 6", None),
        ("87", None),
        ("8 11", None),
        ("-8 7", None),
        ("Assistant 1: 8, Assistant 2: 7", None),
        ("Eight and seven.\n8 7", None),
        ("", None),
    ],
)
def test_two_numbers_on_the_first_line_are_scores(review, scores):
    assert read_scores(review) == scores


# ------------------------------------------------------------------------------------------------- the file of reviews


def test_reviews_are_read_in_the_published_form(tmp_path):
    rows = [
        {"id": 1, "question_id": 0, "category": "llava_bench_conv", "content": "8 6\n..", "tuple": [8.0, 6.0]},
        {"id": 2, "question_id": 1, "category": "llava_bench_detail", "content": "9 9\n..", "tuple": [9, 9.5]},
    ]
    found, skipped = read_reviews(write_lines(tmp_path / "r.jsonl", rows))
    assert [(r.category, r.reference, r.model) for r in found] == [
        ("llava_bench_conv", 8, 6),
        ("llava_bench_detail", 9, 9.5),
    ]
    assert skipped == 0


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"tuple": [8, 6, 1]}, r"r.jsonl:2: `tuple` must be \[reference, model\], two numbers, got \[8, 6, 1\]"),
        ({"tuple": ["8", 6]}, "two numbers"),
        ({"tuple": [True, 6]}, "two numbers"),
        ({"tuple": None}, "two numbers, got None"),
        ({"tuple": [-1, -1]}, r"r.jsonl:2: the judge gave no scores, \[-1, -1\]; give skip_unread=True"),
        ({"tuple": [8, -1]}, r"scores from 0 to 10, got \[8, -1\]"),
        ({"tuple": [11, 1]}, "scores from 0 to 10"),
        ({"tuple": [1e999, 1]}, "Infinity is not a JSON number"),
        ({"category": 3}, "`category` must be a string, got 3"),
        ({"question_id": "1"}, r"r.jsonl:2: the question '1' is already reviewed at .*r.jsonl:1"),
    ],
)
def test_malformed_reviews_say_where(tmp_path, row, says):
    good = {"question_id": 1, "category": "conv", "tuple": [8, 6]}
    with pytest.raises(RecordError, match=says):
        read_reviews(write_lines(tmp_path / "r.jsonl", [good, {**good, "question_id": 2, **row}]))


def test_reviews_without_scores_may_be_left_out(tmp_path):
    rows = [{"category": "conv", "tuple": pair} for pair in ([-1, -1], [8, 4], [-1, -1])]
    found, skipped = read_reviews(write_lines(tmp_path / "r.jsonl", rows), skip_unread=True)
    assert (len(found), skipped) == (1, 2)
    with pytest.raises(RecordError, match="none of the 1 reviews has scores"):
        read_reviews(write_lines(tmp_path / "r.jsonl", rows[:1]), skip_unread=True)


# ---------------------------------------------------------------------------------------------------- asking the judge


def items() -> list[OpenQuestion]:
    return [
        OpenQuestion(Question(str(k), f"{k}.jpg", f"What is {k}?", "conv"), f"It is {k}.", f"{k}!") for k in range(3)
    ]


def test_each_answer_is_judged_after_its_reference(stub, tmp_path):
    stub.replies = ["8 6\nGood.", "9 9", "7 1"]
    review_answers(items(), ["zero", "one", "two"], stub.judge(), tmp_path / "deep" / "r.jsonl")
    found, _ = read_reviews(tmp_path / "deep" / "r.jsonl")
    assert [(r.question_id, r.reference, r.model) for r in found] == [("0", 8, 6), ("1", 9, 9), ("2", 7, 1)]
    asked = stub.requests[1]["body"]["messages"][1]["content"]
    assert asked == (
        "[Context]\nIt is 1.\n\n[Question]\nWhat is 1?\n\n[Assistant 1]\n1!\n\n[End of Assistant 1]\n\n"
        f"[Assistant 2]\none\n\n[End of Assistant 2]\n\n[System]\n{PROMPT}\n\n"
    )
    assert count_tokens(tmp_path / "deep" / "r.jsonl") == (300, 60)


def test_reviewing_goes_on_where_it_stopped(stub, tmp_path):
    path = tmp_path / "r.jsonl"
    stub.replies = ["8 6", "9 9", (400, {}, complaint("stop"))]
    with pytest.raises(JudgeError, match="stop"):
        review_answers(items(), ["zero", "one", "two"], stub.judge(), path)
    with path.open("a") as lines:
        lines.write('{"question_id": "2", "tup')  # killed while writing
    stub.requests.clear()
    stub.replies = ["7 1"]
    steps = []
    review_answers(items(), ["zero", "one", "two"], stub.judge(), path, progress=lambda: steps.append(1))
    assert len(stub.requests) == 1
    assert len(steps) == 3
    assert [r.question_id for r in read_reviews(path)[0]] == ["0", "1", "2"]


@pytest.mark.parametrize("change", ["reply", "judge", "published"])
def test_reviews_of_something_else_are_not_mixed_in(stub, tmp_path, change):
    path = tmp_path / "r.jsonl"
    stub.replies = ["8 6"]
    review_answers(items(), ["zero", "one", "two"], stub.judge(), path)
    if change == "published":
        write_lines(path, [{"question_id": 0, "category": "conv", "tuple": [1, 1]}])
    replies = ["zero", "one", "TWO" if change == "reply" else "two"]
    judge = Judge("judge-2" if change == "judge" else "judge-1", stub.url)
    with pytest.raises(RecordError, match=r"r.jsonl:\d: this review is of another answer, question or judge"):
        review_answers(items(), replies, judge, path)


def test_a_judge_that_gives_no_scores_is_asked_again_and_then_marked(stub, tmp_path):
    path = tmp_path / "r.jsonl"
    stub.replies = ["Both are fine.", "8 6", "Hm.", "Hm.", "I cannot.", "9 9"]
    review_answers(items(), ["zero", "one", "two"], stub.judge(), path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["tuple"] for row in rows] == [[8, 6], [-1, -1], [9, 9]]
    assert rows[1]["content"] == "I cannot."
    assert rows[1]["usage"] == {"prompt_tokens": 300, "completion_tokens": 60}


def test_reviewing_needs_a_reply_a_question(stub, tmp_path):
    with pytest.raises(ValueError, match="got 2 for 3 questions"):
        review_answers(items(), ["zero", "one"], stub.judge(), tmp_path / "r.jsonl")
