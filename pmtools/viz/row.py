"""Images side by side at one height, with titles above.

This file knows images and words; nothing about what the images show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pmtools import _array, _checks
from pmtools.typing import Image
from pmtools.viz import borrowed
from pmtools.viz.arguments import colour, strings
from pmtools.viz.rgb import as_rgb
from pmtools.viz.words import ink_on, wrapped

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


def side_by_side(
    images: Iterable[Image],
    /,
    *,
    titles: Sequence[str] | None = None,
    height: int | None = None,
    gap: int | None = None,
    background: str = "white",
) -> PILImage:
    """Images in a row at one height, with titles above.

    Small images are enlarged pixel by pixel (they stay sharp), large ones are shrunk with anti-aliasing. How values
    become 8 bits: bool and uint8 unchanged, uint16 divided by 257; floats in [0, 1] times 255; other numbers unchanged
    if they lie in [0, 255], otherwise stretched from minimum to maximum. Alpha is laid on white.

    Parameters
    ----------
    images : sequence of PIL images and arrays
        Any mode; (H, W) or (H, W, C), PyTorch (C, H, W); different sizes and kinds may be mixed.
    titles : sequence of str, optional
        One per image; long ones are wrapped.
    height : int, optional
        Height of all images in pixels. Default: that of the tallest, at least 256.
    gap : int, optional
        Pixels between images and around them. Default: a 40th of the height.
    background : str, optional
        Any colour PIL knows.

    Returns
    -------
    PIL image, mode RGB

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    ImportError
        If there are titles and Matplotlib is not installed.

    Examples
    --------
    >>> pair = [np.zeros((30, 40), dtype=np.uint8), np.ones((2, 2))]
    >>> side_by_side(pair, height=30, gap=0).size
    (70, 30)
    """
    from PIL import Image as PIL

    if isinstance(images, (str, bytes)) or _array.is_pil(images) or _array.is_array(images):
        raise TypeError(f"`images` must be a list of images, got {_checks.describe(images)}; put it into brackets")
    pictures = [as_rgb(image, f"images[{number}]") for number, image in enumerate(images)]
    if not pictures:
        raise ValueError("`images` must hold at least one image, got none")
    names = None if titles is None else strings(titles, "titles", len(pictures), "images")
    tall = max(256, *(picture.height for picture in pictures)) if height is None else height
    tall = _checks.whole_number(tall, "height")
    space = max(1, round(tall / 40)) if gap is None else _checks.whole_number(gap, "gap", minimum=0)
    paper = colour(background, "background")

    pictures = [_at_height(picture, tall) for picture in pictures]
    captions = [] if names is None else _captions(names, pictures, tall, paper)
    top = space + max((caption.height + space // 2 for caption in captions), default=0)
    row = PIL.new("RGB", (space + sum(p.width + space for p in pictures), top + tall + space), paper)
    left = space
    for number, picture in enumerate(pictures):
        if captions:
            caption = captions[number]
            row.paste(caption, (left + (picture.width - caption.width) // 2, top - caption.height - space // 2))
        row.paste(picture, (left, top))
        left += picture.width + space
    return row


def _at_height(picture: PILImage, height: int) -> PILImage:
    """`picture` at `height`: pixels stay squares if they grow at least twice, otherwise Lanczos."""
    from PIL import Image as PIL

    if picture.height == height:
        return picture
    width = max(1, round(picture.width * height / picture.height))
    nearest = height >= 2 * picture.height
    return picture.resize((width, height), PIL.Resampling.NEAREST if nearest else PIL.Resampling.LANCZOS)


def _captions(
    titles: Sequence[str], pictures: Sequence[PILImage], height: int, paper: tuple[int, ...]
) -> list[PILImage]:
    """One image per title, as wide as its picture, of one height, the words centred and wrapped."""
    from PIL import Image as PIL
    from PIL import ImageDraw

    font = borrowed.font(max(13.0, height / 20))
    ink = ink_on(paper)
    texts = [wrapped(title, font, picture.width) for title, picture in zip(titles, pictures, strict=True)]
    ascent, descent = font.getmetrics()
    leading = round(1.25 * font.size)
    tall = ascent + descent + leading * max(text.count("\n") for text in texts)
    captions = []
    for text, picture in zip(texts, pictures, strict=True):
        caption = PIL.new("RGB", (picture.width, tall), paper)
        draw = ImageDraw.Draw(caption)
        for number, line in enumerate(reversed(text.split("\n"))):  # last lines share a baseline
            draw.text((picture.width / 2, tall - descent - leading * number), line, font=font, fill=ink, anchor="ms")
        captions.append(caption)
    return captions
