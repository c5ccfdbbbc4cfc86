"""Questions about your own pictures with the boxes of what they ask about: items to calibrate a model with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmtools import _checks
from pmtools.evaluation.json_lines import PathLike, Record, read_records
from pmtools.evaluation.picture_files import find_image, open_picture
from pmtools.typing import Ndarray

__all__ = ["BoxedQuestion", "read_boxed_questions"]


@dataclass(frozen=True, eq=False)
class BoxedQuestion:
    """A question and where its answer is.

    Attributes
    ----------
    index : int
        Place in the file.
    text : str
    path : Path
        Of the picture.
    relevant_boxes_xyxy : array of shape (n, 4)
        In pixels of the picture.
    """

    index: int
    text: str
    path: Path
    relevant_boxes_xyxy: Ndarray

    @property
    def image(self) -> Any:
        """The picture, upright, as 8-bit RGB for any kind of file."""
        return open_picture(self.path)


def read_boxed_questions(path: PathLike, /) -> list[BoxedQuestion]:
    """Questions from JSON lines, or a JSON array: `image` (a file beside this one), `question`, `boxes`.

    Parameters
    ----------
    path : path
        `boxes` holds `[x0, y0, x1, y1]` in pixels of the picture, for each thing that is asked about.

    Returns
    -------
    list of BoxedQuestion

    Raises
    ------
    RecordError
        If a line is malformed or its picture is missing.
    OSError
        If the file cannot be opened.
    """
    folder = Path(path).parent
    return [
        BoxedQuestion(index, record.text("question", "text"), find_image(folder, record.text("image")), _boxes(record))
        for index, record in enumerate(read_records(path))
    ]


def _boxes(record: Record) -> Ndarray:
    if "boxes" not in record.fields:
        raise record.error("`boxes` is missing: a list of [x0, y0, x1, y1] in pixels of the picture")
    try:
        return _checks.boxes(record.fields["boxes"], "boxes")
    except (TypeError, ValueError) as error:
        raise record.error(str(error)) from None
