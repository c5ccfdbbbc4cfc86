"""JSON files that keep every number.

Knows JSON and NumPy's scalars and arrays.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from pmtools import _checks
from pmtools.io.files import ImageFileError, Source, Target, name_of, open_source, replacing, reporting


def write_json(data: Any, path: Target, /) -> None:
    """Write a JSON file, whole or not at all; folders above it are made.

    Numbers are written so that reading them gives the same float64 back. NumPy scalars and arrays become numbers and
    lists.

    Parameters
    ----------
    data : dict, list, number, string, bool or None
        What JSON can hold, such as `warp.to_dict()`.
    path : path or binary stream
        An existing file is replaced.

    Raises
    ------
    ImageFileError
        If the file cannot be written.
    TypeError, ValueError
        If `data` holds what JSON cannot: NaN, infinity, other objects.

    Examples
    --------
    >>> write_json({"source_hw": (2, 3)}, "warp.json")
    >>> read_json("warp.json")
    {'source_hw': [2, 3]}
    """
    try:
        text = json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False, default=_plain)
    except ValueError as error:
        raise ValueError(f"`data` must hold finite numbers only and no cycles, for JSON: {error}") from error
    with replacing(path) as stream:
        stream.write(text.encode() + b"\n")


def read_json(path: Source, /) -> Any:
    """Content of a JSON file.

    Parameters
    ----------
    path : path, bytes or binary stream
        UTF-8.

    Returns
    -------
    dict, list, number, string, bool or None

    Raises
    ------
    ImageFileError
        If the file is missing, or is not JSON; the message says where.

    Examples
    --------
    >>> write_json([1, 2.5], "numbers.json")
    >>> read_json("numbers.json")
    [1, 2.5]
    """
    name = name_of(path)
    with open_source(path) as stream, reporting(name, "could not be read"):
        content = stream.read()
    try:
        return json.loads(content)
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError
        raise ImageFileError(name, f"is not JSON: {error}") from error
    except RecursionError:
        raise ImageFileError(name, "is not readable JSON: it is nested too deeply") from None


def _plain(value: object) -> Any:
    """NumPy values for `json.dumps`."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"`data` must hold only what JSON can, got {_checks.describe(value)}")
