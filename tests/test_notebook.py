"""What a notebook and a terminal show of objects: short, with pictures where there is something to see."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import pmtools
from pmtools import viz

BOX = [60.0, 20.0, 100.0, 50.0]


def test_a_warp_shows_its_sizes_its_greatest_magnification_and_its_grid():
    warp = pmtools.zoom_warp(BOX, source_hw=(120, 200), target_hw=(240, 400), zoom=2)
    html = warp._repr_html_()
    page = ElementTree.fromstring(html)
    assert "120 x 200" in html
    assert "240 x 400" in html
    x, y = (float(axis.max()) for axis in warp.local_magnification())
    assert f"{x:.2f} along x, {y:.2f} along y" in html
    path = page.find(".//path").attrib["d"]
    columns = [float(part) for part in re.findall(r"M([\d.]+) 0V240", path)]
    rows = [float(part) for part in re.findall(r"M0 ([\d.]+)H400", path)]
    np.testing.assert_allclose(columns, warp.points([[200 * i / 16, 0] for i in range(17)])[:, 0], atol=0.06)
    np.testing.assert_allclose(rows, warp.points([[0, 120 * i / 10] for i in range(11)])[:, 1], atol=0.06)


def test_a_batch_shows_its_first_and_says_so():
    one = pmtools.fit_warp(np.eye(4), source_hw=(40, 40))
    html = pmtools.Warp.stack([one, pmtools.frames.identity((40, 40))])._repr_html_()
    assert "2 warps; this is the first" in html
    grid = re.search(r"<svg.*</svg>", html)[0]
    assert grid == re.search(r"<svg.*</svg>", one._repr_html_())[0]


def test_results_that_hold_arrays_print_short(rng):
    warp = pmtools.fit_warp(rng.random((24, 24)), source_hw=(336, 448))
    boxes = rng.random((20, 4)) + np.array([0, 0, 1, 1])
    refined = pmtools.refine(lambda visible: rng.random((24, 24)), max_iterations=2)
    for result in (warp.local_magnification(), warp.x, warp.report(boxes), refined):
        text = repr(result)
        assert text.startswith(f"{type(result).__name__}(")
        assert len(text) < 700
        assert "\n" not in text
    assert repr(warp.local_magnification()) == (
        "LocalMagnification(x=<float64 of shape (448,)>, y=<float64 of shape (336,)>)"
    )
    few = pmtools.fit_warp(np.ones((2, 2)), source_hw=(2, 2)).local_magnification()
    assert repr(few) == "LocalMagnification(x=array([1., 1.]), y=array([1., 1.]))"  # few values are shown


def test_compare_draws_the_boxes_where_they_are_on_both():
    image = np.full((120, 200, 3), 40, np.uint8)
    warp = pmtools.zoom_warp(BOX, source_hw=(120, 200), zoom=2)
    magnified = warp.image(image)
    pair = np.asarray(viz.compare(image, magnified, boxes=BOX, warp=warp, height=120)).astype(int)
    left, right = viz.draw_boxes(image, BOX), viz.draw_boxes(magnified, warp.boxes(BOX))
    expected = viz.side_by_side([left, right], titles=["original", "magnified"], height=120)
    np.testing.assert_array_equal(pair, np.asarray(expected))
    plain = viz.compare(image, magnified, boxes=BOX, height=120)
    assert (np.asarray(plain) != pair).any()  # without a warp nobody knows where they are on the right


@pytest.mark.parametrize("options", [{"warp": None, "labels": ["a"]}, {"warp": pmtools.frames.identity((4, 4))}])
def test_compare_needs_boxes_for_what_belongs_to_them(options):
    image = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="`boxes`"):
        viz.compare(image, image, **options)


def pictures_of(html: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)", html)]


def test_the_steps_of_a_call_are_a_filmstrip(rng):
    pytest.importorskip("torch", reason="decoding needs torch: pip install 'pmtools[hf]'")
    from pmtools import zoo
    from pmtools.decoding import METHODS

    demo = zoo.demo_model()
    image = Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8))
    for name, pictures in (("pm", 2), ("crop", 1)):
        method = METHODS[name](demo.processor)
        method.generate(demo.model, image, demo.prompt("is there a star ?"), max_new_tokens=1)
        shown = pictures_of(method.last._repr_html_())
        assert len(shown) == pictures * len(method.last)
        assert all(max(one.size) <= 160 for one in shown)
        assert len(repr(method.last)) < 1000 * len(method.last)
    plain = METHODS["greedy"](demo.processor)
    plain.generate(demo.model, image, demo.prompt("is there a star ?"), max_new_tokens=1)
    assert getattr(plain.last, "_repr_html_", lambda: None)() is None
    assert repr(demo).startswith("DemoModel(LlavaForConditionalGeneration of 1.9 million parameters, settings={")
    assert len(repr(demo)) < 500
