"""Any file: opened, replaced as a whole, and named by the error that says what is wrong with it.

Knows paths and streams; nothing of what is in them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

from pmtools import _checks

PathLike: TypeAlias = str | os.PathLike[str]


class ImageFileError(OSError, ValueError):
    """A file could not be read or written; the message names it, says why, and what to do.

    Attributes
    ----------
    path : str
        The file.
    problem : str
        The message without the path.

    Examples
    --------
    >>> str(ImageFileError("cat.png", "is empty (0 bytes)"))
    "'cat.png' is empty (0 bytes)"
    """

    def __init__(self, path: PathLike, problem: str) -> None:
        super().__init__(f"{os.fspath(path)!r} {problem}")
        self.path = os.fspath(path)
        self.problem = problem

    def __reduce__(self) -> tuple[type[ImageFileError], tuple[str, str]]:
        # OSError would rebuild itself from the one message; a worker process must be able to send it home
        return type(self), (self.path, self.problem)


def checked_path(path: object) -> str:
    """`path` as a str."""
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise TypeError(f"`path` must be a str or a pathlib.Path, got {_checks.describe(path)}")
    return os.fspath(path)


@contextlib.contextmanager
def reporting(path: PathLike, what: str) -> Iterator[None]:
    """Turn whatever a decoder or encoder raises on bad bytes (that is: anything) into an `ImageFileError`."""
    try:
        yield
    except (ImageFileError, MemoryError):
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageFileError(path, f"{what}: {reason}") from error


def open_file(path: PathLike) -> BinaryIO:
    """The bytes of a regular file that is not empty."""
    name = checked_path(path)
    with reporting(name, "could not be opened"):
        if os.path.isdir(name):
            raise ImageFileError(name, "is a folder, not a file; name a file in it")
        if not os.path.exists(name):
            raise ImageFileError(name, "does not exist")
        if not os.path.isfile(name):  # a pipe would wait for ever
            raise ImageFileError(name, "is not a regular file; copy its content to one first")
        if os.path.getsize(name) == 0:
            raise ImageFileError(name, "is empty (0 bytes); the copy or download it comes from may have failed")
        return open(name, "rb")


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[BinaryIO]:
    """A stream whose content appears under `path` at once when the block ends, and nowhere when it fails."""
    name = checked_path(path)
    with reporting(name, "could not be written"):
        target = os.path.realpath(name)  # a link stays a link
        if os.path.isdir(target):
            raise ImageFileError(name, "is a folder; add a file name")
        folder = os.path.dirname(target)
        os.makedirs(folder, exist_ok=True)
        temporary = os.path.join(folder, f".{secrets.token_hex(8)}.tmp")
        try:
            with open(temporary, "xb") as stream:
                yield stream
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
