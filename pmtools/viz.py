"""Pictures to look at: a heatmap over its image, the grid of a warp, boxes, images side by side.

Everything returns an RGB PIL image. Lines are painted by the share of each pixel that they cover, so they lie where they
belong, between pixels too. Matplotlib lends its colour maps and its font; it is imported on call, and its global state
(pyplot) is not touched.

Knows images, heatmaps, boxes, and of a warp only `points`, `source_hw` and `target_hw`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from pmtools import _array, _checks, _images
from pmtools.typing import BoxesXYXY, Heatmap, Image, PointsXY, SizeHW

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage
    from PIL.ImageFont import FreeTypeFont

Ndarray: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# Okabe and Ito's colours, told apart with any colour vision, in an order that starts with those that stand out on
# photographs.
_PALETTE = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#F0E442", "#D55E00", "#0072B2")
_LEVELS = 1024  # of heat: the colour map is asked for so many values, not for every pixel
_MAX_LINES = 10_000  # per axis: beyond it the step is a slip
_MIDDLE_GREY = 0.18  # luminance at which black and white words have the same contrast


class PointMap(Protocol):
    """What `warp_grid` asks of a warp."""

    @property
    def source_hw(self) -> SizeHW:
        """Height and width of the source image."""

    @property
    def target_hw(self) -> SizeHW:
        """Height and width of the magnified image."""

    def points(self, points_xy: PointsXY, /) -> PointsXY:
        """Where source points of shape (n, 2) land on the magnified image."""


def overlay(
    image: Image,
    heatmap: Heatmap,
    /,
    *,
    alpha: float = 0.75,
    saturation: float = 0.4,
    colormap: str | Callable[[Ndarray], Any] = "inferno",
) -> PILImage:
    """Heatmap in colour over its image: hot places are tinted, cold ones show the image.

    The heatmap is scaled to [0, 1] by its extremes and resized to the image (bicubic). Opacity grows with heat, from 0 to
    `alpha`, so nothing is hidden where there is nothing to show; the image's own colours are muted, so that an orange
    spot is heat and not an orange.

    Parameters
    ----------
    image : PIL image or array
        One image, any mode, layout and dtype; see `side_by_side` for how values become 8 bits.
    heatmap : array of shape (h, w)
        Non-negative, any scale, any size: it covers the image. A constant one tints nothing.
    alpha : float, optional
        Opacity of the hottest place, in [0, 1].
    saturation : float, optional
        How much of the image's colour stays, from 0 (grey) to 1 (all).
    colormap : str or callable, optional
        Matplotlib's name, or a function from values (n,) to RGB(A) (n, 3 or 4), all in [0, 1]. Pick one whose lightness
        grows (inferno, magma, viridis, cividis), so that the order of the values can be seen.

    Returns
    -------
    PIL image, mode RGB
        Of the size of `image`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    ImportError
        If `colormap` is a name and Matplotlib is not installed.

    Examples
    --------
    >>> picture = overlay(np.full((40, 60), 200, dtype=np.uint8), np.eye(4))
    >>> picture.size, picture.mode
    ((60, 40), 'RGB')
    """
    from PIL import Image as PIL
    from PIL import ImageEnhance

    alpha = _checks.real_number(alpha, "alpha", minimum=0, maximum=1)
    saturation = _checks.real_number(saturation, "saturation", minimum=0, maximum=1)
    picture = ImageEnhance.Color(_rgb(image)).enhance(saturation)
    level = _heat_levels(heatmap, picture.size)  # (H, W), index into both tables
    tint = PIL.fromarray(_colour_table(colormap)[level])
    # The exponent below 1 keeps fainter second peaks visible.
    opacity = np.rint(255 * alpha * np.linspace(0, 1, _LEVELS) ** 0.7).astype(np.uint8)
    return PIL.composite(tint, picture, PIL.fromarray(opacity[level]))


def warp_grid(
    image: Image | None,
    warp: PointMap,
    /,
    *,
    step: float | None = None,
    color: str = "white",
    width: float | None = None,
) -> PILImage:
    """Where the regular square grid of the source lands on the magnified image.

    Convention: pixel-edge coordinates; grid lines at 0, step, 2 step, ... of the source, and at its far edges.

    Parameters
    ----------
    image : PIL image, array or None
        The *magnified* image, of size `warp.target_hw`; None for a plain dark background.
    warp : Warp
        Anything with `points`, `source_hw` and `target_hw`.
    step : float, optional
        Source pixels between lines. Default: a sixteenth of the longer side.
    color : str, optional
        Any colour PIL knows. The lines have a dark rim, so that they show on light ground too.
    width : float, optional
        Width of the lines in pixels. Default: a 300th of the longer side, at least 1.

    Returns
    -------
    PIL image, mode RGB
        Of size `warp.target_hw`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or `image` has another size than `warp.target_hw`.

    Examples
    --------
    >>> import pmtools
    >>> warp = pmtools.fit_warp(np.eye(4), source_hw=(40, 60))
    >>> warp_grid(None, warp, step=10).size
    (60, 40)
    """
    from PIL import Image as PIL

    if getattr(warp, "batch_shape", ()):
        raise ValueError("`warp` must be a single warp, got a batch; draw warp[i]")
    height, width_px = warp.target_hw
    picture = PIL.new("RGB", (width_px, height), (38, 38, 43)) if image is None else _rgb(image)
    if picture.size != (width_px, height):
        raise ValueError(
            f"`image` must be the magnified image, {height} x {width_px} (height x width), got {picture.height} x "
            f"{picture.width}; pass `warp.image(image)`"
        )
    spacing = _positive(step, "step", max(warp.source_hw) / 16)
    line = _positive(width, "width", max(1.0, max(height, width_px) / 350))
    _paint(picture, _grid_bars(warp, spacing, line + 2), (0, 0, 0), opacity=0.35)
    _paint(picture, _grid_bars(warp, spacing, line), _colour(color), opacity=0.9)
    return picture


def draw_boxes(
    image: Image,
    boxes_xyxy: BoxesXYXY,
    /,
    *,
    labels: Sequence[str] | None = None,
    color: str | None = None,
    width: float | None = None,
) -> PILImage:
    """Boxes on an image, each with its label.

    Convention: pixel-edge coordinates; the line is centred on the box's edge and stays inside the image.

    Parameters
    ----------
    image : PIL image or array
        One image, any mode, layout and dtype.
    boxes_xyxy : array of shape (n, 4) or (4,)
        x0, y0, x1, y1 in pixels, x0 <= x1 and y0 <= y1. What lies outside the image is not drawn.
    labels : sequence of str, optional
        One a box, written on a tag above it (or inside it where there is no room above).
    color : str, optional
        Any colour PIL knows, for all boxes. Default: one after the other from a palette that any colour vision tells apart.
    width : float, optional
        Width of the lines in pixels. Default: a 200th of the longer side, at least 2.

    Returns
    -------
    PIL image, mode RGB
        Of the size of `image`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    ImportError
        If there are labels and Matplotlib is not installed.

    Examples
    --------
    >>> draw_boxes(np.zeros((40, 60, 3), dtype=np.uint8), [10, 5, 30, 25]).getpixel((10, 15))
    (230, 159, 0)
    """
    picture = _rgb(image)
    boxes = _boxes(boxes_xyxy)
    names = [] if labels is None else _strings(labels, "labels", len(boxes), "boxes")
    thickness = _positive(width, "width", max(2.0, max(picture.size) / 200))
    inks = [_colour(_PALETTE[i % len(_PALETTE)] if color is None else color) for i in range(len(boxes))]
    for box, ink in zip(boxes, inks, strict=True):
        _paint(picture, _outline_bars(box, thickness), ink)
    for box, ink, name in zip(boxes, inks, names, strict=False):  # tags last: no line crosses a word
        _draw_tag(picture, box, name, ink, thickness)
    return picture


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
    become 8 bits: bool and uint8 as they are, uint16 by 257; floats in [0, 1] times 255; other numbers as they are where
    they lie in [0, 255], otherwise stretched from minimum to maximum. Alpha is laid on white.

    Parameters
    ----------
    images : sequence of PIL images and arrays
        Any mode; (H, W) or (H, W, C), PyTorch (C, H, W); different sizes and kinds may be mixed.
    titles : sequence of str, optional
        One an image; long ones are wrapped.
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
    pictures = [_rgb(image, f"images[{number}]") for number, image in enumerate(images)]
    if not pictures:
        raise ValueError("`images` must hold at least one image, got none")
    names = None if titles is None else _strings(titles, "titles", len(pictures), "images")
    tall = max(256, *(picture.height for picture in pictures)) if height is None else height
    tall = _checks.whole_number(tall, "height")
    space = max(1, round(tall / 40)) if gap is None else _checks.whole_number(gap, "gap", minimum=0)
    paper = _colour(background, "background")

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


# -- images as 8-bit RGB ----------------------------------------------------------------------------------------------


def _rgb(image: Image, name: str = "image") -> PILImage:
    """One image of any kind as a new RGB PIL image, alpha laid on white."""
    from PIL import Image as PIL

    picture: PILImage
    if _array.is_pil(image) and image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        picture = image.convert("RGBA" if image.has_transparency_data else "RGB")
    else:
        values = _array.to_numpy(_images.unpack(image, name=name).values)  # (n, H, W, C)
        channels = values.shape[-1]
        if values.shape[0] != 1 or channels > 4:
            raise ValueError(
                f"`{name}` must be one image with at most 4 channels, got {_checks.describe(image)}; take one of a batch; "
                "NumPy images are (H, W, C), PyTorch's (C, H, W)"
            )
        picture = PIL.fromarray(_eight_bits(values[0], name)).convert("RGBA" if channels in (2, 4) else "RGB")
    if picture.mode == "RGBA":
        picture = PIL.alpha_composite(PIL.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture


def _eight_bits(values: Ndarray, name: str) -> Ndarray:
    """(H, W, C) of any real dtype as contiguous uint8 (H, W) or (H, W, C)."""
    if values.shape[2] == 1:
        values = values[..., 0]
    if values.dtype == np.bool_:
        scaled: Ndarray = values * np.uint8(255)
    elif values.dtype == np.uint8:
        scaled = values
    elif values.dtype == np.uint16:
        scaled = np.rint(values / 257.0)
    else:
        scaled = values.astype(np.float64)
        low, high = float(scaled.min()), float(scaled.max())
        if not math.isfinite(low) or not math.isfinite(high):
            raise ValueError(f"`{name}` must be finite, got NaN or infinity somewhere; replace those pixels, by 0 say")
        if values.dtype.kind == "f" and low >= 0 and high <= 1:
            scaled = scaled * 255
        elif low < 0 or high > 255:
            scaled = (scaled - low) * (255 / (high - low))
    return np.ascontiguousarray(np.rint(scaled).astype(np.uint8))


def _at_height(picture: PILImage, height: int) -> PILImage:
    """`picture` at `height`: pixels stay squares where they grow at least twice, otherwise Lanczos."""
    from PIL import Image as PIL

    if picture.height == height:
        return picture
    width = max(1, round(picture.width * height / picture.height))
    nearest = height >= 2 * picture.height
    return picture.resize((width, height), PIL.Resampling.NEAREST if nearest else PIL.Resampling.LANCZOS)


# -- heat -------------------------------------------------------------------------------------------------------------


def _heat_levels(heatmap: Heatmap, size: tuple[int, int]) -> Ndarray:
    """Heatmap from 0 to `_LEVELS` - 1 at the size (width, height) of the image, (H, W)."""
    from PIL import Image as PIL

    values = _array.to_numpy(_checks.weights(heatmap, "heatmap")).astype(np.float64)
    if values.ndim != 2:
        raise ValueError(f"`heatmap` must be 2-D (h, w), got shape {values.shape}; draw one of the batch at a time")
    low, high = values.min(), values.max()
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    levels = PIL.fromarray((scaled * (_LEVELS - 1)).astype(np.float32)).resize(size, PIL.Resampling.BICUBIC)
    return np.asarray(np.rint(np.clip(np.asarray(levels), 0, _LEVELS - 1)).astype(np.uint16))  # bicubic overshoots


def _colour_table(colormap: str | Callable[[Ndarray], Any]) -> Ndarray:
    """The colours of all heat levels, uint8 (`_LEVELS`, 3)."""
    mapping: Any = colormap
    if not callable(colormap):
        matplotlib = _matplotlib()
        try:
            mapping = matplotlib.colormaps[colormap]
        except (KeyError, TypeError, AttributeError):
            raise ValueError(
                f"`colormap` must be a function or the name of one of Matplotlib's colour maps, such as 'inferno' or "
                f"'viridis', got {colormap!r}"
            ) from None
    table = np.asarray(mapping(np.linspace(0, 1, _LEVELS)), dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != _LEVELS or table.shape[1] not in (3, 4):
        raise ValueError(
            f"`colormap` must turn values (n,) into colours (n, 3 or 4), got {table.shape} for ({_LEVELS},)"
        )
    return np.rint(255 * np.clip(table[:, :3], 0, 1)).astype(np.uint8)


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("this picture needs Matplotlib; install it with `pip install 'pmtools[viz]'`") from error
    return matplotlib


# -- lines ------------------------------------------------------------------------------------------------------------


def _places(side: int, step: float) -> Ndarray:
    """0, step, 2 step, ... below `side`, and `side` itself."""
    count = math.ceil(side / step - 1e-9)
    if count > _MAX_LINES:
        raise ValueError(
            f"`step` must be large enough for lines that can be told apart, got {step:g} for {side} pixels"
        )
    return np.append(np.arange(count) * step, float(side))


def _grid_bars(warp: PointMap, step: float, width: float) -> Ndarray:
    """(n, 4) boxes of the grid's lines on the magnified image; the warp is separable, so they stay straight."""
    height, width_px = warp.source_hw
    columns, rows = _places(width_px, step), _places(height, step)
    bars = []
    for x in columns:
        bars.append([x, 0.0, x, height])
    for y in rows:
        bars.append([0.0, y, width_px, y])
    ends = np.asarray(bars, dtype=np.float64).reshape(-1, 2)
    landed = _array.to_numpy(warp.points(ends)).reshape(-1, 4)
    return landed + np.array([-width, -width, width, width]) / 2


def _outline_bars(box: Ndarray, width: float) -> Ndarray:
    """(4, 4) boxes of the four sides, each centred on its edge."""
    x0, y0, x1, y1 = box
    half = width / 2
    return np.array(
        [
            [x0 - half, y0 - half, x1 + half, y0 + half],
            [x0 - half, y1 - half, x1 + half, y1 + half],
            [x0 - half, y0 - half, x0 + half, y1 + half],
            [x1 - half, y0 - half, x1 + half, y1 + half],
        ]
    )


def _paint(picture: PILImage, bars: Ndarray, ink: tuple[int, ...], opacity: float = 1.0) -> None:
    """Fill boxes (n, 4) of `picture` with a colour, every pixel by the greatest share of it that one of them covers."""
    from PIL import Image as PIL

    low, high = np.clip(bars[:, :2].min(axis=0), 0, picture.size), np.clip(bars[:, 2:].max(axis=0), 0, picture.size)
    left, top = (math.floor(side) for side in low)
    width, height = math.ceil(high[0]) - left, math.ceil(high[1]) - top
    if width <= 0 or height <= 0:
        return
    coverage = np.zeros((height, width), dtype=np.float32)
    for x0, y0, x1, y1 in bars - np.array([left, top, left, top]):
        rows, down = _covered(y0, y1, height)
        columns, across = _covered(x0, x1, width)
        part = coverage[rows, columns]
        np.maximum(part, np.outer(down, across), out=part)
    mask = np.rint(np.float32(255 * opacity) * coverage).astype(np.uint8)
    picture.paste(ink, (left, top), PIL.fromarray(mask))


def _covered(low: float, high: float, size: int) -> tuple[slice, Ndarray]:
    """Pixels of [0, size] that [low, high] touches, and the share of each that it covers."""
    first, last = max(0, math.floor(min(low, size))), min(size, math.ceil(max(high, 0.0)))
    pixels = np.arange(first, max(first, last))
    return slice(first, max(first, last)), np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, 1)


# -- words ------------------------------------------------------------------------------------------------------------


def _font(size: float) -> FreeTypeFont:
    """DejaVu Sans, which ships with Matplotlib and knows Greek, Cyrillic and mathematical signs."""
    from pathlib import Path

    from PIL import ImageFont

    return ImageFont.truetype(str(Path(_matplotlib().get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _draw_tag(picture: PILImage, box: Ndarray, label: str, ink: tuple[int, ...], thickness: float) -> None:
    """Write `label` on a filled tag at the top left corner of the box, moved so that it is inside the image."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    font = _font(max(11.0, max(picture.size) / 42))
    pad = max(2, round(font.size / 4))
    _, ascent_top, text_width, bottom = draw.textbbox((0, 0), label, font=font)
    tag_width, tag_height = text_width + 2 * pad, bottom + ascent_top // 2 + pad
    left = min(box[0] - thickness / 2, picture.width - tag_width)
    above = box[1] - thickness / 2 - tag_height
    top = above if above >= 0 else box[1] - thickness / 2
    left, top = round(max(0.0, left)), round(min(max(0.0, top), picture.height - tag_height))
    draw.rectangle((left, top, left + tag_width - 1, top + tag_height - 1), fill=ink)
    dark = _luminance(ink) > _MIDDLE_GREY
    draw.text((left + pad, top + pad // 2), label, font=font, fill="black" if dark else "white")


def _captions(
    titles: Sequence[str], pictures: Sequence[PILImage], height: int, paper: tuple[int, ...]
) -> list[PILImage]:
    """One image per title, as wide as its picture, of one height, the words centred and wrapped."""
    from PIL import Image as PIL
    from PIL import ImageDraw

    font = _font(max(13.0, height / 20))
    ink = "black" if _luminance(paper) > _MIDDLE_GREY else "white"
    texts = [_wrapped(title, font, picture.width) for title, picture in zip(titles, pictures, strict=True)]
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


def _wrapped(text: str, font: FreeTypeFont, width: int) -> str:
    """`text` with line breaks so that words fit into `width`; a word that is too long is broken with an ellipsis."""
    lines = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return "\n".join(_shortened(line, font, width) for line in lines)


def _shortened(line: str, font: FreeTypeFont, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"


def _luminance(color: tuple[int, ...]) -> float:
    """Relative luminance (ITU-R BT.709) of an sRGB colour, 0 for black, 1 for white."""
    linear = (np.asarray(color[:3]) / 255) ** 2.2
    return float(linear @ (0.2126, 0.7152, 0.0722))


# -- arguments --------------------------------------------------------------------------------------------------------


def _colour(value: Any, name: str = "color") -> tuple[int, ...]:
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(value)[:3]
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"`{name}` must be a colour such as 'red' or '#1f77b4', got {value!r}") from None


def _boxes(boxes_xyxy: BoxesXYXY) -> Ndarray:
    array = _checks.coordinates(boxes_xyxy, "boxes_xyxy", last=4, columns="x0, y0, x1, y1")
    boxes = np.atleast_2d(_array.to_numpy(array).astype(np.float64))
    if boxes.ndim != 2:
        raise ValueError(f"`boxes_xyxy` must have shape (n, 4) or (4,), got {boxes.shape}; draw one image at a time")
    if not np.isfinite(boxes).all():
        raise ValueError("`boxes_xyxy` must be finite, got NaN or infinity somewhere; leave those boxes out")
    if (boxes[:, :2] > boxes[:, 2:]).any():
        raise ValueError(
            "`boxes_xyxy` must have x0 <= x1 and y0 <= y1, got a box with swapped corners; is it x, y, w, h?"
        )
    return boxes


def _positive(value: float | None, name: str, default: float) -> float:
    return default if value is None else _checks.real_number(value, name, minimum=0, exclusive_minimum=True)


def _strings(values: Sequence[str], name: str, count: int, what: str) -> list[str]:
    if isinstance(values, str):
        raise TypeError(f"`{name}` must be a list of strings, got the string {values!r}; put it into brackets")
    strings = [str(value) for value in values]
    if len(strings) != count:
        raise ValueError(f"`{name}` must have one string for each of the {count} {what}, got {len(strings)}")
    return strings
