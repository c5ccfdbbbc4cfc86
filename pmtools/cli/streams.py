"""Images of the command line: from files or stdin, into files or stdout, all their frames or one, and what to say of it."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from pmtools import io
from pmtools.cli.console import one_line, quoted, usage_error

if TYPE_CHECKING:
    from pmtools.cli.options import Encoding

#: What stands for stdin among inputs and for stdout among outputs.
STREAM = Path("-")


class Which(StrEnum):
    """Which images of a file are taken."""

    ALL = "all"
    FIRST = "first"


def read(path: Path, which: Which, max_pixels: int) -> io.Frames:
    """The images in a file, or on stdin."""
    source = sys.stdin.buffer if path == STREAM else path
    return io.read_frames(source, max_pixels=max_pixels, first_only=which is Which.FIRST)


def write(frames: io.Frames, path: Path, encoding: Encoding) -> tuple[str, ...]:
    """Write images into a file, or on stdout in the format they came in; what is to be said of what was left out."""
    lossless = encoding.lossless or None
    if path == STREAM:
        if sys.stdout.isatty():
            raise usage_error("stdout is a terminal, which shows no images; redirect it, or name a file", "--output")
        kind = frames.format or "png"
        stream = sys.stdout.buffer
        lost = io.write_frames(frames, stream, format=kind, quality=encoding.quality, lossless=lossless)
        stream.flush()
    else:
        kind = path.suffix[1:]
        lost = io.write_frames(frames, path, quality=encoding.quality, lossless=lossless)
    notes = (f"{kind} has no place for {' and '.join(lost)}",) if lost else ()
    return notes + frames.left_out


def say(note: str, source: Path) -> str:
    """A note about the image in a file, as a line."""
    return one_line(f"note: {quoted(source)}: {note}")
