"""Exact zoom: constant isotropic scale in every named box, the zoom that was asked for, order, floor and round trips."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

import pmtools
from pmtools import fit_warp, frames, heatmaps, magnify, zoom_warp
from pmtools.settings import ZOOM_FALLOFF
from pmtools.testing import check_boxes_round_trip, check_identity, check_monotone, check_points_round_trip
from pmtools.zoom import ZOOM_FLOOR

SIDES = st.one_of(st.integers(1, 70), st.sampled_from([336, 640, 1001, 4999]))


@st.composite
def zoom_cases(draw):
    """1 to 50 boxes of any size, at borders too, in odd sizes; options."""
    source_hw = draw(st.tuples(SIDES, SIDES))
    target_hw = draw(st.one_of(st.just(source_hw), st.tuples(SIDES, SIDES)))
    n = draw(st.one_of(st.integers(1, 3), st.integers(1, 50)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    span = np.array(source_hw[::-1])
    extent = 10.0 ** rng.uniform(draw(st.sampled_from([-5, -2, -0.3])), 0, (n, 2))
    corner = rng.choice([0.0, 1.0, np.nan], (n, 2), p=draw(st.sampled_from([[0.3, 0.3, 0.4], [0, 0, 1]])))
    corner = np.where(np.isnan(corner), rng.random((n, 2)), corner) * (1 - extent)
    boxes = np.concatenate([corner, corner + extent], axis=1) * np.tile(span, 2)
    assume(not (boxes <= 1).all())  # refused as parts of the sides
    options = {
        "margin": draw(st.sampled_from([0.0, 0.0, 3.5])),
        "floor": draw(st.sampled_from([ZOOM_FLOOR, 0.02, 1.0, 0.001])),
        "falloff": draw(st.sampled_from([ZOOM_FALLOFF, 0.0, 0.01, 3.0])),
    }
    return np.clip(boxes, 0, np.tile(span, 2)), {"source_hw": source_hw, "target_hw": target_hw, **options}


def scales(warp, boxes, parts=7):
    """Output pixels per source pixel along x and y in `parts` slices of every box that is wide enough to measure them in."""
    t = np.linspace(0, 1, parts + 1)[:, None, None]
    corners = boxes[:, :2] * (1 - t) + boxes[:, 2:] * t  # (parts + 1, n, 2)
    wide = (boxes[:, 2:] - boxes[:, :2]) > 1e-3
    found = np.diff(warp.points(corners), axis=0)[:, wide] / np.diff(corners, axis=0)[:, wide]
    return found.ravel()


def make(boxes, options, **more):
    try:
        return zoom_warp(boxes, **options, **more)
    except ValueError as error:
        assert "cover too much of an axis" in str(error)  # noqa: PT017  of other proportions than the image
        assume(False)


def check_floor(warp, boxes, floor):
    """Outside boxes nothing is below the floor; knots of the warp, so that no pixel averages it away."""
    for axis in (warp.x, warp.y):
        (piece,) = axis.pieces
        slopes = np.diff(piece.after) / np.diff(piece.before) / (axis.target_size / axis.source_size)
        assert slopes.min() >= floor * (1 - 1e-6)


@given(zoom_cases())
def test_the_largest_zoom(case):
    boxes, options = case
    warp = make(boxes, options)
    found = scales(warp, boxes)
    if found.size:  # constant, and the same along x and y
        np.testing.assert_allclose(found, found[0], rtol=1e-6)
    check_monotone(warp)
    check_points_round_trip(warp)
    check_boxes_round_trip(warp, boxes)
    check_floor(warp, boxes, options["floor"])


@given(zoom_cases(), st.floats(0.5, 1.0))
def test_the_zoom_asked_for_is_met(case, share):
    boxes, options = case
    largest = make(boxes, options)
    unit = math.sqrt(np.prod(options["target_hw"]) / np.prod(options["source_hw"]))
    assume(scales(largest, boxes).size)
    zoom = share * scales(largest, boxes)[0] / unit
    try:
        warp = zoom_warp(boxes, **options, zoom=zoom)
    except ValueError as error:  # an axis that boxes cover whole, or too much of
        assert re.search(r"the (smallest|largest) that does is", str(error))  # noqa: PT017
        assume(False)
    np.testing.assert_allclose(scales(warp, boxes), zoom * unit, rtol=1e-6)
    check_monotone(warp)
    check_points_round_trip(warp)
    check_floor(warp, boxes, options["floor"])


@given(zoom_cases(), st.floats(1.01, 100))
def test_too_large_a_zoom_is_refused_with_the_largest(case, beyond):
    boxes, options = case
    largest = make(boxes, options)
    assume(scales(largest, boxes).size)
    unit = math.sqrt(np.prod(options["target_hw"]) / np.prod(options["source_hw"]))
    zoom = scales(largest, boxes)[0] / unit
    with pytest.raises(ValueError, match="`zoom` must fit into `target_hw`") as refusal:
        zoom_warp(boxes, **options, zoom=zoom * beyond)
    offered = float(re.search(r"the largest that does is ([\d.e+-]+);", str(refusal.value))[1])
    np.testing.assert_allclose(offered, zoom, rtol=1e-6)
    np.testing.assert_allclose(scales(zoom_warp(boxes, **options, zoom=offered), boxes), zoom * unit, rtol=1e-6)


@given(zoom_cases())
def test_zoom_one_is_the_identity(case):
    boxes, options = case
    options["target_hw"] = options["source_hw"]
    warp = zoom_warp(boxes, **options, zoom=1)
    height, width = options["source_hw"]
    xy = np.stack([np.linspace(0, width, 99), np.linspace(0, height, 99)], axis=-1)
    np.testing.assert_allclose(warp.points(xy), xy, atol=1e-8)
    if height * width < 10000:
        check_identity(warp, np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def test_the_scale_checker_sees_a_stretched_box():
    boxes = np.array([[10.0, 20.0, 30.0, 26.0]])
    warp = fit_warp(pmtools.heatmaps.from_boxes(boxes, source_hw=(60, 80)), source_hw=(60, 80))
    found = scales(warp, boxes)
    assert np.ptp(found) > 0.1
    with pytest.raises(AssertionError):
        check_floor(warp, boxes, 0.9)


def test_it_works_in_every_namespace(xp):
    boxes = np.array([[10.0, 20.0, 30.0, 26.0], [50.0, 22.0, 55.0, 40.0]])
    wanted = zoom_warp(boxes, source_hw=(60, 80), target_hw=(33, 44), zoom=1.5)
    warp = zoom_warp(xp.asarray(boxes), source_hw=(60, 80), target_hw=(33, 44), zoom=1.5)
    assert isinstance(warp.x.like, xp.kind)
    there = warp.boxes(xp.asarray(boxes))
    assert isinstance(there, xp.kind)
    np.testing.assert_allclose(xp.numpy(there), wanted.boxes(boxes), atol=1e-10)
    np.testing.assert_allclose(xp.numpy(warp.inverse_boxes(there)), boxes, atol=1e-8)
    image = np.random.default_rng(1).random((60, 80))
    np.testing.assert_allclose(xp.numpy(warp.image(xp.asarray(image))), wanted.image(image), atol=1e-9)


# -------------------------------------------------------------------------------------------------- what it means


def test_hand_worked():
    """Half of a side magnified 1.5 times without a fall leaves a quarter for the other half."""
    warp = zoom_warp([0, 0, 4, 4], source_hw=(8, 8), zoom=1.5, falloff=0)
    np.testing.assert_allclose(warp.points([[4, 4], [6, 2], [8, 8]]), [[6, 6], [7, 3], [8, 8]], atol=1e-12)


def test_the_fall_is_the_cubic():
    """Against numerical integration of the density 1 - 3 u^2 + 2 u^3, apart from the closed form."""
    box, n, zoom = (400.0, 500.0), 1000, 3.0
    warp = zoom_warp([box[0], box[0], box[1], box[1]], source_hw=(n, n), zoom=zoom)
    x = (np.arange(1_000_000) + 0.5) / 1000
    u = np.clip(np.maximum(box[0] - x, x - box[1]) / (0.5 * 100), 0, 1)
    kept = 1 - 3 * u**2 + 2 * u**3
    base = (n - zoom * kept.mean() * n) / ((1 - kept).mean() * n)
    cumulative = np.cumsum(base + (zoom - base) * kept) / 1000
    # at the knots: a fall of 50 pixels has 32 pieces
    at = np.array([100.0, 350.0, 375.0, 387.5, 400.0, 500.0, 512.5, 550.0, 900.0])
    np.testing.assert_allclose(
        warp.points(np.stack([at, at], -1))[:, 0], cumulative[(at * 1000).astype(int) - 1], atol=1e-3
    )


def test_zoom_counts_from_a_plain_resize_by_area():
    """In a target of other proportions: a box has zoom squared times the pixels that a plain resize gives it, and its shape."""
    box = np.array([300.0, 100.0, 340.0, 120.0])
    resized = pmtools.frames.resize((480, 640), (336, 336)).boxes(box)
    there = zoom_warp(box, source_hw=(480, 640), target_hw=(336, 336), zoom=3).boxes(box)
    (w, h), (plain_w, plain_h) = there[2:] - there[:2], resized[2:] - resized[:2]
    np.testing.assert_allclose(w * h, 9 * plain_w * plain_h, rtol=1e-6)
    np.testing.assert_allclose(w / h, 40 / 20, rtol=1e-6)


def test_a_circle_stays_a_circle():
    y, x = np.mgrid[0:200, 0:300] + 0.5
    disc = ((x - 150) ** 2 + (y - 60) ** 2 < 10**2).astype(np.uint8)
    box = [140, 50, 160, 70]
    rows, columns = np.nonzero(magnify(disc * 255, boxes=box, zoom=4) > 127)
    assert np.ptp(rows) + 1 == pytest.approx(80, abs=2)
    assert np.ptp(columns) + 1 == pytest.approx(80, abs=2)
    assert len(rows) == pytest.approx(math.pi * 40**2, rel=0.02)
    stretched = magnify(disc * 255, pmtools.heatmaps.from_boxes([100, 50, 200, 70], source_hw=(200, 300)))
    rows, columns = np.nonzero(stretched > 127)  # what a heatmap of a wide box does to it
    assert abs(np.ptp(rows) / np.ptp(columns) - 1) > 0.1


def test_a_zoom_for_each_box():
    boxes = np.array([[10.0, 10.0, 20.0, 20.0], [60.0, 70.0, 70.0, 75.0]])
    warp = zoom_warp(boxes, source_hw=(100, 100), zoom=[1.5, 3])
    np.testing.assert_allclose(scales(warp, boxes[:1]), 1.5, rtol=1e-9)
    np.testing.assert_allclose(scales(warp, boxes[1:]), 3, rtol=1e-9)
    with pytest.raises(ValueError, match=r"the largest that does is \[.*, .*\]") as refusal:
        zoom_warp(boxes, source_hw=(100, 100), zoom=[4, 8])
    offered = [float(z) for z in re.search(r"does is \[([\d.]+), ([\d.]+)\];", str(refusal.value)).groups()]
    assert offered[1] == pytest.approx(2 * offered[0], rel=1e-6)
    zoom_warp(boxes, source_hw=(100, 100), zoom=offered)
    boxes[1, [0, 2]] = [15, 25]
    with pytest.raises(ValueError, match=r"share columns, got 2 for box 0 and 4 for box 1; .*mosaic"):
        zoom_warp(boxes, source_hw=(100, 100), zoom=[2, 4])
    boxes[1, [0, 2]] = [20, 25]  # they only touch
    np.testing.assert_allclose(scales(zoom_warp(boxes, source_hw=(100, 100), zoom=[2, 3]), boxes[1:]), 3, rtol=1e-9)


def test_boxes_that_cover_an_axis():
    line = [0, 40, 100, 50]
    assert zoom_warp(line, source_hw=(100, 100)).report(line).zoom[0] == pytest.approx(1)
    with pytest.raises(ValueError, match=r"the boxes cover whole nothing can make room.*largest that does is 1.0"):
        zoom_warp(line, source_hw=(100, 100), zoom=2)
    with pytest.raises(ValueError, match=r"cover too much of an axis.*proportions"):
        zoom_warp([0, 0, 100, 100], source_hw=(100, 100), target_hw=(50, 100))


@pytest.mark.parametrize(
    ("boxes", "options", "words"),
    [
        ([1, 2, 3], {}, r"`boxes_xyxy` must have shape \(\.\.\., 4\)"),
        ([[[1, 2, 3, 4]]], {}, r"`boxes_xyxy` must have shape \(4,\) or \(n, 4\)"),
        ([5, 5, 4, 6], {}, r"x0 <= x1.*got \[5.0, 5.0, 4.0, 6.0\] at 0"),
        ([[1, 1, 2, 2], [1, 1, np.nan, 2]], {}, "must be finite; got .* at 1"),
        ([30, 5, 40, 6], {}, "must touch the image of 20 x 20"),
        ([1, 1, 5, 5], {"zoom": 0}, "`zoom`"),
        ([1, 1, 5, 5], {"zoom": "2"}, "`zoom`"),
        ([1, 1, 5, 5], {"zoom": [2, 2]}, "one for each of the 1 boxes, got 2"),
        ([1, 1, 5, 5], {"margin": -1}, "`margin`"),
        ([1, 1, 5, 5], {"floor": 1e-4}, "`floor`"),
        ([1, 1, 5, 5], {"falloff": -1}, "`falloff`"),
        ([1, 1, 5, 5], {"target_hw": 3}, "`target_hw`"),
        (torch.ones(4, requires_grad=True), {}, r"must not require gradients.*detach\(\)"),
    ],
)
def test_bad_arguments(boxes, options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        zoom_warp(boxes, source_hw=(20, 20), **options)


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4)), torch.zeros(0, 4)])
def test_nothing_found_is_a_plain_resize(boxes, astronaut):
    warp = zoom_warp(boxes, source_hw=(512, 512), zoom=3)
    check_identity(warp, astronaut)
    assert warp.report(boxes).tool == "warp"
    np.testing.assert_array_equal(magnify(astronaut, boxes=boxes), astronaut)


def test_a_box_without_an_area_is_a_pixel():
    there = zoom_warp([5, 5, 5, 5], source_hw=(11, 11), zoom=3).boxes([4.5, 4.5, 5.5, 5.5])
    np.testing.assert_allclose(there[2:] - there[:2], 3)


# ---------------------------------------------------------------------------------------------------------- magnify


def test_magnify_takes_what_is_named(astronaut):
    box = [200, 80, 260, 140]
    options = {"source_hw": (512, 512), "target_hw": (256, 256)}
    wanted = zoom_warp(box, **options, zoom=3).image(astronaut)
    np.testing.assert_array_equal(magnify(astronaut, boxes=box, zoom=3, size_hw=(256, 256)), wanted)
    mask = np.zeros((512, 512), bool)
    mask[80:140, 230] = mask[110, 200:260] = True  # a cross, one region
    np.testing.assert_array_equal(magnify(astronaut, mask=mask, zoom=3, size_hw=(256, 256)), wanted)
    np.testing.assert_array_equal(magnify(astronaut, points=[230, 110], margin=30, zoom=3, size_hw=(256, 256)), wanted)
    pil = magnify(Image.fromarray(astronaut), mask=Image.fromarray(mask), zoom=3, size_hw=(256, 256))
    np.testing.assert_array_equal(np.asarray(pil), wanted)
    tensor = magnify(torch.as_tensor(astronaut).permute(2, 0, 1), boxes=torch.tensor(box), zoom=3, size_hw=(256, 256))
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), wanted)
    results = magnify([astronaut, astronaut[:300]], boxes=[box, [0, 0, 50, 50]], zoom=2)
    np.testing.assert_array_equal(results[1], magnify(astronaut[:300], boxes=[0, 0, 50, 50], zoom=2))


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((), {}, "`heatmap` must be given, or one of `boxes`, `points` and `mask`.*got none"),
        ((np.eye(3),), {"boxes": [1, 1, 2, 2]}, "got `heatmap` and `boxes`"),
        ((), {"boxes": [1, 1, 2, 2], "gain": 3}, "`gain` is for heatmaps"),
        ((), {"boxes": [1, 1, 2, 2], "floor": 0.1}, r"`floor` is for heatmaps.*zoom_warp"),
        ((np.eye(3),), {"zoom": 3}, "`zoom` is for boxes, points and masks"),
        (
            (),
            {"mask": np.ones((3, 3))},
            r"`mask` must have the height and width of the image, \(9, 9\), got shape \(3, 3\)",
        ),
        ((), {"boxes": [1, 1, 2]}, "`boxes` must have shape"),
        ((), {"points": [1, 1, 2]}, "`points` must have shape"),
    ],
)
def test_magnify_refuses(arguments, options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        magnify(np.zeros((9, 9)), *arguments, **options)


def test_a_list_of_images_wants_a_list_of_boxes():
    with pytest.raises(
        ValueError, match="`boxes` must be a list with an entry for each of the 3 images, got 1 of them"
    ):
        magnify([np.zeros((9, 9))] * 3, boxes=[[1, 1, 2, 2]])


# ------------------------------------------------------------------------------------------------------ equal peaks


@given(st.data())
def test_equal_peaks(data):
    heatmap = data.draw(pmtools.testing.heatmaps())
    options = {"source_hw": (48, 60), "floor": data.draw(st.sampled_from([0.02, 0.5])), "gain": 4}
    free, equal = (fit_warp(heatmap, **options, equal_peaks=wish) for wish in (False, True))
    peaks = [[np.max(np.diff(axis.pieces[0].after)) for axis in (w.x, w.y)] for w in (free, equal)]
    assert peaks[1][0] == pytest.approx(peaks[1][1], rel=1e-9)
    assert peaks[1][0] == pytest.approx(min(peaks[0]), rel=1e-9)
    check_monotone(equal)
    assert min(m.min() for m in equal.local_magnification()) >= options["floor"] * (1 - 1e-9)


def test_equal_peaks_in_batches_and_namespaces(xp, rng):
    heat = rng.random((3, 6, 9)) ** 3
    batch = fit_warp(xp.asarray(heat), source_hw=(30, 40), equal_peaks=True)
    for i in range(3):
        one = fit_warp(heat[i], source_hw=(30, 40), equal_peaks=True)
        np.testing.assert_allclose(xp.numpy(batch[i].x.like), one.x.like, atol=1e-9)
    image = rng.random((30, 40))
    np.testing.assert_array_equal(
        magnify(image, heat[0], equal_peaks=True), fit_warp(heat[0], source_hw=(30, 40), equal_peaks=True).image(image)
    )


# ----------------------------------------------------------------------------------------------------------- report


def test_report_on_one_box():
    box = [40, 60, 60, 70]
    warp = zoom_warp(box, source_hw=(200, 100), target_hw=(400, 200), zoom=2)
    report = warp.report(box, input_hw=(280, 140), patch_size=14)
    np.testing.assert_allclose([report.scale_x, report.scale_y], 4, rtol=1e-9)
    np.testing.assert_allclose(report.zoom, 2, rtol=1e-9)
    np.testing.assert_allclose(report.pixels, 80 * 40, rtol=1e-9)
    np.testing.assert_allclose(report.patches, 80 * 40 * 0.7**2 / 14**2, rtol=1e-9)
    assert report.boxes_share == pytest.approx(80 * 40 / (400 * 200))
    assert report.tool == "warp"
    assert "4.000    4.000    2.000     3200.0" in str(report)


@given(zoom_cases())
def test_shares_against_counting_pixels(case):
    boxes, options = case
    options = {**options, "source_hw": (61, 47), "target_hw": (90, 80)}
    scale = np.array([47, 61] * 2) / np.tile(case[1]["source_hw"][::-1], 2)
    boxes = np.round(boxes * scale)
    warp = make(boxes, options)
    report = warp.report(boxes)
    # 4 x 4 samples in each output pixel
    x, y = (np.arange(4 * n) / 4 + 1 / 8 for n in (80, 90))
    inside = np.zeros((len(y), len(x)), bool)
    for x0, y0, x1, y1 in warp.boxes(boxes):
        inside |= ((x >= x0) & (x < x1))[None] & ((y >= y0) & (y < y1))[:, None]
    assert report.boxes_share == pytest.approx(inside.mean(), abs=0.02 + 0.005 * len(boxes))
    delta = 1e-5
    grown = []
    for axis, at, resize in ((warp.x, x, 80 / 47), (warp.y, y, 90 / 61)):
        back = axis.backward(np.stack([at - delta, at + delta]))
        grown.append(2 * delta / (back[1] - back[0]) > resize * (1 + 1e-5))
    ghosts = (grown[1][:, None] & grown[0][None] & ~inside).mean()
    assert report.ghosts_share == pytest.approx(ghosts, abs=0.05 + 0.005 * len(boxes))


def rounding_by_trial(warp):
    """The worst error over all places of the source, each said in whole thousandths of the magnified image."""
    to_thousandths = warp.then(frames.normalized(warp.target_hw, scale=1000))
    places = np.stack([np.linspace(0, side, 20_001) for side in warp.source_hw[::-1]], axis=-1)
    return np.abs(to_thousandths.inverse_points(to_thousandths.points(places).round()) - places).max()


def test_report_says_what_rounding_costs():
    line = [100, 400, 300, 420]
    heat = heatmaps.from_boxes(line, source_hw=(1000, 1000))
    ramp = np.linspace(1, 0.02, 1000)[None]  # the worst place is at one end, rounded up or down
    ramps = (pmtools.Warp.from_map(m, source_hw=(1000, 1000), floor=1e-3) for m in (ramp, ramp[:, ::-1]))
    for warp in (fit_warp(heat, source_hw=(1000, 1000), gain=100), zoom_warp(line, source_hw=(1000, 1000)), *ramps):
        by_trial = rounding_by_trial(warp)
        assert by_trial <= warp.report(line).rounding < by_trial + 0.1
    assert frames.identity((300, 500)).report(line).rounding == pytest.approx(0.25)


@settings(max_examples=50, deadline=None)
@given(
    corner=st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)),
    sides=st.tuples(st.floats(0.01, 0.3), st.floats(0.01, 0.3)),
    source_hw=st.sampled_from([(1080, 1920), (2160, 3840), (4000, 3000)]),
    width=st.sampled_from([336, 672, 1288]),
)
def test_the_exact_zoom_keeps_rounding_below_a_patch(corner, sides, source_hw, width):
    height, wide = source_hw
    box = np.array([*corner, *np.minimum(np.add(corner, sides), 1)]) * [wide, height, wide, height]
    warp = zoom_warp(box, source_hw=source_hw, target_hw=(round(width * height / wide), width))
    assert warp.report(box).rounding < 14 * wide / width  # of a plain resize


def test_a_steep_map_does_not():
    weights = np.zeros((24, 24))
    weights[10, 6] = 1
    warp = pmtools.Warp.from_map(weights, source_hw=(2160, 3840), target_hw=(724, 1288))
    assert warp.report([1000, 1000, 1100, 1060]).rounding > 14 * 3840 / 1288


def test_report_names_the_right_tool(rng):
    corner = rng.random((30, 2)) * 900
    boxes = np.concatenate([corner, corner + 30], axis=1)
    report = zoom_warp(boxes, source_hw=(1000, 1000)).report(boxes)
    assert report.tool == "mosaic"
    assert "pmtools.mosaic" in str(report)
    line = [100, 480, 700, 500]
    heat = pmtools.heatmaps.from_boxes(line, source_hw=(1000, 1000))
    assert fit_warp(heat, source_hw=(1000, 1000)).report(line).tool == "zoom_warp"
    chain = zoom_warp(line, source_hw=(1000, 1000)).then(pmtools.frames.resize((1000, 1000), (500, 500)))
    assert chain.report(line).scale_x == pytest.approx(zoom_warp(line, source_hw=(1000, 1000)).report(line).scale_x / 2)
    assert chain.report(line).ghosts_share == pytest.approx(
        zoom_warp(line, source_hw=(1000, 1000)).report(line).ghosts_share
    )


def test_report_refuses(rng):
    batch = fit_warp(rng.random((2, 4, 4)), source_hw=(8, 8))
    with pytest.raises(ValueError, match=r"use warp\[i\]\.report"):
        batch.report([1, 1, 2, 2])
    with pytest.raises(ValueError, match="`boxes_xyxy`"):
        batch[0].report([3, 1, 2, 2])
    with pytest.raises(ValueError, match="`patch_size`"):
        batch[0].report([1, 1, 2, 2], patch_size=0)
