"""Any file: written whole or not at all, whoever else writes it; paths are paths, and errors go home."""

from __future__ import annotations

import os
import pickle
import threading

import pytest
from io_pictures import assert_same_picture, leftovers, picture
from PIL import Image

from pmtools import io
from pmtools.io import ImageFileError


@pytest.mark.parametrize("path", [None, 3, ["x.png"]])
def test_paths_are_paths(path):
    for call in (io.read_image, io.read_frames, io.read_heatmap, io.read_json, lambda p: io.find_images([p])):
        with pytest.raises(TypeError, match="`path` must be a str"):
            call(path)
    for call in (io.write_image, io.write_json):
        with pytest.raises(TypeError, match="`path` must be a str"):
            call([1] if call is io.write_json else picture(), path)
    with pytest.raises(TypeError, match="`path` must be a str"):
        io.find_images([b"x.png"])


def test_error_is_caught_as_either_kind_and_crosses_processes():
    error = ImageFileError("a/b.png", "is empty")
    assert isinstance(error, OSError)
    assert isinstance(error, ValueError)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.path, copy.problem) == ("'a/b.png' is empty", "a/b.png", "is empty")


def test_folders_are_made(tmp_path):
    io.write_image(picture(), tmp_path / "a" / "b" / "x.png")
    io.write_json({}, tmp_path / "c" / "d" / "x.json")
    assert (tmp_path / "a" / "b" / "x.png").is_file()
    assert (tmp_path / "c" / "d" / "x.json").is_file()


def test_targets_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    for path, message in {
        tmp_path / "file" / "x.png": "could not be written",
        tmp_path / "folder.png": "is a folder; add a file name",
        tmp_path / "x.xyz": "needs an image suffix, one of .*got '.xyz'",
        tmp_path / "nul\0.png": "could not be written: .*null",
        tmp_path / "x": "needs an image suffix.*got 'none'",
        tmp_path / ("x" * 300 + ".png"): "could not be written: File name too long",
    }.items():
        with pytest.raises(ImageFileError, match=message):
            io.write_image(picture(), path)
    with pytest.raises(ImageFileError, match="could not be written"):
        io.write_json({}, tmp_path / "file" / "x.json")
    assert not leftovers(tmp_path)


def test_failing_encoder_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    io.write_image(picture(), path)
    before = path.read_bytes()

    def fail_half_way(self, stream, **_):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail_half_way)
    with pytest.raises(ImageFileError, match="No space left on device"):
        io.write_image(picture(seed=1), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.png"]


def test_interrupt_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(self, stream, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        io.write_image(picture(), tmp_path / "x.png")
    assert os.listdir(tmp_path) == []


def test_permissions_follow_the_umask_and_links_stay_links(tmp_path):
    (tmp_path / "plain").touch()
    io.write_image(picture(), tmp_path / "real.png")
    assert (tmp_path / "real.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "link.png").symlink_to("real.png")
    io.write_image(picture(seed=1), tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert_same_picture(io.read_image(tmp_path / "real.png"), picture(seed=1))


def test_many_threads_read_and_write(tmp_path):
    failures = []

    def work(seed):
        try:
            for _ in range(10):
                io.write_image(picture(seed=seed), tmp_path / f"{seed}.png")
                io.write_image(picture(seed=seed), tmp_path / "shared.png")
                assert_same_picture(io.read_image(tmp_path / f"{seed}.png"), picture(seed=seed))
                assert io.read_image(tmp_path / "shared.png").size == (7, 5)  # whole, whoever wrote it
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not leftovers(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(io.ImageFileError, match="is not a regular file"):
        io.write_json([1], tmp_path / "x.png")
    assert (tmp_path / "x.png").is_fifo()
