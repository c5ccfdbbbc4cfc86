"""Which answer belongs to which question: joins by picture, text, id and order, over splits and releases."""

from __future__ import annotations

import json

import numpy as np
import pytest
from benchmark_files import LLAVA_SUFFIX, mme_pair, pope_questions, write_lines
from hypothesis import given
from hypothesis import strategies as st

from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.matching import Answer, Matching, answer_record, match_answers, read_answers
from pmtools.evaluation.questions import Question

# ------------------------------------------------------------------------------------------------- by picture and text


@pytest.mark.parametrize(("question", "reply"), [("prompt", "text"), ("text", "answer"), ("question", "response")])
@pytest.mark.parametrize("known", ["image", "question_id"])
def test_answers_in_any_order_are_joined_by_picture_and_text(tmp_path, question, reply, known):
    asked = mme_pair("a.jpg") + mme_pair("b.jpg")
    rows = [{known: q.image, question: q.text + LLAVA_SUFFIX, reply: f"{k} no"} for k, q in enumerate(asked)]
    answers = read_answers(write_lines(tmp_path / "a.jsonl", [rows[k] for k in (3, 1, 0, 2)]))
    assert match_answers(asked, answers).replies == ("0 no", "1 no", "2 no", "3 no")


def test_old_and_new_releases_join_although_their_ids_differ(tmp_path):
    asked = [
        Question("1", "COCO_1.jpg", "Is there an umbrella in the imange?", label="yes"),
        Question("2", "COCO_1.jpg", "Is there a dog in the image?", label="no"),
    ]
    rows = [
        {"question_id": 7, "image": "val2014/COCO_1.jpg", "prompt": "Is there a dog in the image?", "text": "No"},
        {
            "question_id": 9,
            "image": "val2014/COCO_1.jpg",
            "prompt": "Is there an umbrella in the image?",
            "text": "Yes",
        },
    ]
    answers = read_answers(write_lines(tmp_path / "a.jsonl", rows))
    assert match_answers(asked, answers).replies == ("Yes", "No")


def test_the_same_question_in_two_splits_takes_its_two_answers_in_any_order():
    splits = [*pope_questions("yn"), *pope_questions("yn")]
    answers = [Answer(reply, image=q.image, text=q.text) for q, reply in zip(splits, "abcd", strict=True)]
    assert match_answers(splits, answers[2:] + answers[:2]).replies == ("c", "d", "a", "b")
    with pytest.raises(RecordError, match=r"1 answer missing"):
        match_answers(splits, answers[:3])


def test_answers_that_are_written_find_their_questions(tmp_path):
    asked = [Question("x", "a/1.jpg", "Is it \u00e9?\nAnswer.", "OCR", label) for label in ("yes", "no")]
    asked[1] = Question("x", "a/1.jpg", "Is it not?", "OCR", "no")
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(answer_record(q, q.text)) + "\n" for q in reversed(asked)))
    assert match_answers(asked, read_answers(path)).replies == tuple(q.text for q in asked)


@given(st.integers(0, 2**32 - 1))
def test_shuffled_answers_get_the_replies_of_ordered_ones(seed):
    """Three splits with repeated ids, and texts and pictures that are partly the same."""
    rng = np.random.default_rng(seed)
    asked = [
        Question(str(k), f"{rng.integers(3)}.jpg", f"Is there a {word}?", label="yes" if word < "c" else "no")
        for _ in range(3)
        for k, word in enumerate("abcd", 1)
    ]
    # the same reply to the same question, as a greedy model gives
    lines = [Answer(f"{q.image} {q.text}", q.question_id, q.image, q.text) for q in asked]
    shuffled = [lines[i] for i in rng.permutation(len(lines))]
    assert match_answers(asked, shuffled).replies == tuple(answer.reply for answer in lines)


# -------------------------------------------------------------------------------------------------- by id and by order


def read_ids(ids):
    return [Answer(str(k), question_id=str(k), place=f"a.jsonl:{line}") for line, k in enumerate(ids, 1)]


def test_ids_join_in_any_order_where_they_are_unique():
    asked = pope_questions("yynn")
    assert match_answers(asked, read_ids([3, 1, 4, 2])).replies == ("1", "2", "3", "4")


def test_repeated_ids_join_by_position_only():
    splits = pope_questions("yyn") + pope_questions("ynn")  # two splits, both numbered from 1
    assert match_answers(splits, read_ids([1, 2, 3, 1, 2, 3])).replies == ("1", "2", "3", "1", "2", "3")
    with pytest.raises(RecordError, match=r"a.jsonl:2: .* must be in question order, or carry `image` and `prompt`"):
        match_answers(splits, read_ids([1, 1, 2, 2, 3, 3]))


def test_two_questions_share_an_id_and_are_joined_by_position(tmp_path):
    asked, replies = mme_pair("a.jpg") + mme_pair("b.jpg"), ("yes", "no", "yes", "yes")
    lines = [{"question_id": q.question_id, "text": r} for q, r in zip(asked, replies, strict=True)]
    answers = read_answers(write_lines(tmp_path / "a.jsonl", lines))
    assert match_answers(asked, answers).replies == replies
    with pytest.raises(RecordError, match=r"number of answers: 1 for the 2 questions of 'a.jpg'; several"):
        match_answers(asked, answers[1:])
    with pytest.raises(RecordError, match=r"a.jsonl:3: .* about 'b.jpg', but question 1 is about 'a.jpg'; sev"):
        match_answers(asked, [answers[i] for i in (2, 3, 0, 1)])


def test_answers_without_anything_are_joined_by_position_and_must_be_as_many(tmp_path):
    answers = read_answers(write_lines(tmp_path / "a.jsonl", [{"text": "a"}, {"text": "b"}]))
    assert match_answers(pope_questions("yn"), answers).replies == ("a", "b")
    for missing in ("error", "wrong"):
        with pytest.raises(
            RecordError, match="2 answers to 3 questions, and nothing in them says which belongs to which"
        ):
            match_answers(pope_questions("ynn"), answers, missing=missing)


def test_ids_that_only_the_answers_have_say_nothing():
    asked = [Question(None, "a.jpg", str(k), label=label) for k, label in enumerate(("yes", "no", "no"))]
    assert match_answers(asked, read_ids([7, 8, 9])).replies == ("7", "8", "9")
    with pytest.raises(RecordError, match="2 answers to 3 questions, and nothing in them says which belongs to which"):
        match_answers(asked, read_ids([7, 8]), missing="wrong")


# --------------------------------------------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("ids", "says", "wrong"),
    [
        ([1, 3], r"1 answer missing, to the question: \('2', '0.jpg'", Matching(("1", None, "3"), missing=1)),
        ([1, 2, 2, 3], r"1 duplicate answer: a.jsonl:3 \('2'\)", Matching(("1", None, "3"), duplicate=1)),
        ([1, 2, 3, 9], r"1 unmatched answer: a.jsonl:4 \('9'\)", Matching(("1", "2", "3"), unmatched=1)),
        ([1, 9, 9], r"2 answers missing.*; 2 unmatched answers", Matching(("1", None, None), missing=2, unmatched=2)),
        ([], "3 answers missing", Matching((None, None, None), missing=3)),
    ],
)
def test_what_does_not_fit_is_named_or_counted_wrong(ids, says, wrong):
    asked = pope_questions("ynn")
    with pytest.raises(RecordError, match=says):
        match_answers(asked, read_ids(ids))
    assert match_answers(asked, read_ids(ids), missing="wrong") == wrong


def test_too_many_answers_to_a_question_asked_twice_count_for_both():
    asked = [Question("1", "a.jpg", "?", label="yes")] * 2
    assert match_answers(asked, read_ids([1, 1, 1]), missing="wrong") == Matching((None, None), duplicate=2)


def test_only_the_first_few_are_named():
    with pytest.raises(RecordError, match=r"and 7 more") as caught:
        match_answers(pope_questions("y" * 10), [])
    assert len(str(caught.value)) < 500


def test_missing_is_a_choice():
    with pytest.raises(ValueError, match="`missing` must be one of 'error', 'wrong', got 'skip'"):
        match_answers(pope_questions("y"), [], missing="skip")


# -------------------------------------------------------------------------------------------------- answers from files


def test_a_line_with_two_replies_is_refused(tmp_path):
    row = {"question_id": 1, "prompt": "?", "text": "Yes", "answer": "No"}
    with pytest.raises(
        RecordError, match=r"a.jsonl:1: `answer` and `prompt` and `text` leave open which of them is the reply"
    ):
        read_answers(write_lines(tmp_path / "a.jsonl", [row]))


def test_a_reply_may_be_empty_but_not_absent(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question_id": 1, "text": ""}\n{"question_id": 2}\n')
    with pytest.raises(RecordError, match=r"a.jsonl:2: `text` or `answer` is missing"):
        read_answers(path)
    path.write_text('{"question_id": 1, "text": ""}\n')
    assert read_answers(path)[0].reply == ""


def test_messages_are_printable_whatever_the_file_holds(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question_id": "\\ud800\\u001b[31m", "text": "yes"}')
    with pytest.raises(RecordError) as caught:
        match_answers([Question("1", "a", "?", label="yes")], read_answers(path))
    assert str(caught.value).isprintable()
    assert str(caught.value).encode()
