"""The photographs that signs are put into: what packages ship, and a folder of the user's; tuning and test apart."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pmtools import _checks
from pmtools.evaluation.picture_files import open_picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Photographs", "find_photographs"]

#: Colour photographs in the wheels of scikit-image and scikit-learn: for settings, and for results.
TUNING = ("chelsea", "flower")
TEST = ("astronaut", "china", "coffee", "motorcycle_left", "rocket")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}


class Photographs:
    """Photographs by name, opened when they are asked for.

    Parameters
    ----------
    paths : dict of str to Path
    """

    def __init__(self, paths: dict[str, Path], /) -> None:
        self.paths = paths

    @property
    def names(self) -> list[str]:
        """The names, in order."""
        return sorted(self.paths)

    def __getitem__(self, name: str) -> Image.Image:
        image: Image.Image = open_picture(self.paths[name])
        return image


def find_photographs(folder: str | Path | None = None, /, *, split: str = "test") -> Photographs:
    """The photographs of one split: those of the packages, and those below a folder.

    Parameters
    ----------
    folder : path, optional
        Of the user's own pictures; every third, by name, is for tuning.
    split : {"test", "tune"}, optional
        No photograph is in both.

    Returns
    -------
    Photographs

    Raises
    ------
    ValueError
        If there is no such split, or the folder has no pictures for it.
    ModuleNotFoundError
        If a package that ships them is not installed.
    """
    named = TEST if _checks.choice(split, "split", ("test", "tune")) == "test" else TUNING
    paths = {path.stem: path for path in _shipped() if path.stem in named}
    if folder is not None:
        found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
        own = {str(path.relative_to(folder)): path for k, path in enumerate(found) if (k % 3 == 0) is (split == "tune")}
        if not own:
            raise ValueError(f"`photographs` must be a folder with at least two pictures, got {len(found)} in {folder}")
        paths |= own
    return Photographs(paths)


def _shipped() -> Iterator[Path]:
    for package, folder in (("skimage", "data"), ("sklearn", "datasets/images")):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"the photographs are in {package}: pip install 'pmtools[reading]'")
        yield from (path for path in (Path(spec.origin).parent / folder).iterdir() if path.suffix in SUFFIXES)
