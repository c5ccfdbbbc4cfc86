"""Magnify a folder of images with Ray Data, on this machine or on a cluster: what does not fit one machine streams through many.

Ray reads the images, hands each to a worker that is free, and writes the results while others are still being read.

Needs: pip install 'ray[data]'
Run: python examples/ray_data.py IMAGE_FOLDER OUTPUT_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import ray

import pmtools

INPUT_HW = (336, 336)
CLICK = (0.5, 0.5)  # where to look, as parts of the sides; a table of boxes, joined by path, would do


def magnify_row(row: dict[str, Any]) -> dict[str, Any]:
    """The image at the model's size, magnified around the click; the heatmap, from which the warp can be fitted again."""
    image = row["image"]  # uint8 (H, W, 3)
    height, width = source_hw = image.shape[:2]
    heatmap = pmtools.heatmaps.from_points([CLICK[0] * width, CLICK[1] * height], source_hw=source_hw)
    warp = pmtools.fit_warp(heatmap, source_hw=source_hw, target_hw=INPUT_HW)
    return {
        "path": row["path"],
        "source_hw": np.array(source_hw),
        "image": warp.image(image),
        "heatmap": heatmap.astype(np.float32),
    }


def main(images: Path, output: Path) -> None:
    """Read, magnify and write, and print what was written."""
    # on a cluster: ray.init(address="auto"), and paths such as s3://...
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    try:
        rows = ray.data.read_images(str(images), mode="RGB", include_paths=True)
        rows.map(magnify_row).write_parquet(str(output))
        written = ray.data.read_parquet(str(output)).take_all()
        for row in sorted(written, key=lambda row: row["path"]):
            print(Path(row["path"]).name, row["source_hw"].tolist(), "->", row["image"].shape)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/ray_data.py IMAGE_FOLDER OUTPUT_FOLDER")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
