"""What replies mean."""

import pytest

from pmtools.evaluation.answers import read_word, read_yes_no


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        ("yes", "yes"), ("No", "no"), ("no, there is none", "no"), ("Yes, it is", "yes"),
        ("I say yes", None), ("", None), ("Not at all", "no"), ("know", "no"), ("noyes", "no"),
    ],
)  # fmt: skip
def test_yes_no(reply, meaning):
    assert read_yes_no(reply) == meaning


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        ("red", "red"), ("It is RED.", "red"), ("red or blue", None), ("redder", None), ("", None), ("red, red", "red"),
    ],
)  # fmt: skip
def test_color_word(reply, meaning):
    assert read_word(reply, ("red", "blue")) == meaning


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [("3", "three"), ("There are three.", "three"), ("13", None), ("2 or 3", None), ("zero", None)],
)
def test_number_word(reply, meaning):
    assert read_word(reply, ("two", "three")) == meaning


def test_plurals():
    assert read_word("Crosses", ("cross", "star")) == "cross"
    assert read_word("two stars", ("cross", "star")) == "star"
