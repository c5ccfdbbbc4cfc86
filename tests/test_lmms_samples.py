"""lmms-eval's samples read, scored and compared, in files of its form; `test_lmms_eval_tasks.py` has its own files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmark_files import run, write_lines

from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.lmms_samples import compare_scores, read_samples, score_samples
from pmtools.evaluation.statistics import holm, paired_difference


def sample(number: int, picture: str = "", tokens: int = 100, **metrics: object) -> dict:
    """A line as lmms-eval 0.7.3 writes it for `pmtools_hf`."""
    seen = [{"input_tokens": tokens, "picture": picture or f"p{number}"}]
    about = {
        "doc_id": number,
        "target": "A",
        "filtered_resps": "A",
        "token_counts": seen,
        "doc_hash": "0",
        "input": "?",
    }
    return about | metrics


def written(folder: Path, rows: list[dict], *, task: str = "bench", date: str = "20261128_100000") -> Path:
    path = folder / "model" / f"{date}_samples_{task}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_lines(path, rows)


def vstar(number: int, right: bool, **more: object) -> dict:
    record = {"question_id": number, "category": ["direct", "relative"][number % 2], "score": float(right)}
    return sample(number, **{f"vstar_{record['category']}_acc": record, "vstar_overall_acc": record}, **more)


def scores(folder: Path, **options: object):
    (task,) = read_samples(folder).values()
    return score_samples(task, **options)


def test_the_metric_is_one_that_every_question_has(tmp_path):
    written(tmp_path, [vstar(k, k % 3 == 0) for k in range(6)])
    found = scores(tmp_path)
    assert list(found) == ["vstar_overall_acc"]
    assert found["vstar_overall_acc"].mean == pytest.approx(2 / 6)
    assert scores(tmp_path, metric="vstar_direct_acc")["vstar_direct_acc"].values == {"0": 1.0, "2": 0.0, "4": 0.0}


@pytest.mark.parametrize(
    ("metrics", "value"),
    [
        ({"exact_match": 0.6, "submission": {"question_id": 3, "answer": "x"}}, 0.6),
        ({"single": {"index": 1, "gpt_score": 1}, "average": {"index": 1, "gpt_score": 1}}, 1.0),
        ({"screenspot_v2_action_acc": {"correct": True, "data_type": "icon"}}, 1.0),
        ({"screenspot_Center_ACC": {"pred": [0.1, 0.1, 0.3, 0.3], "bbox": [0.15, 0.15, 0.9, 0.9]}}, 1.0),
        ({"screenspot_Center_ACC": {"pred": [0.1, 0.2, 0.28, 0.4], "bbox": [0.2, 0.2, 0.4, 0.4]}}, 0.0),  # x of it
        ({"screenspot_Center_ACC": {"pred": [0.2, 0.35, 0.4, 0.5], "bbox": [0.2, 0.2, 0.4, 0.4]}}, 0.0),  # y of it
        ({"screenspot_IoU": {"pred": [0, 0, 1, 0.5], "bbox": [0, 0, 1, 1]}}, 0.5),
        ({"screenspot_ACC@0.5": {"pred": [0, 0, 1, 0.4], "bbox": [0, 0, 1, 1]}}, 0.0),
        ({"screenspot_ACC@0.3": {"pred": [0, 0, 1, 0.4], "bbox": [0, 0, 1, 1]}}, 1.0),
        ({"screenspot_ACC@0.7": {"pred": [0, 0, 1, 0.6], "bbox": [0, 0, 1, 1]}}, 0.0),
    ],
)
def test_every_tasks_number_is_found(tmp_path, metrics, value):
    written(tmp_path, [sample(0, **metrics)])
    (found,) = scores(tmp_path).values()
    assert found.mean == pytest.approx(value)


def test_mme_is_compared_in_its_points_by_picture(tmp_path):
    """75 points by hand: of two pictures of a category, one answer of the second is right only in the second run."""

    def rows(last: float):
        rights = [("a", 1.0), ("a", 1.0), ("b", 1.0), ("b", last)]
        return [
            sample(k, f"pic-{name}", mme_perception_score={"question_id": name, "category": "color", "score": right})
            for k, (name, right) in enumerate(rights)
        ]

    written(tmp_path / "greedy", rows(0.0))
    written(tmp_path / "pm", rows(1.0))
    first, second = (scores(tmp_path / name)["mme_perception_score"] for name in ("greedy", "pm"))
    assert (first.mean, second.mean) == (125.0, 200.0)
    found = compare_scores(first, second)
    assert (found.n, found.groups, found.difference, found.better, found.worse) == (2, 2, 75.0, 1, 0)


def test_later_files_and_parts_count(tmp_path):
    written(tmp_path, [vstar(0, False), vstar(1, False)])
    written(tmp_path, [vstar(1, True)], date="20261128_110000")
    written(tmp_path, [vstar(2, True)], date="20261128_120000")
    assert list(scores(tmp_path)["vstar_overall_acc"].values.values()) == [0.0, 1.0, 1.0]


def test_questions_about_one_picture_are_turned_together(tmp_path):
    rng = np.random.default_rng(2)
    right = rng.random((2, 40)) < 0.6
    pictures = [f"p{k // 5}" for k in range(40)]
    for name, row in zip(("greedy", "pm"), right, strict=True):
        written(tmp_path / name, [vstar(k, bool(one), picture=pictures[k]) for k, one in enumerate(row)])
    found = compare_scores(*(scores(tmp_path / name)["vstar_overall_acc"] for name in ("greedy", "pm")))
    assert found == paired_difference(right[0], right[1], pictures)
    assert found.groups == 8


def broken(**fields: object) -> dict:
    return vstar(0, True) | fields


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([broken(doc_id="a")], "`doc_id` must be an integer, got 'a'"),
        ([broken(token_counts=[None])], "run lmms-eval with --model pmtools_hf, and without --use_cache"),
        ([{k: v for k, v in broken().items() if not k.startswith("vstar")} | {"m": "x"}], "no metric is a number"),
        ([sample(0, mme_perception_score={"question_id": "a", "category": "color", "score": 1.0})], "got 1 about 'a'"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path, rows, says):
    written(tmp_path, rows)
    with pytest.raises(RecordError, match=says):
        scores(tmp_path)


def test_runs_on_other_questions_are_not_compared(tmp_path):
    written(tmp_path / "greedy", [vstar(k, True) for k in range(3)])
    written(tmp_path / "pm", [vstar(k, True, picture="other" if k == 1 else "") for k in range(4)])
    first, second = (scores(tmp_path / name)["vstar_overall_acc"] for name in ("greedy", "pm"))
    with pytest.raises(RecordError, match="the same questions and pictures, got 3 and 4, of which 2 agree"):
        compare_scores(first, second)


# --------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def sweep(tmp_path) -> list[Path]:
    """Two budgets, three methods, one task; pm is right where greedy is, and on eight more of twenty."""
    rng = np.random.default_rng(7)
    for budget, tokens in (("262144", 256), ("1048576", 1024)):
        greedy = rng.random(20) < 0.3
        fixed = np.where(~greedy)[0][:8]
        for method, right in (("greedy", greedy), ("pm", greedy | np.isin(np.arange(20), fixed)), ("vcd", greedy)):
            written(tmp_path / budget / method, [vstar(k, bool(r), tokens=tokens) for k, r in enumerate(right)])
    return [tmp_path / "262144", tmp_path / "1048576"]


def test_a_sweep_is_compared_setting_by_setting(sweep):
    found = json.loads(run("score", "lmms-eval", *sweep, "--json").stdout)["comparisons"]
    assert [(Path(one["setting"]).name, one["method"]) for one in found] == [
        ("262144", "pm"), ("262144", "vcd"), ("1048576", "pm"), ("1048576", "vcd"),
    ]  # fmt: skip
    assert [one["p_holm"] for one in found] == holm([one["p"] for one in found])
    for one in found:
        assert one["difference"] == pytest.approx(0.4 if one["method"] == "pm" else 0.0)
        assert (one["better"], one["worse"]) == ((8, 0) if one["method"] == "pm" else (0, 0))
        assert one["second"]["tokens"] == {"262144": 256, "1048576": 1024}[Path(one["setting"]).name]


def test_its_table_fits_a_terminal(sweep):
    text = run("score", "lmms-eval", *sweep).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "bench, vstar_overall_acc, n = 20, 20 images" in text
    (row,) = [line.split() for line in text.splitlines() if line.split()[:2] == ["262144", "pm"]]
    assert row[2] == "256"
    assert row[4] == "+0.400"
    assert row[7:9] == ["8", "0"]
    assert "Of 4 differences from greedy, 2 are clear of chance" in " ".join(text.split())


def test_folders_that_are_no_settings_are_refused(sweep, tmp_path):
    result = run("score", "lmms-eval", sweep[0], "--baseline", "plain", code=2)
    assert "must have a folder 'plain' and those of other methods, got greedy, pm, vcd" in result.stderr
    (tmp_path / "empty" / "greedy").mkdir(parents=True)
    (tmp_path / "empty" / "pm").mkdir()
    assert "there are no samples of lmms-eval" in run("score", "lmms-eval", tmp_path / "empty", code=1).stderr
