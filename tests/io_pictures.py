"""Small pictures for the tests of image files, and when two of them are the same."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pmtools import io

Image.init()
needs_avif = pytest.mark.skipif("AVIF" not in Image.SAVE, reason="Pillow below 11.3 comes without AVIF")


def picture(mode="RGB", size=(7, 5), seed=0):
    """Small PIL image without any symmetry."""
    rng = np.random.default_rng(seed)
    width, height = size
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16))
    if mode == "I":
        return Image.fromarray(rng.integers(-(2**31), 2**31, (height, width), dtype=np.int32))
    if mode == "F":
        return Image.fromarray(rng.normal(size=(height, width)).astype(np.float32))
    if mode == "1":
        return Image.fromarray(rng.random((height, width)) > 0.5)
    if mode == "P":
        return picture("RGB", size, seed).quantize(11)
    bands = Image.getmodebands(mode)
    return Image.merge(mode, [Image.fromarray(b) for b in rng.integers(0, 256, (bands, height, width), dtype=np.uint8)])


def assert_same_picture(actual, expected):
    assert (actual.mode, actual.size) == (expected.mode, expected.size)
    np.testing.assert_array_equal(io.to_array(actual), io.to_array(expected))


def leftovers(folder):
    return [path.name for path in folder.rglob("*.tmp")]
