"""Magnify a photograph: the picture in the README, and the numbers beside it.

The mission patch on the astronaut's suit is lost when the photograph shrinks to a model's input. Magnified first, it is not,
everything else is still there, and the patch's box on the magnified image goes back to the original exactly.

Run: python examples/magnify_photograph.py [OUTPUT_FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from skimage import data

import pmtools
from pmtools import viz

PATCH_XYXY = np.array([128.0, 346.0, 206.0, 428.0])  # in pixels of the photograph
INPUT_HW = (112, 112)  # what the model sees


def main(folder: Path) -> None:
    """Magnify, undo, draw, write, and print the numbers."""
    photo = data.astronaut()
    source_hw = (photo.shape[0], photo.shape[1])

    # where to look: here a box; a model's attention, a click or a mask would do
    heatmap = pmtools.heatmaps.from_boxes(PATCH_XYXY, source_hw=source_hw)
    magnified = pmtools.magnify(photo, heatmap)

    # the same warp as an object: coordinates there and back
    warp = pmtools.fit_warp(heatmap, source_hw=source_hw)
    box = warp.boxes(PATCH_XYXY)
    back = warp.inverse_boxes(box)

    # what a model with a small input sees of both: one resampling from the original pixels
    plain_input = pmtools.frames.resize(source_hw, INPUT_HW).image(photo)
    magnified_input = pmtools.magnify(photo, heatmap, size_hw=INPUT_HW)

    pictures = {
        "original": viz.draw_boxes(photo, [PATCH_XYXY]),
        "where to look": viz.overlay(photo, heatmap),
        "magnified": viz.draw_boxes(magnified, [box]),
        "the warp": viz.warp_grid(magnified, warp),
    }
    row = viz.side_by_side(list(pictures.values()), titles=list(pictures))
    # the patch as both inputs show it
    to_input = pmtools.frames.resize(source_hw, INPUT_HW)
    seen = [
        (plain_input, to_input.boxes(PATCH_XYXY)),
        (magnified_input, warp.then(to_input).boxes(PATCH_XYXY)),
    ]
    cuts = [pmtools.frames.crop(INPUT_HW, pmtools.frames.covering(b, INPUT_HW)).image(i) for i, b in seen]
    titles = [f"{cut.shape[1]} x {cut.shape[0]} px" for cut in cuts]
    patch = viz.side_by_side(
        cuts, titles=[f"in a plain {INPUT_HW[1]} px input: {titles[0]}", f"magnified first: {titles[1]}"], height=380
    )

    pmtools.io.write_image(magnified, folder / "magnified.png")
    pmtools.io.write_image(row, folder / "magnify_photograph.png")
    pmtools.io.write_image(patch, folder / "what_the_model_sees.png")
    pmtools.io.write_json(warp.to_dict(), folder / "warp.json")

    (x0, y0, x1, y1), area = box, np.prod(box[2:] - box[:2]) / np.prod(PATCH_XYXY[2:] - PATCH_XYXY[:2])
    print(f"the patch, {PATCH_XYXY.astype(int).tolist()} in the photograph,")
    print(f"covers {[round(float(v), 1) for v in (x0, y0, x1, y1)]} of the magnified image, {area:.1f} times the area;")
    print(f"undone, it is back at {back.round(6).tolist()} (off by {np.abs(back - PATCH_XYXY).max():.0e} px)")
    print(f"look at {folder / 'magnify_photograph.png'} and {folder / 'what_the_model_sees.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/demo"))
