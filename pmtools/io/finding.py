"""The image files that paths, folders and glob patterns stand for.

Knows names of files; opens none.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from pmtools.io.files import ImageFileError, PathLike, checked_path
from pmtools.io.formats import FORMATS


def find_images(paths: PathLike | Iterable[PathLike], /, *, recursive: bool = False) -> list[Path]:
    """Files that paths, folders and glob patterns stand for.

    Files are taken as they are, whatever their suffix; folders and patterns give their image files (`FORMATS`), sorted by
    name, without hidden ones. A file that comes up twice is listed once, at its first place.

    Parameters
    ----------
    paths : path, or iterable of paths
        Files, folders, and patterns with `*`, `?`, `[...]` or `**`.
    recursive : bool, optional
        Whether folders are searched with all that is below them.

    Returns
    -------
    list of Path

    Raises
    ------
    ImageFileError
        If a path does not exist, or a folder or pattern has no image.

    Examples
    --------
    >>> from pmtools.io import write_image
    >>> write_image(np.zeros((2, 2), dtype=np.uint8), "photos/b.png")
    >>> write_image(np.zeros((2, 2), dtype=np.uint8), "photos/a.jpg")
    >>> [path.name for path in find_images("photos")]
    ['a.jpg', 'b.png']
    """
    items = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    found: dict[Path, None] = {}  # ordered, without doubles
    for item in items:
        found.update(dict.fromkeys(_expanded(checked_path(item), recursive)))
    return list(found)


def _expanded(path: str, recursive: bool) -> list[Path]:
    if os.path.isdir(path):
        entries = Path(path).rglob("*") if recursive else Path(path).iterdir()
        found, where = _image_files(entries, below=Path(path)), "folder has"
    elif os.path.exists(path):
        return [Path(path)]
    elif glob.has_magic(path):
        entries = (Path(match) for match in glob.iglob(_with_literal_folders(path), recursive=True))
        found, where = _image_files(entries), "pattern matches"
    else:
        raise ImageFileError(path, "does not exist")
    if not found:
        raise ImageFileError(path, f"{where} no image; suffixes looked for: {', '.join(FORMATS)}")
    return found


def _with_literal_folders(pattern: str) -> str:
    """`pattern` with the leading folders that are there by that very name taken literally, brackets and all."""
    parts = Path(pattern).parts
    for count in range(len(parts) - 1, 0, -1):
        folder = Path(*parts[:count])
        if folder.is_dir():
            return os.path.join(glob.escape(os.fspath(folder)), *parts[count:])
    return pattern


def _image_files(entries: Iterable[Path], *, below: Path | None = None) -> list[Path]:
    """The image files among `entries`, sorted, without those hidden themselves or in a hidden folder `below`."""

    def shown(entry: Path) -> bool:
        parts = entry.relative_to(below).parts if below else (entry.name,)
        return not any(part.startswith(".") for part in parts)

    return sorted(entry for entry in entries if entry.suffix.lower() in FORMATS and shown(entry) and entry.is_file())
