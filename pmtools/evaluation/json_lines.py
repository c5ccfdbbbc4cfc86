"""Strict reading of the files that benchmarks are published in: JSON lines and tab-separated text.

Every error names the file and the line. This file knows no benchmark.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, TypeAlias

__all__ = [
    "Record",
    "RecordError",
    "adding_to",
    "exclusively",
    "keep_whole_lines",
    "naming",
    "read_lines",
    "read_records",
]

PathLike: TypeAlias = str | Path

_WIDE_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SPACE = " \t\r\n"


class RecordError(ValueError):
    """Raised for unusable files of questions, answers or reviews; the message says where, why and what to do."""


@dataclass(frozen=True)
class Record:
    """One JSON object of a file, and its place.

    Attributes
    ----------
    place : str
        `file:line`, for messages.
    fields : dict
    """

    place: str
    fields: Mapping[str, Any]

    def error(self, problem: str) -> RecordError:
        """The error to raise about this record."""
        return RecordError(f"{self.place}: {problem}")

    def text(self, *names: str) -> str:
        """The string under the first of `names` that is present; an error if none is, or if it is not a string."""
        found = self.optional_text(*names)
        if found is None:
            wanted = " or ".join(f"`{name}`" for name in names)
            raise self.error(f"{wanted} is missing; the line has {_listed(self.fields)}")
        return found

    def optional_text(self, *names: str) -> str | None:
        """The string under the first of `names` that is present, or None."""
        name = next((name for name in names if name in self.fields), None)
        if name is None:
            return None
        value = self.fields[name]
        if not isinstance(value, str):
            raise self.error(f"`{name}` must be a string, got {_shortened(value)}")
        return value

    def identifier(self, name: str) -> str | None:
        """A string or an integer as a string, or None if it is missing: `7` and `"7"` are the same question."""
        value = self.fields.get(name)
        if name not in self.fields:
            return None
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise self.error(f"`{name}` must be a string or an integer, got {_shortened(value)}")
        return str(value)

    def yes_or_no(self, *names: str) -> str | None:
        """A label, `"yes"` or `"no"` in any case, or None if it is missing."""
        text = self.optional_text(*names)
        return None if text is None else read_label(text, self.place)


def read_label(text: str, place: str) -> str:
    """`"yes"` or `"no"` from a label in any case; an error that names the place for anything else."""
    label = text.strip().lower()
    if label not in {"yes", "no"}:
        raise RecordError(f"{place}: the label must be yes or no, got {_shortened(text)}")
    return label


def read_lines(path: PathLike, /) -> list[tuple[str, str]]:
    r"""The lines of a UTF-8 file that are not blank, each with its place.

    A byte-order mark and Windows line ends are removed. Only `\n` ends a line: replies may hold other separators.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of (str, str)
        `file:line` and the line.

    Raises
    ------
    RecordError
        If the file is not UTF-8 or has no lines.
    OSError
        If it cannot be opened.
    """
    lines = [(f"{path}:{number}", line.removesuffix("\r")) for number, line in enumerate(_read(path).split("\n"), 1)]
    filled = [(place, line) for place, line in lines if line.strip(_SPACE)]
    if not filled:
        raise RecordError(f"{path}: the file is empty")
    return filled


def read_records(path: PathLike, /) -> list[Record]:
    """The JSON objects of a file: one per line, or all in one array, as in some releases of POPE.

    Parameters
    ----------
    path : path
        UTF-8 file; blank lines are skipped.

    Returns
    -------
    list of Record

    Raises
    ------
    RecordError
        If the file is empty, not UTF-8, or has something other than a JSON object somewhere.
    OSError
        If it cannot be opened.
    """
    lines = read_lines(path)
    if lines[0][1].lstrip(_SPACE).startswith("["):
        found = list(_array_items(path))
        if not found:
            raise RecordError(f"{path}: the array is empty")
        return found
    return [_record(place, line) for place, line in lines]


def keep_whole_lines(path: PathLike, /) -> bool:
    """Remove an incomplete last line, which a killed run left behind.

    Parameters
    ----------
    path : path

    Returns
    -------
    bool
        Whether the file exists and still has a line that is not blank.
    """
    path = Path(path)
    if not path.exists():
        return False
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    return bool(content[:whole].strip())


@contextlib.contextmanager
def adding_to(path: PathLike, /) -> Iterator[Callable[[Iterable[Mapping[str, Any]]], None]]:
    """A function that adds records to a file, a line each; no other program may add to it at the same time.

    An incomplete last line is removed first. An error of the system names the file, which says what is wrong with it (a full
    disk).

    Parameters
    ----------
    path : path
        Folders above it are made.

    Yields
    ------
    callable
        Takes an iterable of mappings; when it returns, they are in the file.

    Raises
    ------
    ValueError
        If another run is adding to it.
    OSError
        If it cannot be written to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file, exclusively(file, path):
        keep_whole_lines(path)

        def add(records: Iterable[Mapping[str, Any]]) -> None:
            with naming(file, path):
                file.write("".join(json.dumps(each) + "\n" for each in records).encode())
                file.flush()

        yield add


@contextlib.contextmanager
def naming(file: IO[Any], path: PathLike, /) -> Iterator[None]:
    """An error of the system while `file` is written names it; the file is closed then.

    Parameters
    ----------
    file : file object
    path : path
        Its name.

    Raises
    ------
    OSError
    """
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        with contextlib.suppress(OSError):  # which fails again, with no name
            file.close()
        raise


@contextlib.contextmanager
def exclusively(file: IO[Any], path: PathLike, /) -> Iterator[None]:
    """Refuse to go on while another run has the open file, if the system can lock files."""
    with contextlib.suppress(ImportError):  # Windows
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"`out` must be what no other run is writing to, got {path}; wait for the other, or give another"
            ) from None
        except OSError:  # a file system without locks
            pass
    yield


def _read(path: PathLike) -> str:
    content = Path(path).read_bytes()
    if content.startswith(_WIDE_MARKS):
        raise RecordError(f"{path}: the file is UTF-16 or UTF-32; save it as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise RecordError(f"{path}:{line}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8") from None


def _record(place: str, line: str) -> Record:
    try:
        value = _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        hint = "; remove the comma at the end" if line.rstrip(_SPACE).endswith("},") else ""
        _refuse_json(place, error, hint)
    return _checked(place, value)


def _array_items(path: PathLike) -> Iterator[Record]:
    """The objects of a file that holds one array, decoded one by one so that the line of each is known."""
    text = _read(path)
    at = _skip_space(text, text.index("[") + 1)
    line, counted = 1, 0
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        place = f"{path}:{line}"
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            _refuse_json(place, error, "")
        yield _checked(place, value)
        at = _skip_space(text, end)
        if text[at : at + 1] == ",":
            at = _skip_space(text, at + 1)
            if text[at : at + 1] == "]":
                raise RecordError(f"{place}: remove the comma after the last object of the array")
        elif text[at : at + 1] != "]":
            raise RecordError(f"{place}: a comma or the closing bracket of the array is missing after this object")
    if text[at + 1 :].strip(_SPACE):
        raise RecordError(f"{path}: there is text after the closing bracket of the array")


def _skip_space(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _SPACE:
        at += 1
    return at


def _checked(place: str, value: object) -> Record:
    if not isinstance(value, dict):
        raise RecordError(f"{place}: must be a JSON object, got {_shortened(value)}")
    return Record(place, value)


def _refuse_json(place: str, error: Exception, hint: str) -> NoReturn:
    where = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) and error.lineno == 1 else ""
    reason = "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", str(error))
    raise RecordError(f"{place}{where}: not valid JSON: {reason}{hint}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{_shortened(next(n for n in names if names.count(n) > 1))} occurs twice")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse_constant)


def file_names(paths: Iterable[Path]) -> str:
    """The names of files, for messages."""
    return ", ".join(repr(path.name) for path in paths) or "none"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "no fields"


def _shortened(value: object, limit: int = 60) -> str:
    text = ascii(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
