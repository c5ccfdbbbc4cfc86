"""The alternatives share a signature, keep the kind of image, and their frames undo them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import pmtools
from pmtools.alternatives import ALTERNATIVES, bbox, blur, crop, magnify, mask


@pytest.fixture
def where() -> np.ndarray:
    heat = np.zeros((6, 8))
    heat[2:4, 3:5] = 1
    return pmtools.perception_map(heat, kernel_size=1)


@pytest.fixture
def photo(astronaut) -> np.ndarray:
    return astronaut[100:340, 100:420]  # (240, 320, 3)


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_one_signature_for_all_kinds(name, photo, where, torch):
    edited = ALTERNATIVES[name](photo, where)
    assert edited.image.dtype == np.uint8
    assert edited.frame.source_hw == (240, 320)
    assert edited.frame.target_hw == edited.image.shape[:2]
    as_pil = ALTERNATIVES[name](Image.fromarray(photo), where)
    np.testing.assert_array_equal(np.asarray(as_pil.image), edited.image)
    as_torch = ALTERNATIVES[name](torch.as_tensor(photo.transpose(2, 0, 1).copy()), torch.as_tensor(where))
    assert isinstance(as_torch.image, torch.Tensor)
    difference = as_torch.image.numpy().transpose(1, 2, 0).astype(int) - edited.image
    assert np.abs(difference).max() <= 1
    first = ALTERNATIVES[name](photo.transpose(2, 0, 1), where, channel_axis=0)
    np.testing.assert_array_equal(first.image.transpose(1, 2, 0), edited.image)


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_grey_alpha_float_and_bool_images(name, photo, where):
    grey = photo[..., 0]
    assert ALTERNATIVES[name](grey, where).image.ndim == 2
    rgba = np.dstack([photo, np.full(grey.shape, 77, np.uint8)])
    result = ALTERNATIVES[name](Image.fromarray(rgba), where).image
    assert result.mode == "RGBA"
    assert np.asarray(result)[..., 3].min() >= 76  # alpha is no colour
    floats = ALTERNATIVES[name](photo / 255.0, where).image
    assert floats.dtype == np.float64
    assert floats.max() <= 1
    assert ALTERNATIVES[name](grey > 100, where).image.dtype == bool


@pytest.mark.parametrize("name", ["blur", "bbox"])
def test_what_matters_stays(name, photo, where):
    edited = ALTERNATIVES[name](photo, where).image
    inside = np.s_[100:150, 140:190]
    assert np.abs(edited[inside].astype(int) - photo[inside]).max() <= 1
    assert (edited != photo).any()
    point = np.array([[3.0, 4.0]])
    np.testing.assert_array_equal(ALTERNATIVES[name](photo, where).frame.points(point), point)


def test_mask_is_the_formula(photo, where):
    weight = pmtools.perception.upsample(where, (240, 320))[..., None]
    wanted = photo * weight + 30 * (1 - weight)
    assert np.abs(mask(photo, where, gray=30).image - wanted).max() <= 0.51


def test_blur_is_scipys_gaussian_where_the_map_is_at_most_the_threshold(photo, where):
    weight = pmtools.perception.upsample(where, (240, 320))[..., None]
    assert ((weight > 0.2) != (weight > 0.8)).any()
    for threshold, sigma in ((0.2, 3.0), (0.8, 3.0), (0.5, None)):
        spread = 320 / 15 if sigma is None else sigma
        blurred = ndimage.gaussian_filter(photo.astype(np.float32), (spread, spread, 0), mode="nearest")
        wanted = np.where(weight > threshold, photo, blurred)
        assert np.abs(blur(photo, where, threshold=threshold, sigma=sigma).image - wanted).max() <= 0.51


def test_crop_keeps_its_pixels_and_its_frame_undoes_it(photo, where):
    edited = crop(photo, where)
    x0, y0 = (int(v) for v in edited.frame.inverse_points([0, 0]))
    height, width = edited.image.shape[:2]
    np.testing.assert_array_equal(edited.image, photo[y0 : y0 + height, x0 : x0 + width])
    assert 60 < height < 130
    resized = crop(photo, where, size_hw=(96, 96))
    assert resized.image.shape == (96, 96, 3)
    np.testing.assert_allclose(resized.frame.inverse_points([96, 96]), [x0 + width, y0 + height])
    aliased = crop(photo, where, size_hw=(24, 24), antialias=False)
    np.testing.assert_array_equal(aliased.image, aliased.frame.image(photo, antialias=False))
    assert (aliased.image != crop(photo, where, size_hw=(24, 24)).image).any()


def test_magnify_is_fit_warp(photo, where):
    edited = magnify(photo, where, size_hw=(100, 100), floor=0.1)
    heat = np.zeros((6, 8))
    heat[2:4, 3:5] = 1
    warp = pmtools.fit_warp(heat, source_hw=(240, 320), target_hw=(100, 100), floor=0.1, kernel_size=1)
    np.testing.assert_array_equal(edited.image, warp.image(photo))


def test_bbox_draws_around_the_heaviest_region(photo):
    where = np.zeros((6, 8))
    where[0, 0] = 1.0
    where[3:5, 4:7] = 0.9
    edited = bbox(photo, where, color=(0, 255, 0), width=3).image
    drawn = np.argwhere((edited == (0, 255, 0)).all(-1) & (photo != (0, 255, 0)).any(-1))
    assert drawn[:, 1].min() > 140
    assert drawn[:, 0].min() > 100


@pytest.mark.parametrize(
    ("dtype", "greatest"),
    [(bool, 1), (np.uint8, 255), (np.int16, 2**15 - 1), (np.uint16, 2**16 - 1), (np.int32, 2**31 - 1),
     (np.uint32, 2**32 - 1), (np.float16, 1), (np.float32, 1), (np.float64, 1)],
)  # fmt: skip
def test_bbox_is_as_bright_as_the_dtype_goes(dtype, greatest):
    image = np.zeros((40, 60), dtype)
    where = np.zeros((4, 6))
    where[2, 3] = 1
    drawn = bbox(image, where).image
    assert drawn.dtype == dtype
    assert set(np.unique(drawn).tolist()) == {0, greatest}
    if dtype in (np.uint16, np.int32, np.float32):
        pil = bbox(pmtools.io.from_array(image), where).image
        np.testing.assert_array_equal(np.asarray(pil), drawn)


def test_bbox_is_seen_in_floats_of_any_range():
    image, where = np.full((40, 60), 200.0), np.zeros((4, 6))
    image[0, 0], where[2, 3] = 255.0, 1
    assert (bbox(image, where).image == 255).sum() > 10


@pytest.mark.parametrize("edit", [blur, mask, bbox])
def test_wide_integers_keep_their_digits(edit):
    image = np.full((40, 60), 2**32 - 77, np.uint32)
    np.testing.assert_array_equal(edit(image, np.ones((4, 6))).image[20:22, 20:30], 2**32 - 77)


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_a_map_that_marks_nothing_changes_nothing_but_the_mask(name, photo):
    edited = ALTERNATIVES[name](photo, np.full((4, 4), 0.5))
    if name not in ("mask", "blur"):
        np.testing.assert_array_equal(edited.image, photo)


def test_wrong_maps_are_refused(photo):
    for edit in ALTERNATIVES.values():
        with pytest.raises(ValueError, match=r"`perception_map` must be in \[0, 1\]"):
            edit(photo, np.eye(3) * 2)
        with pytest.raises(ValueError, match="one image and one `perception_map`"):
            edit(photo, np.ones((2, 3, 3)))
    with pytest.raises(ValueError, match="`threshold`"):
        crop(photo, np.eye(3), threshold=2)
    with pytest.raises(ValueError, match="`color`"):
        bbox(photo, np.eye(3), color=(1,) * 7)
