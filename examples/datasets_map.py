"""Magnify a Hugging Face dataset with `map`: each image around its box, and the box with it.

`map` keeps its results in a cache and works in several processes with `num_proc`; the function below needs nothing but its row,
so both work.

Needs: pip install datasets
Run: python examples/datasets_map.py
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from skimage import data

import pmtools

INPUT_HW = (336, 336)


def photographs() -> Dataset:
    """Two photographs with a box each; `load_dataset` would stand here."""
    rows = {
        "image": [PILImage.fromarray(data.astronaut()), PILImage.fromarray(data.coffee())],
        "box": [[128.0, 346.0, 206.0, 428.0], [325.0, 240.0, 408.0, 328.0]],
    }
    features = Features({"image": Image(), "box": List(Value("float64"), length=4)})
    return Dataset.from_dict(rows, features=features)


def magnify_row(row: dict[str, Any]) -> dict[str, Any]:
    """The image at the model's size, magnified around the box; the box on it; and the warp, to go back."""
    source_hw = (row["image"].height, row["image"].width)
    heatmap = pmtools.heatmaps.from_boxes(row["box"], source_hw=source_hw)
    warp = pmtools.fit_warp(heatmap, source_hw=source_hw, target_hw=INPUT_HW)
    return {
        "image": warp.image(row["image"]),
        "box": warp.boxes(row["box"]),
        "heatmap": heatmap.astype("float32"),  # fit_warp of it is the warp again
    }


def main() -> None:
    """Magnify, and print what came of each row."""
    magnified = photographs().map(magnify_row)
    for before, after in zip(photographs(), magnified, strict=True):
        print(before["image"].size, "->", after["image"].size, [round(v, 1) for v in after["box"]])


if __name__ == "__main__":
    main()
