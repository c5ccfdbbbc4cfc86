"""`pmtools coords`: boxes and points through a warp, from file to file."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pmtools.cli import options as opt
from pmtools.cli.console import CommandError, quoted, usage_error
from pmtools.cli.coordinates import files
from pmtools.cli.options import Units


class Format(StrEnum):
    """Kind of file."""

    CSV = "csv"
    JSON = "json"


class BoxFormat(StrEnum):
    """What four numbers without names are."""

    XYXY = "xyxy"
    XYWH = "xywh"


def coords(
    *,
    warp: opt.WarpOption,
    boxes: Annotated[str | None, opt.value("FILE", "JSON or CSV with boxes; - reads stdin.", panel=opt.FILES)] = None,
    points: Annotated[str | None, opt.value("FILE", "JSON or CSV with points; - reads stdin.", panel=opt.FILES)] = None,
    format: Annotated[Format | None, opt.value("json|csv", "Where the suffix does not tell.", panel=opt.FILES)] = None,
    inverse: Annotated[bool, opt.flag("From the magnified image to the source.", "--inverse")] = False,
    box_format: Annotated[
        BoxFormat, opt.value("xyxy|xywh", "Two corners; or a corner, width and height.")
    ] = BoxFormat.XYXY,
    units: Annotated[
        Units, opt.value("UNITS", "What the numbers count: pixels, fractions or thousandths.")
    ] = Units.PIXELS,
) -> None:
    """Map boxes or points from an image to its magnified one, or back.

    Prints the file again with new numbers; labels, scores, other columns and the header stay.
    """
    if (boxes is None) == (points is None):
        raise usage_error("say what to map: either --boxes or --points")
    fitted = opt.read_warp(warp)
    if inverse:
        fitted = fitted.inverse()
    fitted = units.frame(fitted.source_hw).inverse().then(fitted).then(units.frame(fitted.target_hw))
    if boxes is not None:
        option, name, row_map = "--boxes", boxes, fitted.boxes
        kind = files.boxes(as_sizes=box_format is BoxFormat.XYWH)
    else:
        option, name, row_map = "--points", str(points), fitted.points
        kind = files.points()
    text = _read(name, option)
    convert = files.map_json if (format or _format_of(name, text)) is Format.JSON else files.map_csv
    try:
        result = convert(text, kind, row_map)
    except files.CoordinateFileError as error:
        raise CommandError(f"{'stdin' if name == '-' else quoted(name)}: {error}", 1) from None
    typer.echo(result.encode("utf-8", "surrogatepass"), nl=False)


def _read(name: str, option: str) -> str:
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise usage_error(f"cannot read {quoted(name)}: {error.strerror or error}", option) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(f"{quoted(name)}: is no UTF-8 text: {error.reason} at byte {error.start}", 1) from None


def _format_of(name: str, text: str) -> Format:
    """By suffix; where that says nothing, JSON starts with a bracket."""
    suffix = Path(name).suffix.lower().removeprefix(".")
    if suffix in (Format.JSON.value, Format.CSV.value):
        return Format(suffix)
    if name != "-":
        raise usage_error(
            f"{quoted(name)} ends neither in .json nor in .csv; say which it is, --format json", "--format"
        )
    return Format.JSON if text.lstrip()[:1] in ("[", "{") else Format.CSV
