"""`pmtools magnify`: images in, magnified images out."""

from __future__ import annotations

from typing import Annotated

import typer

from pmtools import io
from pmtools._kernel import processor_count
from pmtools.cli import options as opt
from pmtools.cli.jobs import Job, find_sources, plan, run_jobs
from pmtools.cli.magnifying import read_recipe
from pmtools.cli.options import Units
from pmtools.marginals import DEFAULT_FLOOR


def magnify(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Images, folders of images, globs.")],
    *,
    heatmap: opt.HeatmapOption = None,
    box: opt.BoxOption = None,
    point: opt.PointOption = None,
    units: opt.UnitsOption = Units.PIXELS,
    output: Annotated[
        str, opt.value("OUT", "A file for one image, a folder for many.", "--output", "-o", panel=opt.FILES)
    ],
    warp: Annotated[
        str | None, opt.value("OUT.json", "The warp too, for `unmagnify` and `coords`.", panel=opt.FILES)
    ] = None,
    show: Annotated[str | None, opt.value("OUT.png", "A picture of it too, as `show` draws.", panel=opt.FILES)] = None,
    overwrite: opt.OverwriteOption = False,
    jobs: Annotated[
        int | None, opt.value("N", "Images at a time. Default: one per core.", panel=opt.FILES, min=1)
    ] = None,
    max_pixels: opt.MaxPixelsOption = io.MAX_PIXELS,
    as_json: opt.JsonOption = False,
    size: opt.SizeOption = None,
    gain: opt.GainOption = 10.0,
    kernel_size: opt.KernelSizeOption = 3,
    marginal: opt.MarginalOption = opt.Marginal.MAX,
    floor: opt.FloorOption = DEFAULT_FLOOR,
    max_magnification: opt.MaxMagnificationOption = None,
    antialias: opt.AntialiasOption = True,
) -> None:
    """Magnify images where a heatmap, boxes or points say.

    Outputs keep the names of their images. What exists is skipped, so the same command resumes. An image that fails is
    reported, the others are made; the exit code is then 1.
    """
    recipe = read_recipe(
        heatmap=heatmap,
        box=box,
        point=point,
        units=units,
        size=size,
        gain=gain,
        kernel_size=kernel_size,
        marginal=marginal,
        floor=floor,
        max_magnification=max_magnification,
        antialias=antialias,
        max_pixels=max_pixels,
    )
    planned = plan(find_sources(paths), output, warp=warp, show=show, also_read=heatmap)

    def work(job: Job) -> None:
        result = recipe.apply(job.source)
        if job.warp:
            io.write_json(result.warp.to_dict(), job.warp)
        if job.show:
            io.write_image(result.picture(), job.show)
        io.write_image(result.image, job.output)  # last: where it is, all is done

    workers = jobs or processor_count()
    run_jobs(planned, work, done="magnified", overwrite=overwrite, workers=workers, as_json=as_json)
