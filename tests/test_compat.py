"""The official numbers, against arrays that the official implementation returned (`tests/golden/README.md`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pmtools import compat

FILES = sorted((Path(__file__).parent / "golden").glob("official_*.npz"))


@pytest.fixture(params=FILES, ids=[path.stem for path in FILES])
def golden(request):
    with np.load(request.param) as arrays:
        return dict(arrays)


def settings_of(golden):
    return {"gain": float(golden["alpha"]), "kernel_size": int(golden["kernel"])}


def assert_identical(actual, expected):
    """Same dtype, shape and values; says how many values differ, and by how much."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    unequal = np.count_nonzero(actual != expected)
    worst = np.max(np.abs(actual.astype(float) - expected.astype(float)))
    assert unequal == 0, f"{unequal} of {actual.size} values differ, by up to {worst}"


def test_there_are_four_golden_files():
    assert len(FILES) == 4


def test_assert_identical_can_fail():
    expected = np.array([1, 2], dtype=np.uint8)
    with pytest.raises(AssertionError, match="1 of 2 values differ, by up to 1"):
        assert_identical(np.array([1, 3], dtype=np.uint8), expected)
    with pytest.raises(AssertionError):
        assert_identical(expected.astype(np.int64), expected)


# -- golden ----------------------------------------------------------------------------------------


def test_heatmap_is_golden(golden):
    start = int(golden["attn_vis_start"])
    attention = golden["attn_last_query"][..., start : start + 576].reshape(8, 4, 24, 24)
    layer = int(golden["attn_deep_layer"])
    assert_identical(compat.official_heatmap(attention, start_layer=layer), golden["attn_heatmap"])
    for other in (layer - 1, layer + 1):  # a start layer counted from 0 would be one of these
        assert not np.allclose(compat.official_heatmap(attention, start_layer=other), golden["attn_heatmap"])


def test_perception_tokens_are_golden_to_float32_rounding(golden):
    tokens = compat.official_perception_tokens(golden["heatmap"], **settings_of(golden))
    assert tokens.dtype == np.float32
    np.testing.assert_allclose(tokens, golden["perception_tokens"], rtol=0, atol=3e-7)  # asked for: 1e-5


def test_perception_map_is_golden_on_the_token_grid(golden):
    tokens = compat.official_perception_map(golden["heatmap"], **settings_of(golden), size_hw=(24, 24))
    assert_identical(tokens, golden["perception_tokens_u8"])


def test_perception_map_is_golden_at_the_size_of_the_image(golden):
    size_hw = golden["image"].shape[:2]
    pixels = compat.official_perception_map(golden["heatmap"], **settings_of(golden), size_hw=size_hw)
    assert_identical(pixels, golden["perception_pixels_u8"])


def test_coordinates_are_golden(golden):
    coordinates = compat.official_coordinates(golden["perception_pixels_u8"])
    assert_identical(coordinates.marginal_x, golden["marginal_x"])
    assert_identical(coordinates.marginal_y, golden["marginal_y"])
    assert_identical(coordinates.cdf_x, golden["cdf_x"])
    assert_identical(coordinates.cdf_y, golden["cdf_y"])
    assert_identical(coordinates.x, golden["coords_x"])
    assert_identical(coordinates.y, golden["coords_y"])


def test_highlight_is_golden(golden):
    assert_identical(compat.official_highlight(golden["heatmap"]), golden["highlight"])


@pytest.mark.parametrize(
    ("function", "options", "key"),
    [
        (compat.official_magnify, {}, "magnified_u8"),
        (compat.official_mask, {}, "masked_u8"),
        (compat.official_blur, {"radius": 10}, "blur_u8"),
        (compat.official_crop, {}, "crop_u8"),
        (compat.official_bbox, {}, "bbox_u8"),
    ],
)
@pytest.mark.parametrize("kind", ["numpy", "PIL"])
def test_image_is_golden(golden, function, options, key, kind):
    image, weights = golden["image"], golden["perception_pixels_u8"]
    before = image.copy()
    if kind == "PIL":
        result = function(Image.fromarray(image), Image.fromarray(weights), **options)
        assert result.mode == "RGB"
        assert_identical(np.asarray(result), golden[key])
    else:
        assert_identical(function(image, weights, **options), golden[key])
        assert_identical(image, before)  # inputs are never changed


def test_golden_boxes_are_drawn_on_two_files():
    drawn = [path.stem for path in FILES for g in [np.load(path)] if (g["bbox_u8"] != g["image"]).any()]
    assert drawn == ["official_001_coffee", "official_003_astronaut"]


def test_the_whole_chain_is_golden(golden):
    """From heatmap to image without a golden array in between."""
    image = golden["image"]
    weights = compat.official_perception_map(golden["heatmap"], **settings_of(golden), size_hw=image.shape[:2])
    assert_identical(compat.official_magnify(image, weights), golden["magnified_u8"])
    assert_identical(compat.official_mask(image, weights), golden["masked_u8"])


def test_box_strokes_are_those_of_opencv():
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(4)
    for _ in range(20):
        height, width = rng.integers(90, 300, size=2)
        x0, y0 = rng.integers(0, width - 45), rng.integers(0, height - 45)
        x1, y1 = rng.integers(x0 + 42, width + 1), rng.integers(y0 + 42, height + 1)
        weights = np.zeros((height, width), np.uint8)
        weights[y0:y1, x0:x1] = 200
        actual = compat.official_bbox(np.zeros((height, width, 3), np.uint8), weights)

        moved = cv2.morphologyEx(weights, cv2.MORPH_CLOSE, np.ones((2, 2), np.uint8))
        x, y, w, h = (int(side) for side in cv2.boundingRect(moved))
        expected = np.zeros((height, width, 3), np.uint8)
        cv2.rectangle(expected, (x, y), (x + w, y + h), (255, 0, 0), 4)
        middle = (2 * y + h) // 2
        tip, tail = (x, x - 50) if x >= 50 else (x + w, x + w + 50)
        cv2.arrowedLine(expected, (tail, middle), (tip, middle), (255, 0, 0), 4, tipLength=0.3)
        assert_identical(actual, expected)


# -- steps, against other implementations ------------------------------------------------------------


def test_tokens_match_torch():
    torch = pytest.importorskip("torch")
    heatmap = np.random.default_rng(0).gamma(0.5, size=(13, 17)).astype(np.float32)
    values = torch.from_numpy(heatmap)
    normal = (values - values.min()) / (values.max() - values.min())
    scores = torch.sigmoid((normal - normal.mean()) / normal.std() * 7.0)
    padded = torch.nn.functional.pad(scores[None, None], (2, 2, 2, 2), mode="replicate")
    expected = torch.nn.functional.avg_pool2d(padded, 5, stride=1)[0, 0].numpy()
    actual = compat.official_perception_tokens(values, gain=7.0, kernel_size=5)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


@settings(deadline=None)
@given(
    hnp.arrays(
        np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=40), elements=st.integers(1, 255)
    )
)
def test_coordinates_are_those_of_interp1d(weights):
    from scipy.interpolate import interp1d

    coordinates = compat.official_coordinates(weights)
    for cdf, indices in ((coordinates.cdf_x, coordinates.x), (coordinates.cdf_y, coordinates.y)):
        inverse = interp1d(cdf, np.arange(len(cdf)), fill_value="extrapolate")
        np.testing.assert_array_equal(indices, inverse(np.linspace(0, 1, len(cdf))))
        assert np.all(np.diff(indices) > 0)
        assert indices[-1] == pytest.approx(len(cdf) - 1, abs=1e-9)


def test_heatmap_takes_the_last_layer_alone():
    attention = np.random.default_rng(1).random((5, 3, 2, 4))
    expected = attention[4].max(axis=0).astype(np.float32)
    np.testing.assert_array_equal(compat.official_heatmap(attention, start_layer=5), expected)


def test_perception_map_keeps_rows_and_columns_apart():
    heatmap = np.zeros((4, 6))
    heatmap[0, 5] = 1  # top right
    weights = compat.official_perception_map(heatmap, size_hw=(40, 90))
    assert weights.shape == (40, 90)
    assert np.unravel_index(weights.argmax(), weights.shape)[0] < 15
    assert np.unravel_index(weights.argmax(), weights.shape)[1] > 70


def test_mask_shows_gray_behind():
    image, weights = np.full((1, 3, 3), 200, np.uint8), np.array([[0, 128, 255]], np.uint8)
    np.testing.assert_array_equal(compat.official_mask(image, weights, gray=100)[0, :, 0], [100, 150, 200])


def test_blur_defaults_to_radius_100():
    rng = np.random.default_rng(2)
    image, weights = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8), np.zeros((30, 40), np.uint8)
    assert_identical(compat.official_blur(image, weights), compat.official_blur(image, weights, radius=100))
    assert compat.official_blur(image, weights).std(axis=(0, 1)).max() < 2


def test_highlight_depends_on_scale():
    """The stopping rule is absolute: a documented quirk."""
    with np.load(FILES[3]) as arrays:
        heatmap = arrays["heatmap"]
    assert (compat.official_highlight(heatmap) != compat.official_highlight(heatmap * 100)).any()
