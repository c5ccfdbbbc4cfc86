"""Spellings of a question, and the first questions of a benchmark."""

from __future__ import annotations

import pytest

from pmtools.evaluation.questions import Question, first_questions, normalize_question


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
    questions = [Question(None, image, f"Is {k} there?", "existence") for k, image in enumerate(images)]
    assert first_questions(questions, limit, whole_pictures=whole) == questions[:kept]


def test_a_picture_in_two_categories_is_two_pictures():
    questions = [Question(None, "a", "Is it?", category) for category in ("existence", "existence", "color", "color")]
    assert len(first_questions(questions, 1, whole_pictures=True)) == 2
