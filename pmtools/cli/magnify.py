"""`pmtools magnify`: images in, magnified images out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pmtools import io
from pmtools._kernel import processor_count
from pmtools.cli import options as opt
from pmtools.cli.console import quoted
from pmtools.cli.jobs import Job, find_sources, names_in_tree, plan, run_jobs
from pmtools.cli.magnifying import read_recipe
from pmtools.cli.options import BoxFormat, Units
from pmtools.cli.streams import Which, write


def magnify(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Images, folders of images, globs; - for stdin.")],
    *,
    heatmap: opt.HeatmapOption = None,
    box: opt.BoxOption = None,
    point: opt.PointOption = None,
    boxes: opt.BoxesOption = None,
    box_format: opt.BoxFormatOption = BoxFormat.XYXY,
    units: opt.UnitsOption = Units.PIXELS,
    output: Annotated[
        str,
        opt.value("OUT", "A file for one image, - for stdout, a folder for many.", "--output", "-o", panel=opt.FILES),
    ],
    warp: Annotated[
        str | None, opt.value("OUT.json", "The warp too, for `unmagnify` and `coords`.", panel=opt.FILES)
    ] = None,
    show: Annotated[str | None, opt.value("OUT.png", "A picture of it too, as `show` draws.", panel=opt.FILES)] = None,
    tree: Annotated[
        bool, opt.flag("Folders with what is below them; results keep the shape.", "--tree", panel=opt.FILES)
    ] = False,
    overwrite: opt.OverwriteOption = False,
    jobs: Annotated[
        int | None, opt.value("N", "Images at a time. Default: one per core.", panel=opt.FILES, min=1)
    ] = None,
    frames: opt.FramesOption = Which.ALL,
    quality: opt.QualityOption = 95,
    lossless: opt.LosslessOption = False,
    max_pixels: opt.MaxPixelsOption = io.MAX_PIXELS,
    as_json: opt.JsonOption = False,
    size: opt.SizeOption = None,
    zoom: opt.ZoomOption = None,
    margin: opt.MarginOption = None,
    gain: opt.GainOption = None,
    kernel_size: opt.KernelSizeOption = None,
    marginal: opt.MarginalOption = None,
    floor: opt.FloorOption = None,
    max_magnification: opt.MaxMagnificationOption = None,
    antialias: opt.AntialiasOption = True,
) -> None:
    """Magnify images where a heatmap, boxes or points say.

    Outputs keep the names of their images. What exists is skipped, so the same command resumes; beside a warp that was made with
    other settings nothing is skipped. An image that fails is
    reported, the others are made; the exit code is then 1.
    """
    recipe = read_recipe(
        heatmap=heatmap,
        box=box,
        point=point,
        boxes=boxes,
        box_format=box_format,
        units=units,
        size=size,
        zoom=zoom,
        margin=margin,
        gain=gain,
        kernel_size=kernel_size,
        marginal=marginal,
        floor=floor,
        max_magnification=max_magnification,
        antialias=antialias,
        max_pixels=max_pixels,
    )
    sources = find_sources(paths, tree=tree)
    names = names_in_tree(paths, sources) if tree else None
    planned = plan(sources, output, warp=warp, show=show, also_read=[heatmap, boxes], names=names)

    encoding = opt.Encoding(quality, lossless)

    def work(job: Job) -> tuple[str, ...]:
        result = recipe.apply(job.source, frames)
        if job.warp:
            io.write_json({**result.warp().to_dict(), "settings": recipe.settings_for(job.source)}, job.warp)
        if job.show:
            io.write_image(result.picture(), job.show)
        return write(result.images(), job.output, encoding)  # last: where it is, all is done

    def objection(job: Job) -> str | None:
        return _other_settings(job.warp, recipe.settings_for(job.source)) if job.warp else None

    workers = jobs or processor_count()
    run_jobs(
        planned,
        work,
        done="magnified",
        overwrite=overwrite,
        workers=workers,
        as_json=as_json,
        objection=objection,
    )


def _other_settings(path: Path, settings: dict[str, Any]) -> str | None:
    """What to say where the warp in a file was made with other settings; files of older versions do not tell."""
    data = io.read_json(path)
    made = data.get("settings") if isinstance(data, dict) else None
    if not isinstance(made, dict) or made == settings:
        return None
    changed = [name for name in {**made, **settings} if made.get(name) != settings.get(name)]
    words = ", ".join("a file's content" if name == "sha256" else "--" + name.replace("_", "-") for name in changed)
    return f"{quoted(path)} was made with other settings ({words}); --overwrite redoes it, or use another folder"
