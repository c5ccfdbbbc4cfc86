"""Every method there is on the embedded model's benchmark, as the table "All methods on the demo model" of docs/benchmarks.md.

Run: python tests/benchmarks/bench_methods.py OUT [--limit N] [--methods NAMES]; a run goes on where it stopped, and writes the
table into the page when it is through (`--page` names another one).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- bench_methods.py writes this -->\n", "<!-- to here -->\n"


def table(methods: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a method: accuracy with its interval, by size, and the paired test against greedy."""
    sizes = list(next(iter(methods.values()))["by_size"])
    head = ["method", "all", "95 %", *sizes, "vs greedy", "fixed", "newly wrong", "p"]
    lines = ["<!-- chart: all -->\n", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, entry in methods.items():
        low, high = entry["interval"]
        cells = [name, f"{entry['accuracy']:.3f}", f"{low:.3f} to {high:.3f}"]
        cells += [f"{entry['by_size'][size]:.3f}" for size in sizes]
        test = entry.get("vs_greedy")
        cells += (
            [f"{test['difference']:+.3f}", *map(str, (test["won"], test["lost"])), f"{test['p']:.1g}"]
            if test
            else [""] * 4
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def caption(options: argparse.Namespace, setup: Mapping[str, Any]) -> str:
    """What was run, when, on which code and weights."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    chosen = "" if options.methods == "all" else f" --methods {options.methods}"
    text = (
        f"`python tests/benchmarks/bench_methods.py OUT --limit {options.limit}{chosen}` on "
        f"{datetime.datetime.now(datetime.UTC).date()}, {os.cpu_count()} {platform.machine()} cores, commit "
        f"`{commit.stdout.strip()}`, weights `{setup['weights']}`, "
        f"{options.limit} questions of the test split, seed {setup['seed']}."
    )
    return textwrap.fill(text, 100, break_on_hyphens=False) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=int, default=3300)
    parser.add_argument("--methods", default="all")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks.md")
    options = parser.parse_args()
    command = ["eval", "scenes", "--methods", options.methods, "--limit", str(options.limit), "--out", str(options.out)]
    subprocess.run([sys.executable, "-m", "pmtools", *command], check=True)
    methods = json.loads((options.out / "summary.json").read_text())["methods"]
    setup = json.loads((options.out / "setup.json").read_text())
    before, found, rest = options.page.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    if not found or END not in rest:
        raise SystemExit(f"{options.page} has no place for the table: {BEGIN!r} and {END!r}")
    options.page.write_text(f"{before}{BEGIN}\n{caption(options, setup)}\n{table(methods)}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
