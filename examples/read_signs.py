"""Three far-apart signs on one photograph, at the input of a model: unreadable plain, read after one magnification.

The reader is pretrained OCR that never saw a warp; boxes say where the signs are. Where it read each word is taken
back to the photograph.

Run: pip install 'pmtools[reading]'; python examples/read_signs.py [OUTPUT_FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pmtools.evaluation.reading.looks import METHODS, SETTINGS, Case
from pmtools.evaluation.reading.photographs import find_photographs
from pmtools.evaluation.reading.reader import PaddleReader, Read
from pmtools.evaluation.reading.signs import font_path, sign_pictures

NUMBER, SEED, INPUT = 7, 5, 336  # which picture; pixels that the reader sees
PANEL, GAP, CAPTION = 520, 12, 56


def main(folder: Path) -> None:
    """Read plain and magnified, draw, write, and print the words."""
    picture = list(sign_pictures(find_photographs(), count=NUMBER + 1, seed=SEED))[NUMBER]
    reader = PaddleReader()
    case = Case(picture, reader, longest=INPUT, seed=0, settings=SETTINGS)
    plain, magnified = (METHODS[name](case)[0] for name in ("plain", "boxes"))
    before, after = (reader(look.image) for look in (plain, magnified))
    back = [Read(read.text, magnified.back(read.box_xyxy[None])[0]) for read in after]
    panels = [
        (plain.image, before, f"{INPUT} pixels, plain"),
        (magnified.image, after, f"{INPUT} pixels, magnified"),
        (picture.image, back, f"back on the original, {picture.image.width} pixels"),
    ]
    row = Image.new("RGB", (3 * PANEL + 2 * GAP, PANEL + CAPTION), "white")
    for k, (image, found, title) in enumerate(panels):
        row.paste(panel(image, found, title), (k * (PANEL + GAP), 0))
    folder.mkdir(parents=True, exist_ok=True)
    row.save(folder / "three_signs.jpg", quality=90)
    print("on the signs:", *sorted(picture.texts))
    print("read plain:", *sorted(read.text for read in before))
    print("read magnified:", *sorted(read.text for read in after))


def panel(image: Image.Image, found: list[Read], title: str) -> Image.Image:
    """An image with a caption, and a frame around each word that was read."""
    font = ImageFont.truetype(str(font_path("DejaVuSans")), 20)
    canvas = Image.new("RGB", (PANEL, PANEL + CAPTION), "white")
    canvas.paste(image.resize((PANEL, PANEL), Image.Resampling.LANCZOS), (0, 0))
    draw, scale = ImageDraw.Draw(canvas), PANEL / image.width
    for read in found:
        x0, y0, x1, y1 = (float(v) * scale for v in read.box_xyxy)
        draw.rectangle((x0 - 4, y0 - 4, x1 + 4, y1 + 4), outline=(255, 0, 200), width=3)
    draw.text((0, PANEL + 4), title, font=font, fill="black")
    said = ", ".join(read.text for read in found) or "nothing"
    draw.text((0, PANEL + 28), f"read: {said}", font=font, fill=(150, 0, 110))
    return canvas


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/read_signs"))
