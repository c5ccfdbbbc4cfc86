"""PIL images and arrays: which mode is which shape and dtype."""

from __future__ import annotations

import numpy as np
import pytest
from io_pictures import assert_same_picture, picture
from PIL import Image

from pmtools import io


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "I;16", "I", "F"])
def test_array_and_back(mode):
    image = picture(mode)
    assert_same_picture(io.from_array(io.to_array(image)), image)


def test_array_modes():
    assert io.from_array(np.zeros((2, 3, 1), np.uint8)).mode == "L"
    assert io.from_array(np.zeros((2, 3), np.int64) - 5).mode == "I"
    assert io.from_array(np.zeros((2, 3), np.float16)).mode == "F"
    assert io.from_array(np.zeros((2, 3, 4), np.uint8), mode="CMYK").mode == "CMYK"
    assert io.from_array(np.zeros((2, 3, 3), np.uint8), mode="RGB").mode == "RGB"
    assert io.to_array(picture("P")).shape == (5, 7, 3)
    big_endian = Image.new("I;16B", (3, 2), 258)
    np.testing.assert_array_equal(io.to_array(big_endian), np.full((2, 3), 258))


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.zeros((2, 3, 3)), TypeError, r"must be uint8 for colour.*\* 255"),
        (np.zeros((2, 3, 3), np.uint16), TypeError, "16-bit colour"),
        (np.zeros((3, 20, 30), np.uint8), ValueError, r"permute\(1, 2, 0\)"),
        (np.zeros((2, 0)), ValueError, "not be empty"),
        (np.zeros(4), ValueError, r"\(H, W\) or \(H, W, C\)"),
        (np.zeros((2, 2, 2, 3), np.uint8), ValueError, r"\(H, W\) or \(H, W, C\)"),
        (np.zeros((2, 2), complex), TypeError, "real numbers"),
        (np.full((2, 2), 2**40), ValueError, "32 bits"),
        ("cat.png", TypeError, "must be an array"),
    ],
)
def test_arrays_without_a_mode(array, error, message):
    with pytest.raises(error, match=message):
        io.from_array(array)


@pytest.mark.parametrize("mode", ["RGB", "nonsense", 3, "F"])
def test_modes_that_do_not_fit(mode):
    with pytest.raises(ValueError, match="`mode` must be"):
        io.from_array(np.zeros((2, 3, 4), np.uint8), mode=mode)
