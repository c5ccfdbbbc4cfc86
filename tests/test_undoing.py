"""Answers undone: against supervision's and transformers' parsers, against the warp, and byte by byte."""

from __future__ import annotations

import dataclasses
import json
import re
import string
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmtools import frames, zoom_warp
from pmtools.answers import FORMATS, Undoing, undo

SOURCE, TARGET = (300, 400), (280, 364)
WARP = zoom_warp([60, 60, 120, 100], source_hw=SOURCE, target_hw=TARGET, zoom=2.5)
IDENTITY = frames.identity((280, 364))

#: An answer of every format, and the boxes or points it names in fractions of the image, by hand.
ANSWERS = {
    "qwen2.5-vl": ('```json\n[{"bbox_2d": [91, 70, 182, 210], "label": "a"}]\n```', [[0.25, 0.25, 0.5, 0.75]]),
    "qwen2-vl": ("<|box_start|>(250,250),(500,750)<|box_end|>", [[0.25, 0.25, 0.5, 0.75]]),
    "qwen3-vl": ('{"point_2d": [250, 750], "label": "a"}', [[0.25, 0.75]]),
    "gemini": ('[{"box_2d": [250, 125, 750, 500], "label": "a"}]', [[0.125, 0.25, 0.5, 0.75]]),
    "deepseek-vl": ("<|ref|>a<|/ref|><|det|>[[0, 333, 999, 666]]<|/det|>", [[0, 333 / 999, 1, 666 / 999]]),
    "paligemma": ("<loc0256><loc0128><loc0768><loc0512> a", [[0.125, 0.25, 0.5, 0.75]]),
    "florence-2": ("a<loc_250><loc_125><loc_500><loc_750>", [[0.2505, 0.1255, 0.5005, 0.7505]]),
    "kosmos-2": (
        "<object><patch_index_0044><patch_index_0863></object>",
        [[12.5 / 32, 1.5 / 32, 31.5 / 32, 26.5 / 32]],
    ),
    "molmo": ('<points x1="25.0" y1="75" x2="50" y2="10" alt="a">a</points>', [[0.25, 0.75], [0.5, 0.1]]),
    "ui-tars": ("Action: click(start_box='<|box_start|>(250,750)<|box_end|>')", [[0.25, 0.75]]),
    "ui-tars-1.5": ("Action: click(point='<point>91 210</point>')", [[0.25, 0.75]]),
    "computer-use": ('{"action": "left_click", "coordinate": [91, 210]}', [[0.25, 0.75]]),
    "fractions": ("It is at (0.25, 0.25, 0.50, 0.75).", [[0.25, 0.25, 0.5, 0.75]]),
    "thousandths": ("Click [250, 750].", [[0.25, 0.75]]),
    "json": ('{"x": 91, "y": 70, "label": "a", "width": 91, "height": 140}', [[0.25, 0.25, 0.5, 0.75]]),
}


def places(undone):
    return [place.points_xy.ravel().tolist() for place in undone.places]


def test_every_format_has_its_answer():
    assert list(ANSWERS) == list(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_places_are_where_they_stand(name):
    text, fractions = ANSWERS[name]
    undone = undo(text, warp=WARP, format=name)
    shown = np.array(fractions) * np.tile(TARGET[::-1], len(fractions[0]) // 2)
    wanted = (WARP.inverse_boxes if shown.shape[1] == 4 else WARP.inverse_points)(shown)
    np.testing.assert_allclose(places(undone), wanted, atol=1e-9)
    for place in undone.places:
        assert text[place.start : place.end] in text
        assert place.kind == ("box" if shown.shape[1] == 4 else "point")


@pytest.mark.parametrize("name", FORMATS)
def test_what_nothing_magnified_stays_to_the_byte(name):
    text, _ = ANSWERS[name]
    assert undo(text, warp=IDENTITY, format=name).text == text


@pytest.mark.parametrize("name", FORMATS)
def test_the_rewritten_answer_names_the_same_places_of_the_original(name):
    text, _ = ANSWERS[name]
    undone = undo(text, warp=WARP, format=name)
    again = undo(undone.text, warp=frames.identity(SOURCE), format=name)
    one = {None: 1.0}.get(FORMATS[name].scale, max(SOURCE) / (FORMATS[name].scale or 1))  # a unit, in pixels
    np.testing.assert_allclose(places(again), places(undone), atol=one)
    assert re.sub(r"\d+(\.\d+)?", "#", undone.text) == re.sub(r"\d+(\.\d+)?", "#", text)


@pytest.mark.parametrize("name", [name for name in FORMATS if not FORMATS[name].tokens])
def test_fractions_of_the_original_are_what_every_format_can_give(name):
    text, _ = ANSWERS[name]
    undone = undo(text, warp=WARP, format=name, units="fractions")
    assert np.all([np.max(place) > 1 for place in places(undone)])  # pixels of the original, as ever
    again = undo(
        undone.text, warp=frames.identity(SOURCE), format=dataclasses.replace(FORMATS[name], scale=1, offset=0)
    )
    np.testing.assert_allclose(places(again), places(undone), atol=1e-4 * max(SOURCE))  # four decimals


@pytest.mark.parametrize("units", ["pixels", "fractions"])
def test_tokens_hold_no_other_units(units):
    with pytest.raises(ValueError, match=f"`units` must be 'same' for a format of tokens, got '{units}'"):
        undo(ANSWERS["paligemma"][0], warp=WARP, format="paligemma", units=units)


# ------------------------------------------------------------------------------------------ what others read in them


def corners(n=3):
    sides = st.tuples(st.integers(0, 990), st.integers(1, 9)).map(lambda pair: (pair[0], sum(pair)))
    return st.lists(st.tuples(sides, sides).map(lambda s: [s[0][0], s[1][0], s[0][1], s[1][1]]), min_size=1, max_size=n)


RENDERED = {
    "qwen_2_5_vl": ("qwen2.5-vl", lambda b: {"bbox_2d": b, "label": "a"}),
    "qwen_3_vl": ("qwen3-vl", lambda b: {"bbox_2d": b, "label": "a"}),
    "gemini_2_5": ("gemini", lambda b: {"box_2d": [b[1], b[0], b[3], b[2]], "label": "a"}),
}


def seen_by_supervision(sv, vlm, text, size_hw):
    wh = size_hw[::-1]
    options = {"input_wh": wh} if vlm == "qwen_2_5_vl" else {}
    return sv.Detections.from_vlm(vlm, text, resolution_wh=wh, **options).xyxy


@pytest.fixture(scope="module")
def sv():
    return pytest.importorskip(
        "supervision", reason="the reference needs supervision: pip install 'pmtools[transforms]'"
    )


@pytest.mark.parametrize("vlm", RENDERED)
@settings(max_examples=25, deadline=None)
@given(boxes=corners())
def test_supervision_reads_the_undone_text(sv, vlm, boxes):
    name, render = RENDERED[vlm]
    boxes = [[side * 0.28 for side in box] for box in boxes] if name == "qwen2.5-vl" else boxes
    text = "```json\n" + json.dumps([render([round(v, 6) for v in box]) for box in boxes]) + "\n```"
    undone = undo(text, warp=WARP, format=name, decimals=6)
    wanted = WARP.inverse_boxes(seen_by_supervision(sv, vlm, text, TARGET).astype(float))
    np.testing.assert_allclose(seen_by_supervision(sv, vlm, undone.text, SOURCE), wanted, atol=1e-3)
    np.testing.assert_allclose(undone.boxes_xyxy, wanted, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(boxes=corners())
def test_supervision_reads_location_tokens(sv, boxes):
    text = " ; ".join("".join(f"<loc{box[i]:04d}>" for i in (1, 0, 3, 2)) + " a cat" for box in boxes)
    undone = undo(text, warp=WARP, format="paligemma")
    wanted = WARP.inverse_boxes(seen_by_supervision(sv, "paligemma", text, TARGET).astype(float))
    np.testing.assert_allclose(undone.boxes_xyxy, wanted, atol=1e-9)
    bin_px = max(SOURCE) / 1024
    np.testing.assert_allclose(seen_by_supervision(sv, "paligemma", undone.text, SOURCE), wanted, atol=bin_px)


@settings(max_examples=25, deadline=None)
@given(boxes=corners())
def test_supervision_reads_deepseek(sv, boxes):
    text = f"<|ref|>a cat<|/ref|><|det|>{json.dumps(boxes)}<|/det|>"
    undone = undo(text, warp=WARP, format="deepseek-vl", decimals=4)
    wanted = WARP.inverse_boxes(seen_by_supervision(sv, "deepseek_vl_2", text, TARGET).astype(float))
    np.testing.assert_allclose(undone.boxes_xyxy, wanted, atol=1e-3)


def florence_boxes(text, size_hw):
    """What transformers reads, before it cuts to whole pixels: its bins and their middles."""
    import torch
    from transformers.models.florence2.processing_florence2 import Florence2PostProcessor

    class Tokenizer:
        all_special_tokens = ()

    reader = Florence2PostProcessor({}, Tokenizer())
    found = reader.parse_phrase_grounding_from_text_and_spans(text, image_size=(1000 * size_hw[1], 1000 * size_hw[0]))
    return torch.tensor([box for item in found for box in item["bbox"]]).numpy().reshape(-1, 4) / 1000


@settings(max_examples=25, deadline=None)
@given(boxes=corners())
def test_transformers_reads_florence(boxes):
    pytest.importorskip("transformers")
    text = "".join("a cat" + "".join(f"<loc_{v}>" for v in box) for box in boxes)
    undone = undo(text, warp=WARP, format="florence-2")
    wanted = WARP.inverse_boxes(florence_boxes(text, TARGET))
    np.testing.assert_allclose(undone.boxes_xyxy, wanted, atol=2e-3)
    np.testing.assert_allclose(florence_boxes(undone.text, SOURCE), wanted, atol=max(SOURCE) / 1000)


@settings(max_examples=50, deadline=None)
@given(
    rows=st.tuples(st.integers(0, 31), st.integers(0, 31)), columns=st.tuples(st.integers(0, 31), st.integers(0, 31))
)
def test_transformers_reads_kosmos(rows, columns):
    processing = pytest.importorskip("transformers.models.kosmos2.processing_kosmos2")

    def read(text, size_hw):
        _, entities = processing.clean_text_and_extract_entities_with_bboxes(text, 32)
        return np.array(entities[0][2]) * np.tile(size_hw[::-1], 2)

    (y0, y1), (x0, x1) = sorted(rows), sorted(columns)
    tokens = "".join(f"<patch_index_{32 * y + x:04d}>" for x, y in ((x0, y0), (x1, y1)))
    text = f"<phrase>a cat</phrase><object>{tokens}</object>"
    undone = undo(text, warp=WARP, format="kosmos-2")
    wanted = WARP.inverse_boxes(read(text, TARGET))
    np.testing.assert_allclose(undone.boxes_xyxy, wanted, atol=1e-9)
    np.testing.assert_allclose(read(undone.text, SOURCE), wanted, atol=max(SOURCE) / 32)


# ------------------------------------------------------------------------------------------------- text as it comes

PROSE = st.text(st.sampled_from(string.printable + "é—“”’你🙂" + "<>[](){}'\":,.= \n" * 3), max_size=60)
FOUND = st.sampled_from([text for text, _ in ANSWERS.values()])
PIECES = st.lists(
    st.one_of(PROSE, FOUND, st.sampled_from(['{"bbox_2d": [', "<loc_1", "(3,", '"x": 5, ', "click(x=3, y"]))
)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40, deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cs", "N")), max_size=200))
def test_text_without_numbers_is_unchanged_to_the_byte(name, text):
    undone = undo(text, warp=WARP, format=name)
    assert undone.text == text
    assert undone.places == ()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "text",
    [
        "Between 1990 and 2020 the 3rd of 4 teams (est. 12.5 %) won 7-5, 10:30, version 1.2.3; see [12] and [3, 4, 5].",
        '{"counts": [1, 2, 3, 4], "score": 0.5, "label": "x1 [1, 2, 3, 4]", "size": {"width": 3, "height": 4}}',
        "if a < b and c > 3: print(f(1), [1, 2, 3]) # <b>5</b> <loc_x> <location 12>",
        "| a | 1 | 2 |\n|---|---|---|\n$\\frac{1}{2}$ x = 3, y = 4",
    ],
)
def test_numbers_that_are_no_places_are_unchanged(name, text):
    assert undo(text, warp=WARP, format=name).text == text


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, deadline=None)
@given(pieces=PIECES, cuts=st.lists(st.integers(0, 200), max_size=12))
def test_any_pieces_come_to_the_same_text(name, pieces, cuts):
    text = "".join(pieces)
    whole = undo(text, warp=WARP, format=name)
    undoing = Undoing(warp=WARP, format=name)
    bounds = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    said = [undoing.feed(text[a:b]) for a, b in pairwise(bounds)] + [undoing.finish()]
    assert "".join(said) == whole.text
    assert [place.points_xy.tolist() for place in undoing.places] == [p.points_xy.tolist() for p in whole.places]


def test_one_letter_at_a_time():
    for name, (text, _) in ANSWERS.items():
        undoing = Undoing(warp=WARP, format=name)
        said = "".join(map(undoing.feed, text)) + undoing.finish()
        assert said == undo(text, warp=WARP, format=name).text


def test_prose_is_not_held_back():
    undoing = Undoing(warp=WARP, format="qwen3-vl")
    assert undoing.feed("The cat sits ") == "The cat sits "
    assert undoing.feed('{"label": "cat", "bbox_2d": [250') == '{"label": "cat", "bbox_2d": '
    assert undoing.feed(', 250, 750, 750], "score": 1') == "["  # an angle may follow, which would make it another box
    assert undoing.feed("}, ").endswith('"score": 1}, ')
    assert undoing.finish() == ""


@pytest.mark.parametrize(
    "text",
    [
        '{"bbox": [250, 250, 750, 750, 0.9]}',
        '{"bbox": [250, 250, 750, 750, 0.9, 3]}',
        '{"rotated_box": [500, 500, 200, 100, 45]}',
        '{"bbox": [500, 500, 200, 100], "angle": 45}',
        '{"rotation_deg": -30.0, "boxes": [[250, 250], [750, 750]]}',
        '{"bbox": [[500, 500], [200, 100], 45]}',
        '{"bbox": {"x": 250, "y": 250, "w": 500, "h": 500}, "theta": 0.5}',
        '{"x": 250, "y": 250, "w": 500, "h": 500, "angle": 30}',
        '{"bbox": [250, 250, 500, 500], "format": "xywh"}',
        '{"bbox": [250, 250, 500, 500], "bbox_mode": 1}',
        '{"bbox": [250, 250, 500, 500], "box_type": "XYWH"}',
        '{"bbox": [250, 250, 500, 500], "angle": "30\u00b0"}',
        '{"rotation": "30 degrees", "bbox": [250, 250, 500, 500]}',
        '{"bbox": [250, 250, 500, 500], "rotationAngle": 30}',
        '{"bbox": [250, 250, 500, 500], "attributes": {"rotation": 30}}',
        '{"center": [500, 500], "size": [200, 100]}',
        '{"center": [500, 500], "width": 200, "height": 100}',
        '{"x": 500, "y": 500, "radius": 10}',
        '{"cx": 500, "cy": 500, "w": 10}',
        "bbox:\n  - 250\n  - 250\n  - 750\n  - 750\n",
        "It is at x 100, y 200 to x 500, y 600.",
    ],
)
def test_what_is_no_upright_box_of_two_corners_stays_whole(text):
    """Before, corners of some were mapped, and their angles, sizes or scores were not, or were taken for corners."""
    undone = undo(text, warp=WARP, format="thousandths")
    assert (undone.text, undone.places) == (text, ())
    undoing = Undoing(warp=WARP, format="thousandths")
    assert "".join(map(undoing.feed, text)) + undoing.finish() == text


@pytest.mark.parametrize(
    "text",
    [
        '{"cx": 500, "cy": 400, "w": 200, "h": 100, "angle": 0}',
        '{"width": 200, "height": 100, "center_x": 500, "center_y": 400}',
        '{"x_center": 500, "y_center": 400, "width": 200, "height": 100}',
        '{"bbox_cxcywh": [500, 400, 200, 100]}',
        '{"bbox_xywh": [400, 350, 200, 100]}',
        '{"bbox": [400, 350, 600, 450], "format": "xyxy", "rotation": 0.0}',
        '{"bbox": [400, 350, 600, 450], "bbox_mode": 0, "rotation": "0.0\u00b0", "camera_angle": "low"}',
        '{"bbox": {"cx": 500, "cy": 400, "w": 200, "h": 100}}',
    ],
)
def test_centres_and_sizes(text):
    seen = np.array([400, 350, 600, 450]) / 1000 * np.tile(WARP.target_hw[::-1], 2)
    undone = undo(text, warp=WARP, format="qwen3-vl", units="pixels", decimals=3)
    np.testing.assert_allclose(undone.boxes_xyxy, [WARP.inverse_boxes(seen)])
    written = [float(number) for number in re.findall(r"[\d.]+", undone.text)]
    x0, y0, x1, y1 = undone.boxes_xyxy[0]
    for wanted in (x1, y1) if "xyxy" in text or "bbox_mode" in text else (x1 - x0, y1 - y0):
        assert np.abs(np.array(written) - wanted).min() < 1e-3
    undoing = Undoing(warp=WARP, format="qwen3-vl", units="pixels", decimals=3)
    assert "".join(map(undoing.feed, text)) + undoing.finish() == undone.text


def test_a_box_and_its_centre_are_both_mapped():
    undone = undo('{"x0": 250, "y0": 250, "x1": 750, "y1": 750, "cx": 500, "cy": 500}', warp=WARP, format="qwen3-vl")
    assert [place.kind for place in undone.places] == ["box", "point"]


# --------------------------------------------------------------------------------------------------- options, refusals


def test_several_in_one_answer():
    text = 'First {"bbox_2d": [0, 0, 500, 500]}, then [250, 250, 750, 750], and {"point_2d": [500, 500]}.'
    undone = undo(text, warp=WARP, format="qwen3-vl")
    assert [place.kind for place in undone.places] == ["box", "box", "point"]
    assert undone.boxes_xyxy.shape == (2, 4)
    assert undone.points_xy.shape == (1, 2)


def test_an_answer_that_was_cut_off_keeps_what_was_complete():
    text = '[{"bbox_2d": [250, 250, 750, 750], "label": "a"}, {"bbox_2d": [250, 2'
    undone = undo(text, warp=WARP, format="qwen3-vl")
    assert len(undone.places) == 1
    assert undone.text.endswith('{"bbox_2d": [250, 2')


@pytest.mark.parametrize("key", ["polygon", "segmentation", "mask"])
def test_polygons_are_one_place(key):
    corners = [[100, 200], [300, 600], [500, 400]]
    undone = undo(json.dumps([{key: corners}, {key: corners}]), warp=WARP, format="gemini")
    assert len(undone.places) == 2
    assert {place.kind for place in undone.places} == {"polygon"}
    pixels = (
        np.array(corners) / 1000 * TARGET[::-1] if key == "mask" else np.array(corners)[:, ::-1] / 1000 * TARGET[::-1]
    )
    np.testing.assert_allclose(undone.places[0].points_xy, WARP.inverse_points(pixels))


def test_python_literals_and_other_keys():
    for text in (
        "{'bbox_2d': (250, 250, 750, 750)}",
        "bounding_box = [250, 250, 750, 750]",
        '{"x_min": 250, "x_max": 750, "y_min": 250, "y_max": 750}',
        '{"left": 250, "top": 250, "label": "a", "right": 750, "bottom": 750}',
        '"button_bbox": [250 250 750 750]',
    ):
        undone = undo(text, warp=WARP, format="qwen3-vl")
        wanted = WARP.inverse_boxes(np.array([0.25, 0.25, 0.75, 0.75]) * np.tile(TARGET[::-1], 2))
        np.testing.assert_allclose(undone.boxes_xyxy, [wanted])


def test_units_and_decimals():
    text = '{"point_2d": [250, 250]}'
    (point,) = undo(text, warp=WARP, format="qwen3-vl").points_xy
    pixels = undo(text, warp=WARP, format="qwen3-vl", units="pixels", decimals=2).text
    assert json.loads(pixels)["point_2d"] == point.round(2).tolist()
    kept = undo('{"point_2d": [250.0, 250.00]}', warp=WARP, format="qwen3-vl").text
    assert re.fullmatch(r'\{"point_2d": \[\d+\.\d, \d+\.\d\d\]\}', kept)


def test_pixels_count_in_the_image_that_the_model_resized():
    text = '{"bbox_2d": [28, 28, 56, 84]}'
    undone = undo(text, warp=WARP, format="qwen2.5-vl", input_hw=(140, 182))
    np.testing.assert_allclose(undone.boxes_xyxy, [WARP.inverse_boxes([56.0, 56.0, 112.0, 168.0])])


def test_any_scale():
    fractions = dataclasses.replace(FORMATS["json"], scale=1)
    undone = undo('{"x_min": 0.25, "y_min": 0.25, "x_max": 0.75, "y_max": 0.75}', warp=IDENTITY, format=fractions)
    np.testing.assert_allclose(undone.boxes_xyxy, [[91, 70, 273, 210]])


def test_what_is_outside_is_clipped_or_refused():
    text = '{"bbox_2d": [-20, 100, 1200, 900]}'
    clipped = undo(text, warp=WARP, format="qwen3-vl")
    assert clipped.boxes_xyxy[0, [0, 2]].tolist() == [0, 400]
    with pytest.raises(ValueError, match=r"x in 0\.\.1000 and y in 0\.\.1000, got '-20, 100, 1200, 900'"):
        undo(text, warp=WARP, format="qwen3-vl", outside="refuse")


def test_padding_is_clipped_to_the_original():
    padded = frames.pad_to_square((100, 200))
    assert undo('{"point_2d": [500, 0]}', warp=padded, format="qwen3-vl").points_xy.tolist() == [[100, 0]]


def test_refusals():
    with pytest.raises(ValueError, match=r"`format` must be one of 'qwen2\.5-vl'"):
        undo("", warp=WARP, format="qwen")
    with pytest.raises(ValueError, match="`units` must be 'same' for a format of tokens"):
        undo("", warp=WARP, format="paligemma", units="pixels")
    with pytest.raises(TypeError, match="`warp` must be a single Warp"):
        undo("", warp=None, format="json")
    with pytest.raises(TypeError, match="`text` must be a string"):
        undo(None, warp=WARP, format="json")
    with pytest.raises(ValueError, match="`outside` must be one of"):
        undo("", warp=WARP, format="json", outside="drop")


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ('{"bbox_2d": [2.5e1, 2.5E+1, 75e0, 75.]}', '{"bbox_2d": [40, 40, 60, 60]}'),
        ('{"bbox_2d": ["25", "25.0", "75", "75"]}', '{"bbox_2d": ["40", "40.0", "60", "60"]}'),
        ('{"bbox_2d": "[25, 25, 75, 75]"}', '{"bbox_2d": "[40, 40, 60, 60]"}'),
        ('{"bbox_2d": "25 25 75 75"}', '{"bbox_2d": "40 40 60 60"}'),
        ('{"bbox_2d": [25%, 25%, 75%, 75%]}', '{"bbox_2d": [40%, 40%, 60%, 60%]}'),
        ('{"bounding-box": [[25, 25], [75, 75]]}', '{"bounding-box": [[40, 40], [60, 60]]}'),
        ('{"bbox_2d": [\N{MINUS SIGN}5, .25e2, 75, 1e999]}', '{"bbox_2d": [0, 40, 60, 100]}'),
    ],
)
def test_numbers_as_models_write_them(written, wanted):
    warp = zoom_warp([40, 40, 60, 60], source_hw=(100, 100), zoom=2.5)
    undone = undo(written, warp=warp, format="json")
    assert undone.text == wanted
    assert [place.kind for place in undone.places] == ["box"]
    stream = Undoing(warp=warp, format="json")
    assert "".join(map(stream.feed, written)) + stream.finish() == wanted


def test_scientific_notation_in_marks():
    warp = zoom_warp([40, 40, 60, 60], source_hw=(100, 100), zoom=2.5)
    assert undo('<point x="2.5e1" y=" 75.">', warp=warp, format="molmo").text == '<point x="40" y=" 60">'
    assert undo("click(start_box='(2.5e1,75)')", warp=warp, format="ui-tars-1.5").text == "click(start_box='(40,60)')"
    assert undo("(2.5e2,750)", warp=warp, format="qwen2-vl").text == "(400,600)"
    assert undo("There are 25e and 3.", warp=warp, format="json").text == "There are 25e and 3."
