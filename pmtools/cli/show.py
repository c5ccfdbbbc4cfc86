"""`pmtools show`: a picture of what magnification does to an image."""

from __future__ import annotations

from typing import Annotated

import typer

from pmtools import io
from pmtools.cli import options as opt
from pmtools.cli.jobs import Job, find_sources, plan, run_jobs
from pmtools.cli.magnifying import read_recipe
from pmtools.cli.options import BoxFormat, Units
from pmtools.cli.streams import Which, write


def show(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image to magnify; - for stdin.")],
    *,
    heatmap: opt.HeatmapOption = None,
    box: opt.BoxOption = None,
    point: opt.PointOption = None,
    boxes: opt.BoxesOption = None,
    box_format: opt.BoxFormatOption = BoxFormat.XYXY,
    units: opt.UnitsOption = Units.PIXELS,
    output: Annotated[str, opt.value("OUT.png", "The picture to write.", "--output", "-o", panel=opt.FILES)],
    overwrite: opt.OverwriteOption = False,
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
    """Draw an image, its map, the magnified image and the grid of the warp, side by side."""
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
    planned = plan(find_sources([image]), output, also_read=[heatmap, boxes])

    def work(job: Job) -> tuple[str, ...]:
        result = recipe.apply(job.source, Which.FIRST)
        drawn = io.Frames([result.picture()], count=result.source.count)
        return write(drawn, job.output, opt.Encoding(quality=95, lossless=False))

    run_jobs(planned, work, done="drawn", overwrite=overwrite, workers=1, as_json=as_json)
