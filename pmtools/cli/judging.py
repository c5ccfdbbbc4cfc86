"""What the commands that have a judge share: its options, how it is made, and what it costs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pmtools.cli import options as opt
from pmtools.cli.console import CommandError, usage_error

if TYPE_CHECKING:
    from pmtools.evaluation.llava_bench import Judge

JudgeModelOption = Annotated[str | None, opt.value("NAME", "The judge, as its endpoint calls it.", show_default=False)]
JudgeUrlOption = Annotated[
    str | None, opt.value("URL", "An OpenAI-compatible endpoint, up to /v1; OpenAI's.", show_default=False)
]
JudgePricesOption = Annotated[
    str | None, opt.value("IN,OUT", "Price of a million tokens, to count the cost.", show_default=False)
]
SkipUnreadOption = Annotated[bool, opt.flag("Leave out reviews without scores, [-1, -1].", "--skip-unread")]


def make_judge(model: str, url: str | None) -> Judge:
    """The judge of `--judge-model` and `--judge-url`."""
    from pmtools.evaluation.llava_bench.judge import DEFAULT_URL, Judge

    try:
        return Judge(model, url or DEFAULT_URL)
    except ValueError as error:
        raise usage_error(str(error).replace("`url`", "--judge-url")) from None
    except ImportError as error:
        raise CommandError(str(error), exit_code=1) from None


@contextlib.contextmanager
def judging() -> Iterator[None]:
    """What a judge's endpoint refuses, in one line; what was reviewed is on disk."""
    from pmtools.evaluation.llava_bench import JudgeError

    try:
        yield
    except JudgeError as error:
        raise CommandError(str(error), exit_code=1) from None


def read_prices(text: str | None) -> tuple[float, float] | None:
    """The two numbers of `--judge-prices`."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)", text)
    if match is None:
        raise usage_error(
            f"{text!r} must be IN,OUT, the prices of a million tokens, for example 2.5,10", "--judge-prices"
        )
    return float(match[1]), float(match[2])


def cost(prices: tuple[float, float], tokens: tuple[int, int]) -> float:
    """What tokens of prompts and of completions cost."""
    return sum(price * count / 1e6 for price, count in zip(prices, tokens, strict=True))
