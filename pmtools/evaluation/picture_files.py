"""The pictures of a benchmark's questions, as files in its folder."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pmtools import io
from pmtools.adapters.pixels import as_pil
from pmtools.evaluation.json_lines import PathLike, RecordError
from pmtools.evaluation.questions import Question

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

__all__ = ["PictureQuestion", "find_image", "open_picture", "with_pictures"]

COCO = "COCO_val2014_"  # LLaVA-Bench (COCO) names pictures without it
MME_RELEASE = "MME_Benchmark_release_version"
_FOLDERS = ("images", "val2014", MME_RELEASE)
_SHOWN = 3  # number of pictures that a message names


@dataclass(frozen=True)
class PictureQuestion:
    """A question and the file of its picture: an item for `pmtools.evaluation.answering`.

    Attributes
    ----------
    index : int
        Place in the file of questions.
    question : Question
    path : Path
    """

    index: int
    question: Question
    path: Path

    @property
    def image(self) -> Any:
        """The picture, upright, as 8-bit RGB for any kind of file."""
        return open_picture(self.path)


def open_picture(path: Path, /) -> PILImage:
    """The picture in a file, upright, as 8-bit RGB for any kind; of several the first, with a warning."""
    found = io.read_frames(path, first_only=True)
    if len(found.images) < found.count:
        warnings.warn(f"{path}: {found.left_out[0]} is asked about", stacklevel=2)
    picture: PILImage = as_pil(found.images[0], name=path.name)
    return picture


def with_pictures(questions: Sequence[Question], folder: PathLike, /) -> list[PictureQuestion]:
    """Questions with the files of their pictures.

    Parameters
    ----------
    questions : sequence of Question
        In the order of the file.
    folder : path
        See `find_image`.

    Returns
    -------
    list of PictureQuestion

    Raises
    ------
    RecordError
        If pictures are missing; the message names the first of them.
    """
    found: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for image in dict.fromkeys(question.image for question in questions):
        try:
            found[image] = find_image(folder, image)
        except RecordError as error:
            missing[image] = str(error)
    if len(missing) == 1:
        raise RecordError(next(iter(missing.values())))
    if missing:
        named = ", ".join(ascii(image) for image in list(missing)[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise RecordError(
            f"{folder}: {len(missing)} of {len(found) + len(missing)} pictures are missing: {named}{more}; looked there "
            f"and in {' or '.join(_FOLDERS)}"
        )
    return [PictureQuestion(index, question, found[question.image]) for index, question in enumerate(questions)]


def find_image(folder: PathLike, image: str, /) -> Path:
    """The file of a picture that a question names, in a benchmark's folder or beside its files.

    The file is searched for by its name in `folder` and in `images`, `val2014` and `MME_Benchmark_release_version`
    inside it, with and without the folders in its name, in `images` beside it, and with COCO's prefix.

    Parameters
    ----------
    folder : path
    image : str

    Returns
    -------
    Path

    Raises
    ------
    RecordError
        If it is missing, or its name leads out of the folder.
    """
    name = PurePosixPath(image.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or not name.name:
        raise RecordError(f"the picture {image!a} must be named by a path inside {folder}")
    beside = name.parent / "images" / name.name  # some categories of MME's release
    names = dict.fromkeys([name.as_posix(), beside.as_posix(), name.name, COCO + name.name])
    for inside in ("", *_FOLDERS):
        for candidate in names:
            path = Path(folder, inside, candidate)
            if path.is_file():
                return path
    raise RecordError(f"{folder}: has no picture {image!a}, neither there nor in {' or '.join(_FOLDERS)}")
