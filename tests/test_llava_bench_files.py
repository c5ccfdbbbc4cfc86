"""LLaVA-Bench as published: both releases, and what is wrong with a file."""

from __future__ import annotations

import json

import pytest
from benchmark_files import llava_bench_release, write_lines

from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.llava_bench import judge_content, read_llava_bench


def test_the_release_in_the_wild_is_joined_by_id_and_picture(tmp_path):
    hat, lake = read_llava_bench(llava_bench_release(tmp_path))
    assert (hat.question.text, hat.context, hat.reference, hat.prompt) == ("What is it?", "A hat.", "Headgear.", None)
    assert (lake.question.category, lake.context, lake.reference) == ("detail", "A lake.", "Water.")


def test_the_coco_release_has_captions_and_boxes(tmp_path):
    row = {"question_id": "0", "image": "000000000042.jpg", "text": "What?", "category": "complex"}
    write_lines(tmp_path / "qa90_questions.jsonl", [row])
    box = {"category": "dog", "bbox": [0.1, 0.2, 0.3, 0.4]}
    told = {"image": "COCO_val2014_000000000042.jpg", "captions": ["A dog.", "One dog."], "instances": [box]}
    write_lines(tmp_path / "caps_boxes_coco2014_val_80.jsonl", [told])
    write_lines(tmp_path / "qa90_gpt4_answer.jsonl", [{"question_id": "0", "text": "A dog."}])
    (tmp_path / "rule.json").write_text(json.dumps({"complex": {"role": "Assistant", "prompt": "Judge!"}}))
    (item,) = read_llava_bench(tmp_path)
    assert item.context == "A dog.\nOne dog.\n\ndog: [0.1, 0.2, 0.3, 0.4]"
    assert (item.role, item.prompt) == ("Assistant", "Judge!")
    assert judge_content(item, "A cat.").startswith("[Context]\nA dog.\nOne dog.")


def test_rules_in_the_wild_have_their_prefix(tmp_path):
    rule = {"role": "Assistant", "prompt": "Judge!"}
    (llava_bench_release(tmp_path) / "rule.json").write_text(
        json.dumps({"conv": {**rule, "prompt": "Other"}, "llava_bench_conv": rule})
    )
    assert [item.prompt for item in read_llava_bench(tmp_path)] == ["Judge!", None]


def test_rules_that_are_nested_too_deeply(tmp_path):
    (llava_bench_release(tmp_path) / "rule.json").write_text("[" * 100_000)
    with pytest.raises(RecordError, match="must hold, for each category"):
        read_llava_bench(tmp_path)


@pytest.mark.parametrize(
    ("name", "rows", "says"),
    [
        ("context.jsonl", [{"image": "001.jpg", "caption": "A hat."}], "context.jsonl has nothing for the question 1"),
        ("answers_gpt4.jsonl", [{"question_id": 0, "text": ""}], "answers_gpt4.jsonl has nothing for the question 1"),
        ("context.jsonl", [{"image": "001.jpg", "caption": 7}], "context.jsonl:1: `caption` or `captions` must be"),
        ("context.jsonl", [{"image": "1", "caption": "", "instances": [1]}], "`instances` must be a list of objects"),
        (
            "questions.jsonl",
            [{"question_id": 0, "image": "001.jpg", "text": "?", "category": "conv"}] * 2,
            "must be present and unique",
        ),
        ("rule.json", [[1]], "must hold, for each category, an object with `role` and `prompt`"),
    ],
)
def test_a_malformed_release_says_where(tmp_path, name, rows, says):
    write_lines(llava_bench_release(tmp_path) / name, rows)
    with pytest.raises(RecordError, match=says):
        read_llava_bench(tmp_path)


def test_an_empty_folder_names_the_files(tmp_path):
    with pytest.raises(
        RecordError, match=r"has no qa90_questions.jsonl and no .* of LLaVA-Bench \(COCO; questions.jsonl"
    ):
        read_llava_bench(tmp_path)
