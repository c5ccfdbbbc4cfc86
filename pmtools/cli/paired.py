"""Methods against a baseline on the same questions: what `pmtools eval` and `pmtools score lmms-eval` print."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from pmtools.cli.tables import print_table
from pmtools.evaluation.statistics import Paired, holm

#: What the others are compared with, where it is among the methods.
BASELINE = "greedy"

Key = TypeVar("Key", bound=Hashable)


def corrected(tests: Mapping[Key, Paired]) -> dict[Key, dict[str, Any]]:
    """The tests, ready for JSON, with p-values corrected for their number."""
    p_values = holm([test.p for test in tests.values()])
    return {
        key: asdict(test) | {"interval": list(test.interval), "p_holm": p}
        for (key, test), p in zip(tests.items(), p_values, strict=True)
    }


def cells(entry: Mapping[str, Any], digits: int) -> list[str]:
    """A comparison's cells: difference, interval, better, worse, p."""
    low, high = entry["interval"]
    return [
        f"{entry['difference']:+.{digits}f}",
        f"{low:+.{digits}f} {high:+.{digits}f}",
        f"{entry['better']}",
        f"{entry['worse']}",
        f"{entry['p_holm']:.2g}",
    ]


HEAD = ("difference", "95 %", "better", "worse", "p (Holm)")


def legend(what: str, baseline: str, count: int) -> str:
    """What the cells are; `what` is what better and worse count."""
    return (
        f"difference: from {baseline}, on the same questions; 95 %: bootstrap over images; better, worse: {what}; p: sign flips "
        f"of whole images, corrected for {count} comparisons."
    )


def closing(tests: Iterable[Mapping[str, Any]], baseline: str) -> str:
    """What the comparisons say, in one sentence."""
    clear = [entry["p_holm"] <= 0.05 for entry in tests]
    verb = "is" if sum(clear) == 1 else "are"
    noun = "difference" if len(clear) == 1 else "differences"
    return f"Of {len(clear)} {noun} from {baseline}, {sum(clear)} {verb} clear of chance at 0.05."


def print_paired(head: Sequence[str], rows: Mapping[Any, Mapping[str, Any]], *, what: str, digits: int = 3) -> None:
    """A table of comparisons with greedy; keys of `rows`, tuples, are their first cells."""
    print_table(
        [*head, *HEAD],
        [[*key, *cells(entry, digits)] for key, entry in rows.items()],
        narrow=True,
        legend=legend(what, BASELINE, len(rows)),
        closing=closing(rows.values(), BASELINE),
    )
