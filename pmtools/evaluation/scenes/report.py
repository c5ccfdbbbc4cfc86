"""Tables, intervals and paired tests of an evaluation, only from its records.

This file knows no model and no benchmark: a record says which method answered which question of which picture, and
whether the answer was correct.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pmtools.evaluation.mme import CategoryScore
from pmtools.evaluation.statistics import bootstrap_interval, mcnemar
from pmtools.io.files import replacing
from pmtools.typing import Ndarray

__all__ = ["compare", "mme_scores", "plot_accuracy", "summarize", "table"]

BASELINE = "greedy"


def mme_scores(records: Iterable[dict[str, Any]], /) -> dict[str, float]:
    """MME's score of each yes/no category: 100 accuracy + 100 share of pictures with both answers correct.

    Parameters
    ----------
    records : iterable of dict
        Of one method, with `category`, `answer`, `image` and `right`.

    Returns
    -------
    dict of str to float
        In [0, 200]; over the pictures with both questions.
    """
    by_image: dict[str, dict[int, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record["answer"] in {"yes", "no"}:
            by_image[record["category"]][record["image"]].append(bool(record["right"]))
    pairs = {
        category: [(rights[0], rights[1]) for rights in images.values() if len(rights) == 2]
        for category, images in by_image.items()
    }
    return {category: CategoryScore.of(found).score for category, found in pairs.items() if found}


def summarize(records: Iterable[dict[str, Any]], /, *, baseline: str = BASELINE) -> dict[str, Any]:
    """All numbers of an evaluation, ready for JSON.

    Parameters
    ----------
    records : iterable of dict
        With `method`, `index`, `image`, `category`, `size`, `answer` and `right`.
    baseline : str, optional
        The method that the others are compared with, on the questions that both answered.

    Returns
    -------
    dict
        `{"methods": {name: {"n", "accuracy", "interval", "by_category", "by_size", "by_category_and_size", "mme",
        "vs_greedy": {"n", "difference", "interval", "z", "p", "won", "lost"}}}}`; the last key is `vs_<baseline>` and absent for
        the baseline itself.
    """
    by_method: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for record in records:
        by_method[record["method"]][record["index"]] = record
    base = by_method.get(baseline, {})
    methods = {}
    for name, answered in by_method.items():
        rows = [answered[index] for index in sorted(answered)]
        right = np.array([bool(row["right"]) for row in rows])
        entry: dict[str, Any] = {
            "n": len(rows),
            "accuracy": float(right.mean()),
            "interval": list(bootstrap_interval(right, [row["image"] for row in rows])),
            "by_category": _means(rows, right, lambda row: row["category"]),
            "by_size": _means(rows, right, lambda row: row["size"]),
            "by_category_and_size": _means(rows, right, lambda row: f"{row['category']}/{row['size']}"),
            "mme": mme_scores(rows),
        }
        if name != baseline and base:
            entry[f"vs_{baseline}"] = compare(answered, base)
        methods[name] = entry
    return {"methods": methods}


def compare(first: dict[int, dict[str, Any]], second: dict[int, dict[str, Any]], /) -> dict[str, Any]:
    """Paired difference of two methods' records (by question index), on the questions that both answered; 95 % by picture."""
    shared = sorted(first.keys() & second.keys())
    a, b = (np.array([bool(rows[index]["right"]) for index in shared], bool) for rows in (first, second))
    test = mcnemar(a, b)
    return {
        "n": len(shared),
        "difference": float(a.mean() - b.mean()) if shared else math.nan,
        # of whole pictures; the test takes their questions for independent
        "interval": list(bootstrap_interval(a.astype(float) - b, [first[index]["image"] for index in shared])),
        "z": test.z,
        "p": test.p,
        "won": test.won,
        "lost": test.lost,
    }


def _means(rows: list[dict[str, Any]], right: Ndarray, key: Any) -> dict[str, float]:
    keys = [key(row) for row in rows]
    return {k: float(right[[i for i, other in enumerate(keys) if other == k]].mean()) for k in dict.fromkeys(keys)}


def table(summary: dict[str, Any], /, *, columns: str = "by_category", baseline: str = BASELINE) -> str:
    """A Markdown table of a summary: one row per method, with accuracy, its 95 % interval, the columns, and the paired test.

    Parameters
    ----------
    summary : dict
        From `summarize`.
    columns : str, optional
        `"by_category"`, `"by_size"`, `"by_category_and_size"` or `"mme"`.
    baseline : str, optional

    Returns
    -------
    str
    """
    methods = summary["methods"]
    if not methods:
        return "No answers yet."
    names = list(dict.fromkeys(name for entry in methods.values() for name in entry[columns]))
    digits = 1 if columns == "mme" else 3
    head = ["method", "n", "all", "95 %", *names, f"vs {baseline}", "z", "p"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for method, entry in methods.items():
        low, high = entry["interval"]
        cells = [method, str(entry["n"]), f"{entry['accuracy']:.3f}", f"{low:.3f}–{high:.3f}"]
        cells += [f"{entry[columns][name]:.{digits}f}" if name in entry[columns] else "" for name in names]
        test = entry.get(f"vs_{baseline}")
        cells += [f"{test['difference']:+.3f}", f"{test['z']:.1f}", f"{test['p']:.1g}"] if test else ["", "", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot_accuracy(summary: dict[str, Any], path: str | Path, /, *, columns: str = "by_size") -> Path:
    """Draw accuracy per method and column to an image file; bars in groups.

    Parameters
    ----------
    summary : dict
        From `summarize`.
    path : str or Path
        A file that matplotlib can write.
    columns : str, optional
        `"by_size"` or `"by_category"`.

    Returns
    -------
    Path
    """
    from matplotlib.figure import Figure

    methods = summary["methods"]
    names = list(dict.fromkeys(name for entry in methods.values() for name in entry[columns]))
    figure = Figure(figsize=(3 + 0.9 * len(names) + 0.12 * len(names) * len(methods), 4), layout="constrained")
    axes = figure.subplots()
    width = 0.85 / max(1, len(methods))
    for k, (method, entry) in enumerate(methods.items()):
        at = np.arange(len(names)) + (k - (len(methods) - 1) / 2) * width
        axes.bar(at, [entry[columns].get(name, math.nan) for name in names], width, label=method)
    axes.set(xticks=range(len(names)), ylim=(0, 1), ylabel="accuracy")
    axes.set_xticklabels(names)
    axes.legend(fontsize="small", ncols=2, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    with replacing(path) as stream:
        figure.savefig(stream, format=Path(path).suffix[1:] or None)
    return Path(path)
