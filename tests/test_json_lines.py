"""Files as people have them: marks, line ends and blank lines are read, anything wrong is named with its line."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmtools.evaluation.json_lines import RecordError, read_lines, read_records
from pmtools.evaluation.matching import read_answers
from pmtools.evaluation.pope import read_pope

GOOD = b'{"question_id": 1, "image": "a.jpg", "text": "?", "label": "yes"}'


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        b"\xef\xbb\xbf" + GOOD + b"\r\n",
        b"\n  \n" + GOOD + b"\n\n\r\n",
        b"  " + GOOD + b"  \n",
        b"[" + GOOD + b"]",
        b"\xef\xbb\xbf\n[\n  " + GOOD + b"\n]\n",
    ],
)
def test_marks_line_ends_and_blank_lines_do_not_matter(tmp_path, content):
    path = tmp_path / "q.jsonl"
    path.write_bytes(content)
    (question,) = read_pope(path)
    assert (question.question_id, question.image, question.label) == ("1", "a.jpg", "yes")


def test_only_a_newline_ends_a_line(tmp_path):
    path = tmp_path / "a.jsonl"
    replies = ["one\u2028two", "three\x85four\x0bfive", "six\rseven"]
    path.write_text("".join(json.dumps({"text": reply}, ensure_ascii=False) + "\n" for reply in replies), "utf-8")
    assert [answer.reply for answer in read_answers(path)] == replies


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "f.jsonl: the file is empty"),
        (b"\r\n \n", "f.jsonl: the file is empty"),
        (b"[ \n ]", "f.jsonl: the array is empty"),
        (GOOD + b"\n{", r"f.jsonl:2, column 2: not valid JSON"),
        (GOOD + b"\n\n" + GOOD[:-1], r"f.jsonl:3, column \d+: not valid JSON"),
        (GOOD + b",\n" + GOOD, "f.jsonl:1, .*; remove the comma at the end"),
        (GOOD[:-1] + b",}", "f.jsonl:1, .*not valid JSON"),
        (b"[" + GOOD + b",\n" + GOOD + b",\n]", "f.jsonl:2: remove the comma after the last object"),
        (b"[" + GOOD + b"\n" + GOOD + b"]", "f.jsonl:1: a comma or the closing bracket"),
        (b"[" + GOOD, "f.jsonl:1: a comma or the closing bracket"),
        (b"[" + GOOD + b",", "f.jsonl:1.*not valid JSON"),
        (b"[" + GOOD + b"]\n" + GOOD, "text after the closing bracket"),
        (b"[" + GOOD + b", 7]", "f.jsonl:1: must be a JSON object, got 7"),
        (b"7", "f.jsonl:1: must be a JSON object, got 7"),
        (b"null", "must be a JSON object, got None"),
        (b'"' + b"x" * 5000 + b'"', r"must be a JSON object, got 'x+\.\.\.$"),
        (GOOD.replace(b"a.jpg", b"\xe9.jpg"), "f.jsonl:1: byte 0xe9 is not UTF-8"),
        (GOOD + b"\n" + GOOD.replace(b"a.jpg", b"\xff"), "f.jsonl:2: byte 0xff is not UTF-8"),
        ("\ufeff".encode("utf-16-le") + GOOD.decode().encode("utf-16-le"), "is UTF-16 or UTF-32; save it as UTF-8"),
        (GOOD.replace(b'"image"', b'"text": "!", "image"'), "'text' occurs twice"),
        (GOOD.replace(b'"a.jpg"', b"NaN"), "NaN is not a JSON number"),
        (GOOD.replace(b'"a.jpg"', b"1" * 5000), "f.jsonl:1: not valid JSON"),
        (b'{"a":' * 100_000, "f.jsonl:1.*nested too deeply"),
        (GOOD.replace(b'"a.jpg"', b"7"), "f.jsonl:1: `image` must be a string, got 7"),
        (GOOD.replace(b'"a.jpg"', b"null"), "`image` must be a string, got None"),
        (GOOD.replace(b'"?"', b'["?"]'), r"`text` must be a string, got \['\?'\]"),
        (GOOD.replace(b'"image"', b'"picture"'), "`image` is missing; the line has `question_id`, `picture`, `text`"),
        (GOOD.replace(b": 1,", b": 1.5,"), "`question_id` must be a string or an integer, got 1.5"),
        (GOOD.replace(b": 1,", b": true,"), "`question_id` must be a string or an integer, got True"),
        (GOOD.replace(b'"yes"', b'"maybe"'), "f.jsonl:1: the label must be yes or no, got 'maybe'"),
        (GOOD.replace(b'"yes"', b"true"), "`label` must be a string, got True"),
        (b"{}", "`image` is missing; the line has no fields"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, line, says):
    path = tmp_path / "f.jsonl"
    path.write_bytes(line)
    with pytest.raises(RecordError, match=says):
        read_pope(path)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_records(tmp_path / "none.jsonl")


def test_places_count_blank_lines_and_line_ends_go(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"\na\r\n\r\nb\n")
    assert read_lines(path) == [(f"{path}:2", "a"), (f"{path}:4", "b")]


@given(
    st.one_of(
        st.binary(),
        st.text().map(str.encode),
        st.lists(st.sampled_from([b"[", b"]", b"{", b"}", b",", GOOD, b"\n", b'"'])).map(b"".join),
    )
)
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    path.write_bytes(content)
    with contextlib.suppress(RecordError):
        assert all(isinstance(record.fields, dict) for record in read_records(path))
