"""POPE's files: found by their names, arrays read with their lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.mme import read_mme
from pmtools.evaluation.pope import read_pope, read_pope_folder


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


def test_files_that_are_arrays_are_read_with_their_lines(tmp_path):
    path = tmp_path / "gqa.json"
    item = {"question_id": 1, "image": "a.jpg", "text": "Is there a cat in the image?", "label": "yes"}
    path.write_text(json.dumps([item, {**item, "label": "no"}], indent=4))
    assert [(q.label, q.place) for q in read_pope(path)] == [("yes", f"{path}:2"), ("no", f"{path}:8")]
    path.write_text(json.dumps([item, {**item, "label": "n/a"}], indent=4))
    with pytest.raises(RecordError, match=r"gqa.json:8: the label must be yes or no, got 'n/a'"):
        read_pope(path)
