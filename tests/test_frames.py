"""Frames against NumPy, Pillow, SciPy and the image processors they describe."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import pmtools
from pmtools import frames
from pmtools.testing import check_identity, check_points_round_trip, sizes


@pytest.fixture
def image(rng) -> np.ndarray:
    return rng.integers(0, 255, (21, 34, 3)).astype(np.uint8)


def test_identity(image):
    check_identity(frames.identity((21, 34)), image)


@pytest.mark.parametrize(
    ("size_hw", "offset"), [((21, 34), (0, 6)), ((34, 21), (6, 0)), ((5, 5), (0, 0)), ((2, 1), (0, 0))]
)
def test_pad_to_square_is_llavas(size_hw, offset):
    frame = frames.pad_to_square(size_hw)
    side = max(size_hw)
    assert frame.target_hw == (side, side)
    np.testing.assert_array_equal(frame.points([0.0, 0.0]), offset)
    # LLaVA pastes the image at (side - w) // 2, (side - h) // 2
    image = Image.new("RGB", size_hw[::-1], (200, 10, 20))
    canvas = Image.new("RGB", (side, side), (122, 116, 104))
    canvas.paste(image, ((side - size_hw[1]) // 2, (side - size_hw[0]) // 2))
    assert frame.image(image, fill=(122, 116, 104)).tobytes() == canvas.tobytes()


def test_pad_is_numpys(image):
    frame = frames.pad((21, 34), left=1, top=2, right=3, bottom=4)
    wanted = np.pad(image, ((2, 4), (1, 3), (0, 0)), constant_values=7)
    np.testing.assert_array_equal(frame.image(image, fill=7), wanted)
    np.testing.assert_array_equal(frame.inverse_image(wanted), image)


@pytest.mark.parametrize("box", [(3, 4, 20, 15), (0, 0, 34, 21), (-5, -2, 10, 30), (33, 20, 34, 21), (40, 40, 50, 45)])
def test_crop_is_pillows(image, box):
    frame = frames.crop((21, 34), box)
    np.testing.assert_array_equal(frame.image(image), np.asarray(Image.fromarray(image).crop(box)))
    check_points_round_trip(frame)


@pytest.mark.parametrize(
    ("size_hw", "crop_hw"), [((21, 34), (10, 10)), ((21, 34), (30, 30)), ((20, 35), (25, 10)), ((7, 7), (8, 8))]
)
def test_center_crop_is_that_of_the_image_processors(size_hw, crop_hw, rng):
    transforms = pytest.importorskip("transformers.image_transforms")
    image = rng.integers(1, 255, (*size_hw, 3)).astype(np.uint8)
    wanted = transforms.center_crop(image, crop_hw, input_data_format="channels_last", data_format="channels_last")
    np.testing.assert_array_equal(frames.center_crop(size_hw, crop_hw).image(image), wanted)


@given(sizes(3000), st.sampled_from([(28, 3136, 1003520), (32, 4096, 200000), (14, 56, 50000)]))
def test_smart_resize_is_qwens(size_hw, options):
    pytest.importorskip("transformers")
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    factor, low, high = options
    try:
        wanted = smart_resize(*size_hw, factor=factor, min_pixels=low, max_pixels=high)
    except ValueError:
        with pytest.raises(ValueError, match="200 : 1"):
            frames.smart_resize(size_hw, factor=factor, min_pixels=low, max_pixels=high)
    else:
        assert frames.smart_resize(size_hw, factor=factor, min_pixels=low, max_pixels=high).target_hw == wanted


@given(sizes(500), st.integers(1, 400))
def test_resize_shortest_edge_is_that_of_the_image_processors(size_hw, size):
    pytest.importorskip("transformers")
    from transformers.image_transforms import get_resize_output_image_size

    wanted = get_resize_output_image_size(
        np.zeros((*size_hw, 1), np.uint8), size, default_to_square=False, input_data_format="channels_last"
    )
    if min(wanted) > 0:
        assert frames.resize_shortest_edge(size_hw, size).target_hw == tuple(wanted)


def test_resize_points_and_boxes():
    frame = frames.resize((10, 20), (5, 60))
    np.testing.assert_allclose(frame.points([[20, 10], [10, 5]]), [[60, 5], [30, 2.5]])
    np.testing.assert_allclose(frame.inverse_boxes([0, 0, 60, 5]), [0, 0, 20, 10])


@pytest.mark.parametrize("reduction", [2, 3])
def test_resizing_down_is_pillows_bicubic(reduction, rng):
    image = rng.integers(0, 255, (36, 60)).astype(np.uint8)
    wanted = Image.fromarray(image).resize((60 // reduction, 36 // reduction), Image.Resampling.BICUBIC)
    result = frames.resize((36, 60), (36 // reduction, 60 // reduction)).image(image)
    assert np.abs(result.astype(int) - np.asarray(wanted)).max() <= 1  # Pillow's weights have 8 bits


def test_letterbox():
    frame = frames.letterbox((480, 640), (640, 640))
    np.testing.assert_allclose(frame.points([[0, 0], [640, 480]]), [[0, 80], [640, 560]])
    frame = frames.letterbox((100, 50), (30, 30))
    np.testing.assert_allclose(frame.points([[0, 0], [50, 100]]), [[7, 0], [22, 30]])
    frame = frames.letterbox((100, 33), (48, 48))  # 15.84 columns: detectors round to the nearest
    np.testing.assert_allclose(frame.points([[0, 0], [33, 100]]), [[16, 0], [32, 48]])
    frame = frames.letterbox((33, 100), (48, 48))  # 15.84 rows
    np.testing.assert_allclose(frame.points([[0, 0], [100, 33]]), [[0, 16], [48, 32]])


def test_token_grid_and_normalized():
    np.testing.assert_allclose(frames.token_grid((336, 672), (24, 24)).points([28, 14]), [1, 1])
    np.testing.assert_allclose(frames.normalized((100, 200)).boxes([20, 10, 100, 100]), [0.1, 0.1, 0.5, 1])
    np.testing.assert_allclose(frames.normalized((100, 200), scale=1000).inverse_points([500, 500]), [100, 50])


def test_points_extrapolate_and_images_are_filled(image):
    frame = frames.crop((21, 34), (10, 5, 20, 15))
    np.testing.assert_allclose(frame.points([0, 0]), [-10, -5])
    back = frame.inverse_image(frame.image(image), fill=9)
    np.testing.assert_array_equal(back[5:15, 10:20], image[5:15, 10:20])
    assert (back[:5] == 9).all()
    assert (back[:, 20:] == 9).all()


def test_what_a_crop_cut_off_does_not_come_back(image):
    chain = frames.crop((21, 34), (10, 5, 20, 15)).then(frames.pad((10, 10), left=4, top=4, right=4, bottom=4))
    wanted = np.pad(image[5:15, 10:20], ((4, 4), (4, 4), (0, 0)))
    np.testing.assert_array_equal(chain.image(image), wanted)
    np.testing.assert_array_equal(chain.inverse_image(wanted)[5:15, 10:20], image[5:15, 10:20])
    assert not chain.inverse_image(np.full((18, 18, 3), 255, np.uint8))[0].any()


def test_what_was_cut_off_takes_fill_on_the_way_back(rng):
    pixels = rng.integers(0, 256, (3, 20, 30), dtype=np.uint8)
    cropped = frames.crop((20, 30), (10, 0, 30, 20))
    wanted = pixels.copy()
    wanted[:, :, :10] = 7
    for there, back in ((cropped.image, cropped.inverse_image), (cropped.mask, cropped.inverse_mask)):
        np.testing.assert_array_equal(back(there(pixels, channel_axis=0), channel_axis=0, fill=7), wanted)


def test_cropping_then_magnifying_reads_nothing_beyond_the_crop(rng):
    image = np.zeros((40, 40))
    image[10:30, 10:30] = rng.random((20, 20))
    image[image == 0] = np.nan  # what must not be read
    warp = pmtools.fit_warp(rng.random((4, 4)), source_hw=(20, 20), target_hw=(15, 27))
    chained = frames.crop((40, 40), (10, 10, 30, 30)).then(warp)
    for antialias in (False, True):
        together = chained.image(image, antialias=antialias)
        np.testing.assert_allclose(together, warp.image(image[10:30, 10:30], antialias=antialias), atol=1e-12)


def test_one_resampling_for_a_whole_preprocessing(astronaut):
    """Pad, magnify, resize: one pass over the original pixels, and close to three."""
    photo = astronaut[:400]
    pad = frames.pad_to_square((400, 512))
    warp = pmtools.fit_warp(np.eye(6) + 0.2, source_hw=(512, 512))
    shrink = frames.resize((512, 512), (336, 336))
    once = pad.then(warp).then(shrink).image(photo).astype(int)
    thrice = shrink.image(warp.image(pad.image(photo))).astype(int)
    assert np.abs(once - thrice).mean() < 3
    y = round(float(pad.then(warp).then(shrink).points([256, 0])[1]))
    assert not once[: y - 1].any()


def test_masks_through_frames(rng):
    labels = rng.integers(0, 9, (20, 30))
    chain = frames.pad_to_square((20, 30)).then(frames.resize((30, 30), (90, 90)))
    np.testing.assert_array_equal(chain.inverse_mask(chain.mask(labels)), labels)
    assert (chain.mask(labels, fill=255)[:15] == 255).all()


def test_smart_resize_takes_images_up_to_200_to_1():
    assert frames.smart_resize((10, 2000)).source_hw == (10, 2000)
    with pytest.raises(ValueError, match="200 : 1"):
        frames.smart_resize((10, 2001))


def test_covering():
    assert frames.covering([1.2, 3.0, 5.01, 7.9], (10, 10)) == (1, 3, 6, 8)
    assert frames.covering([-5, -5, -4, -4], (10, 10)) == (0, 0, 1, 1)
    assert frames.covering([20, 20, 30, 30], (10, 12)) == (11, 9, 12, 10)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: frames.pad((4, 4), left=-1), "`left`"),
        (lambda: frames.pad((0, 4)), r"`source_hw\[0\]`"),
        (lambda: frames.crop((4, 4), (2, 2, 2, 3)), "x0 < x1"),
        (lambda: frames.crop((4, 4), (1, 2, 3)), "`box_xyxy`"),
        (lambda: frames.crop((4, 4), (0.5, 0, 2, 2)), r"`box_xyxy\[0\]`.*frames.covering"),
        (lambda: frames.crop((4, 4), None), "`box_xyxy` must be four integers.*got NoneType"),
        (lambda: frames.covering([np.nan] * 4, (9, 9)), "`box_xyxy` must be four finite numbers"),
        (lambda: frames.covering([np.inf, 0, 1, 1], (9, 9)), "`box_xyxy` must be four finite numbers"),
        (lambda: frames.covering(np.ones((2, 4)), (9, 9)), "`box_xyxy` must be four finite numbers"),
        (lambda: frames.covering(None, (9, 9)), "`box_xyxy` must be an array"),
        (lambda: frames.resize((4, 4), (4, 4.0)), r"`target_hw\[1\]`"),
        (lambda: frames.normalized((4, 4), scale=0), "`scale`"),
        (lambda: frames.resize("44", (4, 4)), "`source_hw`"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()
