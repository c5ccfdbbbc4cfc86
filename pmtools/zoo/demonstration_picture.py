"""The figure of a question that magnification fixes: the scene, where the model looked, and what it was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pmtools import frames, viz
from pmtools.typing import SizeHW
from pmtools.zoo.demonstration import Example

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image as PILImage

__all__ = ["draw_example"]

_RIGHT, _WRONG, _QUIET = "#1a7f37", "#c62828", "#5f6368"


def draw_example(example: Example, /) -> PILImage:
    """The figure of an example, of about 1650 x 1400 pixels.

    Parameters
    ----------
    example : Example

    Returns
    -------
    PIL image, mode RGB

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    """
    import io

    from PIL import Image

    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("this picture needs Matplotlib; install it with `pip install 'pmtools[viz]'`") from error
    figure = Figure(figsize=(13.2, 11.3), facecolor="white")
    above, below = figure.subplots(2, 3)
    figure.subplots_adjust(left=0.015, right=0.985, top=0.88, bottom=0.08, wspace=0.04, hspace=0.16)
    figure.text(0.5, 0.957, example.item.question.text, ha="center", va="center", fontsize=29, weight="bold")
    _draw_scenes(above, example)
    _draw_inputs(below, example)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=125)
    return Image.open(stream).convert("RGB")


def _draw_scenes(row: Sequence[Axes], example: Example) -> None:
    """The scene, the map, the scene magnified."""
    image, boxes = example.item.image, example.item.relevant_boxes_xyxy
    magnified = example.warp.image(image)
    boxes = np.clip(boxes + np.array([-5, -5, 5, 5]), 0, max(image.size))  # the line must not hide what it shows
    line: dict[str, Any] = {"color": "white", "width": max(image.size) / 150}
    _show(row[0], viz.draw_boxes(image, boxes, **line), f"the image, {image.width} x {image.height} pixels")
    _show(row[1], viz.overlay(image, example.heatmap), "where the model looks")
    _show(row[2], viz.draw_boxes(magnified, example.warp.boxes(boxes), **line), "magnified there, all of it kept")


def _draw_inputs(row: Sequence[Axes], example: Example) -> None:
    """The same number of pixels of both inputs around the objects, with the answers."""
    from PIL.Image import Resampling

    spans = [_span(boxes) for boxes in example.input_boxes_xyxy]
    side = min(*example.input_hw, max(example.input_hw[0] // 4, int(1.25 * np.max(spans))))
    image = example.item.image
    seen = {example.plain: image, example.magnified: example.warp.image(image)}
    for axes, boxes, span, (reply, picture) in zip(
        (row[0], row[2]), example.input_boxes_xyxy, spans, seen.items(), strict=True
    ):
        given = picture.resize(example.input_hw[::-1], Resampling.BILINEAR)  # bilinear, as the model's processor does
        cut = frames.crop(example.input_hw, _window(boxes, side, example.input_hw)).image(given)
        counted = f": {span[0]:.0f} x {span[1]:.0f} pixels" if len(boxes) == 1 else ""
        _show(axes, cut, "what the model gets" + counted)
        mark, color = ("\N{CHECK MARK}", _RIGHT) if reply == example.magnified else ("\N{BALLOT X}", _WRONG)
        _write(axes, -0.13, f"{mark} {reply}", fontsize=27, color=color, weight="bold", va="baseline")
    row[1].axis("off")
    height, width = example.input_hw
    _write(row[1], 0.6, f"{example.growth:.2g} times\nthe area", fontsize=27, weight="bold")
    _write(row[1], 0.36, f"left and right: {side} x {side} pixels\nof the model's {width} x {height}", color=_QUIET)


def _show(axes: Axes, picture: PILImage, title: str) -> None:
    axes.imshow(np.asarray(picture), interpolation="nearest" if picture.width < 200 else "antialiased")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#9aa0a6")
    axes.set_title(title, fontsize=15, pad=7)


def _write(axes: Axes, y: float, text: str, **style: Any) -> None:
    """Centred text, at a height in parts of the axes."""
    options: dict[str, Any] = {
        "ha": "center",
        "va": "center",
        "linespacing": 1.4,
        "fontsize": 16,
        "transform": axes.transAxes,
    }
    axes.text(0.5, y, text, **(options | style))


def _span(boxes: Any) -> Any:
    """Width and height of the box around all boxes (k, 4)."""
    return boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0)


def _window(boxes: Any, side: int, size_hw: SizeHW) -> tuple[int, int, int, int]:
    """The square of `side` pixels around boxes (k, 4), moved into the image."""
    center = (boxes[:, 2:].max(axis=0) + boxes[:, :2].min(axis=0)) / 2
    x, y = (round(min(max(c - side / 2, 0), n - side)) for c, n in zip(center, size_hw[::-1], strict=True))
    return x, y, x + side, y + side
