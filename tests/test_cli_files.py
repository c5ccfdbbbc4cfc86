"""Files of the command line: every frame, streams, nothing lost and nothing left behind by kills, Ctrl-C and full disks."""

from __future__ import annotations

import io as stdio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from io_pictures import picture
from PIL import Image

from pmtools import cli, io
from pmtools.io.files import remove_leftovers, replacing

BOX = ("--box", "4,3,12,9")
COMMAND = [sys.executable, "-m", "pmtools"]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    assert end.value.code == code


def piped(*arguments, stdin=b"", **environment):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], input=stdin, capture_output=True, env=os.environ | environment, timeout=120
    )


def animation(path, count=3, **options):
    frames = [picture("RGB", (24, 16), seed).quantize(20).convert("RGB") for seed in range(count)]
    options = {"duration": [100, 200, 300][:count], "loop": 0} | options
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_animations_are_magnified_and_taken_back_frame_by_frame(suffix, capsys):
    animation(f"x{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    run("magnify", f"x{suffix}", *BOX, "-o", f"y{suffix}", "--warp", "w.json")
    run("unmagnify", f"y{suffix}", "--warp", "w.json", "-o", f"z{suffix}")
    for name in ("y", "z"):
        frames = io.read_frames(f"{name}{suffix}")
        assert (frames.durations, frames.plays) == ([100, 200, 300], 0)
    assert "note" not in capsys.readouterr().err
    io.write_image(io.read_image(f"x{suffix}"), "first.png")
    run("magnify", "first.png", *BOX, "-o", "alone.png")
    expected = np.asarray(io.read_image("alone.png").convert("RGB"))
    if suffix != ".gif":  # which has 256 colours
        np.testing.assert_array_equal(np.asarray(io.read_frames(f"y{suffix}").images[0].convert("RGB")), expected)


def test_the_first_frame_is_taken_on_request_and_said(capsys):
    animation("x.gif")
    run("magnify", "x.gif", *BOX, "-o", "y.jpg", "--frames", "first")
    assert "note: 'x.gif': the first of 3 images" in capsys.readouterr().err
    run("magnify", "x.gif", *BOX, "-o", "y.bmp", code=1)
    assert "BMP holds one image, not 3" in capsys.readouterr().err
    run("show", "x.gif", *BOX, "-o", "s.png")
    assert "the first of 3 images" in capsys.readouterr().err


def test_pages_of_several_sizes_have_warps_of_their_own(capsys):
    pages = [picture("L", size) for size in ((24, 16), (40, 30))]
    pages[0].save("x.tif", save_all=True, append_images=pages[1:])
    run("magnify", "x.tif", "--box", "0.1,0.1,0.5,0.5", "--units", "fractions", "-o", "y.tif")
    assert [page.size for page in io.read_frames("y.tif").images] == [(24, 16), (40, 30)]
    run("magnify", "x.tif", *BOX, "-o", "z.tif", "--warp", "w.json", code=1)
    assert "several sizes, for which one warp will not do; use --frames first" in capsys.readouterr().err


def test_what_is_left_out_is_said_and_reported(capsys):
    image = picture(size=(24, 16))
    image.info["dpi"] = (72.0, 72.0)
    io.write_image(image, "x.png")
    run("magnify", "x.png", *BOX, "-o", "y.webp", "--json")
    out, err = capsys.readouterr()
    assert json.loads(out)["files"][0]["notes"] == ["webp has no place for the resolution"]
    assert "note: 'x.png': webp has no place for the resolution" in err


def test_a_constant_map_changes_no_pixel_of_a_lossless_webp():
    picture(size=(40, 30)).save("x.webp", lossless=True)
    np.save("map.npy", np.ones((3, 3)))
    run("magnify", "x.webp", "--heatmap", "map.npy", "-o", "y.webp")
    np.testing.assert_array_equal(np.asarray(io.read_image("y.webp")), np.asarray(picture(size=(40, 30))))
    run("magnify", "x.webp", "--heatmap", "map.npy", "-o", "y.jpg", "--lossless", code=1)
    io.write_image(picture(size=(40, 30)), "x.png")
    run("magnify", "x.png", "--heatmap", "map.npy", "-o", "z.webp", "--lossless")
    assert io.read_image("z.webp").info["lossless"] is True
    run("magnify", "x.png", "--heatmap", "map.npy", "-o", "good.jpg")
    run("magnify", "x.png", "--heatmap", "map.npy", "-o", "small.jpg", "--quality", 20)
    assert Path("small.jpg").stat().st_size < Path("good.jpg").stat().st_size


def test_pipes():
    io.write_image(picture(size=(24, 16)), "x.png")
    content = Path("x.png").read_bytes()
    result = piped("magnify", "-", *BOX, "-o", "-", stdin=content)
    assert result.returncode == 0, result.stderr
    assert result.stderr == b"magnified: stdout\n"
    run("magnify", "x.png", *BOX, "-o", "y.png", "--warp", "w.json")
    assert result.stdout == Path("y.png").read_bytes()
    back = piped("unmagnify", "-", "--warp", "w.json", "-o", "-", stdin=result.stdout)
    assert io.read_image(back.stdout).size == (24, 16)
    assert not Path("-").exists()
    assert b"'<stdin>' is empty" in piped("magnify", "-", *BOX, "-o", "-").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "x.png", "-o", "out"], "PATH: - is the image on stdin, and must be the only one"),
        (["-", "-o", "out/"], "what comes from stdin has no name; name a file"),
        (["x.png", "y.png", "-o", "-"], "- is stdout, which takes one image"),
        (["x.png", "-o", "z.png", "--warp", "-"], "--warp: - is stdout"),
        (["x.png", "-o", "-", "--json"], "--json prints on stdout, where the image goes"),
    ],
)
def test_streams_where_they_cannot_be(arguments, message, capsys):
    for name in ("x.png", "y.png"):
        io.write_image(picture(size=(24, 16)), name)
    run("magnify", *arguments, *BOX, code=2)
    assert message in capsys.readouterr().err
    assert sorted(os.listdir()) == ["x.png", "y.png"]


def test_names_and_values_that_cannot_be_are_said_in_plain_words(capsys):
    io.write_image(picture(size=(24, 16)), "x.png")
    run("magnify", "x.png", *BOX, "-o", "n" * 300 + ".png", code=1)
    assert "n.png': File name too long" in capsys.readouterr().err
    run("magnify", "x.png", *BOX, "-o", "y.png", "--frames", "5-2", code=2)
    assert "'--frames': '5-2' is not one of 'all', 'first'" in capsys.readouterr().err


def test_brackets_in_the_name_of_a_folder():
    for folder in ("trip [2024]", "trip 2"):
        io.write_image(picture(size=(24, 16)), f"{folder}/a.png")
    run("magnify", "trip [2024]/*.png", *BOX, "-o", "out [1]/")
    assert os.listdir("out [1]") == ["a.png"]
    assert [os.fspath(path) for path in io.find_images("trip [2]/*.png")] == ["trip 2/a.png"]


def test_maps_obey_the_limit(capsys):
    io.write_image(picture(size=(24, 16)), "x.png")
    for name, save in (("m.npy", np.save), ("m.npz", np.savez)):
        save(name, np.ones((100, 100)))
        run("magnify", "x.png", "--heatmap", name, "-o", "y.png", "--max-pixels", 9999, code=2)
        assert "10000 values in all and more than --max-pixels = 9999" in capsys.readouterr().err
    Path("maps").mkdir()
    np.save("maps/x.npy", np.ones((100, 100)))
    run("magnify", "x.png", "--heatmap", "maps", "-o", "y.png", "--max-pixels", 9999, code=1)


def test_large_images_are_drawn_at_the_size_of_a_screen():
    io.write_image(np.zeros((1500, 4000), np.uint8), "x.png")
    run("show", "x.png", "--box", "100,100,900,900", "-o", "s.png")
    width, height = io.read_image("s.png").size
    assert width < 6000
    assert height < 800


@pytest.mark.parametrize("variable", ["PMTOOLS_KERNEL", "PMTOOLS_THREADS"])
def test_wrong_environment_variables_are_one_line(variable):
    result = piped("magnify", "x.png", **{variable: "foo"})
    assert result.returncode == 2
    assert result.stderr.decode().count("\n") == 1
    assert f"pmtools: error: {variable} must be" in result.stderr.decode()


# ------------------------------------------------------------------------------------- what must leave nothing


def leftovers():
    return list(Path().rglob(".pmtools-*.tmp"))


def test_leftovers_of_killed_writers_are_removed_and_no_others(tmp_path):
    killed = (
        "import os, signal; from pmtools.io.files import replacing\nwith replacing('a.png') as s: s.write(b'half'); "
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", killed + "os.kill(os.getpid(), signal.SIGKILL)"])
    (tmp_path / ".other.tmp").touch()
    assert len(leftovers()) == 3
    with replacing("b.png") as stream:
        stream.write(b"at work")
        assert remove_leftovers(".") == 3
        assert len(leftovers()) == 1
    assert sorted(os.listdir()) == [".other.tmp", "b.png"]


def many(count=24):
    for k in range(count):
        io.write_image(picture(size=(640, 480), seed=k), f"in/{k:02}.png", compress_level=0)


def test_ctrl_c_however_often_finishes_with_the_closing_message():
    many()
    for interrupt in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [*COMMAND, "magnify", "in", *BOX, "-o", "out", "--jobs", "2", "--overwrite"],
            stderr=subprocess.PIPE,
            text=True,
        )
        while not Path("out").exists() or len(os.listdir("out")) < 3:
            time.sleep(0.01)
        for _ in range(5):
            process.send_signal(interrupt)
            time.sleep(0.002)
        error = process.communicate(timeout=60)[1]
        assert process.returncode == 130
        assert "interrupted before" in error
        assert "Traceback" not in error
        assert not leftovers()
        for path in Path("out").iterdir():
            path.unlink()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_is_named():
    io.write_image(picture(size=(24, 16)), "x.png")
    with open("/dev/full", "wb") as full:
        result = subprocess.run([*COMMAND, "magnify", "x.png", *BOX, "-o", "-"], stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1
    assert b"No space left on device" in result.stderr


def test_a_setup_that_is_no_text_is_named():
    from pmtools.evaluation.answering import answer_items

    Path("out").mkdir()
    Path("out/setup.json").write_bytes(b"\xff\xfe\0")
    with pytest.raises(ValueError, match=r"setup\.json that is not UTF-8; delete it"):
        answer_items([], lambda *_: {}, methods=["greedy"], out="out", record=lambda *_: {})


def test_image_on_stdout_is_what_another_program_reads():
    Image.new("RGB", (24, 16), "red").save("x.bmp")
    result = piped("magnify", "x.bmp", *BOX, "-o", "-")
    with Image.open(stdio.BytesIO(result.stdout)) as image:
        assert image.format == "BMP"
