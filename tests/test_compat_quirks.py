"""What the official numbers do at the edges: quirks that are kept on purpose, any input, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pmtools import compat

# -- quirks -----------------------------------------------------------------------------------------


def test_uniform_map_is_not_the_identity():
    coordinates = compat.official_coordinates(np.full((20, 30), 200, np.uint8))
    assert coordinates.x[0] == pytest.approx(-1)
    assert coordinates.y[0] == pytest.approx(-1)
    image = np.full((20, 30, 3), 255, np.uint8)
    magnified = compat.official_magnify(image, np.full((20, 30), 200, np.uint8))
    assert not magnified[0].any()
    assert not magnified[:, 0].any()
    assert magnified[1:, 1:].all()


def test_constant_heatmap_is_nan_then_black():
    heatmap = np.full((6, 6), 0.25)
    assert np.isnan(compat.official_perception_tokens(heatmap)).all()
    weights = compat.official_perception_map(heatmap, size_hw=(12, 18))
    assert not weights.any()
    assert np.isnan(compat.official_coordinates(weights).x).all()
    assert not compat.official_magnify(np.full((12, 18, 3), 255, np.uint8), weights).any()


def test_zero_marginal_drops_columns_and_makes_the_first_coordinate_nan():
    weights = np.zeros((50, 60), np.uint8)
    weights[10:30, 20:45] = 9
    coordinates = compat.official_coordinates(weights)
    assert np.isnan(coordinates.x[0])
    assert np.isnan(coordinates.y[0])
    assert np.nanmin(coordinates.x) > 18  # columns 0..18 are gone
    assert np.nanmax(coordinates.x) == 44
    image = np.full((50, 60, 3), 255, np.uint8)
    magnified = compat.official_magnify(image, weights)
    assert not magnified[0].any()
    assert not magnified[:, 0].any()
    assert magnified[1:, 1:].all()


def test_highlight_of_a_constant_heatmap_is_empty():
    assert not compat.official_highlight(np.full((3, 3), 0.5)).any()
    assert not compat.official_highlight(np.zeros((3, 3))).any()


def test_bbox_leaves_small_regions_alone():
    image = np.zeros((100, 100, 3), np.uint8)
    small, large = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
    small[30:70, 30:69] = 255  # 40 * 39 < 1600
    large[30:70, 30:70] = 255
    assert not compat.official_bbox(image, small).any()
    assert compat.official_bbox(image, large).any()


def test_bbox_points_from_the_left_where_that_fits():
    image = np.zeros((100, 200, 3), np.uint8)
    for x0, expected in ((49, True), (48, False)):  # the region moves one pixel right
        weights = np.zeros((100, 200), np.uint8)
        weights[30:80, x0 : x0 + 50] = 255
        assert compat.official_bbox(image, weights)[:, : x0 - 5].any() == expected


@pytest.mark.parametrize("heatmap", [[[0.0]], [[5.0]], np.zeros((1, 4)), [[0, 1]]])
def test_smallest_heatmaps(heatmap):
    weights = compat.official_perception_map(heatmap, size_hw=(7, 9))
    assert weights.shape == (7, 9)
    assert weights.dtype == np.uint8


@settings(deadline=None)
@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
        elements=st.floats(0, 1e30, allow_subnormal=False),
    ),
    st.floats(-50, 50),
)
def test_any_heatmap_gives_an_image_without_a_warning(heatmap, gain):
    image = np.full((9, 11, 3), 77, np.uint8)
    weights = compat.official_perception_map(heatmap, gain=gain, kernel_size=3, size_hw=(9, 11))
    assert np.unique(compat.official_magnify(image, weights)).tolist() in ([0], [77], [0, 77])
    assert compat.official_highlight(heatmap).shape == heatmap.shape


# -- arguments -----------------------------------------------------------------------------------------


def test_any_array_kind_and_dtype():
    torch = pytest.importorskip("torch")
    heatmap = np.random.default_rng(5).random((6, 6))
    expected = compat.official_perception_map(heatmap, size_hw=(20, 30))
    tensor = torch.tensor(heatmap, requires_grad=True)
    for values in (tensor, heatmap.tolist()):
        actual = compat.official_perception_map(values, size_hw=(20, 30))
        np.testing.assert_array_equal(actual, expected, strict=True)
    black = compat.official_magnify(torch.zeros(20, 30, 3, dtype=torch.uint8), torch.from_numpy(expected))
    np.testing.assert_array_equal(black, np.zeros((20, 30, 3), np.uint8), strict=True)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_pil_images_of_any_mode_become_rgb(mode):
    image = Image.new("RGB", (12, 10), (200, 30, 40)).convert(mode)
    weights = np.full((10, 12), 255, np.uint8)
    result = compat.official_crop(image, weights)
    assert (result.mode, result.size) == ("RGB", (12, 10))
    np.testing.assert_array_equal(np.asarray(result), np.asarray(image.convert("RGB")), strict=True)


ONES = np.ones((2, 1, 3, 3))
IMAGE, MAP = np.zeros((4, 5, 3), np.uint8), np.ones((4, 5), np.uint8)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: compat.official_heatmap(np.ones((2, 3, 4)), start_layer=1), ValueError, "`attention` must be 4-D"),
        (
            lambda: compat.official_heatmap(ONES, start_layer=0),
            ValueError,
            "`start_layer`.*from 1 to 2",
        ),
        (
            lambda: compat.official_heatmap(ONES, start_layer=3),
            ValueError,
            "`start_layer`.*from 1 to 2",
        ),
        (lambda: compat.official_heatmap(ONES, start_layer=1.5), TypeError, "`start_layer`"),
        (lambda: compat.official_perception_tokens(np.ones((2, 3, 3))), ValueError, "`heatmap` must be 2-D"),
        (lambda: compat.official_perception_tokens([[np.nan, 1]]), ValueError, "`heatmap` must be finite"),
        (lambda: compat.official_perception_tokens([[-1, 1]]), ValueError, "`heatmap` must be non-negative"),
        (lambda: compat.official_perception_tokens(np.ones((0, 3))), ValueError, "`heatmap` must not be empty"),
        (
            lambda: compat.official_perception_tokens([[0, 1]], gain=np.inf),
            ValueError,
            "`gain` must be a finite number",
        ),
        (lambda: compat.official_perception_tokens([[0, 1]], kernel_size=4), ValueError, "`kernel_size` must be odd"),
        (lambda: compat.official_perception_map([[0, 1]], size_hw=(0, 3)), ValueError, r"`size_hw\[0\]`"),
        (lambda: compat.official_perception_map([[0, 1]], size_hw=3), TypeError, "`size_hw` must be"),
        (lambda: compat.official_highlight("dog.png"), TypeError, "`heatmap` must be an array"),
        (lambda: compat.official_coordinates(MAP / 255), TypeError, "`perception_map_u8` must be uint8"),
        (lambda: compat.official_coordinates(MAP[0]), ValueError, "`perception_map_u8` must be 2-D"),
        (lambda: compat.official_coordinates(MAP[:1]), ValueError, "at least 2 x 2"),
        (lambda: compat.official_magnify(IMAGE, MAP.T), ValueError, "the size of the image"),
        (lambda: compat.official_magnify(IMAGE / 255, MAP), TypeError, "`image` must be a PIL image or uint8"),
        (lambda: compat.official_magnify(Image.new("I;16", (9, 8)), MAP), TypeError, "official code is 8-bit only"),
        (lambda: compat.official_magnify(IMAGE[..., 0], MAP), ValueError, r"`image` must have shape \(H, W, 3\)"),
        (lambda: compat.official_magnify(None, MAP), TypeError, "`image` must be an array"),
        (lambda: compat.official_mask(IMAGE, MAP, gray=256), ValueError, "`gray` must be"),
        (lambda: compat.official_blur(IMAGE, MAP, radius=-1), ValueError, "`radius` must be"),
    ],
)
def test_bad_input_names_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
