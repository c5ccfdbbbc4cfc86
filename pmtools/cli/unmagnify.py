"""`pmtools unmagnify`: the source image again, from a magnified one and its warp."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from pmtools import _images, io
from pmtools.cli import options as opt
from pmtools.cli.console import quoted
from pmtools.cli.jobs import Job, find_sources, plan, run_jobs
from pmtools.cli.streams import Which, read, write


def unmagnify(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The magnified image, or anything of its size.")],
    *,
    warp: opt.WarpOption,
    output: Annotated[str, opt.value("OUT", "The file to write, or its folder.", "--output", "-o", panel=opt.FILES)],
    mask: Annotated[bool, opt.flag("The pixels are labels: move them, never mix them.", "--mask")] = False,
    overwrite: opt.OverwriteOption = False,
    frames: opt.FramesOption = Which.ALL,
    quality: opt.QualityOption = 95,
    lossless: opt.LosslessOption = False,
    max_pixels: opt.MaxPixelsOption = io.MAX_PIXELS,
    as_json: opt.JsonOption = False,
) -> None:
    """Undo the magnification of an image.

    Everything returns to its place; where the image had been compressed, detail is lost.
    """
    undo = opt.read_warp(warp)

    encoding = opt.Encoding(quality, lossless)

    def work(job: Job) -> tuple[str, ...]:
        magnified = read(job.source, frames, max_pixels)
        for height, width in map(_images.image_hw, magnified.images):
            if (height, width) != undo.target_hw:
                raise ValueError(
                    f"is {height}x{width} (height x width), but {quoted(warp)} makes images of "
                    f"{undo.target_hw[0]}x{undo.target_hw[1]}; is it the warp of this image?"
                )
        back = undo.inverse_mask if mask else undo.inverse_image
        return write(replace(magnified, images=[back(image) for image in magnified.images]), job.output, encoding)

    planned = plan(find_sources([image]), output, also_read=[warp])
    run_jobs(planned, work, done="unmagnified", overwrite=overwrite, workers=1, as_json=as_json)
