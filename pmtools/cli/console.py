"""What people read, on stderr: errors, the progress bar, the closing line. Stdout is for data.

On a terminal, lines are broken between words before column 80. Elsewhere a message is one plain line of any length, so that
programs can read it, without escape codes.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: Columns of what people read.
WIDTH = 80

# How the library calls in its errors what the command line calls otherwise.
_OPTIONS = {
    "antialias": "--antialias",
    "batch_size": "--batch-size",
    "boxes_xyxy": "--box",
    "floor": "--floor",
    "gain": "--gain",
    "kernel_size": "--kernel-size",
    "marginal": "--marginal",
    "max_magnification": "--max-magnification",
    "max_pixels": "--max-pixels",
    "methods": "--methods",
    "out": "--out",
    "points_xy": "--point",
    "margin": "--margin",
    "size_hw": "--size",
    "target_hw": "--size",
    "zoom": "--zoom",
}


def quoted(path: str | os.PathLike[str]) -> str:
    """A path for a message, in quotes, on one line and printable whatever it holds."""
    text = repr(os.fspath(path))
    return text if text.isprintable() else ascii(os.fspath(path))


def in_options(message: str) -> str:
    """A message of the library with the names of the options instead of those of the arguments."""
    return re.sub(r"`(\w+)=?`(, or None)?", lambda match: _OPTIONS.get(match[1], match[0]), message)


class CommandError(Exception):
    """What ends a command, in one line.

    Attributes
    ----------
    exit_code : int
        2 where the arguments cannot be right, 1 where a file cannot be used.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def format_message(self) -> str:
        """The message, by the name that typer's own errors have for it."""
        return str(self)


def usage_error(message: str, option: str | None = None) -> CommandError:
    """The error to raise for an argument that cannot be right."""
    return CommandError(f"{option}: {message}" if option else message)


def print_error(message: str) -> None:
    """One line on stderr."""
    stderr().print(one_line(f"pmtools: error: {message}"))


def one_line(message: str) -> str:
    """A message without line breaks."""
    return re.sub(r"\s*[\r\n]\s*", " ", message.strip())


def stderr() -> Console:
    """A rich console that leaves the text alone, but for line breaks on a terminal."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    console.soft_wrap = not console.is_terminal
    if console.is_terminal:
        console.width = min(console.width, WIDTH)
    return console


@contextlib.contextmanager
def progress(total: int, what: str) -> Iterator[tuple[Console, Callable[..., None]]]:
    """A progress bar, where there is a terminal to draw it on; yields the console to print on and `step(count=1)`."""
    console = stderr()
    if total < 2 or not console.is_terminal or console.is_dumb_terminal:
        yield console, lambda count=1: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield bar.console, lambda count=1: bar.advance(task, count)
