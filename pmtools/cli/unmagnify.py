"""`pmtools unmagnify`: the source image again, from a magnified one and its warp."""

from __future__ import annotations

from typing import Annotated

import typer

from pmtools import _images, io
from pmtools.cli import options as opt
from pmtools.cli.console import quoted
from pmtools.cli.jobs import Job, find_sources, plan, run_jobs


def unmagnify(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The magnified image, or anything of its size.")],
    *,
    warp: opt.WarpOption,
    output: Annotated[str, opt.value("OUT", "The file to write, or its folder.", "--output", "-o", panel=opt.FILES)],
    mask: Annotated[bool, opt.flag("The pixels are labels: move them, never mix them.", "--mask")] = False,
    overwrite: opt.OverwriteOption = False,
    max_pixels: opt.MaxPixelsOption = io.MAX_PIXELS,
    as_json: opt.JsonOption = False,
) -> None:
    """Undo the magnification of an image.

    Everything returns to its place; where the image had been compressed, detail is lost.
    """
    undo = opt.read_warp(warp)

    def work(job: Job) -> None:
        magnified = io.read_image(job.source, max_pixels=max_pixels)
        height, width = _images.image_hw(magnified)
        if (height, width) != undo.target_hw:
            raise ValueError(
                f"is {height}x{width} (height x width), but {quoted(warp)} makes images of "
                f"{undo.target_hw[0]}x{undo.target_hw[1]}; is it the warp of this image?"
            )
        io.write_image(undo.inverse_mask(magnified) if mask else undo.inverse_image(magnified), job.output)

    planned = plan(find_sources([image]), output, also_read=[warp])
    run_jobs(planned, work, done="unmagnified", overwrite=overwrite, workers=1, as_json=as_json)
