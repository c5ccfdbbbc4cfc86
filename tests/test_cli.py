"""The command line on real files: what it makes, what it refuses, and what is left when it is stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import pmtools
from pmtools import cli, io

BOX, BOX_TEXT = (12.0, 20.0, 30.0, 36.0), "12,20,30,36"


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def picture(seed: int = 0, size_hw=(48, 64)) -> np.ndarray:
    """Smooth, so that a half-pixel shift shows and JPEG keeps it, without any symmetry."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return np.asarray(coarse.resize(size_hw[::-1], Image.Resampling.BICUBIC))


def save(name: str, seed: int = 0, size_hw=(48, 64)) -> np.ndarray:
    pixels = picture(seed, size_hw)
    io.write_image(pixels, name)
    return pixels


def run(*arguments: object, code: int = 0, stdin: str | None = None):
    from pmtools.cli.application import app

    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    assert result.exit_code == code, (result.exit_code, result.output)
    assert "Traceback" not in result.output
    return result


def assert_refused(*arguments: object, code: int = 2, says: str) -> None:
    """One line on stderr, nothing on stdout, and `says` in it."""
    result = run(*arguments, code=code)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert re.search(says, lines[0]), lines[0]
    assert result.stdout == ""


def program(*arguments: object, **options):
    """The real thing, as another process."""
    command = [sys.executable, "-m", "pmtools", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def expected(pixels: np.ndarray, heat: np.ndarray | None = None, **options) -> np.ndarray:
    if heat is None:
        return pmtools.magnify(pixels, boxes=[BOX], **options)  # it is too large to grow three times
    return pmtools.magnify(pixels, heat, **options)


def pixels_of(path: str | Path) -> np.ndarray:
    return io.to_array(io.read_image(path))


def files_below(folder: str | Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


# ------------------------------------------------------------------------------------------------- what is made


def test_one_image_is_what_the_library_makes():
    pixels = save("a.png")
    result = run("magnify", "a.png", "--box", BOX_TEXT, "-o", "new/b.png")
    np.testing.assert_array_equal(pixels_of("new/b.png"), expected(pixels))
    assert result.stdout == ""
    assert result.stderr == "magnified: 'new/b.png'\n"


def test_options_reach_the_library():
    pixels = save("a.png")
    heat = np.random.default_rng(0).random((5, 7))
    np.save("map.npy", heat)
    options = {"gain": 4, "kernel-size": 5, "marginal": "sum", "floor": 0.2, "max-magnification": 2.5}
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    run("magnify", "a.png", "--heatmap", "map.npy", "-o", "b.png", "--size", "30x20", "--no-antialias", *flags)
    named = {name.replace("-", "_"): value for name, value in options.items()}
    wanted = expected(pixels, heat, size_hw=(30, 20), antialias=False, **named)
    assert wanted.shape == (30, 20, 3)
    np.testing.assert_array_equal(pixels_of("b.png"), wanted)


def test_the_help_names_the_defaults_of_the_library():
    from inspect import signature

    from pmtools.cli.magnifying import MOST_ZOOM
    from pmtools.zoom import ZOOM_FLOOR

    words = " ".join(run("magnify", "--help").stdout.replace("│", " ").split())
    library = signature(pmtools.fit_warp).parameters
    gain, window, marginal, floor = (library[n].default for n in ("gain", "kernel_size", "marginal", "floor"))
    for text in (
        f"nothing. {gain:g}.",
        f"odd. {window}.",
        f"x and y. {marginal}.",
        f"{ZOOM_FLOOR} around boxes, else {floor}",
    ):
        assert text in words, text
    assert f"up to {MOST_ZOOM:g}" in words
    assert f"{MOST_ZOOM:g} for boxes" in words


def test_boxes_keep_their_shape_and_grow_three_times_at_most():
    pixels = save("a.png", size_hw=(480, 640))
    box = [100, 50, 140, 70]

    def zoom_of(*flags):
        run("magnify", "a.png", "--box", "100,50,140,70", "-o", "b.png", "--warp", "w.json", "--overwrite", *flags)
        x0, y0, x1, y1 = pmtools.Warp.from_dict(io.read_json("w.json")).boxes(np.array(box)).tolist()
        return (x1 - x0) / 40, (y1 - y0) / 20

    np.testing.assert_allclose(zoom_of(), (3, 3))
    np.testing.assert_array_equal(pixels_of("b.png"), pmtools.magnify(pixels, boxes=[box], zoom=3))
    np.testing.assert_allclose(zoom_of("--zoom", 5), (5, 5))
    np.testing.assert_allclose(zoom_of("--max-magnification", 1.5), (1.5, 1.5))
    run("magnify", "a.png", "--box", "100,50,140,70", "-o", "c.png", "--zoom", 2, "--margin", 10, "--floor", 0.5)
    warp = pmtools.zoom_warp([box], source_hw=(480, 640), zoom=2, margin=10, floor=0.5)
    np.testing.assert_array_equal(pixels_of("c.png"), warp.image(pixels))
    result = run("magnify", "a.png", "--box", "100,50,140,70", "-o", "d.png", "--zoom", "90", code=1)
    assert re.search(r"--zoom must fit into --size, got 90.*largest that does is \d", result.stderr)


@pytest.mark.parametrize("name", ["map.npy", "map.png", "map.tif"])
def test_a_heatmap_file_of_any_size_serves_all_images(name):
    heat = np.zeros((5, 7))
    heat[1, 4] = 200
    if name.endswith(".npy"):
        np.save(name, heat)
    else:
        io.write_image(heat.astype(np.uint8 if name.endswith(".png") else np.float32), name)
    images = {each: save(f"in/{each}", seed) for seed, each in enumerate(["a.png", "b.png"])}
    run("magnify", "in", "--heatmap", name, "-o", "out")
    for each, pixels in images.items():
        np.testing.assert_array_equal(pixels_of(f"out/{each}"), expected(pixels, heat))


def test_a_folder_of_heatmaps_gives_each_image_its_own():
    heats = {}
    for seed, stem in enumerate(["a", "b"]):
        save(f"in/{stem}.png", seed)
        heats[stem] = np.random.default_rng(seed).random((4, 4))
    save("in/c.png")
    os.mkdir("maps")
    np.save("maps/a.npy", heats["a"])
    np.savez("maps/b.npz", heats["b"])
    result = run("magnify", "in", "--heatmap", "maps", "-o", "out", code=1)
    for stem, heat in heats.items():
        np.testing.assert_array_equal(pixels_of(f"out/{stem}.png"), expected(pixels_of(f"in/{stem}.png"), heat))
    assert "'in/c.png': 'maps' has no heatmap 'c.*'" in result.stderr


def test_units_say_the_same_box():
    save("a.png", size_hw=(50, 80))
    run("magnify", "a.png", "--box", "20,5,40,30", "-o", "pixels.png")
    run("magnify", "a.png", "--box", "0.25,0.1,0.5,0.6", "--units", "fractions", "-o", "fractions.png")
    run("magnify", "a.png", "--box", "250,100,500,600", "--units", "thousandths", "-o", "thousandths.png")
    for name in ("fractions", "thousandths"):
        np.testing.assert_array_equal(pixels_of(f"{name}.png"), pixels_of("pixels.png"))


def test_boxes_and_points_add_up_and_a_point_is_the_middle_of_a_box():
    pixels = save("a.png")
    run("magnify", "a.png", "--box=4,20,14,36", "--box=50,30,60,44", "--point=32,8", "--output=b.png")
    boxes = [[4, 20, 14, 36], [50, 30, 60, 44], [29, 5, 35, 11]]
    np.testing.assert_array_equal(pixels_of("b.png"), pmtools.magnify(pixels, boxes=boxes))


def test_boxes_are_in_pixels_of_the_upright_image():
    upright = picture(size_hw=(48, 64))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save("a.png", exif=exif)
    np.testing.assert_array_equal(pixels_of("a.png"), upright)
    run("magnify", "a.png", "--box", BOX_TEXT, "-o", "b.png")
    np.testing.assert_array_equal(pixels_of("b.png"), expected(upright))


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "P"])
def test_modes_stay(mode):
    pixels = picture()
    sixteen_bits = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
    (sixteen_bits if mode == "I;16" else Image.fromarray(pixels).convert(mode)).save("a.png")
    run("magnify", "a.png", "--box", BOX_TEXT, "-o", "b.png")
    assert io.read_image("b.png").mode == mode


def test_folders_globs_and_files_are_each_made_once_under_their_names():
    for seed, name in enumerate(["in/a.png", "in/b.jpg", "more/c.png"]):
        save(name, seed)
    Path("in/notes.txt").write_text("not an image")
    result = run("magnify", "in", "in/a.png", "m*/*.png", Path("in/b.jpg").absolute(), "--box", BOX_TEXT, "-o", "out")
    assert files_below("out") == ["a.png", "b.jpg", "c.png"]
    assert result.stderr == "3 magnified\n"


def test_warps_and_pictures_go_where_they_are_told_and_nowhere_else():
    images = {stem: save(f"in/{stem}.png", seed) for seed, stem in enumerate("ab")}
    run("magnify", "in", "--box", BOX_TEXT, "-o", "out", "--warp", "warps", "--show", "shows")
    assert (files_below("out"), files_below("warps")) == (["a.png", "b.png"], ["a.json", "b.json"])
    assert files_below("shows") == ["a.png", "b.png"]
    for stem, pixels in images.items():
        warp = pmtools.Warp.from_dict(io.read_json(f"warps/{stem}.json"))
        np.testing.assert_array_equal(warp.image(pixels), pixels_of(f"out/{stem}.png"))


def test_many_threads_make_what_one_makes():
    for seed in range(12):
        save(f"in/{seed}.png", seed, size_hw=(40 + seed, 60))
    Path("in/5.png").write_bytes(Path("in/5.png").read_bytes()[:200])
    arguments = ("magnify", "in", "--box", BOX_TEXT, "--json")
    serial = run(*arguments, "-o", "one", "--warp", "one", "--jobs", "1", code=1)
    parallel = run(*arguments, "-o", "many", "--warp", "many", "--jobs", "6", code=1)
    assert files_below("one") == files_below("many")
    assert len(files_below("one")) == 22
    for name in files_below("one"):
        assert Path("one", name).read_bytes() == Path("many", name).read_bytes(), name
    assert json.loads(serial.stdout.replace("one/", "many/")) == json.loads(parallel.stdout)


def test_show_draws_four_parts_side_by_side():
    save("a.png")
    run("show", "a.png", "--point", "40,20", "-o", "b.png")
    shown = io.read_image("b.png")
    assert shown.mode == "RGB"
    assert shown.width > 4 * 512 * 64 / 48 > shown.height


def test_unmagnify_undoes_magnify():
    pixels = save("a.png", size_hw=(240, 320))
    run("magnify", "a.png", "--box", "120,100,200,160", "-o", "b.png", "--warp", "w.json", "--size", "200x500")
    run("unmagnify", "b.png", "--warp", "w.json", "-o", "c.png")
    warp = pmtools.Warp.from_dict(io.read_json("w.json"))
    np.testing.assert_array_equal(pixels_of("c.png"), warp.inverse_image(pixels_of("b.png")))
    inside = (slice(100, 160), slice(120, 200))
    error = np.abs(pixels_of("c.png")[inside].astype(float) - pixels[inside])
    assert error.mean() < 1  # grey levels: the box was magnified, so it comes back


def test_unmagnify_mixes_no_labels():
    save("a.png")
    run("magnify", "a.png", "--box", BOX_TEXT, "-o", "b.png", "--warp", "w.json")
    labels = Image.fromarray(np.random.default_rng(0).choice(np.uint8([0, 7, 200]), (48, 64)))
    palette = labels.copy().convert("P")
    palette.putpalette([0, 0, 0] * 256)  # all labels look alike
    for name, image in {"grey.png": labels, "palette.png": palette}.items():
        image.save(name)
        run("unmagnify", name, "--mask", "--warp", "w.json", "-o", f"back_{name}")
        warp = pmtools.Warp.from_dict(io.read_json("w.json"))
        found = np.asarray(io.read_image(f"back_{name}"))
        np.testing.assert_array_equal(found, warp.inverse_mask(np.asarray(labels)))
        assert set(np.unique(found)) == {0, 7, 200}


# ------------------------------------------------------------------------------------------ resuming, reporting


def test_what_exists_is_skipped_unless_it_is_to_be_overwritten():
    save("in/a.png")
    save("in/b.png", 1)
    os.mkdir("out")
    Path("out/a.png").write_text("kept")
    arguments = ("magnify", "in", "--box", BOX_TEXT, "-o", "out")
    assert run(*arguments).stderr == "1 magnified, 1 skipped, as they exist (--overwrite redoes them)\n"
    assert Path("out/a.png").read_text() == "kept"
    assert run(*arguments, "--overwrite").stderr == "2 magnified\n"
    np.testing.assert_array_equal(pixels_of("out/a.png"), expected(pixels_of("in/a.png")))
    single = ("magnify", "in/a.png", "--box", BOX_TEXT, "-o", "out/a.png")
    assert run(*single).stderr == "skipped: 'out/a.png' exists (--overwrite redoes it)\n"


def test_a_job_whose_warp_is_missing_is_not_finished():
    save("a.png")
    arguments = ("magnify", "a.png", "--box", BOX_TEXT, "-o", "b.png")
    run(*arguments)
    assert run(*arguments, "--warp", "w.json").stderr.startswith("magnified")
    assert run(*arguments, "--warp", "w.json").stderr.startswith("skipped")
    assert Path("w.json").exists()


def test_changed_options_are_noticed_on_the_way_on():
    save("in/a.png")
    save("in/b.png", 1)
    arguments = ("magnify", "in", "-o", "out", "--warp", "warps", "--box", BOX_TEXT)
    run(*arguments)
    assert io.read_json("warps/a.json")["settings"]["box"] == [BOX_TEXT]
    assert run(*arguments).stderr.startswith("0 magnified, 2 skipped")
    os.remove("out/b.png")
    result = run(*arguments, "--zoom", "1.2", code=1)
    first, last = result.stderr.splitlines()
    assert first == (
        "failed: 'in/a.png': 'warps/a.json' was made with other settings (--zoom); --overwrite redoes it, "
        "or use another folder"
    )
    assert last == "1 magnified, 1 failed"
    assert run(*arguments, "--zoom", "1.2", "--overwrite").stderr == "2 magnified\n"
    assert "2 skipped" in run(*arguments, "--zoom", "1.2").stderr


def test_a_changed_file_of_boxes_or_maps_is_noticed():
    save("in/a.png")
    arguments = ("magnify", "in", "-o", "out", "--warp", "warps", "--boxes", "boxes.jsonl")
    Path("boxes.jsonl").write_text('{"image": "a.png", "box": [12, 20, 30, 36]}\n')
    run(*arguments)
    assert run(*arguments).stderr.startswith("skipped")
    Path("boxes.jsonl").write_text('{"image": "a.png", "box": [12, 20, 31, 36]}\n')
    assert "(a file's content)" in run(*arguments, code=1).stderr
    io.write_json({**pmtools.frames.identity((4, 4)).to_dict()}, "warps/a.json")  # of a version that kept no settings
    assert run(*arguments).stderr.startswith("skipped")


def test_a_tree_of_folders_keeps_its_shape():
    images = {name: save(f"in/{name}", seed) for seed, name in enumerate(["x.png", "a/x.png", "a/b/x.png"])}
    for name in images:
        Path("maps", name).parent.mkdir(parents=True, exist_ok=True)
        np.save(Path("maps", name).with_suffix(".npy"), np.random.default_rng(len(name)).random((4, 4)))
    run("magnify", "in", "--tree", "--heatmap", "maps", "-o", "out", "--warp", "warps")
    assert files_below("out") == sorted(images)
    assert files_below("warps") == sorted(name.replace(".png", ".json") for name in images)
    for name, pixels in images.items():
        heat = np.random.default_rng(len(name)).random((4, 4))
        np.testing.assert_array_equal(pixels_of(f"out/{name}"), expected(pixels, heat))
    run("magnify", "in", "--box", BOX_TEXT, "-o", "flat")
    assert files_below("flat") == ["x.png"]


def coco(**more):
    images = [{"id": 5, "file_name": "a.png"}, {"id": 6, "file_name": "b.png"}, {"id": 7, "file_name": "none.png"}]
    records = [{"image_id": 5, "bbox": [12, 20, 18, 16]}, {"image_id": 6, "bbox": [40, 4, 10, 10], **more}]
    return json.dumps({"images": images, "annotations": records})


@pytest.mark.parametrize(
    ("name", "text", "flags"),
    [
        ("boxes.json", coco(), ()),
        ("boxes.json", '[{"image": "a.png", "box": [12, 20, 30, 36]}, {"image": "b.png", "boxes": [[40, 4, 50, 14]]}]', ()),
        ("boxes.jsonl", '{"file_name": "in/a.png", "bbox": [12, 20, 18, 16]}\n{"image": "b.png", "x": 40, "y": 4, '
         '"w": 10, "h": 10}\n', ("--box-format", "xywh")),
        ("boxes.csv", "label,filename,x0,y0,x1,y1\ncup,a.png,12,20,30,36\n,b.png,40,4,50,14\n", ()),
        ("boxes.csv", "image,x,y,w,h\na.png,0.1875,0.416666666666666667,0.28125,0.333333333333333333\n"
         "b.png,0.625,0.0833333333333333333,0.15625,0.208333333333333333\n", ("--units", "fractions")),
        ("boxes/a.txt", "0 0.328125 0.583333333333333333 0.28125 0.333333333333333333\n", ()),
    ],
)  # fmt: skip
def test_a_list_of_boxes_gives_each_image_its_own(name, text, flags):
    images = {stem: save(f"in/{stem}.png", seed) for seed, stem in enumerate("ab")}
    save("in/none.png")
    save("in/unnamed.png")
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)
    if name.endswith(".txt"):
        Path("boxes/b.txt").write_text("1 0.703125 0.1875 0.15625 0.208333333333333333 0.9\n")
        Path("boxes/none.txt").write_text("")
    elif name == "boxes.json" and "file_name" not in text:
        Path(name).write_text(text[:-1] + ', {"image": "none.png", "boxes": []}]')
    listed = name.split("/")[0]
    result = run("magnify", "in", "--boxes", listed, "-o", "out", *flags, code=1)
    for stem, box in {"a": [12, 20, 30, 36], "b": [40, 4, 50, 14]}.items():
        wanted = pmtools.magnify(images[stem], boxes=[box]).astype(int)
        assert np.abs(pixels_of(f"out/{stem}.png") - wanted).max() <= 1, stem
    assert "failed: 'in/unnamed.png'" in result.stderr
    if Path("out/none.png").exists():
        np.testing.assert_array_equal(pixels_of("out/none.png"), pixels_of("in/none.png"))
    else:
        assert listed != "boxes"
        assert "failed: 'in/none.png'" in result.stderr


def test_lists_of_boxes_that_are_none_are_refused():
    save("a.png")
    for name, text, says in (
        ("b.json", coco(bbox_mode=0), "annotation None: bbox must be x, y, width, height"),
        ("b.json", "{", "neither CSV, JSON lines nor JSON"),
        ("b.json", "[]", "names no image"),
        ("b.jsonl", '{"image": "a.png"}\n', r"\[0\]: .*none of box, boxes"),
        ("b.jsonl", '{"image": "a.png", "box": [1, 2, 3, 4, 5]}\n', r"\[0\]: .*got \[1, 2, 3, 4, 5\]"),
        ("b.json", coco().replace('"none.png"', "7"), r"images\[2\]: an image must be an object"),
        ("b.json", coco(image_id=[5]), r"annotation None: image_id must be that of an image, got \[5\]"),
        ("b.json", coco(image_id=8), "image_id must be that of an image, got 8"),
        ("b.jsonl", "[" * 100_000, "not JSON lines"),
        ("b.csv", "\n", "column of images"),
        ("b.csv", "x0,y0,x1,y1,image\n1,2,3,4\n", "line 2: names no image, in column 5"),
        ("b.csv", "x0,y0,x1,y1\n1,2,3,4\n", "column of images"),
        ("b.csv", "image,x1,y1,x2,y2,angle\na.png,1,2,3,4,5\n", "upright"),
        (
            "b.json",
            coco(attributes={"rotation": 60}),
            "annotation None must be upright, got rotation; give the upright",
        ),
        ("b.json", coco(quad=[1, 2, 3, 4, 5, 6, 7, 8]), "annotation None must be upright, got quad"),
        (
            "b.json",
            coco(bbox_format="xyxy"),
            "annotation None must have a bbox of corner and size, got bbox_format 'xyxy'",
        ),
        ("b.json", coco(bbox=[1, 2, 3]), "annotation None: bbox must be 4 finite numbers"),
        (
            "b.jsonl",
            '{"image": "a.png", "box": [1, 2, 3, 4], "attributes": {"rotation": 60}}\n',
            r"\[0\]: .*got rotation",
        ),
    ):
        Path(name).write_text(text)
        assert_refused("magnify", "a.png", "--boxes", name, "-o", "c.png", says=f"--boxes: '{name}': .*{says}|{says}")
    os.mkdir("labels")
    for row, says in (("0 0.5 0.5 0.1", "a class and centre x"), ("0 0.5 0.5 0.2 0.1 1.57", "for an angle give")):
        Path("labels/a.txt").write_text(row)
        said = run("magnify", "a.png", "--boxes", "labels", "-o", "c.png", code=1).stderr
        assert "line 1: a row must " in said
        assert says in said


def test_the_report_for_machines():
    save("in/a.png")
    save("in/c.png")
    Path("in/b.png").write_text("no image")
    run("magnify", "in/a.png", "--box", BOX_TEXT, "-o", "out/", "--warp", "warps/")
    result = run("magnify", "in", "--box", BOX_TEXT, "-o", "out", "--warp", "warps", "--json", code=1)
    report = json.loads(result.stdout)
    assert {key: report[key] for key in ("done", "skipped", "failed", "not_started")} == {
        "done": 1,
        "skipped": 1,
        "failed": 1,
        "not_started": 0,
    }
    assert [file["status"] for file in report["files"]] == ["skipped", "failed", "done"]
    assert report["files"][0] == {
        "status": "skipped",
        "input": "in/a.png",
        "output": "out/a.png",
        "warp": "warps/a.json",
        "show": None,
        "error": None,
        "notes": [],
    }
    assert "'in/b.png'" in report["files"][1]["error"]


def test_names_that_cannot_be_printed_are_still_reported_in_one_line():
    name = os.fsdecode(b"bad\xff\n\x1b[31m.png")
    Path(name).write_text("no image")
    result = program("magnify", name, "--box", BOX_TEXT, "-o", "b.png", "--json")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "\x1b" not in result.stderr
    assert json.loads(result.stdout)["files"][0]["input"] == name


# ---------------------------------------------------------------------------------------------------- bad input


def test_assert_refused_can_fail():
    save("a.png")
    with pytest.raises(AssertionError):
        assert_refused("magnify", "a.png", "--box", BOX_TEXT, "-o", "b.png", says="")
    with pytest.raises(AssertionError):
        assert_refused("magnify", "a.png", "-o", "b.png", says="no such words")


MAGNIFY = ("magnify", "a.png", "-o", "b.png")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("magnfy",), "magnify"),
        (("magnify", "a.png", "--box", BOX_TEXT), "--output"),
        (MAGNIFY, "--heatmap.* --box"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--heatmap", "map.npy"), "either"),
        ((*MAGNIFY, "--box", "1,2,3"), "--box.*'1,2,3'.*x0,y0,x1,y1"),
        ((*MAGNIFY, "--box", "1,2,3,nan"), "--box.*nan"),
        ((*MAGNIFY, "--box", "30,20,12,36"), "x0 < x1"),
        ((*MAGNIFY, "--box", "0.1,0.1,0.5,0.5"), "--units fractions"),
        ((*MAGNIFY, "--point", "3;4"), "--point.*x,y"),
        ((*MAGNIFY, "--point", "3,4", "--units", "metres"), "--units.*fractions"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--size", "336"), "--size.*336x336"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--size", "0x10"), "--size"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--size", "99999x99999"), "--size"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--gain", "5"), "--gain: for a --heatmap; boxes.*--zoom"),
        ((*MAGNIFY, "--heatmap", "map.npy", "--zoom", "2"), "--zoom: for boxes.*--gain"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--zoom", "2", "--max-magnification", "2"), "--zoom is exact"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--zoom", "0"), "--zoom must"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--margin=-1"), "--margin must"),
        ((*MAGNIFY, "--boxes", "nothing.json"), "--boxes.*nothing.json.*exist"),
        ((*MAGNIFY, "--boxes", "list.json"), r"--boxes: 'list.json': \[0\].*names its image"),
        ((*MAGNIFY, "--boxes", "empty"), "--boxes.*empty.*no .txt file"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--floor", "0"), "--floor must"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--floor", "nan"), "--floor must"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--gain", "much"), "--gain"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--kernel-size", "4"), "--kernel-size must be odd"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--max-magnification", "0.5"), "--max-magnification must"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--marginal", "mean"), "--marginal.*max.*sum"),
        ((*MAGNIFY, "--box", BOX_TEXT, "--jobs", "0"), "--jobs"),
        ((*MAGNIFY, "--heatmap", "nothing.npy"), "--heatmap.*nothing.npy.*exist"),
        ((*MAGNIFY, "--heatmap", "nan.npy"), "--heatmap.*nan.npy.*NaN"),
        ((*MAGNIFY, "--heatmap", "batch.npy"), r"--heatmap.*batch.npy.*\(2, 3, 4\)"),
        ((*MAGNIFY, "--heatmap", "a.png"), "--heatmap.*a.png.*grey"),
        (("magnify", "nothing.png", "--box", BOX_TEXT, "-o", "b.png"), "PATH.*nothing.png.*exist"),
        (("magnify", "nothing/*.png", "--box", BOX_TEXT, "-o", "out"), r"PATH.*nothing/\*.png"),
        (("magnify", "empty", "--box", BOX_TEXT, "-o", "out"), "PATH.*empty.*no image"),
        (("magnify", "a.png", "in", "--box", BOX_TEXT, "-o", "b.png"), "--output.*b.png.*2 images.*folder"),
        (("magnify", "a.png", "in/x.png", "--box", BOX_TEXT, "-o", "out", "--warp", "w.json"), "--warp.*folder"),
        (("magnify", "a.png", "--box", BOX_TEXT, "-o", "b.pgn"), "--output.*b.pgn.*.png"),
        (("magnify", "a.png", "--box", BOX_TEXT, "-o", "b.png", "--warp", "w.png"), "--warp.*.json"),
        (("magnify", "a.png", "--box", BOX_TEXT, "-o", "a.png/b.png"), "folder 'a.png'"),
        (("magnify", "in/x.png", "more/x.png", "--box", BOX_TEXT, "-o", "out"), "'out/x.png'.*in/x.*more/x"),
        (("magnify", "a.png", "--box", BOX_TEXT, "-o", "b.png", "--show", "./b.png"), "b.png.*twice"),
        (("unmagnify", "a.png", "-o", "b.png", "--warp", "a.png"), "--warp.*a.png.*JSON"),
        (("unmagnify", "a.png", "-o", "b.png", "--warp", "list.json"), "--warp.*list.json.*no warp"),
        (("unmagnify", "a.png", "-o", "b.png", "--warp", "batch.json"), "--warp.*batch of 2"),
    ],
)
def test_arguments_that_cannot_be_right_are_named_in_one_line(arguments, says):
    for name in ("a.png", "in/x.png", "more/x.png"):
        save(name)
    os.mkdir("empty")
    np.save("map.npy", np.eye(3))
    np.save("nan.npy", np.array([[1.0, np.nan]]))
    np.save("batch.npy", np.ones((2, 3, 4)))
    io.write_json([1, 2], "list.json")
    io.write_json(pmtools.fit_warp(np.ones((2, 3, 3)), source_hw=(48, 64)).to_dict(), "batch.json")
    before = files_below(".")
    assert_refused(*arguments, says=says)
    assert files_below(".") == before


def link(kind: str, source: str, name: str) -> None:
    {"symbolic": os.symlink, "hard": os.link}[kind](source, name)


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_no_input_is_overwritten_whatever_it_is_called(kind):
    save("in/a.png")
    np.save("map.npy", np.eye(3))
    before = Path("in/a.png").read_bytes()
    os.mkdir("out")
    link(kind, os.path.abspath("in/a.png"), "out/a.png")
    link(kind, os.path.abspath("map.npy"), "map.png")
    for output in ("in/a.png", "in", "./in/../in/a.png", "out", Path("in/a.png").absolute()):
        arguments = ("magnify", "in/a.png", "--box", BOX_TEXT, "--overwrite", "-o", output)
        assert_refused(*arguments, says="would overwrite the input 'in/a.png'")
    assert_refused("magnify", "in/a.png", "--heatmap", "map.npy", "-o", "map.png", says="input 'map.npy'")
    assert Path("in/a.png").read_bytes() == before


def test_no_map_is_overwritten_by_the_image_of_its_name():
    save("in/a.png")
    io.write_image(np.eye(4, dtype=np.uint8), "maps/a.png")
    arguments = ("magnify", "in", "--heatmap", "maps", "-o", "maps", "--overwrite")
    assert_refused(*arguments, says="'maps/a.png' would overwrite the input 'maps/a.png'")


def test_a_folder_in_the_place_of_an_output_is_no_output():
    save("in/a.png")
    os.makedirs("out/a.png")
    result = run("magnify", "in", "--box", BOX_TEXT, "-o", "out", code=1)
    assert result.stderr == "failed: 'in/a.png': 'out/a.png' is a folder; add a file name\n"


def truncated(good: bytes) -> bytes:
    return good[: len(good) // 2]


def bomb(_: bytes) -> bytes:
    """A PNG of a hundred bytes that claims 20000 x 20000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (truncated, "truncated"),
        (bomb, "20000 x 20000.*--max-pixels"),
        (lambda _: b"", "empty"),
        (lambda _: b"no image", "image"),
    ],
)
def test_one_bad_file_is_reported_and_the_others_are_made(damage, says):
    for name in "abc":
        save(f"in/{name}.png")
    Path("in/b.png").write_bytes(damage(Path("in/b.png").read_bytes()))
    result = run("magnify", "in", "--box", BOX_TEXT, "-o", "out", code=1)
    first, last = result.stderr.splitlines()
    assert re.fullmatch(f"failed: 'in/b.png'.*{says}.*", first), first
    assert last == "2 magnified, 1 failed"
    assert files_below("out") == ["a.png", "c.png"]


def test_a_box_beyond_one_of_the_images_fails_there():
    save("in/large.png", size_hw=(100, 100))
    save("in/small.png", size_hw=(20, 20))
    result = run("magnify", "in", "--box", "60,60,80,80", "-o", "out", code=1)
    assert "failed: 'in/small.png': --box must touch the image of 20 x 20 pixels" in result.stderr
    assert files_below("out") == ["large.png"]


def test_an_image_of_another_size_is_not_unmagnified():
    save("a.png")
    run("magnify", "a.png", "--box", BOX_TEXT, "-o", "b.png", "--size", "30x20", "--warp", "w.json")
    assert_refused("unmagnify", "a.png", "--warp", "w.json", "-o", "c.png", code=1, says="48x64.*'w.json'.*30x20")


def test_a_full_disk_leaves_nothing_half_written():
    rng = np.random.default_rng(0)
    io.write_image(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8), "a.png")

    resource = pytest.importorskip("resource")

    def little_space():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    result = program("magnify", "a.png", "--box", BOX_TEXT, "-o", "out/b.png", preexec_fn=little_space)
    assert result.returncode == 1
    assert re.fullmatch("failed: 'a.png': 'out/b.png' could not be (written|encoded).*\n", result.stderr), result.stderr
    assert os.listdir("out") == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_stdout_is_one_line():
    save("a.png")
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "pmtools", "magnify", "a.png", "--box", BOX_TEXT, "-o", "b.png", "--json"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("pmtools: error: cannot write to stdout")
    assert "Traceback" not in result.stderr


# ------------------------------------------------------------------------------------------------- interruption


#: Large results, so that many are left when the first is seen, whatever else the machine does.
MANY = ["magnify", "in", "--box", BOX_TEXT, "-o", "out", "--size", "800x800"]


def start_and_stop(how: signal.Signals, total: int) -> tuple[int, str]:
    """Start on many images, stop at the first output; the exit code and stderr."""
    rng = np.random.default_rng(0)
    io.write_image(rng.integers(0, 256, (400, 400, 3), dtype=np.uint8), "in/0.png")
    for number in range(1, total):
        shutil.copy("in/0.png", f"in/{number}.png")
    command = [sys.executable, "-m", "pmtools", *MANY, "--jobs", "2"]

    def catch_interrupts():  # a test run in the background ignores them, and would hand that down
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=catch_interrupts)
    while process.poll() is None and not list(Path(".").glob("out/*.png")):
        time.sleep(0.01)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, *(pytest.param(how, marks=pytest.mark.slow) for how in (signal.SIGINT, signal.SIGTERM))]
)
def test_stopping_leaves_whole_files_and_the_same_command_goes_on(how):
    total = 60
    code, errors = start_and_stop(how, total)
    made = {path: path.read_bytes() for path in Path("out").glob("*.png")}
    assert 0 < len(made) < total
    if how is signal.SIGKILL:  # nothing can be tidied up, hidden temporary files may stay
        assert code == -signal.SIGKILL
    else:
        assert (code, os.listdir("out")) == (130, [path.name for path in made])
        wanted = f"{len(made)} magnified, interrupted before {total - len(made)}; the same command goes on from here\n"
        assert errors == wanted
    result = run(*MANY)
    assert result.stderr.startswith(f"{total - len(made)} magnified, {len(made)} skipped")
    assert len({path.read_bytes() for path in Path("out").glob("*.png")}) == 1  # all alike, as their sources are
    assert {path: path.read_bytes() for path in made} == made
    assert len(list(Path("out").glob("*.png"))) == total


# ---------------------------------------------------------------------------------------------------- the program


def test_help_reads_well_at_80_columns():
    for command in ([], ["magnify"], ["unmagnify"], ["coords"], ["show"]):
        result = run(*command, "--help")
        lines = result.stdout.splitlines()
        assert max(map(len, lines)) <= 80
        assert not any("…" in line for line in lines), "cut off"
        assert "\x1b" not in result.stdout
    assert run().stdout == run("--help").stdout


def test_help_loads_nothing_heavy():
    code = """
import sys
from pmtools.cli import main
try:
    main(["magnify", "--help"])
except SystemExit as end:
    assert not end.code
heavy = {"torch", "transformers", "matplotlib", "scipy", "skimage", "cv2"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_version_and_module():
    result = program("--version")
    assert result.stdout.startswith(f"pmtools: {pmtools.__version__}\nkernel: ")
    assert result.stderr == ""


def test_without_typer_the_way_out_is_told():
    code = "import sys; sys.modules['typer'] = None; from pmtools.cli import main; main([])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "pmtools: the command line needs typer: pip install 'pmtools[cli]'\n"


def test_pipes_get_plain_unwrapped_lines():
    folder = "a_name_that_is_long_enough_to_be_wrapped_at_eighty_columns/" * 3
    save(f"{folder}/a.png")
    Path(folder, "b.png").write_text("no image")
    for environment in ({"TERM": "xterm-256color"}, {"TERM": "dumb"}, {"NO_COLOR": "1"}):
        shutil.rmtree("out", ignore_errors=True)
        result = program("magnify", folder, "--box", BOX_TEXT, "-o", "out", env={**os.environ, **environment})
        assert "\x1b" not in result.stdout + result.stderr
        assert len(result.stderr.splitlines()) == 2


def on_a_terminal(*arguments: object, **environment: str) -> str:
    """What a terminal of 80 columns receives."""
    pty = pytest.importorskip("pty")
    main, end = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    command = [sys.executable, "-m", "pmtools", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=end, stdout=subprocess.DEVNULL, env={**plain, **environment})
    os.close(end)
    received = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # Linux, when the other end is closed
            break
        if not part:
            break
        received += part
    process.wait(timeout=60)
    os.close(main)
    return received.decode()


def test_a_terminal_sees_progress_a_dumb_one_only_lines():
    for number in range(3):
        save(f"in/{number}.png")
    arguments = ("magnify", "in", "--box", BOX_TEXT, "-o")
    lively = on_a_terminal(*arguments, "out", TERM="xterm")
    assert "3/3" in lively
    assert lively.endswith("3 magnified\r\n")
    assert on_a_terminal(*arguments, "dumb", TERM="dumb") == "3 magnified\r\n"


@pytest.mark.slow
def test_the_commands_of_the_manual_run():
    page = Path(__file__).parents[1] / "docs/howto/command_line.md"
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    script = "\n".join(block for block in blocks if "pip install" not in block)
    assert script.count("pmtools ") >= 9
    save("photo.jpg", size_hw=(400, 500))
    save("photos/a.png")
    save("more/deep/b.png")
    io.write_image(np.eye(5, dtype=np.uint8), "map.png")
    io.write_json([{"bbox": [130, 110, 200, 240], "label": "cup"}], "labels.json")
    Path("detections.csv").write_text("label,xmin,ymin,xmax,ymax\ncup,130,110,200,240\n")
    setup = f'set -euo pipefail\npmtools() {{ "{sys.executable}" -m pmtools "$@"; }}\n'
    result = subprocess.run(["bash", "-c", setup + script], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)[0]["label"] == "cup"
    assert files_below("magnified") == ["a.png", "b.png"]
    assert {"back.png", "what_happened.png", "labels_magnified.json"} <= set(files_below("."))


def test_an_interrupt_while_the_command_line_loads_is_no_traceback(monkeypatch, capsys):
    class Interrupted:
        @staticmethod
        def find_spec(name, path=None, target=None):
            raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "pmtools.cli.application")
    monkeypatch.setattr(sys, "meta_path", [Interrupted])
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert end.value.code == 130
    assert capsys.readouterr().err == "pmtools: error: interrupted\n"
