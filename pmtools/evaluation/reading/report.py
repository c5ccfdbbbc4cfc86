"""Tables and tests of the reading benchmark, from its records alone.

Texts of one photograph or page are not independent evidence: intervals draw, and tests turn, whole groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pmtools.evaluation.statistics import bootstrap_interval, holm, sign_flip_test
from pmtools.typing import Ndarray

__all__ = ["summarize", "table"]


def summarize(
    records: Mapping[str, Sequence[Mapping[str, Any]]], /, *, baseline: str = "plain", seed: int = 0
) -> dict[str, Any]:
    """All numbers, ready for JSON.

    Parameters
    ----------
    records : mapping of str to sequence of mapping
        Of each method, with `group`, `read`, `placed` and `others`, in the same order.
    baseline : str, optional
    seed : int, optional

    Returns
    -------
    dict
        `{"groups": int, "methods": {name: {"n", "read", "interval", "placed", "others", "won", "lost", "p", "p_holm"}}}`; the
        last four are of `read` against the baseline, and None for the baseline itself.
    """
    methods: dict[str, dict[str, Any]] = {}
    base = _flat(records[baseline], "read") if baseline in records else None
    for name, rows in records.items():
        read, groups = _flat(rows, "read"), [row["group"] for row in rows for _ in row["read"]]
        others = [row["others"] for row in rows if row["others"] >= 0]
        entry: dict[str, Any] = {
            "n": len(read),
            "read": float(read.mean()),
            "interval": list(bootstrap_interval(read, groups, seed=seed)),
            "placed": float(_flat(rows, "placed").mean()),
            "others": float(np.mean(others)) if others else None,
            **dict.fromkeys(("won", "lost", "p", "p_holm")),
        }
        if base is not None and name != baseline:
            entry |= {"won": int((read & ~base).sum()), "lost": int((base & ~read).sum())}
            entry["p"] = sign_flip_test(read.astype(float) - base, groups, seed=seed)
        methods[name] = entry
    tested = [name for name, entry in methods.items() if entry["p"] is not None]
    for name, p in zip(tested, holm([methods[name]["p"] for name in tested]), strict=True):
        methods[name]["p_holm"] = p
    return {"groups": len({row["group"] for rows in records.values() for row in rows}), "methods": methods}


def cells(entry: Mapping[str, Any], /) -> list[str]:
    """A method's row: read, interval, placed, others, won, lost, p.

    Parameters
    ----------
    entry : mapping
        Of `summarize`.

    Returns
    -------
    list of str
    """
    low, high = entry["interval"]
    others = "" if entry["others"] is None else f"{entry['others']:.3f}"
    test = ["", "", ""] if entry["p"] is None else [str(entry["won"]), str(entry["lost"]), f"{entry['p_holm']:.2g}"]
    return [f"{entry['read']:.3f}", f"{low:.3f}-{high:.3f}", f"{entry['placed']:.3f}", others, *test]


HEAD = ["method", "read", "95 %", "placed", "others", "won", "lost", "p (Holm)"]


def table(summary: Mapping[str, Any], /) -> str:
    """A Markdown table of a summary.

    Parameters
    ----------
    summary : mapping
        Of `summarize`.

    Returns
    -------
    str
    """
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    lines += ["| " + " | ".join([name, *cells(entry)]) + " |" for name, entry in summary["methods"].items()]
    return "\n".join(lines)


def _flat(rows: Sequence[Mapping[str, Any]], name: str) -> Ndarray:
    return np.array([value for row in rows for value in row[name]], bool)
