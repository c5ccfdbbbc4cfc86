"""What goes to stdout: tables for people, JSON for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from pmtools.cli.console import WIDTH


def print_json(numbers: Mapping[str, Any]) -> None:
    """One object; numbers that JSON has not are a bug."""
    typer.echo(json.dumps(numbers, indent=2, allow_nan=False))


def print_table(
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    totals: Sequence[Sequence[object]] = (),
    *,
    narrow: bool = False,
    legend: str = "",
    closing: str = "",
) -> None:
    """A table, its first column to the left and the others to the right; `totals` below a line.

    A table that is narrow has one space between its columns. Below it, `legend` says what the columns are, and `closing`, one
    sentence, what the table says.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0 if narrow else 1))
    for index, name in enumerate(head):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(str, row))
    if totals:
        table.add_section()
    for row in totals:
        table.add_row(*map(str, row))
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    for text in (legend, closing):
        if text:
            typer.echo(fill(text))


def fill(text: str) -> str:
    """A text in lines of the width that people read."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
