"""What the web page computes, without gradio and without a browser: files, marks, places, answers, users, the server's door."""

from __future__ import annotations

import asyncio
import base64
import gc
import io as bytes_io
import json
import re
import socket
import struct
import sys
import threading
import weakref
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import pmtools
from pmtools import Warp, heatmaps, io, viz
from pmtools.app import actions, answers, marks, pictures, server, words
from pmtools.app.actions import Settings, magnify_picture, read_size
from pmtools.app.budget import Budget, image_bytes
from pmtools.app.marks import Mark, heatmap_of, read_mark, stroke_mask
from pmtools.app.pictures import Limits, PageError, Picture, open_picture
from pmtools.app.session import Session
from pmtools.cli.application import app

MOST = 10_000_000


def pixels(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """Smooth and without any symmetry, so that every shift shows."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def a_picture(height: int = 48, width: int = 64) -> Picture:
    return Picture("photo", Image.fromarray(pixels(height, width)), "A photo.")


def magnified_at(*boxes: tuple[float, ...], picture: Picture | None = None, **settings):
    picture = picture or a_picture()
    heat = heatmap_of([Mark("box", box) for box in boxes], size_hw=picture.size_hw)
    return magnify_picture(picture, heat, Settings(**settings), most_pixels=MOST)


# ------------------------------------------------------------------------------------------------------------- files


def save_as(path: Path, kind: str) -> None:
    """One of the kinds of file that people have."""
    image = Image.fromarray(pixels())
    if kind == "animation.gif":
        image.save(path, save_all=True, append_images=[image.rotate(90), image.rotate(180)])
    elif kind == "turned.jpg":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(path, exif=exif)
    elif kind == "colour16.png":
        io.write_image(pixels().astype(np.uint16) * 257, path)
    elif kind == "grey16.png":
        io.write_image(pixels()[..., 0].astype(np.uint16) * 257, path)
    elif kind == "floats.tiff":
        io.write_image(pixels()[..., 0].astype(np.float32), path)
    else:
        mode = {"cmyk.jpg": "CMYK", "alpha.png": "RGBA", "grey.png": "L", "palette.png": "P", "ink.png": "1"}[kind]
        image.convert(mode).save(path)


GOOD = [
    "animation.gif",
    "turned.jpg",
    "colour16.png",
    "grey16.png",
    "floats.tiff",
    "cmyk.jpg",
    "alpha.png",
    "grey.png",
    "palette.png",
    "ink.png",
]


@pytest.mark.parametrize("kind", GOOD)
def test_every_kind_of_image_is_opened_shown_magnified_and_saved(kind, tmp_path):
    save_as(tmp_path / kind, kind)
    picture = open_picture(tmp_path / kind, limits=Limits(), uploads=tmp_path)
    assert picture.size_hw == ((64, 48) if kind == "turned.jpg" else (48, 64))
    assert ("This is the first of 3 images in the file." in picture.note) == (kind == "animation.gif")
    assert (picture.view.mode, max(picture.view.size)) == ("RGB", pictures.VIEW_SIDE)
    result = magnified_at((10, 10, 20, 20), picture=picture)
    assert type(result.image) is type(picture.image)
    assert set(actions.views(picture, result)) == {"map", "magnified", "grid"}
    back = io.read_image(actions.save_image(picture, result, tmp_path))
    same = result.image.convert("RGB") if kind == "cmyk.jpg" else result.image
    np.testing.assert_array_equal(np.asarray(back), np.asarray(same))


def test_a_png_is_compressed_by_the_fast_algorithm(tmp_path):
    """Its stream says so in the top bits of its second byte: 1 for fast, 2 for the default (RFC 1950, 2.2)."""

    def effort(path: Path) -> int:
        content = path.read_bytes()
        return content[content.index(b"IDAT") + 5] >> 6

    picture = a_picture()
    result = magnified_at((10, 10, 20, 20), picture=picture)
    assert effort(actions.save_image(picture, result, tmp_path)) == 1
    io.write_image(result.image, tmp_path / "default.png")
    assert effort(tmp_path / "default.png") == 2


def claims_too_much() -> bytes:
    """A PNG of a few bytes with a header of 20000 x 20000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))


def truncated_jpeg() -> bytes:
    stream = bytes_io.BytesIO()
    Image.fromarray(pixels(200, 300)).save(stream, format="JPEG")
    return stream.getvalue()[:1500]


BAD = {
    "cut.jpg": (truncated_jpeg(), "truncated"),
    "text.png": (b"these are words\n", "is not a readable image"),
    "nothing.png": (b"", "is empty"),
    "claims.png": (claims_too_much(), r"has 400 megapixels; the limit is 50 \(.*--max-pixels"),
    "large.png": (bytes(Limits().upload_bytes + 1), r"has 50.0 MB; the limit is 50 \(.*--max-upload"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_image_is_told_in_the_words_of_the_page(name, tmp_path):
    content, says = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PageError, match=f"'{name}'.*{says}") as caught:
        open_picture(tmp_path / name, limits=Limits(), uploads=tmp_path)
    assert str(tmp_path) not in str(caught.value)
    assert "max_pixels" not in str(caught.value)


def test_a_missing_file_is_told():
    with pytest.raises(PageError, match=r"'gone\.png' could not be read"):
        open_picture("folder/gone.png", limits=Limits(), uploads=Path("folder"))


def test_small_images_are_shown_by_their_pixels():
    image = Image.fromarray(np.asarray([[[0, 0, 0], [255, 255, 255]]], dtype=np.uint8))
    assert set(pictures.for_view(image).getdata()) == {(0, 0, 0), (255, 255, 255)}


def test_large_images_leave_something_to_zoom_into():
    """Two lines of a pixel, which a view of 768 pixels would show as one."""
    black = np.zeros((20, 1400), dtype=np.uint8)
    black[:, [700, 702]] = 255
    left, between, right = np.asarray(pictures.for_view(Image.fromarray(black)))[10, 700:703, 0].astype(int)
    assert min(left, right) > between + 100
    assert max(pictures.for_view(Image.new("L", (4000, 100))).size) == pictures.MOST_VIEW_SIDE


def test_what_the_browser_gets_is_a_jpeg():
    head, _, body = pictures.data_url(Image.fromarray(pixels())).partition(",")
    assert head == "data:image/jpeg;base64"
    shown = np.asarray(Image.open(bytes_io.BytesIO(base64.b64decode(body))), dtype=float)
    assert np.abs(shown - pixels()).mean() < 2


# ------------------------------------------------------------------------------------------------------------- marks


def test_marks_mean_what_the_command_line_means():
    boxes, points = [(10.0, 20.0, 30.0, 40.0), (40.0, 2.0, 60.0, 9.0)], [(50.5, 30.25)]
    marked = [Mark("box", box) for box in boxes] + [Mark("point", point) for point in points]
    wanted = [heatmaps.from_boxes(box, source_hw=(48, 64)) for box in boxes]
    wanted += [heatmaps.from_points(point, source_hw=(48, 64)) for point in points]
    np.testing.assert_array_equal(heatmap_of(marked, size_hw=(48, 64)), np.max(wanted, axis=0))
    assert heatmap_of([], size_hw=(48, 64)) is None


@pytest.mark.parametrize("size_hw", [(300, 500), (2000, 3000), (3000, 40), (9, 7)])
def test_a_stroke_covers_what_is_within_its_radius(size_hw):
    height, width = size_hw
    ends, radius = np.asarray([[0.3 * width, 0.5 * height], [0.3 * width, 0.75 * height]]), 0.1 * min(size_hw)
    covered = stroke_mask([Mark("stroke", tuple(ends.ravel()), radius)], size_hw=size_hw)
    rows, columns = np.nonzero(covered)
    cell = np.asarray([width / covered.shape[1], height / covered.shape[0]])
    centre = (np.asarray([columns.mean(), rows.mean()]) + 0.5) * cell
    np.testing.assert_allclose(centre, ends.mean(axis=0), atol=0.3 * cell.max())  # half a cell would be seen
    area = 2 * radius * 0.25 * height + np.pi * radius**2
    if min(covered.shape) > 100:
        assert covered.sum() * cell.prod() == pytest.approx(area, rel=0.03)


def test_a_stroke_is_a_heatmap_beside_boxes_on_any_shape_of_picture():
    for size_hw in [(300, 500), (3000, 40), (5, 7)]:
        dab = Mark("stroke", (size_hw[1] / 2, size_hw[0] / 2), 1e-3)
        heat = heatmap_of([dab, Mark("box", (0.0, 0.0, 2.0, 2.0))], size_hw=size_hw)
        assert heat.max() == 1
        assert heat[heat.shape[0] // 2, heat.shape[1] // 2] > 0


def test_marks_from_a_browser_are_cut_to_the_picture_and_turned_around():
    box = read_mark({"kind": "box", "xy": [70, 30, 10, -5]}, size_hw=(48, 64))
    assert box == Mark("box", (10.0, 0.0, 64.0, 30.0))


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"kind": "circle", "xy": [1, 2]},
        {"kind": "point", "xy": [1, 2, 3, 4]},
        {"kind": "point", "xy": ["one", 2]},
        {"kind": "point", "xy": [float("nan"), 2]},
        {"kind": "box", "xy": [3, 3, 3, 9]},
        {"kind": "stroke", "xy": [1, 2, 3], "radius": 2},
        {"kind": "stroke", "xy": [1, 2], "radius": 0},
        {"kind": "stroke", "xy": [1, 2], "radius": "wide"},
        {"kind": "stroke", "xy": [1.0] * 50_000, "radius": 2},
    ],
)
def test_what_is_no_mark_is_refused(data):
    with pytest.raises(PageError):
        read_mark(data, size_hw=(48, 64))


# ------------------------------------------------------------------------------------------------------- magnifying


def test_the_page_magnifies_as_the_library_does():
    settings = {"gain": 20.0, "kernel_size": 5, "marginal": "sum", "floor": 0.1}
    result = magnified_at((10, 10, 20, 20), **settings, max_magnification=3.0, size="30x20")
    heat = heatmaps.from_boxes((10, 10, 20, 20), source_hw=(48, 64))
    wanted = pmtools.magnify(pixels(), heat, **settings, max_magnification=3.0, size_hw=(30, 20))
    np.testing.assert_array_equal(np.asarray(result.image), wanted)
    np.testing.assert_array_equal(result.perception, pmtools.perception_map(heat, gain=20.0, kernel_size=5))


def test_without_a_region_nothing_changes():
    result = magnify_picture(a_picture(), None, Settings(), most_pixels=MOST)
    np.testing.assert_array_equal(np.asarray(result.image), pixels())


def test_the_right_end_of_the_slider_is_no_limit():
    free, bound = (
        magnified_at((10, 10, 13, 13), gain=100.0, max_magnification=limit) for limit in (actions.NO_LIMIT, 2.0)
    )
    assert free.warp.local_magnification().x.max() > 3
    assert bound.warp.local_magnification().x.max() == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"gain": -1.0}, "The gain must be"),
        ({"kernel_size": 4}, "The kernel must be odd.*use 5"),
        ({"floor": 0.0}, "The floor must be"),
        ({"marginal": "mean"}, "The marginal must be"),
        ({"max_magnification": 0.5}, "The greatest magnification must be"),
        ({"size": "large"}, "The output size must be height x width"),
        ({"size": "0x5"}, "The output size must be height x width"),
        ({"size": "90000x90000"}, "up to 10000000 pixels"),
    ],
)
def test_settings_that_cannot_be_are_told_by_the_names_of_the_page(settings, says):
    with pytest.raises(PageError, match=says) as caught:
        magnified_at((10, 10, 20, 20), **settings)
    assert "`" not in str(caught.value)


def test_sizes_are_height_times_width():
    assert read_size("336 × 448", source_hw=(5, 6), most_pixels=MOST) == (336, 448)
    assert read_size(actions.AS_ORIGINAL, source_hw=(5, 6), most_pixels=MOST) == (5, 6)
    assert read_size("", source_hw=(5, 6), most_pixels=MOST) == (5, 6)
    for size in actions.SIZES:
        read_size(size, source_hw=(5, 6), most_pixels=MOST)


def test_the_grid_is_drawn_where_the_library_draws_it():
    size = f"{pictures.VIEW_SIDE // 2}x{pictures.VIEW_SIDE}"
    picture = a_picture()
    result = magnified_at((10, 10, 20, 20), picture=picture, size=size)
    drawn = actions.views(picture, result)["grid"]
    wanted = viz.warp_grid(result.image, result.warp)
    np.testing.assert_array_equal(np.asarray(drawn), np.asarray(wanted))


def test_downloads_are_undone_by_the_command_line(tmp_path):
    picture = a_picture()
    result = magnified_at((10, 10, 20, 20), picture=picture, size="60x90")
    image, warp = actions.save_image(picture, result, tmp_path), actions.save_warp(picture, result, tmp_path)
    assert (image.name, warp.name) == ("photo_magnified.png", "photo_warp.json")
    back = tmp_path / "back.png"
    ran = CliRunner().invoke(app, ["unmagnify", str(image), "--warp", str(warp), "-o", str(back)])
    assert ran.exit_code == 0, ran.output
    np.testing.assert_array_equal(io.to_array(io.read_image(back)), np.asarray(result.warp.inverse_image(result.image)))
    assert Warp.from_dict(json.loads(warp.read_text())).source_hw == (48, 64)


# ----------------------------------------------------------------------------------------------------- the demo model


@pytest.fixture(scope="module")
def model() -> answers.DemoAnswers:
    return answers.DemoAnswers()


def test_with_its_own_settings_the_model_answers_as_perception_magnifier(model):
    """What is seen is what is asked: the answer about the magnified picture is the method's."""
    pytest.importorskip("torch")
    from pmtools.decoding import PerceptionMagnifier
    from pmtools.zoo import demo_model

    demo = demo_model()
    for number in range(3):
        session = a_session(model=model)
        session._scenes = number
        session.open_scene()
        question = session.choice.questions[0]
        session.ask(question)
        magnifier = PerceptionMagnifier(demo.processor, **demo.settings)
        image = session.choice.picture.image
        wanted = magnifier.generate(demo.model, image, demo.prompt(question), max_new_tokens=2, do_sample=False)
        assert session.answer == wanted
        assert session.choice.reply.answer == demo.ask(image, question)
        warp = magnifier.last[0].warps[0][0]
        grid = np.mgrid[0:384:9, 0:384:7].reshape(2, -1).T + 0.5
        np.testing.assert_allclose(session.magnified.warp.points(grid), np.asarray(warp.points(grid)), atol=1e-2)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("Is there a zebra in this image?", "'zebra'; it knows the colors red.*shapes circle"),
        ("  ", "Type a question first"),
        (None, "Type a question first"),
        ("is there a star " * 20, "up to 200 characters"),
    ],
)
def test_a_question_that_the_model_cannot_read_is_told(question, says):
    with pytest.raises(PageError, match=says) as caught:
        answers.check(question)
    assert "`" not in str(caught.value)


def test_questions_without_transformers_are_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PageError, match=r"transformers.*pip install 'pmtools\[hf\]'"):
        answers.DemoAnswers().ask(Image.fromarray(pixels()), "Is the star blue?")


# -------------------------------------------------------------------------------------------------------------- users


class Parrot:
    """In the place of the model: says how bright the picture is."""

    def ask(self, image, question):
        answers.check(question)
        return answers.Reply(question, self.answer(image, question), np.eye(4))

    def answer(self, image, question):
        return str(np.asarray(image).sum())


def a_session(limits: Limits | None = None, model=None, uploads=Path("uploads"), budget=None) -> Session:
    return Session(limits or Limits(), model or Parrot(), uploads=uploads, budget=budget or Budget(10**9))


@pytest.fixture
def session(tmp_path) -> Session:
    return a_session(Limits(pixels=1_000_000), uploads=tmp_path)


def test_a_page_opens_with_something_to_see(session):
    assert session.choice.marks == (Mark("box", pictures.PATCH_XYXY),)
    assert session.magnified.warp.local_magnification().x.max() > 2


def kinds(session: Session) -> list[str]:
    return [mark.kind for mark in session.choice.marks]


def test_marks_come_and_go(session):
    session.clear()
    assert session.choice.heatmap() is None
    session.add({"kind": "point", "xy": [100, 50]})
    session.add({"kind": "stroke", "xy": [1, 2, 30, 40], "radius": 5})
    assert kinds(session) == ["point", "stroke"]
    session.undo()
    session.undo()
    assert session.choice.marks == ()


def test_the_first_mark_replaces_the_sample_and_whatever_was_done_can_be_undone(session):
    sample = session.choice.marks
    session.add({"kind": "point", "xy": [100, 50]})
    assert kinds(session) == ["point"]
    session.add({"kind": "box", "xy": [1, 2, 30, 40]})
    session.clear()
    session.clear()  # changes nothing, so there is nothing to undo
    seen = []
    for _ in range(5):
        session.undo()
        seen.append(kinds(session))
    assert seen == [["point", "box"], ["point"], ["box"], ["box"], ["box"]]
    assert session.choice.marks == sample
    session.add({"kind": "point", "xy": [100, 50]})
    session.follow(asking=True)
    session.undo()  # no marks are to be seen
    session.follow(asking=False)
    assert kinds(session) == ["point"]
    session.open_photograph()
    session.undo()  # not into another picture
    assert session.choice.marks == sample


def test_there_is_an_end_to_undoing(session):
    for x in range(120):
        session.clear()
        session.add({"kind": "point", "xy": [x, 50]})
    assert len(session.choice.past) == 50


def test_there_is_an_end_to_marks():
    many = [Mark("point", (1.0, 2.0))] * 200
    assert len(marks.with_mark(many[1:], many[0])) == 200
    with pytest.raises(PageError, match="clear some first"):
        marks.with_mark(many, many[0])


def test_what_fails_changes_nothing(session, tmp_path):
    before = (session.choice, session.magnified, session.answer)
    (tmp_path / "text.png").write_text("words")
    for attempt in (
        lambda: session.open(tmp_path / "text.png"),
        lambda: session.add({"kind": "box", "xy": [1, 1, 1, 1]}),
        lambda: session.set(Settings(kernel_size=4)),
        lambda: session.ask("Is there a zebra?"),
    ):
        with pytest.raises(PageError):
            attempt()
        assert (session.choice, session.magnified, session.answer) == before


def test_a_question_magnifies_what_the_model_looked_at_and_asks_again_when_settings_move(session):
    session.ask("Is the star blue?")
    first = session.answer
    np.testing.assert_array_equal(session.choice.heatmap(), np.eye(4))
    assert session.choice.reply.answer != first
    session.set(Settings(gain=50.0))
    assert session.answer not in (first, session.choice.reply.answer)
    session.follow(asking=False)
    assert session.answer == ""
    assert session.choice.heatmap().shape == (48, 48)
    session.follow(asking=True)
    assert session.answer


def test_a_scene_comes_with_questions_true_answers_and_the_models_settings(session):
    session.open_scene()
    assert session.choice.settings == answers.settings()
    items = session.choice.items
    assert session.choice.questions == [item.question.text for item in items]
    assert 2 <= len(set(session.choice.questions)) == len(items) <= 5
    for question in session.choice.questions:
        answers.check(question)
    session.open_photograph()
    assert session.choice.settings == Settings()
    assert session.choice.questions == list(answers.QUESTIONS)


def test_no_scene_comes_twice(session):
    seen = set()
    for _ in range(12):
        session.open_scene()
        seen.add(session.choice.picture.image.tobytes())
    assert len(seen) == 12


def test_the_truth_of_a_scene_is_the_benchmarks():
    """The questions that the page adds are answered from the same scene: each is asked again of its objects."""
    asked = 0
    for number in range(8):
        _, items = pictures.scene(number)
        assert len({item.image_index for item in items}) == 1
        for item in items:
            if item.question.category == "existence":
                words_of = item.question.text.removeprefix("Is there a ").split()[:2]
                there = tuple(words_of) in {names(item.scene, i) for i in range(len(item.scene))}
                assert item.question.answer == ("yes" if there else "no")
                asked += 1
    assert asked > 8


def names(scene, i: int) -> tuple[str, str]:
    from pmtools.evaluation.scenes.drawing import COLORS, SHAPES

    return COLORS[scene.colors[i]], SHAPES[scene.shapes[i]]


class Sayer(Parrot):
    """Says what it is told to."""

    def __init__(self, *said):
        self.said = list(said)

    def answer(self, image, question):
        return self.said.pop(0)


def test_answers_are_marked_against_the_truth():
    _, items = pictures.scene(0)
    item = items[0]
    other = {"yes": "no", "no": "yes"}[item.question.answer]
    session = a_session(model=Sayer(other, item.question.answer, "one", "two"))
    session.open_scene()
    session.ask(item.question.text)
    told = words.answers(session)
    assert re.findall(r"✗ wrong|✓ right", told) == ["✗ wrong", "✓ right"]
    assert "true answer" in told
    session.ask("Are there two purple crosses in this image?")
    assert re.findall(r"✗ wrong|✓ right|true answer", words.answers(session)) == []


def test_users_share_nothing():
    one, other = a_session(), a_session()
    one.add({"kind": "point", "xy": [100, 50]})
    one.set(Settings(gain=1.0))
    assert len(other.choice.marks) == 1
    assert other.choice.settings == Settings()


def test_events_at_once_are_all_kept(session):
    session.open_photograph()
    session.clear()

    def click() -> None:
        for _ in range(5):
            with session.lock:
                session.add({"kind": "point", "xy": [100, 50]})

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(session.choice.marks) == 20


# -------------------------------------------------------------------------------------------------------------- words


def test_names_of_files_are_text_and_no_markup(session, tmp_path):
    io.write_image(pixels(), tmp_path / "<img src=x onerror=alert(1)>.png")
    session.open(tmp_path / "<img src=x onerror=alert(1)>.png")
    assert "<img" not in words.notice(session)
    assert "&lt;img" in words.notice(session)
    assert "<b>" not in words.problem("<b>bold</b>")


def test_sizes_are_told(session):
    session.set(Settings(size="100x200"))
    assert "512 × 512 → 200 × 100" in words.facts(session)


def test_the_next_step_is_told(session):
    session.clear()
    assert "Mark on the original" in words.notice(session)
    session.open_scene()
    assert "Ask the model" in words.notice(session)


def test_a_file_that_was_not_uploaded_is_not_opened(tmp_path):
    """Nor told whether it is there."""
    uploads, secret = tmp_path / "uploads", tmp_path / "secret.png"
    uploads.mkdir()
    a_picture().image.save(secret)
    (uploads / "link.png").symlink_to(secret)
    user = a_session(uploads=uploads)
    said = set()
    for path in (secret, tmp_path / "gone.png", uploads / "link.png", uploads / ".." / "secret.png", "/etc/passwd"):
        with pytest.raises(PageError) as told:
            user.open(path)
        said.add(str(told.value))
    assert said == {"This page opens only files that were uploaded to it."}
    assert user.choice.picture.name == "astronaut"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "CMYK", "I", "F", "I;16"])
def test_the_bytes_of_an_image_are_counted(mode):
    """As Pillow keeps them: two to four bands in four bytes, one bit in one."""
    kept = {"1": 1, "L": 1, "LA": 4, "RGB": 4, "RGBA": 4, "CMYK": 4, "I": 4, "F": 4, "I;16": 2}
    assert image_bytes(Image.new(mode, (10, 20))) == 200 * kept[mode]
    assert image_bytes(np.zeros((10, 20, 3), dtype=np.uint16)) == 1200


def test_whoever_came_longest_ago_is_let_go():
    budget = Budget(10**9)
    first, second, third = (a_session(budget=budget) for _ in range(3))
    first.clear()  # the most recent now
    budget.most_bytes = 2 * max(budget._held.values())
    a_session(budget=budget)
    assert (first.released, second.released, third.released) == (False, True, True)


def test_who_is_busy_or_has_left_is_not_in_the_way():
    budget = Budget(10**9)
    busy = a_session(budget=budget)
    left = a_session(budget=budget)
    del left
    gc.collect()
    entered, done = threading.Event(), threading.Event()

    def work() -> None:
        with busy.lock:
            entered.set()
            done.wait()

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait()
    budget.most_bytes = 1
    last = a_session(budget=budget)
    done.set()
    thread.join()
    assert not busy.released
    assert not last.released
    assert len(budget._held) == 2


# --------------------------------------------------------------------------------------------------------- the events


@pytest.fixture
def page():
    pytest.importorskip("gradio", reason="the web page needs gradio: make test-browser")
    from pmtools.app import page

    return page


def test_no_event_waits_in_a_queue(page):
    """gradio's queue loses an event that starts while it closes the stream of the one before."""

    async def make() -> object:  # gradio wants the loop of the server
        return page.make_page(Limits())

    assert [event.name for event in asyncio.run(make()).fns.values() if event.queue] == []


def test_an_error_of_the_program_is_told_and_logged(page, session, caplog):
    def broken(_):
        raise KeyError("mine")

    assert "did not work" in page._act(broken, session)[-1]
    assert "mine" in caplog.text
    assert "did not work" in page._save(lambda *_: 1 / 0, session)[-1]
    assert any("did not work" in str(shown) for shown in page._begin(lambda: 1 / 0, {}, ""))


def test_a_user_whose_pictures_were_let_go_is_told(page, session):
    assert session.release()
    assert words.RELEASED in page._act(Session.undo, session)[-1]
    assert words.RELEASED in page._save(lambda *_: None, session)[-1]


def test_a_page_without_a_user_says_so(page):
    assert words.GONE in page._act(Session.undo, None)[-1]


def test_what_the_model_cannot_answer_is_told_in_the_place_of_the_answer(page, session):
    session.ask("Is the star blue?")
    *_, told, notice = page._act(Session.ask, session, "Is there a zebra?", problems="answers")
    assert "zebra" in told
    assert not isinstance(notice, str)


def test_a_tab_that_loads_again_finds_its_session_unless_it_was_let_go(page):
    users, one, other = weakref.WeakValueDictionary(), "0" * 32, "1" * 32
    first = page._begin(a_session, users, one)[0]
    first.add({"kind": "point", "xy": [100, 50]})
    assert page._begin(a_session, users, one)[0] is first
    assert page._begin(a_session, users, other)[0] is not first
    for nobody in ("", None, "0" * 31, "0" * 33, "g" * 32, ["0" * 32]):
        assert page._begin(a_session, users, nobody)[0] not in (None, first)
    assert set(users) <= {one, other}
    assert first.release()
    again = page._begin(a_session, users, one)[0]
    assert not again.released
    assert users[one] is again


def test_who_left_is_not_kept_by_name(page):
    users = weakref.WeakValueDictionary()
    page._begin(a_session, users, "0" * 32)
    gc.collect()
    assert not users


# --------------------------------------------------------------------------------------------------------- the server


def test_a_port_that_is_asked_for_is_taken_or_refused():
    with server.open_socket("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            server.open_socket("127.0.0.1", port)
        ran = CliRunner().invoke(app, ["app", "--port", str(port)])
        if "gradio" not in ran.stderr:
            assert ran.exit_code == 1
            assert f"cannot serve at 127.0.0.1, port {port}: Address already in use; try another --port" in ran.stderr


def test_a_usual_port_that_is_taken_gives_another(monkeypatch):
    with server.open_socket("127.0.0.1", 0) as bound:
        monkeypatch.setattr(server, "USUAL_PORT", bound.getsockname()[1])
        with server.open_socket("127.0.0.1", None) as other:
            assert other.getsockname()[1] != bound.getsockname()[1]
    with server.open_socket("127.0.0.1", None) as free:
        assert free.getsockname()[1] == server.USUAL_PORT


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(OSError):
        server.open_socket("192.0.2.1", 0)  # RFC 5737: nobody's


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.8.8.8", True),
        ("0.0.0.0", False),
        ("x.org", False),
    ],
)
def test_what_is_local(host, local):
    assert server.is_loopback(host) is local


@pytest.mark.parametrize(
    ("only_local", "name", "status"),
    [
        (True, "127.0.0.1:7860", 200),
        (True, "localhost:7860", 200),
        (True, "[::1]:7860", 200),
        (True, "evil.example:7860", 421),
        (True, "", 421),
        (False, "workstation:7860", 200),
    ],
)
def test_a_page_for_this_machine_answers_no_foreign_name(only_local, name, status):
    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": b""})

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", name.encode())]}
    asyncio.run(server._Guard(page, only_local=only_local)(scope, None, send))
    assert sent[0]["status"] == status
    policy = dict(sent[0]["headers"]).get(b"content-security-policy", b"")
    assert b"default-src 'self'" in policy
    assert b"http" not in policy


OWN = {"host": "127.0.0.1:7860"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/gradio_api/upload", {}, 200),  # no browser
        ("POST", "/gradio_api/upload", {"origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"}, 200),
        ("POST", "/gradio_api/upload", {"origin": "http://127.0.0.1:8000"}, 403),  # another page of this machine
        ("POST", "/gradio_api/run/predict", {"origin": "https://evil.example"}, 403),
        ("POST", "/gradio_api/run/predict", {"origin": "null"}, 403),
        ("POST", "/gradio_api/run/predict", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", "/gradio_api/run/predict", {"sec-fetch-site": "same-site"}, 403),
        ("DELETE", "/x", {"origin": "https://evil.example"}, 403),
        ("GET", "/", {"sec-fetch-site": "cross-site"}, 200),  # a link
        ("GET", "/openapi.json", {}, 404),
        ("GET", "/gradio_api/openapi.json", {}, 404),
        ("GET", "/docs/", {}, 404),
    ],
)
def test_other_pages_may_not_post(method, path, headers, status):
    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sent = []

    async def send(message):
        sent.append(message)

    given = [(name.encode(), value.encode()) for name, value in {**OWN, **headers}.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": given}
    asyncio.run(server._Guard(page, only_local=True)(scope, None, send))
    assert sent[0]["status"] == status


@pytest.fixture
def client(page, tmp_path, monkeypatch):
    """The whole application on a port of this machine, asked as a browser or an attacker would."""
    import httpx
    import uvicorn

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    bound, running = server.open_socket("127.0.0.1", 0), []

    async def serve():  # gradio wants the loop of the server
        running.append(uvicorn.Server(uvicorn.Config(server.make_app(Limits()), log_level="error")))
        await running[0].serve(sockets=[bound])

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{bound.getsockname()[1]}", timeout=120) as client:
        yield client
    running[0].should_exit = True
    thread.join()
    bound.close()


def post(client, event, data):
    body = {"fn_index": event["id"], "data": data, "session_hash": "attacker"}
    return client.post("/gradio_api/run/predict", json=body)


def test_no_event_reads_a_file_that_was_not_uploaded(client, tmp_path):
    """The attack: a path in the place of an upload, for every input of every event."""
    secret = tmp_path / "secret.png"
    Image.new("RGB", (31, 17), (1, 2, 3)).save(secret)
    events = client.get("/config").json()["dependencies"]
    load = next(event for event in events if event["targets"][0][1] == "load")
    assert post(client, load, [""]).status_code == 200
    told = {}
    for path in (secret, tmp_path / "gone.png"):
        file = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
        for event in events:
            for place in range(len(event["inputs"])):
                data = [None] * len(event["inputs"])
                data[place] = file
                said = post(client, event, data).text
                assert "31 × 17" not in said
                told.setdefault((event["id"], place), set()).add(re.sub(r"secret|gone", "", said))
    assert sum(len(event["inputs"]) for event in events) == len(told) > 30
    upload = next(event for event in events if event["targets"][0][1] == "upload")
    assert len(told[upload["id"], 1]) == 1  # the same answer, whether there is such a file or not


def test_the_attack_would_be_seen(client, tmp_path):
    """What was uploaded is opened, and its size is told."""
    stream = bytes_io.BytesIO()
    Image.new("RGB", (31, 17), (1, 2, 3)).save(stream, "PNG")
    path = client.post("/gradio_api/upload", files={"files": ("a.png", stream.getvalue())}).json()[0]
    events = client.get("/config").json()["dependencies"]
    load, upload = (next(e for e in events if e["targets"][0][1] == name) for name in ("load", "upload"))
    post(client, load, [""])
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    assert "31 × 17" in post(client, upload, [None, file]).text


def test_nobody_waits_for_the_work_of_others(client, monkeypatch):
    """While more users than threads wait for their pictures, the page itself is served."""
    events = client.get("/config").json()["dependencies"]
    load = next(event for event in events if event["targets"][0][1] == "load")
    gate, working = threading.Event(), []
    own = Session.open_photograph

    def slow(self):
        working.append(self)
        gate.wait(60)
        own(self)

    monkeypatch.setattr(Session, "open_photograph", slow)
    threads = [threading.Thread(target=post, args=(client, load, [""])) for _ in range(50)]
    for thread in threads:
        thread.start()
    try:
        assert client.get("/config").status_code == 200
        assert len(working) <= 4
        assert not gate.is_set()
    finally:
        gate.set()
        for thread in threads:
            thread.join()
    assert len(working) == 50


def test_without_gradio_the_way_out_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ran = CliRunner().invoke(app, ["app"])
    assert ran.exit_code == 1
    assert ran.stderr == "pmtools: error: `pmtools app` needs gradio: pip install 'pmtools[app]'\n"
