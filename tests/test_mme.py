"""MME by hand: the reply rule, accuracy+, labels from three places, joins, and the command."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from pmtools.evaluation import mme_files
from pmtools.evaluation.answers import read_yes_no
from pmtools.evaluation.matching import match_answers, read_answers
from pmtools.evaluation.mme import CATEGORIES, COGNITION, HALLUCINATION, PERCEPTION, label_yes_then_no, score_mme
from pmtools.evaluation.pictures import find_image
from pmtools.evaluation.questions import Question
from pmtools.evaluation.records import RecordError

REPLIES = ("yes", "no", "yes", "yes")
SUFFIX = " Please answer yes or no."
LLAVA = "\nAnswer the question using a single word or phrase."


def write_lines(path: Path, rows) -> Path:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def pair(image: str, category: str = "existence", labels=("yes", "no")) -> list[Question]:
    return [Question(image, image, f"Is {k} in {image}?{SUFFIX}", category, label) for k, label in enumerate(labels)]


def as_rows(questions) -> list[dict]:
    keep = ("question_id", "image", "text", "category")
    return [{name: getattr(question, name) for name in keep} for question in questions]


def run(*arguments: object, code: int = 0):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from pmtools.cli.application import app

    result = CliRunner().invoke(app, ["score", *map(str, arguments)], env={"COLUMNS": "80"})
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    if code:
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
    return result


# What counts as yes and no


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


# Numbers by hand


def test_half_right_pairs_count_for_accuracy_and_not_for_accuracy_plus():
    asked = pair("a") + pair("b") + pair("c") + pair("d")
    replies = ["yes", "no", "yes", "yes", "no", "no", "no", "yes"]  # both, first, second, none
    score = score_mme(asked, replies).categories["existence"]
    assert (score.accuracy, score.accuracy_plus, score.score, score.n) == (0.5, 0.25, 75.0, 8)


@pytest.mark.parametrize("word", ["yes", "no"])
def test_one_word_for_everything_scores_fifty(word):
    asked = [question for k in range(30) for question in pair(str(k), "count")]
    score = score_mme(asked, [word] * 60)
    assert score.categories["count"].score == 50.0
    assert score.intervals["count"] == (50.0, 50.0)  # whichever pictures are drawn


def test_a_reply_that_is_neither_is_wrong_for_both_labels():
    assert score_mme(pair("a"), ["Maybe", "Maybe"]).hallucination == 0.0
    assert score_mme(pair("a"), [None, "no"]).hallucination == 50.0


def test_totals_are_sums_over_their_categories():
    asked = [question for category in CATEGORIES for question in pair("a", category)]
    score = score_mme(asked, ["yes", "no"] * len(CATEGORIES))
    assert (score.perception, score.cognition, score.hallucination) == (2000.0, 800.0, 800.0)
    assert score.absent == ()
    assert (len(PERCEPTION), len(COGNITION), HALLUCINATION) == (10, 4, ("existence", "count", "position", "color"))
    replies = [reply for c in CATEGORIES for reply in ("yes", "yes" if c == "posters" else "no")]
    wrong_in_posters = score_mme(asked, replies)
    assert (wrong_in_posters.perception, wrong_in_posters.cognition) == (1850.0, 800.0)
    assert wrong_in_posters.hallucination == 800.0


def test_absent_categories_add_nothing_and_are_named():
    score = score_mme(pair("a", "OCR"), ["yes", "no"])
    assert (score.perception, score.cognition, score.hallucination) == (200.0, 0.0, 0.0)
    assert "color" in score.absent
    assert "cognition" not in score.intervals


def test_the_same_picture_name_in_two_categories_is_two_pictures():
    score = score_mme(pair("1.jpg", "OCR") + pair("1.jpg", "color"), ["yes", "no", "no", "yes"])
    assert (score.categories["OCR"].score, score.categories["color"].score) == (200.0, 0.0)


def test_the_questions_of_a_picture_need_not_stand_together():
    asked = pair("a") + pair("b")
    order = [2, 0, 1, 3]
    score = score_mme([asked[i] for i in order], [["yes", "no", "yes", "yes"][i] for i in order])
    assert score.categories["existence"].score == 75.0 + 50.0


def test_intervals_hold_the_score_and_are_as_wide_as_a_bootstrap_over_pictures(rng):
    asked = [question for category in HALLUCINATION for k in range(30) for question in pair(str(k), category)]
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
    asked = [question for c in ("color", "OCR") for k in range(20) for question in pair(str(k), c)]
    replies = [("yes", "no")[k] for k in rng.integers(0, 2, 80)]
    both, again = score_mme(asked, replies), score_mme(asked, replies)
    alone = score_mme(asked[40:], replies[40:])
    assert both == again
    assert both.intervals["OCR"] == alone.intervals["OCR"]


def test_categories_are_drawn_apart(rng):
    """Equal replies in two categories: their errors do not add up, they partly cancel."""
    right = rng.random(30) < 0.5
    asked = [question for c in ("color", "count") for k in range(30) for question in pair(str(k), c)]
    replies = [question.label if right[k // 2 % 30] else "?" for k, question in enumerate(asked)]
    intervals = score_mme(asked, replies).intervals
    width = {name: high - low for name, (low, high) in intervals.items()}
    assert width["hallucination"] < 0.85 * (width["color"] + width["count"])


# Labels


def test_unlabelled_questions_are_yes_then_no_by_picture():
    bare = [Question(None, name, text, "color") for name, text in [("a", "1"), ("b", "2"), ("b", "3"), ("a", "4")]]
    assert [question.label for question in label_yes_then_no(bare)] == ["yes", "yes", "no", "no"]


def test_labels_are_never_overwritten():
    with pytest.raises(RecordError, match="has a label already"):
        label_yes_then_no([*pair("a"), Question(None, "b", "?", "color")])


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_picture_has_two_questions(count):
    asked = [Question(None, "a", str(k), "color", "yes") for k in range(count)]
    with pytest.raises(RecordError, match=f"two questions a picture, got {count} about 'a'"):
        score_mme(asked, ["yes"] * count)


def test_unknown_categories_are_refused_with_the_likely_one():
    with pytest.raises(RecordError, match="'colour' is not a category of MME; is it 'color'"):
        score_mme(pair("a", "colour"), ["yes", "no"])


def test_scoring_needs_labels_and_as_many_replies():
    with pytest.raises(RecordError, match="has no label"):
        score_mme(pair("a", labels=(None, None)), ["yes", "no"])
    with pytest.raises(ValueError, match="got 1 for 2 questions"):
        score_mme(pair("a"), ["yes"])
    with pytest.raises(ValueError, match="got 0 for 0"):
        score_mme([], [])


def release(root: Path, *, apart: bool) -> Path:
    """A release with one category in either layout; the first question is no, so that the order rule would be wrong."""
    category = root / ("scene" if apart else "OCR")
    texts, images = (category / "questions_answers_YN", category / "images") if apart else (category, category)
    texts.mkdir(parents=True)
    images.mkdir(exist_ok=True)
    (texts / "0001.txt").write_text(f"Is it red?{SUFFIX}\tNo\r\nIs it blue? {SUFFIX}\tYes\t\r\n\r\n", encoding="utf-8")
    (images / "0001.png").write_bytes(b"")
    return root


@pytest.mark.parametrize("apart", [True, False])
def test_the_release_is_read_in_both_layouts(tmp_path, apart):
    found = mme_files.read_mme_release(release(tmp_path, apart=apart))
    assert [(question.text.split("?")[0], question.label) for question in found] == [
        ("Is it red", "no"),
        ("Is it blue", "yes"),
    ]
    assert {question.image for question in found} == {"scene/images/0001.png" if apart else "OCR/0001.png"}
    assert find_image(tmp_path, found[0].image).is_file()


@pytest.mark.parametrize("apart", [True, False])
def test_labels_come_from_the_release(tmp_path, apart):
    folder = release(tmp_path, apart=apart)
    category = "scene" if apart else "OCR"
    bare = [Question("x", f"{category}/0001.jpg", f"Is it {color}?{LLAVA}", category) for color in ("blue", "red")]
    assert [q.label for q in mme_files.label_mme_from_folder(bare, folder)] == ["yes", "no"]
    with pytest.raises(RecordError, match="has no label for 'Is it green"):
        mme_files.label_mme_from_folder([Question("x", "0001.jpg", "Is it green?", category)], folder)


def test_labels_come_from_answer_files_too(tmp_path):
    (tmp_path / "OCR.txt").write_text("0001.png\tIs it red?\tNo\n0001.png\tIs it blue?\tYes\tno\n")
    bare = [Question("x", "OCR/0001.png", f"Is it {color}?{SUFFIX}", "OCR") for color in ("blue", "red")]
    assert [q.label for q in mme_files.label_mme_from_folder(bare, tmp_path)] == ["yes", "no"]


def test_labels_that_contradict_each_other_are_refused(tmp_path):
    (tmp_path / "OCR.txt").write_text("1.png\tIs it red?\tNo\n")
    with pytest.raises(RecordError, match=r"the label is yes, but no in"):
        mme_files.label_mme_from_folder([Question("x", "1.png", "Is it red?", "OCR", "yes")], tmp_path)
    (tmp_path / "OCR.txt").write_text("1.png\tIs it red?\tNo\n1.png\tIs it red?\tYes\n")
    with pytest.raises(RecordError, match="both labels"):
        mme_files.label_mme_from_folder([Question("x", "1.png", "Is it red?", "OCR")], tmp_path)


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
        mme_files.read_mme_release(tmp_path)


# Questions and answers from files


def test_labels_in_the_file_are_used_and_must_be_in_all_lines(tmp_path):
    rows = as_rows(pair("a"))
    rows[0]["label"], rows[1]["answer"] = "No", "YES"
    asked = mme_files.read_mme_questions(write_lines(tmp_path / "q.jsonl", rows))
    assert [question.label for question in asked] == ["no", "yes"]
    del rows[1]["answer"]
    with pytest.raises(RecordError, match=r"q.jsonl:2: `label` is missing"):
        mme_files.read_mme_questions(write_lines(tmp_path / "q.jsonl", rows))


def test_two_questions_share_an_id_and_are_joined_by_position(tmp_path):
    asked = pair("a.jpg") + pair("b.jpg")
    lines = [{"question_id": q.question_id, "text": r} for q, r in zip(asked, REPLIES, strict=True)]
    answers = read_answers(write_lines(tmp_path / "a.jsonl", lines))
    assert match_answers(asked, answers).replies == REPLIES
    with pytest.raises(RecordError, match=r"number of answers: 1 for the 2 questions of 'a.jpg'; several"):
        match_answers(asked, answers[1:])
    with pytest.raises(RecordError, match=r"a.jsonl:3: .* about 'b.jpg', but question 1 is about 'a.jpg'; sev"):
        match_answers(asked, [answers[i] for i in (2, 3, 0, 1)])


@pytest.mark.parametrize(("question", "reply"), [("prompt", "text"), ("text", "answer"), ("question", "response")])
@pytest.mark.parametrize("known", ["image", "question_id"])
def test_answers_in_any_order_are_joined_by_picture_and_text(tmp_path, question, reply, known):
    asked = pair("a.jpg") + pair("b.jpg")
    rows = [{known: q.image, question: q.text + LLAVA, reply: f"{k} no"} for k, q in enumerate(asked)]
    answers = read_answers(write_lines(tmp_path / "a.jsonl", [rows[k] for k in (3, 1, 0, 2)]))
    assert match_answers(asked, answers).replies == ("0 no", "1 no", "2 no", "3 no")


# The command


def files(tmp_path, replies=REPLIES) -> tuple[str, Path, str, Path]:
    asked = pair("a.jpg") + pair("b.jpg", "color")
    rows = [{"question_id": q.question_id, "text": reply} for q, reply in zip(asked, replies, strict=False)]
    questions = write_lines(tmp_path / "q.jsonl", as_rows(asked))
    return "--questions", questions, "--answers", write_lines(tmp_path / "a.jsonl", rows)


def test_the_command_prints_one_json_object(tmp_path):
    report = json.loads(run("mme", *files(tmp_path), "--json").stdout)
    assert report["categories"]["existence"] == {"accuracy": 1.0, "accuracy_plus": 1.0, "score": 200.0, "n": 2}
    assert report["categories"]["color"] == {"accuracy": 0.5, "accuracy_plus": 0.0, "score": 50.0, "n": 2}
    assert (report["perception"], report["cognition"], report["hallucination"]) == (250.0, 0.0, 250.0)
    assert (report["missing"], report["duplicate"], report["unmatched"]) == (0, 0, 0)


def test_the_table_fits_eighty_columns_and_says_what_is_absent(tmp_path):
    result = run("mme", *files(tmp_path))
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert [line.split() for line in result.stdout.splitlines() if "color" in line] == [
        ["color", "2", "0.500", "0.000", "50.00", "50.0", "50.0"]
    ]
    assert "perception: without count, position" in result.stderr


def test_the_official_folder_gives_the_same_numbers(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "existence.txt").write_text("a.jpg\tIs 0?\tYes\tYes\na.jpg\tIs 1?\tNo\tno, it\tis not\n")
    (folder / "color.txt").write_bytes("\ufeffb.jpg\tIs 0?\tYes\tYes, é\r\nb.jpg\tIs 1?\tNo\tyes\r\n".encode())
    official = json.loads(run("mme", "--official", folder, "--json").stdout)
    assert official == json.loads(run("mme", *files(tmp_path), "--json").stdout)


def test_the_command_takes_labels_from_a_folder(tmp_path):
    folder = release(tmp_path / "MME", apart=True)
    rows = [{"image": "scene/0001.png", "text": f"Is it {c}?", "category": "scene"} for c in ("red", "blue")]
    questions = write_lines(tmp_path / "q.jsonl", rows)
    answers = write_lines(tmp_path / "a.jsonl", [{"text": "no"}, {"text": "yes"}])
    options = ("mme", "--questions", questions, "--answers", answers, "--json")
    assert json.loads(run(*options, "--official", folder).stdout)["perception"] == 200.0
    assert json.loads(run(*options).stdout)["perception"] == 0.0  # the order rule, wrong for this release


def test_missing_answers_stop_or_count_as_wrong(tmp_path):
    options = files(tmp_path, replies=("yes", "no", "yes"))
    result = run("mme", *options, "--json", code=1)
    assert "1 answer missing, to the question: " in result.stderr
    assert "q.jsonl:4 ('b.jpg', 'b.jpg', 'Is 1 in b.jpg?" in result.stderr
    assert "--missing wrong" in result.stderr
    report = json.loads(run("mme", *options, "--json", "--missing", "wrong").stdout)
    assert (report["categories"]["color"]["score"], report["missing"]) == (50.0, 1)


def test_the_command_says_what_it_needs(tmp_path):
    questions, answers = files(tmp_path)[1::2]
    for options in ([], ["--questions", questions], ["--official", tmp_path, "--answers", answers]):
        assert "--questions with --answers, or --official" in run("mme", *options, code=2).stderr
    assert "--official" in run("mme", "--official", tmp_path, "--missing", "wrong", code=2).stderr
    assert "found none" in run("mme", "--official", tmp_path, code=1).stderr
    (tmp_path / "colour.txt").write_text("a\tb\tYes\tYes\n")
    assert "got 'colour.txt'" in run("mme", "--official", tmp_path, code=1).stderr
    (tmp_path / "colour.txt").rename(tmp_path / "color.txt")
    (tmp_path / "color.txt").write_text("a\tb\tYes\n")
    assert "color.txt:1: must be image, question" in run("mme", "--official", tmp_path, code=1).stderr


def test_the_commands_and_the_code_of_the_guide_run(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[1] / "docs/howto/run_mme_and_pope.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    options = files(tmp_path)
    options[1].rename("mme.jsonl")
    options[3].rename("answers.jsonl")
    Path("results").mkdir()
    Path("results/OCR.txt").write_text("a\tIs 0?\tYes\tYes\na\tIs 1?\tNo\tNo\n")
    write_lines(Path("coco_pope_random.json"), [{"question_id": 1, "image": "a.jpg", "text": "?", "label": "no"}])
    write_lines(Path("answers_pope.jsonl"), [{"question_id": 1, "text": "No"}])
    write_lines(Path("reviews.jsonl"), [{"category": "conv", "tuple": [8, 6]}])
    commands = [line for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    commands = [line.split(" > ")[0] for line in commands if line.startswith("pmtools score") and "--data" not in line]
    assert len(commands) == 6
    for command in commands:
        run(*shlex.split(command)[2:])
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out == "0.0\n"
    (lines,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    Path("forms.jsonl").write_text(lines)
    assert {answer.reply.lower() for answer in read_answers("forms.jsonl")} == {"no"}
