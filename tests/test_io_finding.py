"""Paths, folders and patterns give the image files that they stand for."""

from __future__ import annotations

import pytest

from pmtools import io
from pmtools.io import ImageFileError


@pytest.fixture
def photos(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden.png", "deep/c.tiff", "deep/.cache/d.png", "odd[1].png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def found(photos, *args, **options):
    return [path.relative_to(photos).as_posix() for path in io.find_images(*args, **options)]


def test_find_images(photos):
    assert found(photos, photos) == ["a.jpg", "b.PNG", "odd[1].png"]
    assert found(photos, str(photos), recursive=True) == ["a.jpg", "b.PNG", "deep/c.tiff", "odd[1].png"]
    assert found(photos, [photos / "*"]) == ["a.jpg", "b.PNG", "odd[1].png"]
    assert found(photos, photos / "**" / "*.tiff") == ["deep/c.tiff"]
    assert found(photos, photos / "[ab].*") == ["a.jpg", "b.PNG"]
    assert found(photos, photos / "notes.txt") == ["notes.txt"]  # named: taken
    assert found(photos, photos / ".hidden.png") == [".hidden.png"]
    assert found(photos, photos / "odd[1].png") == ["odd[1].png"]  # a file before it is a pattern
    assert found(photos, [photos / "b.PNG", photos]) == ["b.PNG", "a.jpg", "odd[1].png"]
    assert io.find_images([]) == []


def test_find_images_says_what_is_missing(photos):
    (photos / "nothing").mkdir()
    for path, message in {
        photos / "z.png": "does not exist",
        photos / "z*.png": "pattern matches no image",
        photos / "nothing": "folder has no image",
    }.items():
        with pytest.raises(ImageFileError, match=message):
            io.find_images([photos / "a.jpg", path])
