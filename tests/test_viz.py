"""Pictures: the right size, everything at its place, and nothing left behind in Matplotlib."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from pmtools import Warp, fit_warp, viz
from pmtools.io import from_array

GREY = np.full((40, 60, 3), 128, np.uint8)


def pixels(picture):
    assert isinstance(picture, Image.Image)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


def spot(shape, row, column):
    heatmap = np.zeros(shape)
    heatmap[row, column] = 1
    return heatmap


def centre_of(weights):
    """Centre of mass along one axis, pixel-edge coordinate."""
    return float((weights * (np.arange(len(weights)) + 0.5)).sum() / weights.sum())


# -- overlay ---------------------------------------------------------------------------------------


def test_overlay_tints_the_hot_place_and_nothing_else():
    picture = pixels(
        viz.overlay(GREY, spot((4, 6), 0, 5), colormap=lambda heat: np.stack([heat, heat * 0, heat * 0], -1))
    )
    changed = np.abs(picture - GREY).sum(-1) > 30
    rows, columns = np.nonzero(changed)
    assert rows.max() < 20  # the top right cell is [0, 10) x [50, 60), bicubic reaches a cell and a half further
    assert columns.min() >= 35
    np.testing.assert_array_equal(picture[25:], GREY[25:])
    assert tuple(picture[4, 56]) == pytest.approx((0.25 * 128 + 0.75 * 255, 32, 32), abs=8)


@given(st.integers(0, 5), st.integers(0, 8), st.integers(1, 97), st.integers(1, 97))
def test_overlay_of_a_mirrored_pair_is_mirrored(row, column, height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    heatmap = spot((6, 9), row, column)
    plain = pixels(viz.overlay(image, heatmap))
    mirrored = pixels(viz.overlay(image[::-1, ::-1], heatmap[::-1, ::-1]))
    assert np.abs(plain - mirrored[::-1, ::-1]).max() <= 1


def test_overlay_is_scale_free_and_constant_maps_tint_nothing():
    heatmap = np.random.default_rng(1).random((5, 7))
    np.testing.assert_array_equal(pixels(viz.overlay(GREY, heatmap)), pixels(viz.overlay(GREY, heatmap * 1e-9)))
    image = np.random.default_rng(2).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for constant in (np.zeros((3, 3)), np.full((3, 3), 7)):
        np.testing.assert_array_equal(pixels(viz.overlay(image, constant, saturation=1)), image)
    np.testing.assert_array_equal(pixels(viz.overlay(image, heatmap, alpha=0, saturation=1)), image)


def test_overlay_saturation_zero_is_grey():
    image = np.random.default_rng(3).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    picture = pixels(viz.overlay(image, np.zeros((2, 2)), saturation=0))
    assert np.ptp(picture, axis=-1).max() == 0


@pytest.mark.parametrize("shape", [(1, 1), (24, 24), (3, 50), (400, 300)])
def test_overlay_takes_any_grid(shape):
    heatmap = np.random.default_rng(4).random(shape)
    assert viz.overlay(GREY, heatmap).size == (60, 40)


def test_overlay_uses_matplotlib_colours():
    matplotlib = pytest.importorskip("matplotlib")
    heatmap = np.array([[0.0, 1.0]])
    picture = pixels(viz.overlay(np.zeros((1, 2), np.uint8), heatmap, alpha=1, colormap="viridis"))
    assert tuple(picture[0, 1]) == tuple(np.rint(np.array(matplotlib.colormaps["viridis"](1.0)[:3]) * 255))


# -- warp grid --------------------------------------------------------------------------------------


def test_grid_of_the_identity_is_regular():
    warp = Warp.from_map(np.ones((1, 1)), source_hw=(40, 60))
    picture = pixels(viz.warp_grid(None, warp, step=20, width=2)).sum(-1)
    column_profile = picture[9] - picture[9].min()
    bright = np.flatnonzero(column_profile > 500)
    np.testing.assert_array_equal(bright, [0, 19, 20, 39, 40, 59])  # centred on 0, 20, 40, 60
    row_profile = picture[:, 9] - picture[:, 9].min()
    np.testing.assert_array_equal(np.flatnonzero(row_profile > 500), [0, 19, 20, 39])


@given(st.integers(0, 10_000), st.integers(1, 4))  # whole widths: the coverage has its centre on the line
def test_grid_lines_lie_where_the_warp_puts_them(seed, width):
    weights = np.random.default_rng(seed).random((3, 4)) + 0.5
    warp = Warp.from_map(weights, source_hw=(60, 90), target_hw=(120, 200))
    black = np.zeros((120, 200), np.uint8)
    picture = pixels(viz.warp_grid(black, warp, step=45, width=width))[..., 0]  # its dark rim does not show
    (x, _), (_, y) = warp.points(np.array([[45.0, 0.0], [0.0, 45.0]]))
    columns = picture[30:40].min(0).astype(float)  # the least of ten rows: no horizontal line in it
    window = slice(int(x) - 6, int(x) + 8)
    assert centre_of(columns[window]) + window.start == pytest.approx(x, abs=0.05)
    rows = picture[:, [20, 190]].min(1).astype(float)
    window = slice(int(y) - 6, int(y) + 8)
    assert centre_of(rows[window]) + window.start == pytest.approx(y, abs=0.05)


def test_grid_of_another_size_and_of_a_photograph(astronaut):
    warp = fit_warp(spot((24, 24), 5, 10), source_hw=(512, 512), target_hw=(300, 400))
    magnified = warp.image(astronaut)
    picture = pixels(viz.warp_grid(magnified, warp))
    assert picture.shape == (300, 400, 3)
    assert 0.05 < (picture != magnified).any(-1).mean() < 0.6
    on_white = pixels(viz.warp_grid(np.full((300, 400, 3), 255, np.uint8), warp, color="white"))
    assert on_white.min() < 200  # the rim
    assert viz.warp_grid(None, warp, color="#ff0000").getpixel((0, 150))[1] < 40


# -- boxes --------------------------------------------------------------------------------------------


def test_box_is_centred_on_its_edges():
    picture = pixels(viz.draw_boxes(np.zeros((40, 60), np.uint8), [10, 5, 30, 25], color="white", width=4))[..., 0] > 0
    expected = np.zeros((40, 60), bool)
    expected[3:27, 8:32] = True
    expected[7:23, 12:28] = False
    np.testing.assert_array_equal(picture, expected)


def test_box_between_pixels_is_painted_by_coverage():
    picture = pixels(viz.draw_boxes(np.zeros((9, 9), np.uint8), [2.25, 2, 6, 6], color="white", width=1))[..., 0]
    np.testing.assert_array_equal(picture[4, :4], [0, round(0.25 * 255), round(0.75 * 255), 0])


def test_boxes_may_leave_the_image_and_have_no_area():
    picture = pixels(viz.draw_boxes(GREY, [[-50, -50, 500, 500], [5, 5, 5, 5], [100, 100, 200, 200], [30, -9, 70, 9]]))
    assert (picture[20:] == 128).all()
    assert (picture[5, 5] != 128).any()


def test_each_box_has_its_colour_and_label():
    boxes = [[2, 20, 22, 35], [32, 20, 52, 35]]
    picture = viz.draw_boxes(GREY, boxes, width=2)
    assert picture.getpixel((2, 30)) == ImageColor.getrgb("#E69F00")
    assert picture.getpixel((32, 30)) == ImageColor.getrgb("#56B4E9")
    labelled = pixels(viz.draw_boxes(GREY, boxes, width=2, labels=["α", "cup"]))
    changed = (labelled != pixels(picture)).any(-1)
    assert changed[:20, 2:30].any()
    assert changed[:20, 32:60].any()
    assert not changed[21:].any()  # above the boxes
    inside = pixels(viz.draw_boxes(GREY, [[2, 0, 22, 35]], width=2, labels=["a"]))
    assert (inside != pixels(viz.draw_boxes(GREY, [[2, 0, 22, 35]], width=2))).any()
    within = pixels(viz.draw_boxes(GREY, [[2, 8, 22, 35]], width=2, labels=["a"]))  # no room above either
    assert (within[:7] == 128).all()
    assert (pixels(viz.draw_boxes(GREY, np.zeros((0, 4)))) == 128).all()


def test_label_longer_than_the_image():
    assert viz.draw_boxes(GREY, [2, 2, 9, 9], labels=["a very long label indeed"]).size == (60, 40)


# -- side by side -----------------------------------------------------------------------------------------


def test_row_of_images():
    black, white = np.zeros((20, 30), np.uint8), np.full((40, 20, 3), 255, np.uint8)
    picture = pixels(viz.side_by_side([black, white], height=20, gap=5, background="#00ff00"))
    assert picture.shape == (30, 5 + 30 + 5 + 10 + 5, 3)
    assert (picture[5:25, 5:35] == 0).all()
    assert (picture[5:25, 40:50] == 255).all()
    frame = np.ones(picture.shape[:2], bool)
    frame[5:25, 5:35] = frame[5:25, 40:50] = False
    assert (picture[frame] == (0, 255, 0)).all()


def test_small_images_stay_sharp_and_visible():
    checkers = np.indices((6, 6)).sum(0) % 2
    picture = pixels(viz.side_by_side([checkers.astype(bool)], gap=0))
    assert picture.shape == (256, 256, 3)
    assert set(np.unique(picture)) == {0, 255}


def test_large_images_are_shrunk_smoothly():
    stripes = np.tile(np.array([0, 255], np.uint8), (200, 100))
    picture = pixels(viz.side_by_side([stripes], height=50, gap=0))
    assert np.abs(picture - 127.5).max() < 20


def test_titles_stand_above_their_image():
    images = [np.zeros((200, 300), np.uint8)] * 2
    bare = viz.side_by_side(images, gap=10)
    titled = viz.side_by_side(
        images, titles=["Ägypten, α ≥ 10", "a longer title that does not fit into one line above its image"], gap=10
    )
    assert titled.width == bare.width
    words = pixels(titled)[: titled.height - bare.height] < 128
    left, right = words[:, : titled.width // 2].any((1, 2)), words[:, titled.width // 2 :].any((1, 2))
    assert left.any()
    assert np.flatnonzero(right)[0] < np.flatnonzero(left)[0] - 10  # two lines; the last ones share a baseline
    np.testing.assert_array_equal(pixels(titled)[titled.height - bare.height + 10 :], pixels(bare)[10:])


def test_titles_never_leave_their_column():
    images = [np.zeros((256, 40), np.uint8), np.zeros((256, 300), np.uint8)]
    picture = viz.side_by_side(images, titles=["incomprehensibilities", ""], gap=6)
    words = (pixels(picture)[: picture.height - 262] < 128).any((0, 2))
    assert words[6:46].any()
    words[6:46] = False
    assert not words.any()


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"]
)
def test_any_pil_mode(mode):
    source = Image.new("RGB", (4, 3), (255, 255, 255))
    if mode in ("I;16", "I", "F"):
        image = from_array(np.linspace(0, 60_000, 12).reshape(3, 4).astype({"I;16": "u2", "I": "i4", "F": "f4"}[mode]))
    elif mode == "PA":
        image = source.convert("P").convert("PA")
    else:
        image = source.convert(mode.upper()).convert(mode) if mode in ("La", "RGBa") else source.convert(mode)
    picture = pixels(viz.side_by_side([image], height=3, gap=0))
    assert picture.shape == (3, 4, 3)
    assert picture.max() >= 233  # white, or the top of the range


def test_alpha_is_laid_on_white():
    image = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    assert (pixels(viz.side_by_side([image], height=2, gap=0)) == 255).all()
    half = np.zeros((2, 2, 4), np.uint8)
    half[..., 3] = 128
    assert (pixels(viz.side_by_side([half], height=2, gap=0)) == 127).all()


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[False, True]]), [0, 255]),
        (np.array([[0, 65535]], np.uint16), [0, 255]),
        (np.array([[200, 25700]], ">u2"), [1, 100]),
        (np.array([[0.0, 0.5]]), [0, 128]),
        (np.array([[0.0, 200.0]]), [0, 200]),
        (np.array([[-1.0, 1.0]]), [0, 255]),
        (np.array([[0, 200]]), [0, 200]),
        (np.array([[0, 1]]), [0, 1]),
        (np.array([[0, 1000]]), [0, 255]),
        (np.zeros((1, 2)), [0, 0]),
        (np.full((1, 2), 300.0), [0, 0]),
    ],
)
def test_values_become_eight_bits(array, expected):
    picture = pixels(viz.side_by_side([array], height=1, gap=0))
    np.testing.assert_array_equal(picture[0], np.repeat(np.array(expected)[:, None], 3, axis=1))


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    tensor = torch.rand(3, 10, 14, dtype=torch.bfloat16, requires_grad=True)
    assert viz.side_by_side([tensor], height=10, gap=0).size == (14, 10)
    heatmap = torch.rand(4, 4, requires_grad=True)
    assert viz.overlay(tensor, heatmap).size == (14, 10)
    assert viz.draw_boxes(tensor, torch.tensor([1.0, 2.0, 5.0, 6.0])).size == (14, 10)
    warp = fit_warp(heatmap.detach(), source_hw=(10, 14))
    assert viz.warp_grid(tensor, warp).size == (14, 10)


def test_inputs_are_never_changed():
    image = Image.new("RGB", (30, 20), "white")
    array = np.full((20, 30, 3), 255, np.uint8)
    for source in (image, array):
        viz.draw_boxes(source, [2, 2, 9, 9], labels=["a"])
        viz.overlay(source, np.eye(3))
        viz.side_by_side([source], height=20).paste("black", (0, 0, 30, 30))
        assert (np.asarray(source) == 255).all()


# -- Matplotlib ------------------------------------------------------------------------------------------------


def test_missing_matplotlib_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for call in (
        lambda: viz.overlay(GREY, np.eye(3)),
        lambda: viz.side_by_side([GREY], titles=["a"]),
        lambda: viz.draw_boxes(GREY, [2, 2, 9, 9], labels=["a"]),
    ):
        with pytest.raises(ImportError, match=r"pip install 'pmtools\[viz\]'"):
            call()
    assert viz.side_by_side([GREY]).height > 256  # what needs no Matplotlib works without


def test_no_global_state_is_touched():
    code = (
        "import sys, numpy as np; from pmtools import viz; assert 'matplotlib' not in sys.modules;"
        "viz.overlay(np.zeros((9, 9)), np.eye(3)); viz.side_by_side([np.zeros((9, 9))], titles=['a']);"
        "assert 'matplotlib' in sys.modules; print('matplotlib.pyplot' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


# -- arguments ---------------------------------------------------------------------------------------------------


class Grid:
    """The least that `warp_grid` asks for."""

    source_hw = target_hw = (40, 60)
    points = staticmethod(np.asarray)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: viz.overlay(GREY, np.ones((2, 3, 4))), ValueError, "`heatmap` must be 2-D"),
        (lambda: viz.overlay(GREY, [[np.nan, 1]]), ValueError, "`heatmap` must be finite"),
        (lambda: viz.overlay(GREY, [[-1, 1]]), ValueError, "`heatmap` must be non-negative"),
        (lambda: viz.overlay(GREY, np.eye(2), alpha=1.5), ValueError, "`alpha`"),
        (lambda: viz.overlay(GREY, np.eye(2), saturation=-1), ValueError, "`saturation`"),
        (lambda: viz.overlay(GREY, np.eye(2), colormap="hot potato"), ValueError, "`colormap`.*'hot potato'"),
        (lambda: viz.overlay(GREY, np.eye(2), colormap=lambda heat: heat), ValueError, "`colormap` must turn"),
        (lambda: viz.overlay("cat.png", np.eye(2)), TypeError, "`image` must be"),
        (lambda: viz.overlay(np.full((4, 4), np.nan), np.eye(2)), ValueError, "`image` must be finite"),
        (lambda: viz.overlay(np.zeros((2, 4, 4, 3)), np.eye(2)), ValueError, "`image` must be one image"),
        (lambda: viz.overlay(np.zeros((3, 30, 40)), np.eye(2)), ValueError, "PyTorch's"),
        (lambda: viz.warp_grid(GREY[:30], Grid()), ValueError, r"`image` must be the magnified image, 40 x 60"),
        (lambda: viz.warp_grid(GREY, Grid(), step=0), ValueError, "`step`"),
        (lambda: viz.warp_grid(GREY, Grid(), step=1e-9), ValueError, "`step` must be large enough"),
        (lambda: viz.warp_grid(GREY, Grid(), width=-1), ValueError, "`width`"),
        (lambda: viz.warp_grid(GREY, Grid(), color="nocolour"), ValueError, "`color`.*'nocolour'"),
        (
            lambda: viz.warp_grid(GREY, fit_warp(np.ones((2, 3, 3)), source_hw=(40, 60))),
            ValueError,
            r"`warp` must be a single warp.*warp\[i\]",
        ),
        (lambda: viz.draw_boxes(GREY, [1, 2, 3]), ValueError, r"`boxes_xyxy` must have shape"),
        (lambda: viz.draw_boxes(GREY, np.zeros((2, 2, 4))), ValueError, r"shape \(4,\) or \(n, 4\)"),
        (lambda: viz.draw_boxes(GREY, [1, 2, np.inf, 3]), ValueError, "`boxes_xyxy` must be finite"),
        (lambda: viz.draw_boxes(GREY, [10, 2, 3, 3]), ValueError, "x0 <= x1"),
        (lambda: viz.draw_boxes(GREY, [1, 2, 3, 4], labels="cat"), TypeError, "`labels` must be a list"),
        (lambda: viz.draw_boxes(GREY, [1, 2, 3, 4], labels=["a", "b"]), ValueError, "each of the 1 boxes, got 2"),
        (lambda: viz.side_by_side(GREY), TypeError, "`images` must be a list"),
        (lambda: viz.side_by_side([]), ValueError, "at least one image"),
        (lambda: viz.side_by_side([GREY, "cat.png"]), TypeError, r"`images\[1\]`"),
        (lambda: viz.side_by_side([GREY], titles=["a", "b"]), ValueError, "each of the 1 images, got 2"),
        (lambda: viz.side_by_side([GREY], height=0), ValueError, "`height`"),
        (lambda: viz.side_by_side([GREY], gap=-1), ValueError, "`gap`"),
        (lambda: viz.side_by_side([GREY], background=3), ValueError, "`background`"),
    ],
)
def test_bad_input_names_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
