"""The scenes benchmark's run: what is recorded, how replies are graded, what is written."""

import importlib.util
import json

import pytest

from pmtools.evaluation.model_answers import ModelAnswers
from pmtools.evaluation.scenes import scene_items
from pmtools.evaluation.scenes.benchmark import evaluate_scenes, grade, run_scenes


def oracle(items, methods, /):
    """Answers correctly, or `wrong`."""
    return {m: [i.question.answer if m == "greedy" else "perhaps" for i in items] for m in methods}


METHODS = ["greedy", "wrong"]


def items(limit=30):
    return scene_items(seed=1, limit=limit)


def test_records_say_who_answered_what(tmp_path):
    records = run_scenes(items(), oracle, methods=METHODS, out=tmp_path, batch_size=7)
    assert [(r["method"], r["index"]) for r in records] == [(m, k) for m in METHODS for k in range(30)]
    assert all(r["right"] == (r["method"] == "greedy") for r in records)
    for record, item in zip(records, items(), strict=False):
        assert record["question"] == item.question.text
        assert record["image"] == item.image_index
        assert record["reply"] == record["answer"] == item.question.answer


def test_evaluation_writes_its_tables_whole(tmp_path):
    summary = evaluate_scenes(oracle, methods=METHODS, out=tmp_path, limit=12)
    assert summary["methods"]["greedy"]["accuracy"] == 1.0
    assert summary["methods"]["wrong"]["vs_greedy"]["lost"] == 12
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert "| wrong | 12 |" in (tmp_path / "tables.md").read_text()
    assert not list(tmp_path.glob(".*"))


def test_another_benchmark_in_the_folder_is_refused(tmp_path):
    evaluate_scenes(oracle, methods=METHODS, out=tmp_path, limit=2)
    for other in ({"seed": 1}, {"split": "tune"}, {"side": 96}):
        with pytest.raises(ValueError, match="`out` holds answers of another setup"):
            evaluate_scenes(oracle, methods=METHODS, out=tmp_path, limit=2, **other)


def test_grades():
    by_category = {item.question.category: item for item in items(33)}
    count = by_category["open_count"]
    assert grade(count, count.question.answer)
    assert grade(count, "There are " + count.question.answer + ".")
    assert not grade(count, "many")
    yes_no = by_category["existence"]
    assert grade(yes_no, yes_no.question.answer.upper() + ", it seems")
    assert not grade(yes_no, "")


def test_instructions():
    for item in items(33):
        wish = "yes or no" if item.question.answer in {"yes", "no"} else "one word"
        assert item.instruction.startswith(item.question.text)
        assert wish in item.instruction


@pytest.mark.slow
def test_the_summary_is_written_and_a_second_run_gives_the_same(random_demo, tmp_path):
    def run(folder):
        answer = ModelAnswers(
            random_demo.model, random_demo.processor, text=lambda item: item.question.text, max_new_tokens=1
        )
        return evaluate_scenes(answer, out=folder, methods=("greedy", "pm"), limit=12, batch_size=5)

    summary = run(tmp_path / "a")
    assert summary == run(tmp_path / "a") == run(tmp_path / "b")
    assert json.loads((tmp_path / "a" / "summary.json").read_text()) == summary
    written = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"answers", "tables.md"} <= written
    if importlib.util.find_spec("matplotlib"):
        assert {"by_size.png", "by_category.png"} <= written
    assert set(summary["methods"]) == {"greedy", "pm"}
