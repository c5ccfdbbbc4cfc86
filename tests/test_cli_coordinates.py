"""Coordinates through a warp, in the files that detectors write."""

from __future__ import annotations

import contextlib
import csv
import io as stdio
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import pmtools
from pmtools import io
from pmtools.cli import coordinates
from pmtools.cli.coordinates import records

HEAT = np.random.default_rng(5).random((6, 9))
WARP = pmtools.fit_warp(HEAT, source_hw=(200, 300), target_hw=(150, 400))  # nothing alike in x and y
BOX, OTHER = [20.0, 30.0, 120.0, 60.0], [200.0, 10.0, 290.0, 190.0]


def mapped(box):
    return WARP.boxes(np.asarray(box, dtype=float)).tolist()


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    io.write_json(WARP.to_dict(), "w.json")


def coords(*arguments: str, code: int = 0, stdin: str | bytes | None = None):
    from pmtools.cli.application import app

    result = CliRunner().invoke(app, ["coords", "--warp", "w.json", *arguments], input=stdin)
    assert result.exit_code == code, (result.exit_code, result.output)
    assert "Traceback" not in result.output
    return result


def through(text: str, option: str = "--boxes", *arguments: str, suffix: str = ".json") -> str:
    Path("in" + suffix).write_text(text, encoding="utf-8")
    return coords(option, "in" + suffix, *arguments).stdout


def corners(names: str, box: list[float]) -> dict[str, float]:
    return dict(zip(names.split(), box, strict=True))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda a, b: a,
        lambda a, b: [a, b],
        lambda a, b: [[a], [b, a]],
        lambda a, b: [{"box": a, "score": 0.5}, {"bbox": b, "label": "café"}, {"bbox_2d": a}],
        lambda a, b: {"boxes": [a, b], "labels": [1, 2], "scores": [0.5, 1]},
        lambda a, b: {"image": "x.png", "bboxes": [a], "bbox": b},
        lambda a, b: [{"score": 1, "box": corners("xmin ymin xmax ymax", a)}],
        lambda a, b: [corners("x0 y0 x1 y1", a), corners("x1 y1 x2 y2", b), corners("left top right bottom", a), b],
    ],
)
def test_json_of_many_kinds_keeps_everything_but_the_boxes(wrap):
    assert json.loads(through(json.dumps(wrap(BOX, OTHER)))) == wrap(mapped(BOX), mapped(OTHER))


def test_an_empty_list_stays_empty():
    assert json.loads(through("[]")) == []
    assert json.loads(through('{"boxes": []}')) == {"boxes": []}


def test_json_has_one_item_a_line():
    text = through(json.dumps([{"box": BOX, "label": "café"}, {"box": OTHER, "label": "b"}]))
    assert len(text.splitlines()) == 4
    assert "café" in text


@pytest.mark.parametrize("names", ["x0,y0,x1,y1", "X1, Y1, X2, Y2", "xmin,ymin,xmax,ymax", "left,top,right,bottom"])
def test_csv_with_a_header_finds_its_columns_and_keeps_the_others(names):
    x0, y0, x1, y1 = names.split(",")
    text = f'label,{y1},{x1},{y0},{x0},score\n"a, b",60,120,30,20,0.50\n\nc,190,290,10,200,\n'
    head, first, second = csv.reader(stdio.StringIO(through(text, suffix=".csv")))
    assert ",".join(head) == f"label,{y1},{x1},{y0},{x0},score"
    for row, box, label, score in ((first, BOX, "a, b", "0.50"), (second, OTHER, "c", "")):
        a, b, c, d = mapped(box)
        assert (row[0], row[5]) == (label, score)
        assert [float(cell) for cell in row[1:5]] == [d, c, b, a]


def test_csv_without_a_header_starts_with_the_numbers():
    rows = list(csv.reader(stdio.StringIO(through("20,30,120,60,cup\n200,10,290,190,dog\n", suffix=".csv"))))
    assert [[float(cell) for cell in row[:4]] for row in rows] == [mapped(BOX), mapped(OTHER)]
    assert [row[4] for row in rows] == ["cup", "dog"]


def test_a_byte_order_mark_is_no_part_of_the_header():
    assert through("\ufeffx0,y0,x1,y1\n20,30,120,60\n", suffix=".csv").startswith("x0,y0,x1,y1\n")


def test_points():
    x, y = WARP.points(np.array([50.0, 120.0])).tolist()
    assert json.loads(through("[[50, 120]]", "--points")) == [[x, y]]
    assert json.loads(through('[{"point": [50, 120]}, {"x": 50, "y": 120}]', "--points")) == [
        {"point": [x, y]},
        {"x": x, "y": y},
    ]
    assert through("id,x,y\n7,50,120\n", "--points", suffix=".csv") == f"id,x,y\n7,{x!r},{y!r}\n"


def test_inverse_gives_the_numbers_back():
    once = through(json.dumps([BOX, OTHER]))
    np.testing.assert_allclose(json.loads(through(once, "--boxes", "--inverse")), [BOX, OTHER], rtol=0, atol=1e-9)


def test_widths_and_heights_where_names_or_the_option_say_so():
    x0, y0, x1, y1 = mapped(BOX)
    wanted = [x0, y0, x1 - x0, y1 - y0]
    assert json.loads(through("[20, 30, 100, 30]", "--boxes", "--box-format", "xywh")) == wanted
    named = {"x": 20, "y": 30, "width": 100, "height": 30}
    assert json.loads(through(json.dumps(named))) == dict(zip(named, wanted, strict=True))
    assert json.loads(through(json.dumps(corners("x0 y0 x1 y1", BOX)), "--boxes", "--box-format", "xywh")) == corners(
        "x0 y0 x1 y1", mapped(BOX)
    )
    text = through("x,y,w,h\n20,30,100,30\n", suffix=".csv")
    assert [float(cell) for cell in text.splitlines()[1].split(",")] == wanted


@pytest.mark.parametrize(("units", "scale"), [("fractions", 1), ("thousandths", 1000)])
def test_units_are_parts_of_each_image(units, scale):
    source, target = np.array([300, 200] * 2) / scale, np.array([400, 150] * 2) / scale
    found = json.loads(through(json.dumps((BOX / source).tolist()), "--boxes", "--units", units))
    np.testing.assert_allclose(found, mapped(BOX) / target, rtol=1e-12)
    back = json.loads(through(json.dumps(found), "--boxes", "--units", units, "--inverse"))
    np.testing.assert_allclose(back, BOX / source, rtol=1e-9)


@pytest.mark.parametrize("text", ["[[20, 30, 120, 60]]", "x0,y0,x1,y1\n20,30,120,60\n"])
def test_stdin_is_known_by_its_content(text):
    assert coords("--boxes", "-", stdin=text).stdout == through(text, suffix=".json" if text[0] == "[" else ".csv")


def test_format_overrules_the_suffix():
    text = "20,30,120,60\n"
    assert through(text, "--boxes", "--format", "csv", suffix=".txt") == through(text, suffix=".csv")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON.*line 1"),
        ("", "not JSON"),
        ("3", "the document.*x0, y0, x1, y1, got 3"),
        ("[[1, 2, 3]]", r"\[0\].*got \[1, 2, 3\]"),
        ("[[1, 2, 3, 4], null]", r"\[1\].*got null"),
        ('[[1, 2, 3, "4"]]', r'\[0\].*got \[1, 2, 3, "4"\]'),
        ("[[1, 2, 3, true]]", "got .*true"),
        ("[[1, 2, 3, NaN]]", "NaN"),
        ("[[1, 2, 3, 1e999]]", "got .*Infinity"),
        ("[[30, 1, 3, 4]]", r"\[0\].*turned around.*--box-format xywh"),
        ('[{"label": "a"}]', r"\[0\].*'label'.*box, boxes, bbox"),
        ('{"images": [], "annotations": []}', "'images', 'annotations'"),
        ('[{"xmin": 1, "ymin": 2, "xmax": null, "ymax": 4}]', r"\[0\].xmax.*null"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + "1" * 5000 + ", 2, 3, 4]", "is not JSON: Exceeds the limit"),
    ],
)
def test_json_that_is_not_boxes_is_refused_with_its_place(text, says):
    Path("in.json").write_text(text)
    result = coords("--boxes", "in.json", code=1)
    assert result.stdout == ""
    assert re.fullmatch(f"pmtools: error: 'in.json': .*{says}.*\n", result.stderr), result.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b,c,d\n1,2,3,4\n", "header 'a, b, c, d'.*xmin"),
        ("x0,y0,x1,y1\n1,2,3,4\n1,2,x,4\n", "line 3.*'x' in column 3"),
        ("x0,y0,x1,y1\n1,2\n", "line 2.*2 columns"),
        ("cup,1,2,3,4\n", "line 1.*'cup' in column 1"),
        ("1,2,nan,4\n", "line 1.*'nan' in column 3"),
        ("5,2,3,4\n", "line 1.*turned around"),
        ('x0,y0,x1,y1\n1,2,"3,4\n', "not CSV"),
    ],
)
def test_csv_that_is_not_boxes_is_refused_with_its_line(text, says):
    Path("in.csv").write_text(text)
    result = coords("--boxes", "in.csv", code=1)
    assert result.stdout == ""
    assert re.fullmatch(f"pmtools: error: 'in.csv': .*{says}.*\n", result.stderr), result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "either --boxes or --points"),
        (("--boxes", "-", "--points", "-"), "either --boxes or --points"),
        (("--boxes", "nothing.json"), "--boxes.*nothing.json.*No such file"),
        (("--boxes", "."), "--boxes.*directory"),
        (("--boxes", "in.dat"), "in.dat.*--format"),
        (("--boxes", "-", "--format", "xml"), "--format.*json"),
    ],
)
def test_arguments_that_cannot_be_right(arguments, says):
    Path("in.dat").write_text("1,2,3,4")
    result = coords(*arguments, code=2, stdin="")
    assert re.fullmatch(f"pmtools: error: .*{says}.*\n", result.stderr), result.stderr


def test_what_is_no_text_is_refused():
    Path("in.csv").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in coords("--boxes", "in.csv", code=1).stderr


finite = st.floats(-1e6, 1e6)
rows = st.lists(st.tuples(finite, finite, st.floats(0, 1e6), st.floats(0, 1e6)), max_size=5)


@given(rows=rows)
def test_identity_changes_nothing(rows):
    boxes = [[x, y, x + w, y + h] for x, y, w, h in rows]
    assert json.loads(coordinates.map_json(json.dumps(boxes), coordinates.boxes(), lambda values: values)) == boxes
    table = "".join(",".join(map(repr, box)) + ",label\n" for box in boxes)
    assert coordinates.map_csv(table, coordinates.boxes(), lambda values: values) == table


anything = st.recursive(
    st.none() | st.booleans() | finite | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(data=anything)
def test_whatever_json_comes_is_mapped_or_refused(data):
    with contextlib.suppress(coordinates.CoordinateFileError):
        coordinates.map_json(json.dumps(data), coordinates.boxes(), lambda values: values + 1)


@given(text=st.text())
def test_whatever_csv_comes_is_mapped_or_refused(text):
    with contextlib.suppress(coordinates.CoordinateFileError):
        coordinates.map_csv(text, coordinates.points(), lambda values: values + 1)


@pytest.mark.parametrize("extra", [("x3", "y3", "x4", "y4"), ("angle",), ("rotation",)])
@pytest.mark.parametrize("names", [("x1", "y1", "x2", "y2"), ("x", "y", "w", "h")])
def test_boxes_that_are_not_upright_are_refused_and_not_mapped_by_half(names, extra):
    """As detectors of oriented boxes write them; without the extra fields the same file is mapped."""
    from pmtools.cli import coordinates

    kind, row = coordinates.boxes(), dict.fromkeys((*names, *extra), 5.0)
    upright = {name: row[name] for name in names}
    for made, mapping in (
        (lambda box: json.dumps([{"box": box, "label": "ship"}]), coordinates.map_json),
        (lambda box: ",".join(box) + "\n" + ",".join(map(str, box.values())) + "\n", coordinates.map_csv),
    ):
        with pytest.raises(coordinates.CoordinateFileError, match="must be upright"):
            mapping(made(row), kind, lambda rows: rows)
        assert mapping(made(upright), kind, lambda rows: rows)


# -------------------------------------------------------------------------------------------- whole annotations

RECORDS = [
    {
        "id": 1,
        "image_id": 5,
        "bbox": [20, 30, 100, 30],
        "area": 3000,
        "segmentation": [[20, 30, 120, 30, 120, 60, 20, 60]],
    },
    {"id": 2, "image_id": 6, "bbox": [1, 2, 3, 4], "keypoints": [5, 6, 2], "num_keypoints": 1},
]
DATASET = {
    "images": [
        {"id": 5, "file_name": "train/a.jpg", "height": 200, "width": 300},
        {"id": 6, "file_name": "b.jpg", "height": 50, "width": 60},
    ],
    "annotations": RECORDS,
    "categories": [{"id": 1, "name": "caf\u00e9"}],
}
OTHER_WARP = pmtools.fit_warp(HEAT, source_hw=(50, 60))


def test_a_whole_data_set_finds_the_warp_of_each_image():
    io.write_json(WARP.to_dict(), "warps/train/a.json")
    io.write_json(OTHER_WARP.to_dict(), "warps/b.json")
    io.write_json(DATASET, "in.json")
    from pmtools.cli.application import app

    def run(text: str, *flags: str, code: int = 0) -> str:
        arguments = ["coords", "--warp", "warps", "--boxes", "-", *flags]
        result = CliRunner().invoke(app, arguments, input=text)
        assert result.exit_code == code, result.output
        return result.output

    there = run(json.dumps(DATASET))
    wanted = pmtools.annotation.coco_dataset(DATASET, {5: WARP, 6: OTHER_WARP})
    assert json.loads(there) == wanted
    back = json.loads(run(there, "--inverse"))
    assert back["images"] == DATASET["images"]
    np.testing.assert_allclose(back["annotations"][0]["bbox"], RECORDS[0]["bbox"], atol=1e-9)
    assert "has no warp 'c.json'" in run(json.dumps({**DATASET, "images": [{"id": 5, "file_name": "c.jpg"}]}), code=2)
    assert "name the one to use" in run("[[1, 2, 3, 4]]", code=2)
    assert "warp of this image" in run(json.dumps(DATASET), "--inverse", code=1)


def test_annotations_of_one_image_and_what_has_gone():
    text = json.dumps([RECORDS[0], {"id": 3, "bbox": [400, 10, 20, 20], "area": 400}])
    Path("in.json").write_text(text)
    assert "area, segmentation" in coords("--boxes", "in.json", code=1).stderr.replace(
        "segmentation, area", "area, segmentation"
    )
    found = json.loads(coords("--boxes", "in.json", "--format", "coco").stdout)
    assert found == pmtools.annotation.coco_annotations(json.loads(text), WARP)
    kept = json.loads(coords("--boxes", "in.json", "--format", "coco", "--clip", "--min-visible", "0.1").stdout)
    assert [record["id"] for record in kept] == [1]
    Path("in.json").write_text(json.dumps([{**RECORDS[0], "rotation": 30}]))
    assert "annotation 1 must be upright" in coords("--boxes", "in.json", "--format", "coco", code=1).stderr
    assert "images and annotations" in coords("--boxes", "-", "--format", "coco", stdin="{}", code=1).stderr
    assert "--clip" in coords("--boxes", "in.json", "--clip", code=2).stderr
    assert "--boxes alone" in coords("--points", "in.json", "--format", "coco", code=2).stderr


def test_json_lines_stay_lines():
    text = json.dumps({"box": BOX, "label": "café"}, ensure_ascii=False) + "\n\n" + json.dumps([BOX, OTHER]) + "\n"
    lines = through(text, suffix=".jsonl").split("\n")
    assert json.loads(lines[0]) == {"box": mapped(BOX), "label": "café"}
    assert lines[1] == lines[3] == ""
    assert json.loads(lines[2]) == [mapped(BOX), mapped(OTHER)]
    Path("in.jsonl").write_text('{"box": [1, 2, 3, 4]}\n{"box": [1, 2]}\n')
    assert "line 2: .box" in coords("--boxes", "in.jsonl", code=1).stderr


def test_rows_of_yolo():
    text = "3 0.5 0.5 0.2 0.4\n\n0 0.1 0.2 0.1 0.1 0.9\n"
    rows = [[3, 0.5, 0.5, 0.2, 0.4], [0, 0.1, 0.2, 0.1, 0.1, 0.9]]
    found = [[float(cell) for cell in line.split()] for line in through(text, suffix=".txt").splitlines()]
    assert found == pmtools.annotation.yolo_rows(rows, WARP)
    assert through(text, suffix=".txt").startswith("3 ")
    back = through(through(text, suffix=".txt"), "--boxes", "--inverse", suffix=".txt")
    np.testing.assert_allclose([float(c) for c in back.split()], [float(c) for c in text.split()], atol=1e-12)
    quad = "1 0.3 0.3 0.5 0.4 0.45 0.6 0.2 0.5\n"
    (found,) = pmtools.annotation.yolo_rows([[float(c) for c in quad.split()]], WARP, kind="quads")
    assert [float(c) for c in through(quad, "--boxes", "--rows", "quads", suffix=".txt").split()] == found
    for wrong, says in (
        (quad, "line 1: a row must be a class and centre x"),
        ("a b c d e\n", "line 1: a row must be numbers"),
    ):
        Path("in.txt").write_text(wrong)
        assert says in coords("--boxes", "in.txt", code=1).stderr


def test_what_a_model_said_is_said_of_the_original():
    text = 'The cup is here: {"bbox_2d": [100, 200, 300, 400], "label": "cup"}, is it not?\n'
    want = pmtools.answers.undo(text, warp=WARP, format="qwen3-vl").text
    Path("said.txt").write_text(text)
    flags = ("--answer-format", "qwen3-vl")
    assert coords("--answer", "said.txt", "--inverse", *flags).stdout == want != text
    assert coords("--answer", "-", "--inverse", *flags, stdin=text).stdout == want
    assert "--inverse" in coords("--answer", "said.txt", *flags, code=2).stderr
    assert "qwen3-vl" in coords("--answer", "said.txt", "--inverse", code=2).stderr
    assert "either --boxes" in coords("--answer", "said.txt", "--points", "said.txt", code=2).stderr


@given(data=anything)
def test_whatever_comes_as_coco_is_mapped_or_refused(data):
    with contextlib.suppress(coordinates.CoordinateFileError):
        coordinates.map_coco(json.dumps([{"bbox": data}, {"segmentation": data}]), lambda name: WARP, {})
    with contextlib.suppress(coordinates.CoordinateFileError):
        coordinates.map_coco(json.dumps({"images": data, "annotations": data}), lambda name: WARP, {})


@pytest.mark.parametrize(
    "record",
    [
        {"box": [10, 10, 20, 20], "angle": 30},
        {"bbox": [10, 10, 20, 20], "rotation_deg": -5.5},
        {"boxes": [[10, 10, 20, 20]], "theta": 0.1},
    ],
)
def test_an_angle_beside_a_list_is_refused(record):
    """Before, the numbers of the list were mapped and the angle was left."""
    with pytest.raises(coordinates.CoordinateFileError, match="must be upright"):
        coordinates.map_json(json.dumps([record]), coordinates.boxes(), lambda rows: rows)
    upright = {key: 0 if isinstance(value, (int, float)) else value for key, value in record.items()}
    assert coordinates.map_json(json.dumps([upright]), coordinates.boxes(), lambda rows: rows)


@pytest.mark.parametrize("line", ["10,5,40,20,35,30,5,15", "10,5,40,20,35,30,5,15,word"])
def test_four_corners_without_a_header_are_refused(line):
    with pytest.raises(coordinates.CoordinateFileError, match="may be four corners"):
        coordinates.map_csv(line + "\n", coordinates.boxes(), lambda rows: rows)
    assert coordinates.map_csv("10,5,40,20,0.5,3\n", coordinates.boxes(), lambda rows: rows)


def test_percent_of_label_studio_are_refused():
    record = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": ["a"]}
    with pytest.raises(coordinates.CoordinateFileError, match="--units fractions"):
        coordinates.map_json(json.dumps([record]), coordinates.boxes(), lambda rows: rows)


ANGLES = ("angle", "rotation", "rotationAngle", "rotation_angle", "angle_deg", "Angle (deg)", "box-theta", "angles")
CORNERS = ("poly", "quad", "obb", "rbox", "corners", "rotated_bbox", "rotatedBBox", "oriented_box", "x3")


@pytest.mark.parametrize(
    "extra",
    [
        *({name: value} for name in ANGLES for value in (30, "30", [0, 30], "30\u00b0")),
        *({name: [1, 2, 3, 4, 5]} for name in CORNERS),
        {"attributes": {"rotation": 30}},
        {"attributes": {"rotationAngle": "30.0"}},
        {"attributes": [{"name": "rotation", "value": "30"}]},
        {"attributes": [{"rotation": 30}]},
    ],
)
def test_rows_and_coco_refuse_the_same_boxes_that_are_not_upright(extra):
    """Before, each had its own list of names, and mapped by half what only the other one knew."""
    text = json.dumps([{"id": 1, "bbox": [10, 10, 20, 20], **extra}])
    for convert in (
        lambda text: coordinates.map_json(text, coordinates.boxes(), lambda rows: rows),
        lambda text: coordinates.map_coco(text, lambda name: WARP, {}),
    ):
        with pytest.raises(coordinates.CoordinateFileError, match="must be upright"):
            convert(text)
        assert convert(text.replace("30", "0").replace("[1, 2, 3, 4, 5]", "null"))
    columns = ["x0", "y0", "x1", "y1", *extra]
    if "attributes" not in extra:
        with pytest.raises(coordinates.CoordinateFileError, match="must be upright"):
            coordinates.map_csv(",".join(columns) + "\n1,2,3,4,5\n", coordinates.boxes(), lambda rows: rows)


@pytest.mark.parametrize(
    "extra",
    [
        {
            "triangle": 3,
            "rectangle": 4,
            "cornerstone": 1,
            "image_format": "coco",
            "source_mode": "xywh",
            "format": "png",
        },
        {"camera_angle": "low", "bbox_mode": None, "attributes": ["rotation"], "mode": 1},
    ],
)
def test_fields_that_say_nothing_of_the_box_stay(extra):
    text = json.dumps([{"bbox": [10, 10, 20, 30], **extra}])
    doubled = json.loads(coordinates.map_json(text, coordinates.boxes(), lambda rows: rows * 2))
    assert doubled == [{"bbox": [20, 20, 40, 60], **extra}]


@pytest.mark.parametrize(
    ("field", "as_sizes"),
    [
        ({"bbox_format": "xywh"}, True),
        ({"bboxFormat": "XYWH"}, True),
        ({"format": "coco"}, True),
        ({"bbox_mode": 1}, True),
        ({"bbox_mode": 0}, False),
        ({"box_format": "(x1, y1, x2, y2)"}, False),
        ({"bbox_format": "pascal_voc"}, False),
        ({"format": "cxcywh"}, None),
        ({"bbox_format": "yolo"}, None),
        ({"bbox_format": "unheard of"}, None),
        ({"bbox_mode": 3}, None),
        ({"bbox_format": "xyxy", "bbox_mode": 1}, None),
    ],
)
def test_the_format_that_a_record_says_is_obeyed_or_refused(field, as_sizes):
    """Before, rows were read as `--box-format` says, whatever the record said."""
    text = json.dumps([{"bbox": [100, 50, 180, 120], **field}])
    for kind in (coordinates.boxes(), coordinates.boxes(as_sizes=True)):
        if as_sizes is None:
            with pytest.raises(
                coordinates.CoordinateFileError, match=f'must be xyxy or xywh, got .*"{next(iter(field))}"'
            ):
                coordinates.map_json(text, kind, lambda rows: rows)
            continue
        seen = []
        coordinates.map_json(text, kind, lambda rows, seen=seen: seen.append(rows.tolist()) or rows)
        assert seen == [[[100, 50, 280, 170] if as_sizes else [100, 50, 180, 120]]]


@pytest.mark.parametrize("name", ["segments", "polygon", "keypoints"])
def test_other_geometry_beside_a_box_is_refused(name):
    record = {"box": {"x1": 1, "y1": 2, "x2": 3, "y2": 4}, name: {"x": [1, 2], "y": [3, 4]}}
    with pytest.raises(coordinates.CoordinateFileError, match=f"has {name} beside its box"):
        records.refuse_whole_records(json.dumps([record]))
