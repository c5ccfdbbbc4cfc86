"""Paired tests, intervals and tables."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from pmtools.evaluation.scenes.report import mme_scores, plot_accuracy, summarize, table
from pmtools.evaluation.statistics import bootstrap_interval, mcnemar


def record(method, index, right, *, image=None, category="color", size="small", answer="yes"):
    return {
        "method": method, "index": index, "image": index // 2 if image is None else image, "category": category,
        "size": size, "answer": answer, "right": right,
    }  # fmt: skip


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (5, 2), (3, 9), (24, 25)])
def test_mcnemar_is_exact_where_few_differ(won, lost):
    a, b = [True] * won + [False] * lost + [True] * 7, [False] * won + [True] * lost + [True] * 7
    result = mcnemar(a, b)
    assert (result.won, result.lost) == (won, lost)
    expected = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert result.p == pytest.approx(expected)
    assert result.z == pytest.approx((won - lost) / math.sqrt(max(1, won + lost)))


def test_mcnemar_is_normal_where_many_differ():
    result = mcnemar([True] * 80 + [False] * 50, [False] * 80 + [True] * 50)
    assert result.p == pytest.approx(2 * stats.norm.sf(30 / math.sqrt(130)))


def test_mcnemar_turns_round_with_its_arguments():
    rng = np.random.default_rng(0)
    a, b = rng.random(200) < 0.7, rng.random(200) < 0.5
    one, two = mcnemar(a, b), mcnemar(b, a)
    assert one.z == -two.z
    assert one.p == two.p


def test_mcnemar_refuses_different_questions():
    with pytest.raises(ValueError, match="same questions"):
        mcnemar([True], [True, False])


def test_interval_covers_and_knows_groups():
    rng = np.random.default_rng(1)
    right = rng.random(400) < 0.7
    low, high = bootstrap_interval(right, np.arange(400))
    half = 1.96 * math.sqrt(0.7 * 0.3 / 400)
    assert (high - low) / 2 == pytest.approx(half, rel=0.2)
    assert low < right.mean() < high
    # the same answers, four to a picture: twice as uncertain
    low4, high4 = bootstrap_interval(np.repeat(right[:100], 4), np.repeat(np.arange(100), 4))
    assert (high4 - low4) / (high - low) == pytest.approx(2.0, rel=0.25)


def test_interval_divides_by_the_questions_that_were_drawn():
    assert bootstrap_interval([True] * 6, [0, 0, 0, 0, 1, 2]) == (1.0, 1.0)


def test_interval_of_nothing():
    assert all(math.isnan(v) for v in bootstrap_interval([], []))


def test_mme_scores():
    rows = [record("m", k, right) for k, right in enumerate([True, True, True, False])]
    rows += [record("m", 9, False, category="open_color", answer="red")]
    assert mme_scores(rows) == {"color": 75.0 + 50.0}
    cut = record("m", 4, True)  # of a picture whose other question a limit left out
    assert mme_scores([*rows, cut]) == mme_scores(rows)
    assert mme_scores([cut]) == {}


@pytest.fixture
def summary():
    rows = [record("greedy", k, k % 2 == 0, size="small" if k < 4 else "large") for k in range(8)]
    rows += [record("pm", k, k != 1, size="small" if k < 4 else "large") for k in range(8)]
    return summarize(rows)


def test_summary(summary):
    pm = summary["methods"]["pm"]
    assert pm["n"] == 8
    assert pm["accuracy"] == 7 / 8
    assert pm["by_size"] == {"small": 0.75, "large": 1.0}
    assert pm["vs_greedy"] == {
        "n": 8,
        "difference": 0.375,
        "interval": list(bootstrap_interval([0, 0, 0, 1, 0, 1, 0, 1], [k // 2 for k in range(8)])),
        "z": pytest.approx(math.sqrt(3)),
        "p": 0.25,
        "won": 3,
        "lost": 0,
    }
    assert "vs_greedy" not in summary["methods"]["greedy"]
    json.dumps(summary)


def test_only_shared_questions_are_compared():
    rows = [record("greedy", 0, True), record("greedy", 1, False), record("pm", 1, True)]
    test = summarize(rows)["methods"]["pm"]["vs_greedy"]
    assert (test["n"], test["won"], test["lost"]) == (1, 1, 0)


def test_order_of_records_does_not_matter():
    rows = [record(m, k, (k * 7 + len(m)) % 3 == 0) for m in ("greedy", "pm") for k in range(30)]
    assert summarize(rows)["methods"]["pm"] == summarize(rows[::-1])["methods"]["pm"]


def test_table(summary):
    lines = table(summary, columns="by_size").splitlines()
    assert lines[0] == "| method | n | all | 95 % | small | large | vs greedy | z | p |"
    assert lines[3].startswith("| pm | 8 | 0.875 |")
    assert lines[3].endswith("| 0.750 | 1.000 | +0.375 | 1.7 | 0.2 |")
    assert table({"methods": {}}) == "No answers yet."


def test_plot(summary, tmp_path):
    pytest.importorskip("matplotlib")
    path = plot_accuracy(summary, tmp_path / "plot.png")
    assert path.read_bytes()[:4] == b"\x89PNG"
