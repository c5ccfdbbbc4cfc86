"""A chart above a table of results, drawn from the table itself: no number stands twice.

`<!-- chart: COLUMN -->` before a table draws one bar a row, from 0 to 1, for the numbers in that column, without what stands
in brackets behind them; where the column after it says "0.340 to 0.389", that is drawn as a line.
`<!-- chart: COLUMN, up to 20 -->` has another scale. Rows without a value have no bar. Bars are HTML, so they take the page's
colours.
"""

from __future__ import annotations

import html
import re
from typing import Any

from mkdocs.exceptions import PluginError

TABLE = re.compile(
    r"^<!-- chart: (?P<column>[^,\n]+?)(?:, up to (?P<top>[\d.]+))? -->\n+(?P<table>(?:^\|.*\n?)+)", re.M
)
INTERVAL = re.compile(r"([\d.]+)(?: to |–)([\d.]+)")
NUMBER = re.compile(r"([\d.]+)(?: \([\d.]+\))?")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put a chart before each table that asks for one."""

    def above(found: re.Match[str]) -> str:
        return f"{chart(found['table'], found['column'], float(found['top'] or 1))}\n\n{found['table']}"

    try:
        done = TABLE.sub(above, markdown)
    except ValueError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from None
    if re.search(r"^<!-- chart", done, re.M):
        raise PluginError(f"{page.file.src_uri}: a mark of a chart has no table below it")
    return done


def chart(table: str, column: str, top: float) -> str:
    """The bars of one column of a Markdown table, as HTML."""
    head, _, *rows = (cells(line) for line in table.strip().splitlines())
    if column not in head:
        raise ValueError(f"a chart of {column!r}, and the table below it has {head}")
    at = head.index(column)
    bars = [bar(row[0], row[at], row[at + 1] if at + 1 < len(row) else "", top) for row in rows if row[at]]
    name = html.escape(f"{column}, as in the table below")
    return f'<figure class="chart" role="img" aria-label="{name}">\n' + "\n".join(bars) + "\n</figure>"


def bar(label: str, value: str, beside: str, top: float) -> str:
    """One row: its label, its bar, its number."""
    number = NUMBER.fullmatch(value)
    if number is None:
        raise ValueError(f"a chart of {value!r}, which is no number")
    width = 100 * float(number[1]) / top
    interval = INTERVAL.fullmatch(beside)
    line = ""
    if interval is not None:
        low, high = (100 * float(one) / top for one in interval.groups())
        line = f'<i style="left:{low:.1f}%;width:{high - low:.1f}%"></i>'
    spans = html.escape(label.replace("`", "")), f'<b style="width:{width:.1f}%"></b>{line}', number[1]
    return '<div><span>{}</span><span class="bar">{}</span><span>{}</span></div>'.format(*spans)


def cells(line: str) -> list[str]:
    """The cells of one line of a Markdown table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
