"""Readers: pretrained OCR that packages ship, and what all of them return.

- PP-OCR's detector and recogniser (Du et al. 2020, [arXiv:2009.09941](https://arxiv.org/abs/2009.09941)), whose weights are in
  the wheel of `rapidocr-onnxruntime`;
- Tesseract 5, a second opinion, where its program is installed.
"""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from pmtools.typing import Ndarray

__all__ = ["PaddleReader", "Read", "Reader", "TesseractReader", "normalised"]

#: Shorter side that PP-OCR's detector enlarges a smaller input to, in pixels.
DETECTOR_SIDE = 512
#: Least confidence of a text.
SURE = 0.3


@dataclass(frozen=True)
class Read:
    """A text that was read.

    Attributes
    ----------
    text : str
    box_xyxy : array of shape (4,)
        In pixels of the image that was shown.
    """

    text: str
    box_xyxy: Ndarray


class Reader(Protocol):
    """Reads an image."""

    def __call__(self, image: Image.Image, /) -> list[Read]:
        """All texts in the image."""

    def text_map(self, image: Image.Image, /) -> Ndarray:
        """Where the image shows text, in [0, 1], of shape (h, w): the reader's own first look."""


class PaddleReader:
    """PP-OCR, one thread.

    Raises
    ------
    ModuleNotFoundError
        If `rapidocr-onnxruntime` is not installed.
    """

    name = "paddle"

    def __init__(self) -> None:
        from rapidocr_onnxruntime import RapidOCR

        self._engine: Any = RapidOCR(
            intra_op_num_threads=1, inter_op_num_threads=1, use_cls=False, det_limit_side_len=DETECTOR_SIDE
        )

    def __call__(self, image: Image.Image, /) -> list[Read]:
        """All texts in the image."""
        found, _ = self._engine(_bgr(image), use_cls=False, text_score=SURE)
        return [Read(text, _around(np.array(corners, float))) for corners, text, _ in found or []]

    def text_map(self, image: Image.Image, /) -> Ndarray:
        """The detector's probability of text, of the shape of its input."""
        pixels, detector = _bgr(image), self._engine.text_det
        prepared = detector.get_preprocess(max(pixels.shape[:2]))(pixels)
        return np.asarray(detector.infer(prepared)[0][0, 0], float)


class TesseractReader:
    """Tesseract's program, in its mode for sparse text; its map is all ones, since it shows none.

    Raises
    ------
    ModuleNotFoundError
        If the program is not installed.
    """

    name = "tesseract"

    def __init__(self) -> None:
        if shutil.which("tesseract") is None:
            raise ModuleNotFoundError("the reader needs the program `tesseract`: apt-get install tesseract-ocr")

    def __call__(self, image: Image.Image, /) -> list[Read]:
        """All words in the image."""
        import io

        stream = io.BytesIO()
        image.convert("RGB").save(stream, "PPM")
        command = ["tesseract", "stdin", "stdout", "--psm", "11", "tsv"]
        done = subprocess.run(
            command, input=stream.getvalue(), capture_output=True, check=True, env={"OMP_THREAD_LIMIT": "1"}
        )
        rows = [line.split("\t") for line in done.stdout.decode().splitlines()[1:]]
        words = [row for row in rows if len(row) == 12 and float(row[10]) > 100 * SURE and row[11].strip()]
        return [
            Read(row[11], np.array([0, 0, int(row[8]), int(row[9])]) + np.tile([int(row[6]), int(row[7])], 2))
            for row in words
        ]

    def text_map(self, image: Image.Image, /) -> Ndarray:
        """All ones."""
        return np.ones((image.height, image.width))


def normalised(text: str, /) -> str:
    """Letters and digits of a text, in lower case and without accents.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
    """
    letters = unicodedata.normalize("NFKD", text.lower())
    return "".join(letter for letter in letters if letter.isascii() and letter.isalnum())


def _around(corners: Ndarray) -> Ndarray:
    return np.concatenate([corners.min(0), corners.max(0)])


def _bgr(image: Image.Image) -> Ndarray:
    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])
