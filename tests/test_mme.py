"""MME by hand: the reply rule, accuracy+, totals, intervals and the rule of order."""

from __future__ import annotations

import numpy as np
import pytest
from benchmark_files import mme_pair

from pmtools.evaluation.answers import read_yes_no
from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.mme import CATEGORIES, COGNITION, HALLUCINATION, PERCEPTION, label_yes_then_no, score_mme
from pmtools.evaluation.questions import Question


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        ("yes", "yes"),
        ("NO", "no"),
        ("Yes, there is.", "yes"),
        ("No.", "no"),
        ("Not at all", "no"),  # "not " holds "no"
        (" no", "no"),
        ("  no", "no"),
        ("   no", None),  # the fifth character is too late
        (" yes", "yes"),
        ("  yes", None),
        ("\nYes", "yes"),
        ("Ayes", "yes"),
        ("I know", None),  # "i kn"
        ("a no", "no"),
        ("None", "no"),
        ("noyes", "no"),  # "noye" holds no "yes"
        ("There is no dog", None),
        ("", None),
        ("ye", None),
        ("n", None),
    ],
)
def test_the_first_four_characters_decide(reply, meaning):
    assert read_yes_no(reply) == meaning


# ----------------------------------------------------------------------------------------------------- numbers by hand


def test_half_right_pairs_count_for_accuracy_and_not_for_accuracy_plus():
    asked = mme_pair("a") + mme_pair("b") + mme_pair("c") + mme_pair("d")
    replies = ["yes", "no", "yes", "yes", "no", "no", "no", "yes"]  # both, first, second, none
    score = score_mme(asked, replies).categories["existence"]
    assert (score.accuracy, score.accuracy_plus, score.score, score.n) == (0.5, 0.25, 75.0, 8)


@pytest.mark.parametrize("word", ["yes", "no"])
def test_one_word_for_everything_scores_fifty(word):
    asked = [question for k in range(30) for question in mme_pair(str(k), "count")]
    score = score_mme(asked, [word] * 60)
    assert score.categories["count"].score == 50.0
    assert score.intervals["count"] == (50.0, 50.0)  # whichever pictures are drawn


def test_a_reply_that_is_neither_is_wrong_for_both_labels():
    assert score_mme(mme_pair("a"), ["Maybe", "Maybe"]).hallucination == 0.0
    assert score_mme(mme_pair("a"), [None, "no"]).hallucination == 50.0


def test_totals_are_sums_over_their_categories():
    asked = [question for category in CATEGORIES for question in mme_pair("a", category)]
    score = score_mme(asked, ["yes", "no"] * len(CATEGORIES))
    assert (score.perception, score.cognition, score.hallucination) == (2000.0, 800.0, 800.0)
    assert score.absent == ()
    assert (len(PERCEPTION), len(COGNITION), HALLUCINATION) == (10, 4, ("existence", "count", "position", "color"))
    replies = [reply for c in CATEGORIES for reply in ("yes", "yes" if c == "posters" else "no")]
    wrong_in_posters = score_mme(asked, replies)
    assert (wrong_in_posters.perception, wrong_in_posters.cognition) == (1850.0, 800.0)
    assert wrong_in_posters.hallucination == 800.0


def test_absent_categories_add_nothing_and_are_named():
    score = score_mme(mme_pair("a", "OCR"), ["yes", "no"])
    assert (score.perception, score.cognition, score.hallucination) == (200.0, 0.0, 0.0)
    assert "color" in score.absent
    assert "cognition" not in score.intervals


def test_the_same_picture_name_in_two_categories_is_two_pictures():
    score = score_mme(mme_pair("1.jpg", "OCR") + mme_pair("1.jpg", "color"), ["yes", "no", "no", "yes"])
    assert (score.categories["OCR"].score, score.categories["color"].score) == (200.0, 0.0)


def test_the_questions_of_a_picture_need_not_stand_together():
    asked = mme_pair("a") + mme_pair("b")
    order = [2, 0, 1, 3]
    score = score_mme([asked[i] for i in order], [["yes", "no", "yes", "yes"][i] for i in order])
    assert score.categories["existence"].score == 75.0 + 50.0


# ----------------------------------------------------------------------------------------------------------- intervals


def test_intervals_hold_the_score_and_are_as_wide_as_a_bootstrap_over_pictures(rng):
    asked = [question for category in HALLUCINATION for k in range(30) for question in mme_pair(str(k), category)]
    right = rng.random(240) < 0.85
    replies = [question.label if r else "?" for question, r in zip(asked, right, strict=True)]
    score = score_mme(asked, replies)
    draws = np.zeros(4000)
    for category in range(4):  # a loop that draws pictures one by one
        both = right.reshape(4, 30, 2)[category]
        chosen = both[rng.integers(0, 30, (4000, 30))]
        draws += 100 * chosen.mean((1, 2)) + 100 * chosen.all(2).mean(1)
    low, high = score.intervals["hallucination"]
    assert low < score.hallucination < high
    assert np.allclose([low, high], np.quantile(draws, [0.025, 0.975]), atol=5)


def test_intervals_are_reproducible_and_do_not_depend_on_other_categories(rng):
    asked = [question for c in ("color", "OCR") for k in range(20) for question in mme_pair(str(k), c)]
    replies = [("yes", "no")[k] for k in rng.integers(0, 2, 80)]
    both, again = score_mme(asked, replies), score_mme(asked, replies)
    alone = score_mme(asked[40:], replies[40:])
    assert both == again
    assert both.intervals["OCR"] == alone.intervals["OCR"]


def test_categories_are_drawn_apart(rng):
    """Equal replies in two categories: their errors do not add up, they partly cancel."""
    right = rng.random(30) < 0.5
    asked = [question for c in ("color", "count") for k in range(30) for question in mme_pair(str(k), c)]
    replies = [question.label if right[k // 2 % 30] else "?" for k, question in enumerate(asked)]
    intervals = score_mme(asked, replies).intervals
    width = {name: high - low for name, (low, high) in intervals.items()}
    assert width["hallucination"] < 0.85 * (width["color"] + width["count"])


# -------------------------------------------------------------------------------------------------------------- labels


def test_unlabelled_questions_are_yes_then_no_by_picture():
    bare = [Question(None, name, text, "color") for name, text in [("a", "1"), ("b", "2"), ("b", "3"), ("a", "4")]]
    assert [question.label for question in label_yes_then_no(bare)] == ["yes", "yes", "no", "no"]


def test_labels_are_never_overwritten():
    with pytest.raises(RecordError, match="already has a label"):
        label_yes_then_no([*mme_pair("a"), Question(None, "b", "?", "color")])


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_picture_has_two_questions(count):
    asked = [Question(None, "a", str(k), "color", "yes") for k in range(count)]
    with pytest.raises(RecordError, match=f"two questions per picture, got {count} about 'a'"):
        score_mme(asked, ["yes"] * count)


def test_unknown_categories_are_refused_with_the_likely_one():
    with pytest.raises(RecordError, match="'colour' is not a category of MME; is it 'color'"):
        score_mme(mme_pair("a", "colour"), ["yes", "no"])


def test_scoring_needs_labels_and_as_many_replies():
    with pytest.raises(RecordError, match="has no label"):
        score_mme(mme_pair("a", labels=(None, None)), ["yes", "no"])
    with pytest.raises(ValueError, match="got 1 for 2 questions"):
        score_mme(mme_pair("a"), ["yes"])
    with pytest.raises(ValueError, match="got 0 for 0"):
        score_mme([], [])
