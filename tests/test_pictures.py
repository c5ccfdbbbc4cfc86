"""Questions and their pictures in a folder as published: which are asked, where pictures lie, what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from pmtools.evaluation.mme_files import read_mme
from pmtools.evaluation.pictures import find_image, with_pictures
from pmtools.evaluation.pope_files import read_pope_folder
from pmtools.evaluation.questions import Question, first_questions
from pmtools.evaluation.records import RecordError


def asked(*images: str) -> list[Question]:
    return [Question(None, image, f"Is {k} there?", "existence", "yes") for k, image in enumerate(images)]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("images", "limit", "whole", "kept"),
    [
        ("aabbcc", 3, False, 3),
        ("aabbcc", 3, True, 4),
        ("aabbcc", 4, True, 4),
        ("aabbcc", 1, True, 2),
        ("abcabc", 1, True, 6),  # all pictures begin before the first one ends
        ("abbacc", 1, True, 4),
        ("aabbcc", 99, True, 6),
    ],
)
def test_the_first_questions(images, limit, whole, kept):
    questions = asked(*images)
    assert first_questions(questions, limit, whole_pictures=whole) == questions[:kept]


def test_a_picture_in_two_categories_is_two_pictures():
    questions = asked("a", "a")
    questions += [Question(None, "a", "Is it red?", "color", label) for label in ("yes", "no")]
    assert len(first_questions(questions, 1, whole_pictures=True)) == 2


@pytest.mark.parametrize(
    ("image", "place"),
    [
        ("existence/1.png", "existence/1.png"),
        ("existence/1.png", "MME_Benchmark_release_version/existence/1.png"),
        ("scene/1.png", "scene/images/1.png"),
        ("scene/1.png", "MME_Benchmark_release_version/scene/images/1.png"),
        ("train2014/1.jpg", "images/1.jpg"),
        ("1.jpg", "val2014/COCO_val2014_1.jpg"),
    ],
)
def test_where_pictures_lie(tmp_path, image, place):
    touch(tmp_path, place)
    assert find_image(tmp_path, image) == tmp_path / place


def test_pictures_are_read_as_they_are_asked_for(tmp_path):
    Image.new("RGB", (6, 4), "red").save(tmp_path / "a.png")
    items = with_pictures(asked("a.png", "a.png"), tmp_path)
    assert [item.index for item in items] == [0, 1]
    assert items[1].image.size == (6, 4)


def test_missing_pictures_are_counted_and_the_first_named(tmp_path):
    touch(tmp_path, "a.png")
    with pytest.raises(
        RecordError, match=r"5 of 6 pictures are missing: 'b', 'c', 'd' and 2 more; looked there and in"
    ):
        with_pictures(asked("a.png", *"bcdef", "b"), tmp_path)
    with pytest.raises(RecordError, match="has no picture 'b'"):
        with_pictures(asked("a.png", "b"), tmp_path)
    with pytest.raises(RecordError, match="named by a path inside"):
        with_pictures(asked("../a.png"), tmp_path)


def write_questions(path: Path, text: str = "Is it?", **fields: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"question_id": k, "image": "a.png", "text": text, **fields} for k in range(2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_popes_files_are_found_by_name(tmp_path):
    write_questions(tmp_path / "instances_val2014.json", label="no")  # of COCO, often beside them
    for name in ("coco_pope_random", "coco_pope_popular"):
        write_questions(tmp_path / "coco" / f"{name}.json", label="yes")
    assert list(read_pope_folder(tmp_path)) == ["coco_pope_popular", "coco_pope_random"]
    one = write_questions(tmp_path / "mine.jsonl", label="no")
    assert list(read_pope_folder(tmp_path, questions=one)) == ["mine"]


def test_files_of_questions_that_cannot_be_told_apart(tmp_path):
    write_questions(tmp_path / "only" / "a.jsonl", label="yes", category="existence")
    assert list(read_pope_folder(tmp_path / "only")) == ["a"]
    assert [question.label for question in read_mme(tmp_path / "only")] == ["yes", "yes"]
    write_questions(tmp_path / "only" / "b.jsonl", label="yes", category="existence")
    for read in (read_mme, read_pope_folder):
        with pytest.raises(RecordError, match=r"got 'a.jsonl', 'b.jsonl'; name the file of questions"):
            read(tmp_path / "only")


def test_mme_without_labels_and_without_a_release_follows_the_rule_of_order(tmp_path):
    write_questions(tmp_path / "questions.jsonl", category="scene")
    assert [question.label for question in read_mme(tmp_path)] == ["yes", "no"]
