"""`pmtools coords`: boxes, points and whole annotations through a warp, from file to file."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pmtools import Warp, answers
from pmtools.cli import options as opt
from pmtools.cli.box_lists import namesake
from pmtools.cli.console import CommandError, quoted, usage_error
from pmtools.cli.coordinates import files, records
from pmtools.cli.options import BoxFormat, Units


class Format(StrEnum):
    """Kind of file."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    COCO = "coco"
    YOLO = "yolo"


class Rows(StrEnum):
    """What rows of YOLO hold."""

    BOXES = "boxes"
    POSE = "pose"
    POLYGONS = "polygons"
    QUADS = "quads"


_SUFFIXES = {".csv": Format.CSV, ".json": Format.JSON, ".txt": Format.YOLO} | dict.fromkeys(
    records.LINES_SUFFIXES, Format.JSONL
)


def coords(
    *,
    warp: opt.WarpsOption,
    boxes: Annotated[str | None, opt.value("FILE", "JSON, CSV, COCO or YOLO; - reads stdin.", panel=opt.FILES)] = None,
    points: Annotated[str | None, opt.value("FILE", "JSON or CSV with points; - reads stdin.", panel=opt.FILES)] = None,
    answer: Annotated[
        str | None, opt.value("FILE", "What a model said, with --inverse; - reads stdin.", panel=opt.FILES)
    ] = None,
    answer_format: Annotated[
        str | None, opt.value("NAME", "How it writes places: qwen3-vl, molmo, json, ...", panel=opt.FILES)
    ] = None,
    format: Annotated[
        Format | None,
        opt.value("FORMAT", "json, jsonl, csv, coco, yolo, where the suffix does not tell.", panel=opt.FILES),
    ] = None,
    inverse: Annotated[bool, opt.flag("From the magnified image to the source.", "--inverse")] = False,
    box_format: opt.BoxFormatOption = BoxFormat.XYXY,
    units: Annotated[
        Units, opt.value("UNITS", "What the numbers count: pixels, fractions or thousandths.")
    ] = Units.PIXELS,
    rows: Annotated[Rows, opt.value("KIND", "Of YOLO: boxes, pose, polygons or quads.")] = Rows.BOXES,
    clip: Annotated[bool, opt.flag("COCO, YOLO: cut to what is shown.", "--clip")] = False,
    min_visible: Annotated[
        float | None, opt.value("X", "COCO, YOLO: drop what shows less, 0 to 1.", min=0.0, max=1.0)
    ] = None,
) -> None:
    """Map boxes, points or whole annotations from an image to its magnified one, or back.

    Prints the file again with new numbers; labels, scores, other columns and the header stay, and so does the text of an answer.
    """
    if [boxes, points, answer].count(None) != 2:
        raise usage_error("say what to map: either --boxes or --points, or --answer")
    if answer is not None:
        typer.echo(_undone(answer, answer_format, _Warps(warp, inverse=False).of(answer), inverse), nl=False)
        return
    option, name = ("--boxes", boxes) if boxes is not None else ("--points", str(points))
    text = _read(str(name), option)
    format = format or _format_of(str(name), text)
    whole = format in (Format.COCO, Format.YOLO)
    options: dict[str, Any] = {"clip": clip, "min_visible": min_visible}
    if whole and (points is not None or units is not Units.PIXELS):
        raise usage_error(f"{format.value} has its own units and points; map it with --boxes alone")
    if not whole and (clip or min_visible is not None):
        raise usage_error("--clip and --min-visible are for whole annotations, --format coco or yolo")
    warps = _Warps(warp, inverse=inverse)
    try:
        if format is Format.COCO:
            result = records.map_coco(text, warps.of, options)
        elif format is Format.YOLO:
            result = records.map_yolo(text, warps.of(str(name)), rows.value, options)
        else:
            result = _map_rows(text, format, option, warps.of(""), units, box_format)
    except files.CoordinateFileError as error:
        raise CommandError(f"{'stdin' if name == '-' else quoted(str(name))}: {error}", 1) from None
    typer.echo(result.encode("utf-8", "surrogatepass"), nl=False)


def _undone(name: str, format: str | None, warp: Warp, inverse: bool) -> str:
    """What a model said about the magnified image, in coordinates of the original."""
    if not inverse:
        raise usage_error("what a model says is of the magnified image; say --inverse", "--answer")
    if format not in answers.FORMATS:
        raise usage_error(f"{format!r} must be one of {', '.join(answers.FORMATS)}", "--answer-format")
    try:
        return answers.undo(_read(name, "--answer"), warp=warp, format=format).text
    except ValueError as error:
        raise CommandError(f"{'stdin' if name == '-' else quoted(name)}: {error}", 1) from None


def _map_rows(text: str, format: Format, option: str, warp: Warp, units: Units, box_format: BoxFormat) -> str:
    """Rows of numbers in JSON, JSON lines or CSV, and nothing else."""
    fitted = units.frame(warp.source_hw).inverse().then(warp).then(units.frame(warp.target_hw))
    if option == "--boxes":
        row_map, kind = fitted.boxes, files.boxes(as_sizes=box_format is BoxFormat.XYWH)
        if format is not Format.CSV:
            for line in text.splitlines() if format is Format.JSONL else [text]:
                records.refuse_whole_records(line)
    else:
        row_map, kind = fitted.points, files.points()
    convert = {Format.JSON: files.map_json, Format.JSONL: records.map_json_lines, Format.CSV: files.map_csv}[format]
    return convert(text, kind, row_map)


class _Warps:
    """The warp of each image: that of a file, or what is called like the image in a folder."""

    def __init__(self, path: Path, *, inverse: bool) -> None:
        self.path, self.inverse = path, inverse
        self.named = (
            {file.relative_to(path).as_posix(): file for file in path.rglob("*.json")} if path.is_dir() else None
        )

    def of(self, image: str) -> Warp:
        """The warp of an image by its file name; a usage error where the folder has none."""
        path = self.path
        if self.named is not None:
            if not image or image == "-":
                raise usage_error(
                    f"{quoted(path)} is a folder of warps; name the one to use, --warp {path}/NAME.json", "--warp"
                )
            wanted = records.warp_file_of(image)
            found = namesake(self.named, Path(wanted))
            if found is None:
                raise usage_error(f"{quoted(path)} has no warp {quoted(wanted)}", "--warp")
            path = found
        warp = opt.read_warp(path)
        return warp.inverse() if self.inverse else warp


def _read(name: str, option: str) -> str:
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise usage_error(f"cannot read {quoted(name)}: {error.strerror or error}", option) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(f"{quoted(name)}: is not UTF-8 text: {error.reason} at byte {error.start}", 1) from None


def _format_of(name: str, text: str) -> Format:
    """By suffix; where that says nothing, JSON starts with a bracket. A data set of COCO's is known by what is in it."""
    found = _SUFFIXES.get(Path(name).suffix.lower())
    if found is None and name != "-":
        raise usage_error(
            f"{quoted(name)} ends in none of {', '.join(_SUFFIXES)}; say which it is, --format json", "--format"
        )
    if found is None:
        found = Format.JSON if text.lstrip()[:1] in ("[", "{") else Format.CSV
    if found is Format.JSON and '"annotations"' in text:
        try:
            return Format.COCO if records.is_coco(json.loads(text)) else found
        except (ValueError, RecursionError):
            return found  # the reader says what is wrong
    return found
