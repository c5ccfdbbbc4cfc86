"""`pmtools score`: the numbers of MME, POPE and LLaVA-Bench from files, and one line for every mistake."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from benchmark_files import llava_bench_release, mme_pair, mme_release, question_rows, run, write_lines
from judge_stub import KEY, complaint

from pmtools.evaluation.matching import read_answers


def score(*arguments: object, code: int = 0, **environment: str):
    result = run("score", *arguments, code=code, **environment)
    if code:
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
    return result


# ----------------------------------------------------------------------------------------------------------------- MME


def mme_files(tmp_path, replies=("yes", "no", "yes", "yes")) -> tuple[str, Path, str, Path]:
    asked = mme_pair("a.jpg") + mme_pair("b.jpg", "color")
    rows = [{"question_id": q.question_id, "text": reply} for q, reply in zip(asked, replies, strict=False)]
    questions = write_lines(tmp_path / "q.jsonl", question_rows(asked))
    return "--questions", questions, "--answers", write_lines(tmp_path / "a.jsonl", rows)


def test_mme_prints_one_json_object(tmp_path):
    report = json.loads(score("mme", *mme_files(tmp_path), "--json").stdout)
    assert report["categories"]["existence"] == {"accuracy": 1.0, "accuracy_plus": 1.0, "score": 200.0, "n": 2}
    assert report["categories"]["color"] == {"accuracy": 0.5, "accuracy_plus": 0.0, "score": 50.0, "n": 2}
    assert (report["perception"], report["cognition"], report["hallucination"]) == (250.0, 0.0, 250.0)
    assert (report["missing"], report["duplicate"], report["unmatched"]) == (0, 0, 0)


def test_mmes_table_fits_eighty_columns_and_says_what_is_absent(tmp_path):
    result = score("mme", *mme_files(tmp_path))
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
    official = json.loads(score("mme", "--official", folder, "--json").stdout)
    assert official == json.loads(score("mme", *mme_files(tmp_path), "--json").stdout)


def test_mmes_labels_come_from_a_folder(tmp_path):
    folder = mme_release(tmp_path / "MME", apart=True)
    rows = [{"image": "scene/0001.png", "text": f"Is it {c}?", "category": "scene"} for c in ("red", "blue")]
    questions = write_lines(tmp_path / "q.jsonl", rows)
    answers = write_lines(tmp_path / "a.jsonl", [{"text": "no"}, {"text": "yes"}])
    options = ("mme", "--questions", questions, "--answers", answers, "--json")
    assert json.loads(score(*options, "--official", folder).stdout)["perception"] == 200.0
    assert json.loads(score(*options).stdout)["perception"] == 0.0  # the order rule, wrong for this release


def test_missing_answers_stop_mme_or_count_as_wrong(tmp_path):
    options = mme_files(tmp_path, replies=("yes", "no", "yes"))
    result = score("mme", *options, "--json", code=1)
    assert "1 answer missing, to the question: " in result.stderr
    assert "q.jsonl:4 ('b.jpg', 'b.jpg', 'Is 1 in b.jpg?" in result.stderr
    assert "--missing wrong" in result.stderr
    report = json.loads(score("mme", *options, "--json", "--missing", "wrong").stdout)
    assert (report["categories"]["color"]["score"], report["missing"]) == (50.0, 1)


def test_mme_says_what_it_needs(tmp_path):
    questions, answers = mme_files(tmp_path)[1::2]
    for options in ([], ["--questions", questions], ["--official", tmp_path, "--answers", answers]):
        assert "--questions with --answers, or --official" in score("mme", *options, code=2).stderr
    assert "--official" in score("mme", "--official", tmp_path, "--missing", "wrong", code=2).stderr
    assert "found none" in score("mme", "--official", tmp_path, code=1).stderr
    (tmp_path / "colour.txt").write_text("a\tb\tYes\tYes\n")
    assert "got 'colour.txt'" in score("mme", "--official", tmp_path, code=1).stderr
    (tmp_path / "colour.txt").rename(tmp_path / "color.txt")
    (tmp_path / "color.txt").write_text("a\tb\tYes\n")
    assert "color.txt:1: must be image, question" in score("mme", "--official", tmp_path, code=1).stderr


# ---------------------------------------------------------------------------------------------------------------- POPE


def pope_files(tmp_path, replies=("Yes", "No", "No")):
    questions = [
        {"question_id": 1, "image": "a.jpg", "text": "Is there a cat in the image?", "label": "yes"},
        {"question_id": 2, "image": "a.jpg", "text": "Is there a dog in the image?", "label": "no"},
        {"question_id": 3, "image": "b.jpg", "text": "Is there an apple in the imange?", "label": "yes"},
    ]
    answers = [{"question_id": k, "text": reply} for k, reply in enumerate(replies, 1)]
    path = write_lines(tmp_path / "q.json", questions)
    return "--questions", path, "--answers", write_lines(tmp_path / "a.jsonl", answers)


def test_pope_prints_one_json_object(tmp_path):
    report = json.loads(score("pope", *pope_files(tmp_path), "--json").stdout)
    numbers = [report[name] for name in ("accuracy", "precision", "recall", "f1", "yes_ratio", "n")]
    assert numbers == pytest.approx([2 / 3, 1.0, 0.5, 2 / 3, 1 / 3, 3])
    low, high = report["intervals"]["accuracy"]
    assert low <= 2 / 3 <= high


def test_popes_table_is_readable_at_eighty_columns(tmp_path):
    lines = score("pope", *pope_files(tmp_path)).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[:3] == ["yes", "ratio", "0.3333"] for line in lines)


def test_pope_counts_missing_answers_as_wrong_when_told_to(tmp_path):
    options = pope_files(tmp_path, replies=("Yes", "No"))
    assert "1 answer missing" in score("pope", *options, code=1).stderr
    result = score("pope", *options, "--missing", "wrong")
    assert "1 missing; 1 questions counted as wrong" in result.stderr
    report = json.loads(score("pope", *options, "--missing", "wrong", "--json").stdout)
    assert report["accuracy"] == pytest.approx(2 / 3)


# --------------------------------------------------------------------------------------------------------- LLaVA-Bench


def test_reviews_are_scored(tmp_path):
    rows = [{"category": "conv", "tuple": [8, 6]}, {"category": "detail", "tuple": [10, 9]}]
    path = write_lines(tmp_path / "r.jsonl", rows)
    report = json.loads(score("llava-bench", "--reviews", path, "--json").stdout)
    assert report["overall"] == pytest.approx(100 * 15 / 18)
    assert report["categories"] == {"conv": 75.0, "detail": 90.0}
    lines = score("llava-bench", "--reviews", path).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[:2] for line in lines if "overall" in line] == [["overall", "83.3"]]


def test_answers_are_judged_and_the_cost_is_counted(stub, tmp_path):
    data = llava_bench_release(tmp_path / "data")
    answers = [
        {"question_id": 1, "prompt": "Describe it.", "text": "A sea."},
        {"question_id": 0, "prompt": "What is it?", "text": "A cap."},
    ]
    answers = write_lines(tmp_path / "a.jsonl", answers)
    stub.replies = ["8 4", "10 9"]
    options = ["--reviews", tmp_path / "r.jsonl", "--data", data, "--answers", answers, "--judge-model", "judge-1"]
    options += ["--judge-url", stub.url, "--judge-prices", "2.5,10"]
    report = json.loads(score("llava-bench", *options, "--json", OPENAI_API_KEY=KEY).stdout)
    assert report["categories"] == {"conv": 50.0, "detail": 90.0}
    assert report["tokens"] == {"prompt": 200, "completion": 40}
    assert report["cost"] == pytest.approx((200 * 2.5 + 40 * 10) / 1e6)
    assert "A cap." in stub.requests[0]["body"]["messages"][1]["content"]
    result = score("llava-bench", *options, OPENAI_API_KEY=KEY)
    assert len(stub.requests) == 2  # all reviewed already
    assert "200 + 40 tokens, cost 0.0009" in result.stderr
    assert KEY not in (tmp_path / "r.jsonl").read_text()


def test_llava_bench_refuses_in_one_line(stub, tmp_path):
    path = write_lines(tmp_path / "r.jsonl", [{"category": "conv", "tuple": [-1, -1]}])
    assert "--skip-unread" in score("llava-bench", "--reviews", path, code=1).stderr
    assert "none of the 1 reviews" in score("llava-bench", "--reviews", path, "--skip-unread", code=1).stderr
    assert "No such file" in score("llava-bench", "--reviews", tmp_path / "none.jsonl", code=1).stderr
    alone = score("llava-bench", "--reviews", path, "--answers", path, code=2)
    assert "needs all of --data, --answers and --judge-model" in alone.stderr
    assert "must be IN,OUT" in score("llava-bench", "--reviews", path, "--judge-prices", "2.5", code=2).stderr
    answers = write_lines(tmp_path / "a.jsonl", [{"question_id": k, "text": "?"} for k in (0, 1)])
    data = llava_bench_release(tmp_path / "d")
    judged = ["llava-bench", "--data", data, "--answers", answers, "--judge-model", "m", "--reviews", tmp_path / "new"]
    assert "--judge-url must start with http" in score(*judged, "--judge-url", "localhost", code=2).stderr
    stub.replies = [(404, {}, complaint("no such model"))]
    assert "HTTP 404: no such model" in score(*judged, "--judge-url", stub.url, code=1).stderr
    write_lines(answers, [{"question_id": 0, "text": "?"}])
    assert "1 answer missing" in score(*judged, "--judge-url", stub.url, code=1).stderr


# ----------------------------------------------------------------------------------------------------------- the guide


def test_the_commands_and_the_code_of_the_guide_run(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[1] / "docs/howto/run_mme_and_pope.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    options = mme_files(tmp_path)
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
        score(*shlex.split(command)[2:])
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out == "0.0\n"
    (lines,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    Path("forms.jsonl").write_text(lines)
    assert {answer.reply.lower() for answer in read_answers("forms.jsonl")} == {"no"}
