"""Pages of text on which the user points at one line: pages that are set here, or scans in a folder of the user's.

The truth of a set page is known. That of a scan is what the reader reads at full size, so results on scans are relative to
the reader; lines of fewer than five letters are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pmtools.evaluation.picture_files import open_picture
from pmtools.evaluation.reading.photographs import SUFFIXES
from pmtools.evaluation.reading.reader import Reader, normalised
from pmtools.evaluation.reading.signs import WORDS, Picture, font_path, photographed
from pmtools.typing import Ndarray

__all__ = ["page_pictures", "scan_pictures"]

#: Height and width of a page that is set here; the longest side of a scan.
PAGE_HW = (2200, 1700)
_LETTERS = 5  # least number in a line that is asked for
_ON_A_PAGE = 10  # lines asked for on one page


def page_pictures(*, count: int, seed: int = 0) -> Iterator[Picture]:
    """Pages that are set here, once for each of ten lines that the user points at.

    Parameters
    ----------
    count : int
        Lines that are asked for.
    seed : int, optional

    Yields
    ------
    Picture
        One line is asked for; the others are what must not be lost.
    """
    for page in range(-(-count // _ON_A_PAGE)):
        rng = np.random.default_rng([seed, page])
        image, texts, boxes = _set_page(rng)
        yield from _asked(f"page {page}", image, texts, boxes, rng, range(page * _ON_A_PAGE, count))


def scan_pictures(folder: str | Path, reader: Reader, /, *, count: int, seed: int = 0) -> Iterator[Picture]:
    """The scans in a folder, once for each of ten lines that the user points at.

    Parameters
    ----------
    folder : path
        Images.
    reader : Reader
        What it reads at full size counts as true.
    count : int
        Lines that are asked for, at most.
    seed : int, optional

    Yields
    ------
    Picture
        One line is asked for; the others are what must not be lost.

    Raises
    ------
    ValueError
        If the folder holds no image.
    """
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"`scans` must be a folder with images, got none in {folder}")
    asked = 0
    for number, path in enumerate(paths):
        image = open_picture(path)
        image.thumbnail((max(PAGE_HW), max(PAGE_HW)), Image.Resampling.BICUBIC)
        lines = [(read.text, read.box_xyxy) for read in reader(image) if len(normalised(read.text)) >= _LETTERS]
        if not lines:
            continue
        texts, boxes = zip(*lines, strict=True)
        rng = np.random.default_rng([seed, number])
        pictures = _asked(path.stem, image, texts, np.stack(boxes), rng, range(asked, count))
        for picture in pictures:
            asked = picture.index + 1
            yield picture


def _asked(
    group: str, image: Image.Image, texts: tuple[str, ...], boxes: Ndarray, rng: np.random.Generator, indices: range
) -> Iterator[Picture]:
    chosen = rng.permutation(len(texts))[:_ON_A_PAGE]
    for index, line in zip(indices, chosen, strict=False):
        yield Picture(index, group, image, texts, boxes, (int(line),))


def _set_page(rng: np.random.Generator) -> tuple[Image.Image, tuple[str, ...], Ndarray]:
    """A page in one size of letters, as a scanner sees it."""
    height, width = PAGE_HW
    size = int(rng.integers(15, 25))
    font = ImageFont.truetype(str(font_path("DejaVuSerif")), size)
    image = Image.new("RGB", (width, height), (250, 248, 244))
    draw = ImageDraw.Draw(image)
    texts, boxes = [], []
    for y in range(160, height - 160, round(2.2 * size)):
        text = " ".join(WORDS[k] for k in rng.integers(0, len(WORDS), int(rng.integers(3, 7))))
        draw.text((150, y), text, font=font, fill=(30, 30, 34))
        texts.append(text)
        boxes.append(draw.textbbox((150, y), text, font=font))
    return photographed(image, rng), tuple(texts), np.array(boxes, float)
