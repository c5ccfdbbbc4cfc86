"""`fill`, the value of pixels that show nothing of the source, on every kind of image: exactly the value that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pmtools import frames

PAD = frames.pad((8, 8), left=2)


def on_half_transparent(mode: str) -> Image.Image:
    """A picture in which a single pixel is translucent."""
    image = Image.new(mode, (8, 8), (10, 20, 30, 255) if mode == "RGBA" else (10, 255))
    image.putpixel((5, 5), (1, 2, 3, 128) if mode == "RGBA" else (1, 128))
    return image


@pytest.mark.parametrize("alpha", [255, 128, 3])
def test_a_translucent_picture_takes_the_colour_as_it_is_written(alpha):
    colour = (200, 100, 0, alpha) if alpha > 3 else (255, 170, 0, alpha)  # at 3, a colour has 4 levels left
    result = PAD.image(on_half_transparent("RGBA"), fill=colour)
    assert result.getpixel((0, 0)) == colour
    assert result.getpixel((2, 0)) == (10, 20, 30, 255)
    opaque = PAD.image(Image.new("RGBA", (8, 8), (10, 20, 30, 255)), fill=colour)
    assert opaque.getpixel((0, 0)) == colour


def test_grey_with_alpha_and_a_single_number():
    assert PAD.image(on_half_transparent("LA"), fill=(90, 128)).getpixel((0, 0)) == (90, 128)
    assert PAD.image(on_half_transparent("LA"), fill=255).getpixel((0, 0)) == (255, 255)
    assert PAD.image(on_half_transparent("RGBA")).getpixel((0, 0)) == (0, 0, 0, 0)
    assert PAD.inverse().inverse_image(on_half_transparent("RGBA"), fill=(9, 8, 7, 200)).getpixel((1, 7)) == (
        9,
        8,
        7,
        200,
    )


@pytest.mark.parametrize("fill", [300, -1, 0.5, np.nan, np.inf, (0, 0, 256)])
def test_bytes_refuse_what_they_cannot_hold(xp, fill):
    image = np.zeros((8, 8, 3), np.uint8)
    axis = {"channel_axis": -1}
    for call in (PAD.image, PAD.mask, PAD.inverse().inverse_image, PAD.inverse().inverse_mask):
        with pytest.raises(ValueError, match=r"`fill` .*uint8: integers from 0 to 255, got .*convert the image"):
            call(xp.asarray(image), fill=fill, **axis)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_pictures_refuse_it_too(mode):
    image = on_half_transparent("RGBA").convert(mode)
    for call in (PAD.image, PAD.mask):
        with pytest.raises(ValueError, match=r"`fill`.*(from 0 to 255|0 or 1), got 300"):
            call(image, fill=300)
    with pytest.raises(ValueError, match="`fill`"):
        PAD.image(on_half_transparent("RGBA"), fill=(0, 0, 0, 256))


@pytest.mark.parametrize(
    ("dtype", "fine", "refused"),
    [
        ("bool", [0, 1, True, 1.0], [2, -1, 0.5, 255]),
        ("int8", [-128, 127, 5.0], [128, -129]),
        ("uint16", [65535], [65536]),
        ("int64", [2**63 - 1, -(2**63)], [2**63, 2.0**63]),
        ("uint64", [2**64 - 1], [-1, 2.0**64]),
        ("float16", [0.5, np.nan, -np.inf, 65504], [65600]),
        ("float32", [0.1, np.nan], [1e39]),
        ("float64", [1e300, np.inf], []),
    ],
)
def test_each_dtype_holds_its_own_range(dtype, fine, refused):
    image = np.zeros((8, 8), dtype)
    for value in fine:
        np.testing.assert_array_equal(PAD.image(image, fill=value)[:, :2], np.full((8, 2), value, dtype))
        assert PAD.mask(image, fill=value)[0, 0] == np.array(value, dtype) or np.isnan(value)
    for value in refused:
        with pytest.raises(ValueError, match=f"`fill`.*{dtype}: "):
            PAD.image(image, fill=value)


def test_tensors_without_a_numpy_dtype(torch):
    image = torch.zeros(3, 8, 8, dtype=torch.bfloat16)
    assert PAD.image(image, fill=0.5)[0, 0, 0] == 0.5
    assert PAD.image(image, fill=torch.tensor([1.0, 2.0, 3.0]))[:, 0, 0].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"`fill`.*bfloat16: "):
        PAD.image(image, fill=1e39)


def test_a_palette_takes_a_grey_level_or_a_colour():
    image = Image.new("P", (8, 8))
    image.putpalette([0, 0, 0, 255, 255, 255, 200, 10, 10])
    assert PAD.image(image, fill=255).getpixel((0, 0)) == 1
    assert PAD.image(image, fill=(200, 10, 10)).getpixel((0, 0)) == 2
    assert PAD.mask(image, fill=2).getpixel((0, 0)) == 2  # of a mask, it is the index


def test_an_empty_palette_is_no_obstacle():
    image = Image.new("P", (8, 8), 3)  # Pillow shows it black
    result = PAD.image(image, fill=2)
    assert (result.mode, result.size) == ("P", (10, 8))
    assert (result.getpixel((0, 0)), result.getpixel((9, 7))) == (2, 3)
    assert not result.getpalette()
