"""Heatmaps come out of their files as they went in; what is no heatmap is refused."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from pmtools import io
from pmtools.io import ImageFileError, from_array

HEATMAP = np.array([[0, 1, 2], [3, 4, 250]])


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("h.npy", HEATMAP),
        ("h.npy", HEATMAP[np.newaxis].astype(np.float16)),
        ("h.npy", HEATMAP[..., np.newaxis]),
        ("h.npz", HEATMAP.astype(np.float32)),
        ("h.png", HEATMAP.astype(np.uint8)),
        ("h.png", HEATMAP.astype(np.uint16)),
        ("h.png", np.dstack([HEATMAP] * 3).astype(np.uint8)),
        ("h.png", np.dstack([HEATMAP, HEATMAP * 0 + 255]).astype(np.uint8)),
        ("h.png", np.dstack([HEATMAP] * 3).astype(np.uint16)),
        ("h.pgm", HEATMAP.astype(np.uint16)),
        ("h.bmp", HEATMAP.astype(np.uint8)),
        ("h.tiff", HEATMAP.astype(np.uint16)),
        ("h.tiff", HEATMAP.astype(np.float32)),
        ("h.tiff", HEATMAP.astype(np.int32)),
        ("h.tiff", HEATMAP > 1),
        ("h.tiff", np.dstack([HEATMAP] * 3 + [HEATMAP * 0 + 1]).astype(np.float32)),
        ("h.tiff", np.dstack([HEATMAP, HEATMAP * 0 + 1]).astype(np.float64)),
        ("h.tiff", from_array(np.dstack([HEATMAP * 0] * 3 + [255 - HEATMAP]).astype(np.uint8), mode="CMYK")),
    ],
)
def test_heatmap_files(tmp_path, name, array):
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, array)
    elif name.endswith(".npz"):
        np.savez_compressed(path, array)
    else:
        io.write_image(array, path)
    heatmap = io.read_heatmap(path)
    assert heatmap.dtype == np.float64
    np.testing.assert_array_equal(heatmap, HEATMAP > 1 if np.asarray(array).dtype == bool else HEATMAP)


def test_files_that_hold_no_heatmap(tmp_path):
    colour = np.random.default_rng(6).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    io.write_image(from_array(np.dstack([colour, colour[..., 0]]), mode="CMYK"), tmp_path / "cmyk.tif")
    with pytest.raises(ImageFileError, match="is in colour"):
        io.read_heatmap(tmp_path / "cmyk.tif")
    tifffile.imwrite(tmp_path / "clear.tif", np.dstack([HEATMAP, HEATMAP * 0.5]), extrasamples=["unassalpha"])
    with pytest.raises(ImageFileError, match="transparent"):
        io.read_heatmap(tmp_path / "clear.tif")
    cases = {
        "colour": (colour, "is in colour"),
        "transparent": (np.dstack([HEATMAP, HEATMAP]).astype(np.uint8), "transparent"),
        "negative": (HEATMAP - 1.0, "non-negative"),
        "nan": (HEATMAP * np.nan, "must be finite"),
        "batch": (np.ones((2, 3, 4)), r"one 2-D heatmap \(h, w\), got shape \(2, 3, 4\)"),
        "flat": (np.ones(576), "one 2-D heatmap"),
        "empty": (np.ones((0, 3)), "must not be empty"),
        "text": (np.array([["a"]]), "real numbers"),
        "objects": (np.array([[None]]), "real numbers"),
    }
    for name, (array, message) in cases.items():
        path = tmp_path / f"{name}.npy"
        if array.dtype == np.uint8:
            path = path.with_suffix(".png")
            io.write_image(array, path)
        else:
            np.save(path, array, allow_pickle=True)
        with pytest.raises(ImageFileError, match=message) as caught:
            io.read_heatmap(path)
        assert name in str(caught.value)
    np.savez(tmp_path / "two.npz", a=HEATMAP, b=HEATMAP)
    with pytest.raises(ImageFileError, match=r"it has 2 \(a, b\)"):
        io.read_heatmap(tmp_path / "two.npz")


@pytest.mark.parametrize("suffix", ["gif", "tif"])
def test_one_map_of_several_is_not_chosen(tmp_path, suffix):
    pages = [Image.fromarray(np.full((4, 6), level, np.uint8)) for level in (10, 200)]
    pages[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=pages[1:])
    with pytest.raises(
        ImageFileError, match=rf"x\.{suffix}' must hold one heatmap, it has 2 images; save one map a file"
    ):
        io.read_heatmap(tmp_path / f"x.{suffix}")
