"""Pictures with words on signs, as a camera sees them far away: perspective, blur, noise and JPEG. All from a seed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from pmtools.evaluation.reading.photographs import Photographs
from pmtools.typing import Ndarray

__all__ = ["SIDE", "WORDS", "Picture", "sign_pictures"]

#: Height and width of a picture, in pixels.
SIDE = 1536
#: Height of the letters, in pixels of the picture: from just unreadable to readable at a fourth of the size.
HEIGHTS = (11.0, 30.0)
_FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "STIXGeneral", "STIXGeneralBol")
_GAP = 40  # between signs, in pixels
_TURN, _SKEW = 6.0, 0.08  # degrees; corners, in heights of the sign
_BLUR, _NOISE, _QUALITY = 0.8, 4.0, 88

_WORDS = """
    airport avenue bakery balcony bamboo barber basket battery beach bicycle biscuit bottle bridge butcher cabinet
    camera candle canyon carpet castle cathedral ceramic chapel cheese cinema circle cleaner clinic coffee college
    copper corner cottage cotton council dentist desert diamond dinner doctor dolphin elephant engine evening
    express factory ferry festival flower forest fountain freedom friday gallery garage garden grocery guitar hammer
    harbor hospital hotel island jacket journey kitchen ladder language laundry lemon library lobster machine magnet
    market medicine melody member mirror monday monument morning mountain museum needle network notebook number
    ocean office orange orchard painter palace parking passport pencil pepper pharmacy pilot planet platform police
    pottery printer quarter railway receipt reptile ribbon river rocket saddle salmon school season shelter silver
    station stadium summer sunday table tailor temple theatre ticket tower traffic tunnel uniform valley vanilla
    village violin volcano waiter walnut weather welcome window winter wooden yellow yogurt
"""
#: Words for the signs, of five to nine letters.
WORDS = tuple(_WORDS.split())


@dataclass(frozen=True)
class Picture:
    """A picture, the texts in it, and which of them are asked for.

    Attributes
    ----------
    index : int
    group : str
        The photograph or document that it was made from: pictures of one are not independent evidence.
    image : PIL image
    texts : tuple of str
    boxes_xyxy : array of shape (n, 4)
        Around each text, in pixels of `image`.
    asked : tuple of int
        Indices of the texts to be read; the other texts must not be lost.
    """

    index: int
    group: str
    image: Image.Image
    texts: tuple[str, ...]
    boxes_xyxy: Ndarray
    asked: tuple[int, ...]

    @property
    def asked_boxes(self) -> Ndarray:
        """The boxes of what is asked for, (k, 4)."""
        return self.boxes_xyxy[list(self.asked)]


def sign_pictures(
    photographs: Photographs, /, *, count: int, words: int = 3, seed: int = 0, side: int = SIDE
) -> Iterator[Picture]:
    """Pictures of photographs with scattered signs, each with one word.

    Parameters
    ----------
    photographs : Photographs
    count : int
        How many pictures, of the photographs in turn.
    words : int, optional
        Signs in each.
    seed : int, optional
    side : int, optional
        Height and width, in pixels.

    Yields
    ------
    Picture
        All its words are asked for.
    """
    names = photographs.names
    for index in range(count):
        rng = np.random.default_rng([seed, words, index])
        name = names[index % len(names)]
        image = _cut(photographs[name], side, rng)
        texts = tuple(WORDS[k] for k in rng.choice(len(WORDS), words, replace=False))
        boxes: list[Ndarray] = []
        for text in texts:
            image, box = _with_sign(image, text, boxes, rng)
            boxes.append(box)
        yield Picture(index, name, photographed(image, rng), texts, np.stack(boxes), tuple(range(words)))


def _cut(photograph: Image.Image, side: int, rng: np.random.Generator) -> Image.Image:
    """A square of the photograph, three quarters of its shorter side or more."""
    width, height = photograph.size
    cut = int(min(width, height) * rng.uniform(0.75, 1.0))
    x, y = (int(rng.integers(0, size - cut + 1)) for size in (width, height))
    return photograph.convert("RGB").resize((side, side), Image.Resampling.BICUBIC, (x, y, x + cut, y + cut))


def _with_sign(
    image: Image.Image, text: str, taken: list[Ndarray], rng: np.random.Generator
) -> tuple[Image.Image, Ndarray]:
    """The picture with one more sign where there is room, and the box of the sign's face."""
    face = _face(text, rng)
    corners = np.array([[0, 0], [face.width, 0], [face.width, face.height], [0, face.height]], float)
    angle = np.deg2rad(rng.uniform(-_TURN, _TURN))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    seen = (corners - corners.mean(0)) @ turn.T + rng.uniform(-_SKEW, _SKEW, (4, 2)) * face.height
    seen -= seen.min(0)
    extent = seen.max(0)
    for _ in range(500):
        corner = rng.uniform(20, np.array(image.size) - extent - 20)
        box = np.concatenate([corner, corner + extent])
        if not any((box[:2] < other[2:] + _GAP).all() and (box[2:] > other[:2] - _GAP).all() for other in taken):
            break
    seen = seen + corner
    # PIL maps the output back, so the perspective is that from the picture to the face, drawn four times as large
    scale = 4
    coefficients = _perspective(seen, corners * scale)
    large = face.resize((face.width * scale, face.height * scale), Image.Resampling.BICUBIC)
    drawn = large.transform(image.size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC)
    outline = Image.new("L", image.size)
    ImageDraw.Draw(outline).polygon([tuple(point) for point in seen], fill=255)
    return Image.composite(drawn, image, outline), box


def _face(text: str, rng: np.random.Generator) -> Image.Image:
    """A word on a plain ground that it stands out from."""
    height = float(np.exp(rng.uniform(*np.log(HEIGHTS))))
    font = ImageFont.truetype(str(font_path(_FONTS[rng.integers(len(_FONTS))])), round(height * 1.37))
    written = (text.upper(), text.capitalize(), text)[rng.choice(3, p=(0.4, 0.3, 0.3))]
    x0, y0, x1, y1 = font.getbbox(written)
    ground = rng.integers(0, 256, 3)
    ink = 255 - ground if abs(int(ground.mean()) - 127) > 60 else np.full(3, 250 if ground.mean() < 128 else 10)
    side, top = round(0.5 * height), round(0.4 * height)
    face = Image.new("RGB", (int(x1 - x0) + 2 * side, int(y1 - y0) + 2 * top), tuple(ground.tolist()))
    ImageDraw.Draw(face).text((side - x0, top - y0), written, font=font, fill=tuple(ink.tolist()))
    return face


def font_path(name: str) -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"


def _perspective(source: Ndarray, target: Ndarray) -> list[float]:
    """The eight numbers of the perspective that takes four points to four others, by its linear equations."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return [float(number) for number in np.linalg.solve(np.array(rows), np.array(values))]


def photographed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blur, noise and JPEG."""
    pixels: Any = np.asarray(image.filter(ImageFilter.GaussianBlur(_BLUR)), np.float32)
    pixels = pixels + rng.normal(0, _NOISE, pixels.shape)
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=_QUALITY)
    return Image.open(stream).convert("RGB")
