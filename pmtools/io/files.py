"""Any file or stream: opened, replaced as a whole, and named by the error that says what is wrong with it.

A file is written under a temporary name of ours, which its writer holds locked. What nobody holds any more was left by a
process that was killed, and may go: `remove_leftovers`.

Knows paths and streams; nothing of what is in them.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from pmtools import _checks

PathLike: TypeAlias = str | os.PathLike[str]
#: What is read: a path, the content itself, or a binary stream.
Source: TypeAlias = PathLike | bytes | bytearray | memoryview | BinaryIO
#: What is written to: a path or a binary stream.
Target: TypeAlias = PathLike | BinaryIO

_PREFIX, _SUFFIX = ".pmtools-", ".tmp"


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


def name_of(source: Any) -> str:
    """What errors call a path, content or stream."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "<bytes>"
    if hasattr(source, "read") or hasattr(source, "write"):
        name = getattr(source, "name", None)
        return name if isinstance(name, str) else "<stream>"
    return checked_path(source)


def open_source(source: Source) -> BinaryIO:
    """A stream of one's own over a path, content or stream, which can be sought in and is not empty.

    Streams are read from where they are to their end; the caller's is never closed.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source)
    elif hasattr(source, "read"):
        with reporting(name_of(source), "could not be read"):
            content = source.read()
        if not isinstance(content, bytes):
            raise TypeError(f"`path` must be a binary stream, got one of {type(content).__name__}; open it with 'rb'")
    else:
        return open_file(source)
    if not content:
        raise ImageFileError(name_of(source), "is empty (0 bytes)")
    return io.BytesIO(content)


def open_file(path: PathLike) -> BinaryIO:
    """The bytes of a regular file that is not empty."""
    name = checked_path(path)
    with reporting(name, "could not be opened"):
        if os.path.isdir(name):
            raise ImageFileError(name, "is a folder, not a file; name a file in it")
        if not os.path.exists(name):
            raise ImageFileError(name, "does not exist")
        if not os.path.isfile(name):  # a pipe would wait for ever
            raise ImageFileError(name, "is not a regular file; pass an open stream, or copy its content to one first")
        if os.path.getsize(name) == 0:
            raise ImageFileError(name, "is empty (0 bytes); the copy or download it comes from may have failed")
        return open(name, "rb")


@contextlib.contextmanager
def replacing(target: Target) -> Iterator[BinaryIO]:
    """A stream whose content appears under `target` at once when the block ends, and nowhere when it fails."""
    if not isinstance(target, (str, os.PathLike)) and hasattr(target, "write"):
        whole = io.BytesIO()  # encoders seek, pipes cannot
        yield whole
        with reporting(name_of(target), "could not be written"):
            target.write(whole.getvalue())
        return
    name = checked_path(target)
    with reporting(name, "could not be written"):
        final = os.path.realpath(name)  # a link stays a link
        if os.path.isdir(final):
            raise ImageFileError(name, "is a folder; add a file name")
        if os.path.exists(final) and not os.path.isfile(
            final
        ):  # a pipe or device, which a file would take the place of
            raise ImageFileError(
                name, "is not a regular file; open it and pass the stream, or on the command line use -"
            )
        folder = os.path.dirname(final)
        os.makedirs(folder, exist_ok=True)
        stream, temporary = _held_temporary(folder)
        try:
            with stream:
                yield stream
                stream.flush()
                if os.name != "nt":  # still held: nobody takes it for a leftover
                    os.replace(temporary, final)
            if os.name == "nt":  # where no open file can be renamed
                os.replace(temporary, final)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def remove_leftovers(folder: PathLike) -> int:
    """Delete the temporary files that killed processes have left in `folder`, none that is being written; how many."""
    removed = 0
    with contextlib.suppress(OSError):
        for path in Path(folder).glob(f"{_PREFIX}*{_SUFFIX}"):
            with contextlib.suppress(OSError), open(path, "r+b") as stream:
                if not _hold(stream, wait=False):
                    continue
                if os.name == "nt":
                    stream.close()
                path.unlink()
                removed += 1
    return removed


def _held_temporary(folder: str) -> tuple[BinaryIO, str]:
    """A new file in `folder`, locked, and its name."""
    while True:
        temporary = os.path.join(folder, f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}")
        stream = open(temporary, "x+b")  # noqa: SIM115 (the caller closes it)
        try:
            _hold(stream, wait=True)
            if os.path.exists(temporary):  # nobody took it for a leftover before it was locked
                return stream, temporary
        except BaseException:
            stream.close()
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        stream.close()


def _hold(stream: BinaryIO, *, wait: bool) -> bool:
    """Lock a file for as long as it is open; False where another process has it."""
    try:
        import fcntl
    except ImportError:  # Windows deletes no file that is open
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: write, and leave what others may be writing
        return wait
    return True
