"""The pictures that questions are about: where they lie, what is missing, nothing from outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pmtools.evaluation.json_lines import RecordError
from pmtools.evaluation.picture_files import find_image, with_pictures
from pmtools.evaluation.questions import Question
from pmtools.io import write_image


def asked(*images: str) -> list[Question]:
    return [Question(None, image, f"Is {k} there?", "existence", "yes") for k, image in enumerate(images)]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("image", "place"),
    [
        ("existence/1.png", "existence/1.png"),
        ("existence/1.png", "MME_Benchmark_release_version/existence/1.png"),
        ("scene/1.png", "scene/images/1.png"),
        ("scene/1.png", "MME_Benchmark_release_version/scene/images/1.png"),
        ("train2014/1.jpg", "images/1.jpg"),
        ("1.jpg", "val2014/COCO_val2014_1.jpg"),
    ],
)
def test_where_pictures_lie(tmp_path, image, place):
    touch(tmp_path, place)
    assert find_image(tmp_path, image) == tmp_path / place


def test_pictures_are_found_beside_the_file_and_never_outside(tmp_path):
    (tmp_path / "val2014").mkdir()
    (tmp_path / "val2014" / "COCO_val2014_000000000042.jpg").write_bytes(b"")
    (tmp_path.parent / "outside.jpg").write_bytes(b"")
    for name in ("COCO_val2014_000000000042.jpg", "000000000042.jpg", "x/COCO_val2014_000000000042.jpg"):
        assert find_image(tmp_path, name).name == "COCO_val2014_000000000042.jpg"
    with pytest.raises(RecordError, match=r"has no picture 'b.jpg', neither there nor in images or val2014"):
        find_image(tmp_path, "b.jpg")
    for name in ("../outside.jpg", str(tmp_path.parent / "outside.jpg"), ""):
        with pytest.raises(RecordError, match="must be named by a path inside"):
            find_image(tmp_path, name)


def test_pictures_are_read_as_they_are_asked_for(tmp_path):
    Image.new("RGB", (6, 4), "red").save(tmp_path / "a.png")
    items = with_pictures(asked("a.png", "a.png"), tmp_path)
    assert [item.index for item in items] == [0, 1]
    assert items[1].image.size == (6, 4)


def test_several_pictures_in_a_file_are_told(tmp_path):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    item = with_pictures(asked("a.gif"), tmp_path)[0]
    with pytest.warns(UserWarning, match=r"a\.gif: the first of 2 images is asked about"):
        assert item.image.getpixel((0, 0)) == (255, 0, 0)


def test_deep_pictures_are_not_clipped_to_white(tmp_path):
    grey = np.arange(24, dtype=np.uint16).reshape(4, 6) * 10
    write_image(grey * 257, tmp_path / "grey.png")
    write_image(np.dstack([grey] * 3) * 257, tmp_path / "colour.png")
    for item in with_pictures(asked("grey.png", "colour.png"), tmp_path):
        np.testing.assert_array_equal(np.asarray(item.image), np.dstack([grey] * 3))
    write_image(np.full((2, 2), 1000.0), tmp_path / "unknown.tiff")
    with pytest.raises(ValueError, match=r"unknown\.tiff.*scale them"):
        _ = with_pictures(asked("unknown.tiff"), tmp_path)[0].image


def test_missing_pictures_are_counted_and_the_first_named(tmp_path):
    touch(tmp_path, "a.png")
    with pytest.raises(
        RecordError, match=r"5 of 6 pictures are missing: 'b', 'c', 'd' and 2 more; looked there and in"
    ):
        with_pictures(asked("a.png", *"bcdef", "b"), tmp_path)
    with pytest.raises(RecordError, match="has no picture 'b'"):
        with_pictures(asked("a.png", "b"), tmp_path)
    with pytest.raises(RecordError, match="named by a path inside"):
        with_pictures(asked("../a.png"), tmp_path)
