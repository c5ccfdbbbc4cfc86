"""POPE by hand: the reply rule, the four counts, intervals over pictures."""

from __future__ import annotations

import pytest
from benchmark_files import pope_questions

from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.pope import read_pope_reply, score_pope
from pmtools.evaluation.questions import Question


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
    asked = pope_questions("yyyynnnnnn")
    replies = ["Yes"] * 3 + ["No"] + ["Yes"] * 2 + ["No"] * 4  # 3 true yes, 1 false no, 2 false yes, 4 true no
    score = score_pope(asked, replies)
    assert (score.accuracy, score.precision, score.recall) == (0.7, 0.6, 0.75)
    assert score.f1 == pytest.approx(2 * 0.6 * 0.75 / (0.6 + 0.75))
    assert (score.yes_ratio, score.n) == (0.5, 10)


def test_always_yes_has_yes_ratio_one():
    score = score_pope(pope_questions("yn" * 30), ["Yes, there is."] * 60)
    assert (score.accuracy, score.precision, score.recall, score.f1) == (0.5, 0.5, 1.0, pytest.approx(2 / 3))
    assert score.yes_ratio == 1.0
    assert score.intervals["yes_ratio"] == (1.0, 1.0)


def test_the_yes_ratio_is_that_of_the_replies():
    assert score_pope(pope_questions("yyyn"), ["No", "No", "No", "Yes"]).yes_ratio == 0.25


def test_never_yes_has_no_precision():
    score = score_pope(pope_questions("yn"), ["No", "No"])
    assert (score.accuracy, score.precision, score.recall, score.f1, score.yes_ratio) == (0.5, 0.0, 0.0, 0.0, 0.0)


def test_no_answer_is_the_opposite_of_the_label():
    assert score_pope(pope_questions("yn"), [None, None]) == score_pope(pope_questions("yn"), ["No", "Yes"])


def test_intervals_draw_whole_pictures(rng):
    """Six equal replies a picture say no more than one: the interval is that of ten draws, not of sixty."""
    right = rng.random(10) < 0.6
    asked = pope_questions("y" * 60, per_image=6)
    asked = [Question(q.question_id, str(k // 6), q.text, label="yes") for k, q in enumerate(asked)]
    low, high = score_pope(asked, ["Yes" if right[k // 6] else "No" for k in range(60)]).intervals["accuracy"]
    alone = [Question(str(k), str(k), "?", label="yes") for k in range(10)]
    assert (low, high) == score_pope(alone, ["Yes" if r else "No" for r in right]).intervals["accuracy"]
    assert high - low > 0.3


def test_scoring_needs_labels_and_as_many_replies():
    with pytest.raises(RecordError, match=r"pope.jsonl:3: .* has no label"):
        score_pope([Question("1", "a", "?", place="pope.jsonl:3")], ["yes"])
    with pytest.raises(ValueError, match="got 3 for 2 questions"):
        score_pope(pope_questions("yn"), ["yes"] * 3)
