"""MME's files: the release in both layouts, labels from three places, and what is wrong with a file."""

from __future__ import annotations

import pytest
from benchmark_files import LLAVA_SUFFIX, SUFFIX, mme_pair, mme_release, question_rows, write_lines

from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.mme import label_mme_from_folder, read_mme, read_mme_questions, read_mme_release
from pmtools.evaluation.picture_files import find_image
from pmtools.evaluation.questions import Question


@pytest.mark.parametrize("apart", [True, False])
def test_the_release_is_read_in_both_layouts(tmp_path, apart):
    found = read_mme_release(mme_release(tmp_path, apart=apart))
    assert [(question.text.split("?")[0], question.label) for question in found] == [
        ("Is it red", "no"),
        ("Is it blue", "yes"),
    ]
    assert {question.image for question in found} == {"scene/images/0001.png" if apart else "OCR/0001.png"}
    assert find_image(tmp_path, found[0].image).is_file()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("OCR/1.txt", "Is it red? Yes\n", "1.txt:1: must be the question, a tab, and Yes or No"),
        ("OCR/1.txt", "Is it red?\tYes\nIs it?\tPerhaps\n", "1.txt:2: the label must be yes or no, got 'Perhaps'"),
        ("OCR/1.txt", "\n", "1.txt: the file is empty"),
        ("other/1.txt", "?\tYes\n", "has no folder of MME's release"),
    ],
)
def test_a_malformed_release_says_where(tmp_path, name, text, says):
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(text)
    with pytest.raises(RecordError, match=says):
        read_mme_release(tmp_path)


@pytest.mark.parametrize("apart", [True, False])
def test_labels_come_from_the_release(tmp_path, apart):
    folder = mme_release(tmp_path, apart=apart)
    category = "scene" if apart else "OCR"
    bare = [
        Question("x", f"{category}/0001.jpg", f"Is it {color}?{LLAVA_SUFFIX}", category) for color in ("blue", "red")
    ]
    assert [q.label for q in label_mme_from_folder(bare, folder)] == ["yes", "no"]
    with pytest.raises(RecordError, match="has no label for 'Is it green"):
        label_mme_from_folder([Question("x", "0001.jpg", "Is it green?", category)], folder)


def test_labels_come_from_answer_files_too(tmp_path):
    (tmp_path / "OCR.txt").write_text("0001.png\tIs it red?\tNo\n0001.png\tIs it blue?\tYes\tno\n")
    bare = [Question("x", "OCR/0001.png", f"Is it {color}?{SUFFIX}", "OCR") for color in ("blue", "red")]
    assert [q.label for q in label_mme_from_folder(bare, tmp_path)] == ["yes", "no"]


def test_labels_that_contradict_each_other_are_refused(tmp_path):
    (tmp_path / "OCR.txt").write_text("1.png\tIs it red?\tNo\n")
    with pytest.raises(RecordError, match=r"the label is yes, but no in"):
        label_mme_from_folder([Question("x", "1.png", "Is it red?", "OCR", "yes")], tmp_path)
    (tmp_path / "OCR.txt").write_text("1.png\tIs it red?\tNo\n1.png\tIs it red?\tYes\n")
    with pytest.raises(RecordError, match="both labels"):
        label_mme_from_folder([Question("x", "1.png", "Is it red?", "OCR")], tmp_path)


def test_labels_in_the_file_are_used_and_must_be_in_all_lines(tmp_path):
    rows = question_rows(mme_pair("a"))
    rows[0]["label"], rows[1]["answer"] = "No", "YES"
    asked = read_mme_questions(write_lines(tmp_path / "q.jsonl", rows))
    assert [question.label for question in asked] == ["no", "yes"]
    del rows[1]["answer"]
    with pytest.raises(RecordError, match=r"q.jsonl:2: `label` is missing"):
        read_mme_questions(write_lines(tmp_path / "q.jsonl", rows))


def test_without_labels_and_without_a_release_the_rule_of_order_holds(tmp_path):
    rows = [{"question_id": k, "image": "a.png", "text": "Is it?", "category": "scene"} for k in range(2)]
    write_lines(tmp_path / "questions.jsonl", rows)
    assert [question.label for question in read_mme(tmp_path)] == ["yes", "no"]
