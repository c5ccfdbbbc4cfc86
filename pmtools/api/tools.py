"""Tools for agents: look at an image, zoom into a box with the rest kept around it, map places back.

Plain functions on files of one folder, and their JSON schemas for tool calling. No state is kept between calls, so a call for
the way back repeats the box of its zoom.

Convention: places are in thousandths of the image that was shown, 0 the left or top edge and 1000 the right or bottom one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pmtools import _checks, _images, frames, io
from pmtools.answers import FORMATS
from pmtools.api.views import MAX_PIXELS, View, view
from pmtools.typing import Ndarray

_THOUSANDTHS = replace(FORMATS["json"], scale=1000)


def _schema(name: str, description: str, **parameters: dict[str, Any]) -> dict[str, Any]:
    properties = {"image": {"type": "string", "description": "Path of an image file in the folder."}, **parameters}
    rules = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": rules}}


def _numbers(count: int, most: int | None = None) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "number"}, "minItems": count, "maxItems": most or count}


_BOX = {**_numbers(4), "description": "x0, y0, x1, y1 in thousandths of the image as `look` shows it, 0 to 1000."}

#: The tools as OpenAI's chat completions take them; `parameters` is a JSON schema, as MCP takes it.
SCHEMAS = (
    _schema("look", "Show an image as a whole. What is small can be magnified with `zoom`."),
    _schema(
        "zoom",
        "Show an image with a box magnified as far as possible and the rest, smaller, in order around it. Text and shapes in the "
        "box keep their proportions.",
        box=_BOX,
    ),
    _schema(
        "back",
        "Map places on a zoomed image to the image itself, in its pixels and in thousandths.",
        box={**_BOX, "description": "The box that was given to `zoom`."},
        places={
            "type": "array",
            "items": _numbers(2, 4),
            "description": "Points [x, y] or boxes [x0, y0, x1, y1] in thousandths of the zoomed image.",
        },
    ),
)


@dataclass(frozen=True, eq=False)
class ToolResult:
    """What a tool gives an agent.

    Attributes
    ----------
    text : str
        In words.
    image : PIL image or None
    data : dict
        The same in numbers.
    """

    text: str
    image: Any
    data: dict[str, Any]


class Tools:
    """The tools, on the images of a folder.

    Parameters
    ----------
    folder : path
        Only images in it and its subfolders are read.
    max_pixels : int, optional
        Most pixels to show: what the agent's model takes without shrinking it.

    Raises
    ------
    ValueError
        If there is no such folder.
    """

    def __init__(self, folder: str | Path, /, *, max_pixels: int = MAX_PIXELS) -> None:
        self.folder = Path(folder).resolve()
        if not self.folder.is_dir():
            raise ValueError(f"`folder` must be a folder that exists, got {str(folder)!r}")
        self.max_pixels = _checks.whole_number(max_pixels, "max_pixels")

    def look(self, image: str) -> ToolResult:
        """The whole image.

        Parameters
        ----------
        image : str
            Path, in the folder.

        Returns
        -------
        ToolResult
        """
        shown = self._view(image)
        return _result(shown, "The whole image")

    def zoom(self, image: str, box: Sequence[float]) -> ToolResult:
        """The image with a box magnified.

        Parameters
        ----------
        image : str
        box : sequence of four numbers
            x0, y0, x1, y1 in thousandths of the image.

        Returns
        -------
        ToolResult
        """
        shown = self._view(image, box)
        factor = float(shown.warp.report(shown.boxes_xyxy).zoom[0])
        return _result(shown, f"The box is {factor:.1f} times as large as before, the rest in order around it")

    def back(self, image: str, box: Sequence[float], places: Sequence[Sequence[float]]) -> ToolResult:
        """Places on the zoomed image, on the image itself.

        Parameters
        ----------
        image : str
        box : sequence of four numbers
            As it was given to `zoom`.
        places : sequence of sequences of two or four numbers
            Points and boxes, in thousandths of the zoomed image.

        Returns
        -------
        ToolResult
            `data` holds "pixels" and "thousandths", a row for each place.
        """
        warp = self._view(image, box).warp
        shown, original = (frames.normalized(size, scale=1000) for size in (warp.target_hw, warp.source_hw))
        pixels, thousandths = [], []
        for i, place in enumerate(places):
            numbers = _checked_numbers(place, f"places[{i}]", (2, 4)).reshape(-1, 2)
            there = warp.inverse_points(shown.inverse_points(np.clip(numbers, 0, 1000)))
            pixels.append(there.ravel().round(1).tolist())
            thousandths.append(original.points(there).ravel().round(2).tolist())
        text = f"In pixels of the image: {pixels}. In thousandths of it: {thousandths}."
        return ToolResult(text, None, {"pixels": pixels, "thousandths": thousandths})

    def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Call a tool by its name, as a model's tool call has it.

        Parameters
        ----------
        name : {"look", "zoom", "back"}
        arguments : mapping
            By the names of `SCHEMAS`.

        Returns
        -------
        ToolResult

        Raises
        ------
        ValueError
            If there is no such tool, the arguments are not its own, or the image cannot be shown.
        """
        rules = {schema["function"]["name"]: schema["function"]["parameters"] for schema in SCHEMAS}
        wanted = rules[_checks.choice(name, "name", rules)]["required"]
        if sorted(arguments) != sorted(wanted):
            raise ValueError(
                f"`{name}` must have the arguments {', '.join(wanted)}, got {', '.join(arguments) or 'none'}"
            )
        seen: ToolResult = getattr(self, name)(**arguments)
        return seen

    def _view(self, image: str, box: Sequence[float] | None = None) -> View:
        picture = io.read_image(self._path(image))
        if box is None:
            return view(picture, format=_THOUSANDTHS, max_pixels=self.max_pixels)
        height, width = _images.image_hw(picture)
        numbers = np.clip(_checked_numbers(box, "box", (4,)), 0, 1000)
        if (numbers[:2] >= numbers[2:]).any():
            raise ValueError(f"`box` must be x0, y0, x1, y1 with x0 < x1 and y0 < y1, in the image, got {list(box)}")
        pixels = numbers / 1000 * [width, height, width, height]
        return view(picture, pixels, format=_THOUSANDTHS, max_pixels=self.max_pixels)

    def _path(self, image: str) -> Path:
        """The file, if it is in the folder: links that lead out of it count as out of it."""
        if not isinstance(image, str) or "\0" in image:
            raise ValueError(f"`image` must be the path of an image file, got {image!r}")
        path = (self.folder / image).resolve()
        if not path.is_relative_to(self.folder):
            raise ValueError(f"`image` must be in the folder that is served, got {image!r}")
        return path


def _checked_numbers(value: Any, name: str, counts: tuple[int, ...]) -> Ndarray:
    numbers = (
        _checks.coordinates(value, name, last=len(value), columns="numbers") if isinstance(value, list | tuple) else []
    )
    wanted = " or ".join(map(str, counts))
    if len(numbers) not in counts or not np.isfinite(numbers).all():
        raise ValueError(f"`{name}` must be {wanted} finite numbers, got {value!r}")
    return np.asarray(numbers, dtype=np.float64)


def _result(shown: View, what: str) -> ToolResult:
    (height, width), (th, tw) = shown.warp.source_hw, shown.warp.target_hw
    text = f"{what}: {width} x {height} pixels, shown as {tw} x {th}. Give places in thousandths of the image shown."
    return ToolResult(text, shown.image, {"image_hw": [height, width], "shown_hw": [th, tw]})
