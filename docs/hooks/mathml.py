"""Formulas as MathML when the site is built, so that reading it needs neither a script nor the network."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Replace what arithmatex marks: `\\(inline\\)` and `\\[displayed\\]`."""

    def render(match: re.Match[str]) -> str:
        tag, text = match.groups()
        formula = html.unescape(text).strip()
        return convert(formula[2:-2], display="block" if tag == "div" else "inline")

    return FORMULA.sub(render, content)
