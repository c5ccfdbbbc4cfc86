"""`pmtools eval reading`: small words on photographs, and lines of pages, read by pretrained OCR at a fixed input."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pmtools.cli import options as opt
from pmtools.cli.console import CommandError, quoted, stderr
from pmtools.cli.eval import options as shared
from pmtools.cli.tables import print_json, print_table
from pmtools.evaluation.reading.settings import SETTINGS

FolderOption = {"exists": True, "file_okay": False, "show_default": False}


def reading(
    *,
    out: shared.OutOption,
    what: Annotated[
        Literal["signs", "pages"], opt.value("signs|pages", "Words on signs, or a line of a page.", "--what")
    ] = "signs",
    size: Annotated[int, opt.value("N", "Longer side of what the reader sees, in pixels.", min=64)] = 336,
    limit: Annotated[int, opt.value("N", "Number of words, or of lines.", min=1)] = 300,
    words: Annotated[int, opt.value("N", "Signs in a picture.", min=1, max=12)] = 3,
    photographs: Annotated[Path | None, opt.value("DIR", "More photographs to put signs into.", **FolderOption)] = None,
    scans: Annotated[
        Path | None, opt.value("DIR", "Scans, instead of pages that are set here.", **FolderOption)
    ] = None,
    methods: shared.MethodsOption = None,
    reader: Annotated[Literal["paddle", "tesseract"], opt.value("paddle|tesseract", "Who reads.")] = "paddle",
    gain: Annotated[float, opt.value("G", "Of the paper's warp.", min=0)] = SETTINGS["gain"],
    floor: Annotated[float, opt.value("F", "Of the paper's warp.", min=0, max=1)] = SETTINGS["floor"],
    seed: shared.SeedOption = 0,
    split: Annotated[
        Literal["test", "tune"], opt.value("test|tune", "Choose settings on one, report on the other.")
    ] = "test",
    as_json: shared.JsonOption = False,
) -> None:
    """Small words, read by pretrained OCR that never saw a warp: plain, magnified, cropped, tiled, and controls."""
    from pmtools.evaluation.reading.benchmark import evaluate_reading
    from pmtools.evaluation.reading.looks import METHODS
    from pmtools.evaluation.reading.pages import page_pictures, scan_pictures
    from pmtools.evaluation.reading.photographs import find_photographs
    from pmtools.evaluation.reading.reader import PaddleReader, TesseractReader
    from pmtools.evaluation.reading.report import HEAD, cells
    from pmtools.evaluation.reading.signs import sign_pictures

    names = shared.read_methods(methods, default=METHODS, known=METHODS, clip=None)
    opt.check_folder(out, "--out")
    with shared.reported():
        try:
            engine = PaddleReader() if reader == "paddle" else TesseractReader()
            setup: dict[str, object] = {"what": what, "split": split, "reader": engine.name, "words": words}
            if what == "signs":
                found = find_photographs(photographs, split=split)
                setup["photographs"] = found.names
                count = -(-limit // words)
                pictures = sign_pictures(found, count=count, words=words, seed=seed)
            else:
                count = limit
                setup["scans"] = None if scans is None else scans.name
                chosen = seed + (split == "tune") * 1_000_000
                pictures = (
                    page_pictures(count=limit, seed=chosen)
                    if scans is None
                    else scan_pictures(scans, engine, count=limit, seed=chosen)
                )
        except ModuleNotFoundError as error:
            raise CommandError(
                f"{error}; pip install 'pmtools[reading]' has what this command needs", exit_code=1
            ) from None
    with shared.reported(), shared.bar(count * len(names)) as step:
        summary = evaluate_reading(
            pictures,
            engine,
            out=out,
            longest=size,
            methods=names,
            settings={**SETTINGS, "gain": gain, "floor": floor},
            setup=setup,
            seed=seed,
            progress=step,
        )
    if as_json:
        print_json(summary)
        return
    typer.echo(f"reading, {what} at {size} px, {summary['groups']} photographs or pages, seed {seed}, {split}")
    print_table(
        HEAD,
        [[name, *cells(entry)] for name, entry in summary["methods"].items()],
        narrow=True,
        legend="read: letter by letter; placed: and where it stands on the original; others: lines still found; won, lost: "
        "against plain; p: signs of whole photographs turned, corrected for the number of methods.",
        closing=_closing(summary["methods"], limit),
    )
    stderr().print(f"wrote answers and tables to {quoted(out)}")


def _closing(methods: Mapping[str, Mapping[str, Any]], count: int) -> str:
    """One sentence: which method reads most, beside plain."""
    best = max(methods, key=lambda name: methods[name]["read"])
    plain = f"; plain, {methods['plain']['read']:.1%}" if "plain" in methods and best != "plain" else ""
    return f"Most is read, {methods[best]['read']:.1%} of {count}, with {best}{plain}."
