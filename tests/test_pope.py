"""POPE by hand: the reply rule, the four counts, joins over splits and releases, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pmtools.evaluation.matching import Answer, match_answers, read_answers
from pmtools.evaluation.pictures import find_image
from pmtools.evaluation.pope import read_pope_reply, score_pope
from pmtools.evaluation.pope_files import read_pope
from pmtools.evaluation.questions import Question, normalize_question
from pmtools.evaluation.records import RecordError


def write_lines(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def ask(labels: str, *, per_image: int = 6) -> list[Question]:
    """Questions from a string such as "yyn"."""
    return [
        Question(str(k), f"{k // per_image}.jpg", f"Is there a {k} in the image?", label={"y": "yes", "n": "no"}[label])
        for k, label in enumerate(labels, 1)
    ]


def run(*arguments: object, code: int = 0):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from pmtools.cli.application import app

    result = CliRunner().invoke(app, ["score", "pope", *map(str, arguments)], env={"COLUMNS": "80"})
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        ("No", "no"),
        ("no", "no"),
        ("No,", "no"),
        ("No, there is no dog.", "no"),
        ("There is not a dog in the image.", "no"),
        ("There is not, a dog", "no"),
        ("Yes", "yes"),
        ("Yes. No.", "yes"),  # only the first sentence counts
        ("NO", "yes"),  # not one of the three spellings
        ("Not a dog", "yes"),
        ("None", "yes"),
        ("There isn't a dog", "yes"),
        ("nothing", "yes"),
        ("No\n", "yes"),  # words stand between spaces
        ("no.", "no"),
        (".no", "yes"),
        ("N,o", "no"),  # commas are dropped, not turned into spaces
        ("", "yes"),
    ],
)
def test_one_word_before_the_first_full_stop_decides(reply, meaning):
    assert read_pope_reply(reply) == meaning


def test_numbers_by_hand():
    asked = ask("yyyynnnnnn")
    replies = ["Yes"] * 3 + ["No"] + ["Yes"] * 2 + ["No"] * 4  # 3 true yes, 1 false no, 2 false yes, 4 true no
    score = score_pope(asked, replies)
    assert (score.accuracy, score.precision, score.recall) == (0.7, 0.6, 0.75)
    assert score.f1 == pytest.approx(2 * 0.6 * 0.75 / (0.6 + 0.75))
    assert (score.yes_ratio, score.n) == (0.5, 10)


def test_always_yes_has_yes_ratio_one():
    score = score_pope(ask("yn" * 30), ["Yes, there is."] * 60)
    assert (score.accuracy, score.precision, score.recall, score.f1) == (0.5, 0.5, 1.0, pytest.approx(2 / 3))
    assert score.yes_ratio == 1.0
    assert score.intervals["yes_ratio"] == (1.0, 1.0)


def test_the_yes_ratio_is_that_of_the_replies():
    assert score_pope(ask("yyyn"), ["No", "No", "No", "Yes"]).yes_ratio == 0.25


def test_never_yes_has_no_precision():
    score = score_pope(ask("yn"), ["No", "No"])
    assert (score.accuracy, score.precision, score.recall, score.f1, score.yes_ratio) == (0.5, 0.0, 0.0, 0.0, 0.0)


def test_no_answer_is_the_opposite_of_the_label():
    assert score_pope(ask("yn"), [None, None]) == score_pope(ask("yn"), ["No", "Yes"])


def test_intervals_draw_whole_pictures(rng):
    """Six equal replies a picture say no more than one: the interval is that of ten draws, not of sixty."""
    right = rng.random(10) < 0.6
    asked = ask("y" * 60, per_image=6)
    asked = [Question(q.question_id, str(k // 6), q.text, label="yes") for k, q in enumerate(asked)]
    low, high = score_pope(asked, ["Yes" if right[k // 6] else "No" for k in range(60)]).intervals["accuracy"]
    alone = [Question(str(k), str(k), "?", label="yes") for k in range(10)]
    assert (low, high) == score_pope(alone, ["Yes" if r else "No" for r in right]).intervals["accuracy"]
    assert high - low > 0.3


def test_scoring_needs_labels_and_as_many_replies():
    with pytest.raises(RecordError, match=r"pope.jsonl:3: .* has no label"):
        score_pope([Question("1", "a", "?", place="pope.jsonl:3")], ["yes"])
    with pytest.raises(ValueError, match="got 3 for 2 questions"):
        score_pope(ask("yn"), ["yes"] * 3)


# Joins


@pytest.mark.parametrize(
    "text",
    [
        "Is there an orange in the imange?",
        "is there an orange  in the image? ",
        "<image>\nIs there an orange in the image?\nAnswer the question using a single word or phrase.",
        "Is there an orange in the image? Please answer this question with one word.",
        "Is there an orange in the image? Please answer yes or no.\nAnswer the question using a single word or phrase.",
    ],
)
def test_spellings_of_a_question_are_one(text):
    assert normalize_question(text) == "is there an orange in the image?"


def test_other_objects_are_other_questions():
    assert normalize_question("Is there an apple in the image?") != normalize_question("Is there a apple in the image?")
    assert normalize_question("Please answer yes or no.") == "please answer yes or no."


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


def test_ids_join_in_any_order_where_they_are_unique():
    asked = ask("yynn")
    assert match_answers(asked, read_ids([3, 1, 4, 2])).replies == ("1", "2", "3", "4")


def read_ids(ids):
    return [Answer(str(k), question_id=str(k), place=f"a.jsonl:{line}") for line, k in enumerate(ids, 1)]


def test_repeated_ids_join_by_position_only():
    splits = ask("yyn") + ask("ynn")  # two splits, both numbered from 1
    assert match_answers(splits, read_ids([1, 2, 3, 1, 2, 3])).replies == ("1", "2", "3", "1", "2", "3")
    with pytest.raises(RecordError, match=r"a.jsonl:2: .* must be in question order, or carry `image` and `prompt`"):
        match_answers(splits, read_ids([1, 1, 2, 2, 3, 3]))


def test_the_same_question_in_two_splits_takes_its_two_answers_in_any_order():
    splits = [*ask("yn"), *ask("yn")]
    answers = [Answer(reply, image=q.image, text=q.text) for q, reply in zip(splits, "abcd", strict=True)]
    assert match_answers(splits, answers[2:] + answers[:2]).replies == ("c", "d", "a", "b")
    with pytest.raises(RecordError, match=r"1 answer missing"):
        match_answers(splits, answers[:3])


@pytest.mark.parametrize(
    ("ids", "says", "wrong"),
    [
        ([1, 3], r"1 answer missing, to the question: \('2', '0.jpg'", ("1", None, "3")),
        ([1, 2, 2, 3], r"1 duplicate answer: a.jsonl:3 \('2'\)", ("1", None, "3")),
        ([1, 2, 3, 9], r"1 unmatched answer: a.jsonl:4 \('9'\)", ("1", "2", "3")),
        ([1, 9, 9], r"2 answers missing.*; 2 unmatched answers", ("1", None, None)),
        ([], "3 answers missing", (None, None, None)),
    ],
)
def test_what_does_not_fit_is_named_or_counted_wrong(ids, says, wrong):
    asked = ask("ynn")
    with pytest.raises(RecordError, match=says):
        match_answers(asked, read_ids(ids))
    assert match_answers(asked, read_ids(ids), missing="wrong").replies == wrong


def test_only_the_first_few_are_named():
    with pytest.raises(RecordError, match=r"and 7 more") as caught:
        match_answers(ask("y" * 10), [])
    assert len(str(caught.value)) < 500


def test_answers_without_anything_are_joined_by_position_and_must_be_as_many(tmp_path):
    answers = read_answers(write_lines(tmp_path / "a.jsonl", [{"text": "a"}, {"text": "b"}]))
    assert match_answers(ask("yn"), answers).replies == ("a", "b")
    for missing in ("error", "wrong"):
        with pytest.raises(RecordError, match="2 answers to 3 questions, and nothing in them says which is whose"):
            match_answers(ask("ynn"), answers, missing=missing)


def test_ids_that_only_the_answers_have_say_nothing():
    asked = [Question(None, "a.jpg", str(k), label=label) for k, label in enumerate(("yes", "no", "no"))]
    assert match_answers(asked, read_ids([7, 8, 9])).replies == ("7", "8", "9")
    with pytest.raises(RecordError, match="2 answers to 3 questions, and nothing in them says which is whose"):
        match_answers(asked, read_ids([7, 8]), missing="wrong")


def test_missing_is_a_choice():
    with pytest.raises(ValueError, match="`missing` must be one of 'error', 'wrong', got 'skip'"):
        match_answers(ask("y"), [], missing="skip")


def test_a_line_with_two_replies_is_refused(tmp_path):
    row = {"question_id": 1, "prompt": "?", "text": "Yes", "answer": "No"}
    with pytest.raises(RecordError, match=r"a.jsonl:1: `answer` and `prompt` and `text` leave open which is the reply"):
        read_answers(write_lines(tmp_path / "a.jsonl", [row]))


# The command


def files(tmp_path, replies=("Yes", "No", "No")):
    questions = [
        {"question_id": 1, "image": "a.jpg", "text": "Is there a cat in the image?", "label": "yes"},
        {"question_id": 2, "image": "a.jpg", "text": "Is there a dog in the image?", "label": "no"},
        {"question_id": 3, "image": "b.jpg", "text": "Is there an apple in the imange?", "label": "yes"},
    ]
    answers = [{"question_id": k, "text": reply} for k, reply in enumerate(replies, 1)]
    return (
        "--questions",
        write_lines(tmp_path / "q.json", questions),
        "--answers",
        write_lines(tmp_path / "a.jsonl", answers),
    )


def test_the_command_prints_one_json_object(tmp_path):
    report = json.loads(run(*files(tmp_path), "--json").stdout)
    numbers = [report[name] for name in ("accuracy", "precision", "recall", "f1", "yes_ratio", "n")]
    assert numbers == pytest.approx([2 / 3, 1.0, 0.5, 2 / 3, 1 / 3, 3])
    low, high = report["intervals"]["accuracy"]
    assert low <= 2 / 3 <= high


def test_the_table_is_readable_at_eighty_columns(tmp_path):
    lines = run(*files(tmp_path)).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[:3] == ["yes", "ratio", "0.3333"] for line in lines)


def test_the_command_counts_missing_answers_as_wrong_when_told_to(tmp_path):
    options = files(tmp_path, replies=("Yes", "No"))
    assert "1 answer missing" in run(*options, code=1).stderr
    result = run(*options, "--missing", "wrong")
    assert "1 missing; 1 questions counted as wrong" in result.stderr
    assert json.loads(run(*options, "--missing", "wrong", "--json").stdout)["accuracy"] == pytest.approx(2 / 3)


def test_files_that_are_arrays_are_read_with_their_lines(tmp_path):
    path = tmp_path / "gqa.json"
    item = {"question_id": 1, "image": "a.jpg", "text": "Is there a cat in the image?", "label": "yes"}
    path.write_text(json.dumps([item, {**item, "label": "no"}], indent=4))
    assert [(q.label, q.place) for q in read_pope(path)] == [("yes", f"{path}:2"), ("no", f"{path}:8")]
    path.write_text(json.dumps([item, {**item, "label": "n/a"}], indent=4))
    with pytest.raises(RecordError, match=r"gqa.json:8: the label must be yes or no, got 'n/a'"):
        read_pope(path)


def test_pictures_are_found_beside_the_file_and_never_outside(tmp_path):
    (tmp_path / "val2014").mkdir()
    (tmp_path / "val2014" / "COCO_val2014_000000000042.jpg").write_bytes(b"")
    (tmp_path.parent / "outside.jpg").write_bytes(b"")
    for name in ("COCO_val2014_000000000042.jpg", "000000000042.jpg", "x/COCO_val2014_000000000042.jpg"):
        assert find_image(tmp_path, name).name == "COCO_val2014_000000000042.jpg"
    with pytest.raises(RecordError, match=r"has no picture 'b.jpg', neither there nor in images or val2014"):
        find_image(tmp_path, "b.jpg")
    for name in ("../outside.jpg", str(tmp_path.parent / "outside.jpg"), ""):
        with pytest.raises(RecordError, match="must be named by a path inside"):
            find_image(tmp_path, name)
