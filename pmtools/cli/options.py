"""Options that several commands share, and what they mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from pmtools import Warp, frames, io
from pmtools._sizes import size_from_text
from pmtools.answers import FORMATS
from pmtools.cli.console import quoted, usage_error
from pmtools.cli.streams import Which
from pmtools.settings import DEFAULTS
from pmtools.typing import SizeHW
from pmtools.zoom import ZOOM_FLOOR

# Panels of the help, in the order in which the commands take their options.
WHAT, FILES, HOW = "What to magnify", "Files", "How to magnify"


class Marginal(StrEnum):
    """How the map is reduced to each axis."""

    MAX = "max"
    SUM = "sum"


class Units(StrEnum):
    """What coordinates count."""

    PIXELS = "pixels"
    FRACTIONS = "fractions"
    THOUSANDTHS = "thousandths"

    def frame(self, image_hw: SizeHW) -> Warp:
        """The map from pixels of an image to these units."""
        if self is Units.PIXELS:
            return frames.identity(image_hw)
        return frames.normalized(image_hw, scale=1 if self is Units.FRACTIONS else 1000)


class BoxFormat(StrEnum):
    """What four numbers without names are."""

    XYXY = "xyxy"
    XYWH = "xywh"


#: How models write places.
AnswerFormat = StrEnum("AnswerFormat", {name: name for name in FORMATS})  # type: ignore[misc]


def flag(help: str, *names: str, panel: str | None = None) -> Any:
    """An option that is there or not."""
    return typer.Option(*names, help=help, metavar="", rich_help_panel=panel, show_default=False)


def value(metavar: str, help: str, *names: str, panel: str | None = None, **checks: Any) -> Any:
    """An option with a value."""
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel, **checks)


def taking(kind: type, /, **defaults: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that are the fields of a dataclass: what several commands share stands once.

    The command has one argument of that class; `defaults` are those of this command.
    """
    hints = get_type_hints(kind, include_extras=True)
    usual = {one.name: one.default for one in fields(kind) if one.default is not MISSING} | defaults

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters
        (holder,) = (name for name, one in own.items() if one.annotation is kind)
        options = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=usual.get(name, inspect.Parameter.empty), annotation=hint
            )
            for name, hint in hints.items()
        ]

        @wraps(command)
        def run(**given: Any) -> None:
            shared = kind(**{name: given.pop(name) for name in hints})
            command(**given, **{holder: shared})

        parameters = [one for each in own.values() for one in (options if each.name == holder else [each])]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
        return run

    return decorate


HeatmapOption = Annotated[
    Path | None,
    value("FILE", "Grey image, .npy or .npz, any size; or a folder with a map per image.", panel=WHAT, exists=True),
]
BoxOption = Annotated[list[str] | None, value("X0,Y0,X1,Y1", "A box. May be repeated.", panel=WHAT)]
PointOption = Annotated[list[str] | None, value("X,Y", "A place. May be repeated.", panel=WHAT)]
BoxesOption = Annotated[
    Path | None,
    value("FILE", "Boxes per image: COCO, JSON(L), CSV, a folder of YOLO.", "--boxes", panel=WHAT, exists=True),
]
BoxFormatOption = Annotated[BoxFormat, value("xyxy|xywh", "Two corners; or a corner, width and height.")]
UnitsOption = Annotated[
    Units, value("UNITS", "What these count: pixels, fractions or thousandths of the image.", panel=WHAT)
]

SizeOption = Annotated[str | None, value("HxW", "Height x width of the result.", panel=HOW)]
ZoomOption = Annotated[float | None, value("X", "Boxes, points: exactly this. Default: what fits, up to 3.", panel=HOW)]
MarginOption = Annotated[float | None, value("N", "Boxes, points: pixels around them too.", panel=HOW)]
GainOption = Annotated[float | None, value("X", f"Map: contrast; 0 magnifies nothing. {DEFAULTS.gain:g}.", panel=HOW)]
KernelSizeOption = Annotated[
    int | None, value("N", f"Map: smoothing window in cells, odd. {DEFAULTS.kernel_size}.", panel=HOW)
]
MarginalOption = Annotated[
    Marginal | None, value("max|sum", f"Map: how it gives x and y. {DEFAULTS.marginal}.", panel=HOW)
]
FloorOption = Annotated[
    float | None, value("X", f"Least scale, in (0, 1]. {ZOOM_FLOOR} around boxes, else {DEFAULTS.floor}.", panel=HOW)
]
MaxMagnificationOption = Annotated[float | None, value("X", "Greatest scale, >= 1. 3 for boxes.", panel=HOW)]
AntialiasOption = Annotated[bool, flag("Average where it shrinks; on.", panel=HOW)]

OverwriteOption = Annotated[bool, flag("Redo what exists.", "--overwrite", panel=FILES)]
JsonOption = Annotated[bool, flag("Print a report in JSON on stdout.", "--json", panel=FILES)]
MaxPixelsOption = Annotated[int, value("N", "Most pixels of an image or map to open: a guard.", panel=FILES, min=1)]
FramesOption = Annotated[Which, value("all|first", "Which images of animations and pages.", "--frames", panel=FILES)]
QualityOption = Annotated[int, value("N", "1 to 100, for JPEG, WebP and AVIF.", panel=FILES, min=1, max=100)]
LosslessOption = Annotated[bool, flag("WebP without loss, as lossless ones stay.", "--lossless", panel=FILES)]
WarpOption = Annotated[
    Path, value("FILE", "What `magnify --warp` wrote.", "--warp", exists=True, dir_okay=False, panel=FILES)
]
WarpsOption = Annotated[
    Path, value("FILE", "What `magnify --warp` wrote, or a folder of them.", "--warp", exists=True, panel=FILES)
]


@dataclass(frozen=True)
class Encoding:
    """How images are written."""

    quality: int
    lossless: bool


def check_folder(folder: Path, option: str) -> None:
    """Make the folder of `option`, before a model is loaded for nothing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise usage_error(f"cannot write into the folder {quoted(folder)}: {error.strerror or error}", option) from None


def read_size(text: str | None) -> SizeHW | None:
    """Height and width from text such as "336x448"."""
    if text is None:
        return None
    size = size_from_text(text)
    if size is None:
        hint = f"; {text}x{text} for a square" if text.isdigit() else ""
        raise usage_error(f"{text!r} must be HxW, height x width in pixels, for example 336x448{hint}", "--size")
    if not 0 < size[0] * size[1] <= io.MAX_PIXELS:
        raise usage_error(f"{text!r} must have 1 to {io.MAX_PIXELS} pixels, the most that is read back", "--size")
    return size


def read_warp(path: Path) -> Warp:
    """The warp in a JSON file; a usage error where there is none."""
    try:
        warp = Warp.from_dict(io.read_json(path))
    except io.ImageFileError as error:
        raise usage_error(str(error), "--warp") from None
    except ValueError as error:
        raise usage_error(f"{quoted(path)} holds no warp: {error}", "--warp") from None
    if warp.batch_shape:
        raise usage_error(
            f"{quoted(path)} holds a batch of {len(warp)} warps; save one of them, warp[i].to_dict()", "--warp"
        )
    return warp
