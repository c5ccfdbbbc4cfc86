"""The web page as people use it, in a headless Chromium: `make test-browser`.

Needs playwright and Debian's `chromium` (`CHROMIUM` names another one); otherwise it says so and skips. `PMTOOLS_SCREENSHOTS`
names a folder for pictures of the page.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pmtools
from pmtools import Warp, frames, heatmaps, io
from pmtools.app.pictures import PATCH_XYXY

pytest.importorskip("gradio", reason="the web page needs gradio: make test-browser")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: make test-browser")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("there is no chromium: make test-browser installs it where it can", allow_module_level=True)

expect = sync_api.expect
expect.set_options(timeout=60_000)  # machines may be busy; nothing here waits when it need not
HEIGHT, WIDTH = 120, 200  # of the uploaded picture


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The page, served by the command of the manual on a free port."""
    command = [sys.executable, "-m", "pmtools", "app", "--port", "0", "--max-upload", "2", "--max-pixels", "1000000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + process.stderr.read()
        yield found[0]
        process.terminate()  # does what Ctrl-C does, which background jobs of a shell ignore
        told = process.stderr.read()
    assert process.returncode == 130, told
    assert "Traceback" not in told


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        # names outside this machine lead nowhere, so a page that needs them cannot pass
        rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[rules])
        yield chromium
        chromium.close()


class User:
    """A page that is open, and all that was asked for or went wrong on it."""

    def __init__(self, browser: sync_api.Browser, address: str, **how) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **how})
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        # gradio up to 6.20 reports a request that a reload cuts off
        self.page.on("pageerror", lambda e: None if "AbortError" in str(e) else self.wrong.append(str(e)))
        self.page.on("console", lambda message: self.wrong.append(message.text) if message.type == "error" else None)
        self.page.goto(address)
        expect(self.page.locator("#notice")).to_contain_text("512 × 512 pixels")

    def image(self, name: str) -> dict[str, float]:
        """Where a view's picture is on the screen."""
        picture = self.page.locator(f"#{name} img")
        picture.scroll_into_view_if_needed()
        return picture.bounding_box()

    def at(self, name: str, x: float, y: float, size: tuple[float, float] = (WIDTH, HEIGHT)) -> tuple[float, float]:
        """Screen position of a place on a view, whole CSS pixels as a mouse has them, and so not quite the place."""
        box = self.image(name)
        return round(box["x"] + box["width"] * x / size[0]), round(box["y"] + box["height"] * y / size[1])

    def place_of(self, name: str, position: tuple[float, float], size=(WIDTH, HEIGHT)) -> np.ndarray:
        """The place on the true image that is under a screen position."""
        box = self.image(name)
        return np.asarray(
            [(position[0] - box["x"]) / box["width"] * size[0], (position[1] - box["y"]) / box["height"] * size[1]]
        )

    def upload(self, path: Path) -> None:
        self.page.set_input_files("#upload input[type=file]", path)

    def open(self, path: Path) -> None:
        self.upload(path)
        expect(self.page.locator("#notice")).to_contain_text(f"'{path.name}'")
        expect(self.page.locator("#original svg")).to_have_attribute("viewBox", f"0 0 {WIDTH} {HEIGHT}")

    def choose(self, tool: str) -> None:
        self.page.get_by_label(tool, exact=True).check()
        expect(self.page.locator("#original .stage")).to_have_attribute("data-tool", tool.lower())

    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """The two places that the page tells."""
        texts = (self.page.locator(f"#{name}").inner_text() for name in ("source_xy", "target_xy"))
        source, target = (np.asarray([float(part) for part in text.split(",")]) for text in texts)
        return source, target

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """On the original, from place to place."""
        self.page.mouse.move(*self.at("original", *start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at("original", *end), steps=4)
        self.page.mouse.up()

    def advanced(self) -> None:
        """Unfold the settings that are not in front."""
        self.page.get_by_role("button", name="Advanced").click()
        expect(self.page.locator("#kernel input[type=number]")).to_be_visible()

    def warp(self) -> Warp:
        return Warp.from_dict(io.read_json(self.download("warp")))

    def download(self, what: str) -> Path:
        with self.page.expect_download() as download:
            self.page.click(f"#download_{what}")
        path = Path(download.value.path())
        return path.rename(path.with_name(download.value.suggested_filename))


@pytest.fixture
def visit(browser, address) -> Iterator[Callable[..., User]]:
    users: list[User] = []

    def open_page(**how) -> User:
        users.append(User(browser, address, **how))
        return users[-1]

    yield open_page
    for user in users:
        user.context.close()
        assert user.wrong == []
        assert [url for url in user.asked if not url.startswith((address, "data:", "blob:"))] == []
        assert [url for url in user.asked if "/queue/" in url] == []  # where events are lost, see page.py


@pytest.fixture
def photo(tmp_path, rng) -> Path:
    coarse = Image.fromarray(rng.integers(0, 256, (6, 10, 3), dtype=np.uint8))
    path = tmp_path / "photo.png"
    coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(path)
    return path


# ------------------------------------------------------------------------------------------------------------ opening


def test_the_page_opens_with_four_pictures(visit):
    user = visit()
    expect(user.page).to_have_title("pmtools")
    for name in ("original", "map", "magnified", "grid"):
        expect(user.page.locator(f"#{name} img")).to_have_attribute("src", re.compile("^data:image/jpeg"))
    rectangle = user.page.locator("#original rect")
    assert [float(rectangle.get_attribute(name)) for name in ("x", "y")] == list(PATCH_XYXY[:2])
    expect(user.page.locator("#magnified rect")).to_have_count(1)
    expect(user.page.locator("footer")).to_have_count(0)


def test_the_browser_refuses_what_is_elsewhere(visit):
    """The control of `visit`: a page that reaches out is seen, and stopped."""
    user = visit()
    refused = user.page.evaluate(
        """() => new Promise((done) => {
            document.addEventListener('securitypolicyviolation', (event) => done(event.blockedURI));
            document.body.append(Object.assign(new Image(), {src: 'http://192.0.2.1/pixel.png'}));
        })"""
    )
    assert refused == "http://192.0.2.1/pixel.png"
    assert any("192.0.2.1" in message for message in user.wrong)
    user.wrong.clear()
    user.asked[:] = [url for url in user.asked if "192.0.2.1" not in url]


# -------------------------------------------------------------------------------------------------------------- files


def test_a_picture_is_uploaded_and_shown(visit, photo):
    user = visit()
    user.open(photo)
    expect(user.page.locator("#notice")).to_contain_text("200 × 120 pixels, RGB")
    expect(user.page.locator("#facts")).to_contain_text("200 × 120 → 200 × 120")
    expect(user.page.locator("#original rect")).to_have_count(0)
    box = user.image("original")
    assert box["width"] / box["height"] == pytest.approx(WIDTH / HEIGHT, rel=0.01)


def test_files_that_are_no_images_are_told_and_the_page_goes_on(visit, photo, tmp_path):
    user = visit()
    jpeg = tmp_path / "whole.jpg"
    Image.open(photo).save(jpeg)
    bad = {
        "cut.jpg": (jpeg.read_bytes()[:700], "truncated"),
        "text.png": (b"these are words", "is not a readable image"),
        "<b>bold<b>.png": (b"", "is empty"),
    }
    for name, (content, says) in bad.items():
        (tmp_path / name).write_bytes(content)
        user.upload(tmp_path / name)
        expect(user.page.locator("#notice [role=alert]")).to_contain_text(says)
        expect(user.page.locator("#notice b")).to_have_count(0)
        expect(user.page.locator("#upload")).to_contain_text("Drop File Here")  # free for the next
    huge = tmp_path / "huge.png"
    Image.new("L", (1001, 1000)).save(huge)
    user.upload(huge)
    expect(user.page.locator("#notice [role=alert]")).to_contain_text(
        "'huge.png' has 1.001 megapixels; the limit is 1 (`pmtools app --max-pixels`)."
    )
    expect(user.page.locator("#upload")).to_contain_text("Drop File Here")
    user.open(photo)


def test_a_file_that_is_too_large_is_refused(visit, photo, tmp_path):
    user = visit()
    path = tmp_path / "heavy.png"
    path.write_bytes(bytes(2 * 2**20 + 1))
    user.upload(path)
    expect(user.page.get_by_text(re.compile("exceed the maximum allowed size of 2.0 Mb")).first).to_be_visible()
    user.wrong.clear()
    expect(user.page.locator("#upload")).to_contain_text("Drop File Here")
    user.open(photo)


# ---------------------------------------------------------------------------------------------- marking and looking


def test_a_point_is_where_it_was_clicked_and_its_counterpart_where_the_warp_says(visit, photo):
    user = visit()
    user.open(photo)
    user.choose("Point")
    position = user.at("original", 60.3, 45.8)
    user.page.mouse.click(*position)
    expect(user.page.locator("#original circle")).to_have_count(1)
    expect(user.page.locator("#source_xy")).to_be_visible()
    clicked = user.place_of("original", position)
    circle = user.page.locator("#original circle")
    marked = [float(circle.get_attribute(name)) for name in ("cx", "cy")]
    np.testing.assert_allclose(marked, clicked, atol=0.02)  # pixels of the picture; half a pixel would be seen

    heat = heatmaps.from_points(np.asarray(marked), source_hw=(HEIGHT, WIDTH))
    warp = pmtools.fit_warp(heat, source_hw=(HEIGHT, WIDTH))
    there = user.page.locator("#magnified circle")
    expect(there).to_have_count(1)
    found = [float(there.get_attribute(name)) for name in ("cx", "cy")]
    np.testing.assert_allclose(found, warp.points(np.asarray(marked)), atol=1e-6)

    user.choose("Look")
    user.page.get_by_text("Map and grid").click()
    for name, forward in (("original", True), ("map", True), ("magnified", False), ("grid", False)):
        position = user.at(name, 130.2, 71.7)
        user.page.mouse.move(*position)
        pointed = user.place_of(name, position)
        source, target = user.numbers()
        np.testing.assert_allclose(source if forward else target, pointed, atol=0.02)
        counterpart = (warp.points if forward else warp.inverse_points)(pointed)
        np.testing.assert_allclose(target if forward else source, counterpart, atol=0.05)
        for view in ("original", "map", "magnified", "grid"):
            expect(user.page.locator(f"#{view} line")).to_have_count(4)
        across = user.page.locator("#magnified line.line").nth(1)
        assert float(across.get_attribute("x1")) == pytest.approx(target[0], abs=0.01)
    assert user.page.locator("#original circle").count() == 1  # looking marks nothing


_CROSSHAIR = """(name) => {
    const [across, down] = document.querySelectorAll(`#${name} line.line`);
    return [down.getAttribute('x1'), across.getAttribute('y1')];
}"""


def hover(user: User, name: str, positions: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where the pointer was, and where the crosshair of the other picture was then: (n, 2) each, in their pixels."""
    other = {"original": "magnified", "magnified": "original"}[name]
    box = user.image(name)
    pointed, shown = [], []
    for x, y in positions:
        user.page.mouse.move(round(box["x"] + x * box["width"]), round(box["y"] + y * box["height"]))
        at = np.asarray([round(box["x"] + x * box["width"]), round(box["y"] + y * box["height"])], dtype=float)
        pointed.append((at - [box["x"], box["y"]]) / [box["width"], box["height"]] * size)
        shown.append(user.page.evaluate(_CROSSHAIR, other))  # at once: what comes later would be another place's
    return np.asarray(pointed), np.asarray(shown, dtype=float)


def errors(warp: Warp, name: str, pointed: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Distances between crosshairs and what the library says, in pixels of the original: (n,)."""
    if name == "magnified":
        return np.linalg.norm(shown - warp.inverse_points(pointed), axis=-1)
    return np.linalg.norm(warp.inverse_points(shown) - pointed, axis=-1)


@pytest.mark.parametrize("zoomed", [False, True])
def test_crosshairs_are_where_the_warp_says(visit, photo, rng, zoomed):
    """500 places without and with zoom; the settings change on the way, and nothing is waited for but the new picture."""
    user = visit()
    user.open(photo)
    user.drag((20, 40), (60, 80))
    expect(user.page.locator("#magnified rect")).to_have_count(1)
    if zoomed:
        user.page.mouse.move(*user.at("original", 50, 60))
        user.page.click("#zoom_in")
        user.page.click("#zoom_in")
    warps, wrong, other = [], [], []
    for gain, size in (("20", "120x200"), ("5", "90x300")):
        user.page.fill("#gain input[type=number]", gain)
        user.page.keyboard.press("Tab")
        if not warps:
            user.advanced()
        user.page.locator("#size input").fill(size)
        user.page.locator("#size input").press("Enter")
        height, width = (int(side) for side in size.split("x"))
        expect(user.page.locator("#facts")).to_contain_text(f"→ {width} × {height}")
        warps.append(user.warp())
        assert warps[-1].target_hw == (height, width)
        for name, shape in (("original", (WIDTH, HEIGHT)), ("magnified", (width, height))):
            seen = rng.uniform(0.02, 0.98, (125, 2))
            if zoomed:  # of the picture, the part in its frame
                stage, box = user.page.locator(f"#{name} .stage").bounding_box(), user.image(name)
                low = [(stage[axis] - box[axis]) / box[side] for axis, side in (("x", "width"), ("y", "height"))]
                seen = low + seen / 2.25
            pointed, shown = hover(user, name, seen, shape)
            wrong.append(errors(warps[-1], name, pointed, shown))
            other.append(
                errors(warps[0].then(frames.resize(warps[0].target_hw, (height, width))), name, pointed, shown)
            )
    assert sum(map(len, wrong)) == 500
    assert np.concatenate(wrong).max() < 0.5
    assert np.concatenate(other[2:]).max() > 5  # the control: another gain is seen


def test_boxes_are_dragged_clicked_and_typed(visit, photo):
    user = visit()
    user.open(photo)
    boxes = user.page.locator("#original rect")

    start, end = user.at("original", 60, 80), user.at("original", 20, 40)  # from the lower right to the upper left
    user.page.mouse.move(*start)
    user.page.mouse.down()
    user.page.mouse.move(*end, steps=4)
    user.page.mouse.up()
    expect(user.page.locator("#magnified rect")).to_have_count(1)
    x0, y0, width, height = (float(boxes.get_attribute(name)) for name in ("x", "y", "width", "height"))
    wanted = [*user.place_of("original", end), *user.place_of("original", start)]
    np.testing.assert_allclose([x0, y0, x0 + width, y0 + height], wanted, atol=0.02)

    user.page.mouse.click(*user.at("original", 100, 30))
    user.page.mouse.click(*user.at("original", 140, 60))
    expect(user.page.locator("#magnified rect")).to_have_count(2)

    user.page.locator("#original .stage").focus()
    user.page.keyboard.press("Enter")
    for _ in range(4):
        user.page.keyboard.press("Shift+ArrowLeft")
        user.page.keyboard.press("ArrowUp")
    user.page.keyboard.press("Enter")
    expect(user.page.locator("#magnified rect")).to_have_count(3)

    user.page.click("#undo")
    expect(boxes).to_have_count(2)
    user.page.click("#clear")
    expect(boxes).to_have_count(0)
    expect(user.page.locator("#notice")).to_contain_text("Mark on the original")
    for left in (2, 1, 0):  # the latest change first: Clear
        user.page.keyboard.press("Control+z")
        expect(boxes).to_have_count(left)


def test_the_first_mark_replaces_the_sample_and_ctrl_z_brings_it_back(visit):
    user = visit()
    box = user.page.locator("#original rect")
    expect(box).to_have_attribute("x", str(PATCH_XYXY[0]).removesuffix(".0"))
    user.choose("Point")
    user.page.mouse.click(*user.at("original", 300, 100, size=(512, 512)))
    expect(user.page.locator("#original circle")).to_have_count(1)
    expect(box).to_have_count(0)
    user.page.locator("#gain input[type=number]").focus()
    user.page.keyboard.press("Control+z")  # of the text: the marks stay
    user.page.locator("#original .stage").focus()
    expect(user.page.locator("#original circle")).to_have_count(1)
    user.page.keyboard.press("Control+z")
    expect(user.page.locator("#original circle")).to_have_count(0)
    expect(box).to_have_count(1)


def test_marks_in_quick_succession_are_all_kept(visit, photo):
    user = visit()
    user.open(photo)
    user.choose("Point")
    for k in range(6):
        user.page.mouse.click(*user.at("original", 20 + 25 * k, 60))
    expect(user.page.locator("#original circle")).to_have_count(6)
    for _ in range(6):
        user.page.keyboard.press("Control+z")
    expect(user.page.locator("#original circle")).to_have_count(0)


def test_zoom_shows_the_same_place_on_both_pictures_and_marks_are_where_they_are_drawn(visit, photo):
    user = visit()
    user.open(photo)
    frame = user.page.locator("#original .stage").bounding_box()
    user.page.mouse.move(*user.at("original", 60, 50))
    for _ in range(4):
        user.page.click("#zoom_in")
    expect(user.page.locator(".bar output")).to_have_text("506 %")
    assert user.image("original")["width"] == pytest.approx(frame["width"] * 1.5**4, rel=1e-3)
    assert user.page.locator("#original .stage").bounding_box() == pytest.approx(
        frame, abs=0.5
    )  # it stays in its frame
    for name in ("original", "magnified"):  # nothing is magnified yet
        stage = user.page.locator(f"#{name} .stage").bounding_box()
        middle = (stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2)
        np.testing.assert_allclose(user.place_of(name, middle), (60, 50), atol=0.5)
    start, end = user.at("original", 55, 45), user.at("original", 66, 56)
    user.drag((55, 45), (66, 56))
    expect(user.page.locator("#magnified rect")).to_have_count(1)
    rectangle = user.page.locator("#original rect")
    x0, y0, width, height = (float(rectangle.get_attribute(name)) for name in ("x", "y", "width", "height"))
    wanted = [*user.place_of("original", start), *user.place_of("original", end)]
    np.testing.assert_allclose([x0, y0, x0 + width, y0 + height], wanted, atol=0.01)

    user.choose("Look")  # which moves what is seen
    before = user.image("original")
    user.drag((58, 50), (60, 52))
    after = user.image("original")
    assert after["x"] - before["x"] == pytest.approx(before["width"] * 2 / WIDTH, abs=2)
    assert after["y"] - before["y"] == pytest.approx(before["height"] * 2 / HEIGHT, abs=2)
    user.page.locator("#original .stage").focus()
    user.page.keyboard.press("0")
    expect(user.page.locator(".bar output")).to_have_text("100 %")
    user.page.keyboard.down("Control")
    user.page.mouse.move(*user.at("magnified", 60, 50))
    user.page.mouse.wheel(0, -300)
    user.page.keyboard.up("Control")
    expect(user.page.locator(".bar output")).to_have_text("272 %")
    user.page.click("#zoom_all")
    assert user.image("original") == pytest.approx(frame, abs=0.5)


def test_before_and_after_are_two_sides_of_one_picture(visit, photo):
    user = visit()
    user.open(photo)
    user.page.get_by_label("Before / after").check()
    stages = [user.page.locator(f"#{name} .stage").bounding_box() for name in ("original", "magnified")]
    assert stages[0] == pytest.approx(stages[1], abs=0.5)
    above = """([x, y]) => document.elementFromPoint(x, y).closest('figure').id"""
    box = stages[0]
    for cut in (30, 80):
        user.page.locator("#cut").fill(str(cut))
        for share in (10, 25, 35, 75, 85):
            place = (box["x"] + box["width"] * share / 100, box["y"] + box["height"] / 2)
            assert user.page.evaluate(above, place) == ("original" if share < cut else "magnified")
    user.drag((20, 40), (60, 80))  # the original can be marked, left of the slider
    expect(user.page.locator("#magnified rect")).to_have_count(1)
    user.page.get_by_label("Before / after").uncheck()
    stages = [user.page.locator(f"#{name} .stage").bounding_box() for name in ("original", "magnified")]
    assert stages[0]["x"] + stages[0]["width"] < stages[1]["x"]


def test_a_brush_paints_the_map(visit, photo):
    user = visit()
    user.open(photo)
    user.choose("Brush")
    before = user.page.locator("#map img").get_attribute("src")
    user.page.mouse.move(*user.at("original", 40, 30))
    user.page.mouse.down()
    user.page.mouse.move(*user.at("original", 80, 30), steps=8)
    user.page.mouse.up()
    stroke = user.page.locator("#original polyline")
    expect(stroke).to_have_count(1)
    assert float(stroke.get_attribute("stroke-width")) == pytest.approx(2 * 0.05 * WIDTH)
    expect(user.page.locator("#map img")).not_to_have_attribute("src", before)
    scale = user.warp().local_magnification()
    assert 30 < np.argmax(scale.x) < 90  # along x where the stroke is,
    assert 20 < np.argmax(scale.y) < 40  # and along y
    user.page.click("#clear")
    expect(stroke).to_have_count(0)


def test_a_finger_marks_too(visit, photo):
    user = visit(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    user.open(photo)
    user.choose("Point")
    position = user.at("original", 60.3, 45.8)
    tapped = user.place_of("original", position)
    user.page.touchscreen.tap(*position)
    circle = user.page.locator("#original circle")
    expect(circle).to_have_count(1)
    marked = [float(circle.get_attribute(name)) for name in ("cx", "cy")]
    np.testing.assert_allclose(marked, tapped, atol=0.02)


def test_two_fingers_zoom_and_mark_nothing(visit, photo):
    user = visit(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    user.open(photo)
    x, y = user.at("original", 100, 60)
    touch = user.context.new_cdp_session(user.page)
    for kind, half in (("touchStart", 20), ("touchMove", 30), ("touchMove", 50), ("touchEnd", None)):
        points = [] if half is None else [{"x": x - half, "y": y, "id": 0}, {"x": x + half, "y": y, "id": 1}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    expect(user.page.locator(".bar output")).to_have_text("250 %")
    np.testing.assert_allclose(user.place_of("original", (x, y)), (100, 60), atol=1)
    user.page.click("#zoom_all")
    user.choose("Point")
    user.page.touchscreen.tap(*user.at("original", 60.3, 45.8))  # one finger marks as before
    expect(user.page.locator("#original circle")).to_have_count(1)
    expect(user.page.locator("#original rect")).to_have_count(0)


# ----------------------------------------------------------------------------------------------------------- settings


def test_settings_change_what_is_shown(visit):
    user = visit()
    facts = user.page.locator("#facts")
    user.page.fill("#gain input[type=number]", "0")
    user.page.keyboard.press("Tab")
    expect(facts).to_contain_text("magnification across\t1.00 to 1.00", use_inner_text=True)
    slider = user.page.locator("#gain input[type=range]")
    slider.focus()
    for _ in range(20):
        user.page.keyboard.press("ArrowRight")
    expect(user.page.locator("#gain input[type=number]")).to_have_value("10")
    expect(facts).to_contain_text("to 3.", use_inner_text=True)
    expect(user.page.locator("#kernel")).to_be_hidden()
    user.advanced()
    for name in ("gain", "kernel", "marginal", "floor", "limit", "size"):
        help = user.page.locator(f"#{name} .info-text, #{name} [data-testid=block-info] + div").first
        expect(help).to_have_text(re.compile("[a-z]"))
    user.page.get_by_label("sum", exact=True).check()
    expect(facts).not_to_contain_text("to 3.", use_inner_text=True)

    user.page.fill("#kernel input[type=number]", "4")
    user.page.keyboard.press("Tab")
    expect(user.page.locator("#notice [role=alert]")).to_contain_text("The kernel must be odd")
    user.page.fill("#kernel input[type=number]", "5")
    user.page.keyboard.press("Tab")
    expect(user.page.locator("#notice [role=status]")).to_be_visible()

    user.page.fill("#gain input[type=number]", "500")  # beyond the end of the slider, where it jumps back to
    user.page.keyboard.press("Tab")
    expect(user.page.locator("#gain input[type=number]")).to_have_value("100")
    before = facts.inner_text()
    user.page.fill("#gain input[type=number]", "99.5")
    user.page.keyboard.press("Tab")
    expect(facts).not_to_have_text(before)

    size = user.page.locator("#size input")
    size.fill("100x250")
    size.press("Enter")
    expect(facts).to_contain_text("512 × 512 → 250 × 100")
    box = user.image("magnified")
    assert box["width"] / box["height"] == pytest.approx(2.5, rel=0.02)
    size.fill("large")
    size.press("Enter")
    expect(user.page.locator("#notice [role=alert]")).to_contain_text("must be height x width")


# -------------------------------------------------------------------------------------------------------------- asking


def test_a_question_is_answered_twice_and_shows_where_the_model_looked(visit):
    user = visit()
    user.page.click("#scene")
    expect(user.page.locator("#notice")).to_contain_text("Scene 1")
    expect(user.page.locator("#notice")).to_contain_text("Ask the model")
    expect(user.page.locator("#original .stage")).to_have_attribute("data-tool", "look")  # no mark by mistake
    question, answers = user.page.locator("#question textarea"), user.page.locator("#answers")
    asked = [button.inner_text() for button in user.page.locator("#questions button").all()]
    expect(question).to_have_value(asked[0])
    before = user.page.locator("#map img").get_attribute("src")
    user.page.get_by_role("button", name=asked[1]).click()
    user.page.wait_for_function(
        "getComputedStyle(document.querySelector('#answers .pending') ?? document.body, '::before').content.includes('looking')"
    )
    expect(answers).to_contain_text(asked[1], timeout=180_000)
    expect(question).to_have_value(asked[1])
    expect(answers).to_contain_text("about the magnified image")
    truth, *said = (
        answers.get_by_role("row", name=name).locator("td").inner_text()
        for name in ("true answer", "about the original", "about the magnified image")
    )
    for answer in said:
        word, mark = answer.split(" ", 1)
        assert mark == ("✓ right" if word == truth else "✗ wrong")
    expect(user.page.locator("#map img")).not_to_have_attribute("src", before)
    expect(user.page.locator("#facts")).not_to_contain_text("1.00 to 1.00")

    question.fill("Is there a zebra?")
    question.press("Enter")
    expect(answers.locator("[role=alert]")).to_contain_text("'zebra'; it knows the colors")
    expect(answers).not_to_contain_text(asked[1])  # of the question before
    question.fill("What color is the star?")
    question.press("Enter")
    expect(answers).to_contain_text("What color is the star?")
    expect(user.page.get_by_role("alert")).to_have_count(0)

    user.page.get_by_role("tab", name="Mark").click()
    expect(answers).to_be_hidden()
    expect(user.page.locator("#original .stage")).to_have_attribute("data-tool", "box")
    expect(user.page.locator("#notice")).to_contain_text("Mark on the original")


def test_the_next_scene_is_another(visit):
    user = visit()
    seen = set()
    for number in range(1, 6):
        user.page.click("#scene")
        expect(user.page.locator("#notice")).to_contain_text(f"Scene {number} ")
        seen.add(user.page.locator("#original img").get_attribute("src"))
    assert len(seen) == 5
    user.page.click("#photograph")
    expect(user.page.locator("#notice")).to_contain_text("512 × 512")
    user.page.get_by_role("tab", name="Ask").click()
    expect(user.page.locator("#questions button").first).to_have_text("Is there a red circle in this image?")


# ----------------------------------------------------------------------------------------------------------- downloads


def test_downloads_are_what_is_shown_and_are_undone_by_the_command_line(visit, photo, tmp_path):
    user = visit()
    user.open(photo)
    user.choose("Box")
    user.page.mouse.click(*user.at("original", 60, 40))
    user.page.mouse.click(*user.at("original", 100, 80))
    expect(user.page.locator("#magnified rect")).to_have_count(1)
    image, warp_file = user.download("image"), user.download("warp")
    assert (image.name, warp_file.name) == ("photo_magnified.png", "photo_warp.json")
    warp = Warp.from_dict(json.loads(warp_file.read_text()))
    np.testing.assert_array_equal(np.asarray(io.read_image(image)), np.asarray(warp.image(io.read_image(photo))))
    box = user.page.locator("#original rect")
    x, y, width, height = (float(box.get_attribute(name)) for name in ("x", "y", "width", "height"))
    heat = heatmaps.from_boxes((x, y, x + width, y + height), source_hw=(HEIGHT, WIDTH))
    wanted = pmtools.magnify(io.read_image(photo), heat)
    np.testing.assert_array_equal(np.asarray(io.read_image(image)), np.asarray(wanted))
    back = tmp_path / "back.png"
    command = [sys.executable, "-m", "pmtools", "unmagnify", image, "--warp", warp_file, "-o", back]
    subprocess.run(command, check=True, capture_output=True)
    undone = np.asarray(io.read_image(back)).astype(int)
    assert np.abs(undone - np.asarray(io.read_image(photo)).astype(int)).mean() < 2


# --------------------------------------------------------------------------------------------------------------- users


def test_two_users_see_their_own(visit, photo):
    one, other = visit(), visit()
    one.open(photo)
    expect(one.page.locator("#facts")).to_contain_text("200 × 120")
    other.page.click("#clear")
    expect(other.page.locator("#original rect")).to_have_count(0)
    expect(other.page.locator("#facts")).to_contain_text("512 × 512 → 512 × 512")
    one.page.click("#photograph")
    expect(one.page.locator("#original rect")).to_have_count(1)


def test_a_reload_keeps_the_work(visit, photo):
    user = visit()
    user.open(photo)
    user.drag((20, 40), (60, 80))
    expect(user.page.locator("#magnified rect")).to_have_count(1)
    facts = user.page.locator("#facts").inner_text()
    user.page.fill("#gain input[type=number]", "17")
    user.page.keyboard.press("Tab")
    expect(user.page.locator("#facts")).not_to_have_text(facts, use_inner_text=True)
    width = user.page.locator("#magnified rect").get_attribute("width")
    user.page.reload()
    expect(user.page.locator("#notice")).to_contain_text("'photo.png'")
    expect(user.page.locator("#magnified rect")).to_have_attribute("width", width)
    expect(user.page.locator("#gain input[type=number]")).to_have_value("17")
    user.page.click("#scene")
    expect(user.page.locator("#notice")).to_contain_text("Scene 1")
    asked = user.page.locator("#questions button").all_inner_texts()
    user.page.reload()
    expect(user.page.locator("#notice")).to_contain_text("Scene 1")
    expect(user.page.locator("#question textarea")).to_be_visible()  # on its tab
    expect(user.page.locator("#questions button")).to_have_text(asked)
    expect(user.page.locator("#original .stage")).to_have_attribute("data-tool", "look")
    other = user.context.new_page()  # another tab starts anew
    other.goto(user.page.url)
    expect(other.locator("#notice")).to_contain_text("512 × 512 pixels")


# --------------------------------------------------------------------------------------------------------------- looks


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_it_fits_the_screen(visit, scheme, width, height):
    user = visit(viewport={"width": width, "height": height}, color_scheme=scheme)
    assert user.page.evaluate("document.documentElement.scrollWidth") <= width
    original, magnified = (user.image(name) for name in ("original", "magnified"))
    assert original["y"] == pytest.approx(magnified["y"], abs=1)  # side by side, and to be seen at once
    assert original["width"] == pytest.approx(magnified["width"], abs=1)
    assert original["width"] > 0.33 * width
    assert magnified["y"] + magnified["height"] < height
    expect(user.page.locator("#map img")).to_be_hidden()
    ground = user.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = np.mean([int(part) for part in re.findall(r"\d+", ground)[:3]])
    assert (brightness > 128) == (scheme == "light")
    folder = os.environ.get("PMTOOLS_SCREENSHOTS")
    if folder:
        user.page.screenshot(path=Path(folder) / f"page_{scheme}_{width}.png", full_page=True)
    user.page.get_by_text("Map and grid").click()
    expect(user.page.locator("#map img")).to_be_visible()
    assert user.page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_the_pictures_stay_in_sight_of_the_slider(visit):
    user = visit(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    user.advanced()
    floor = user.page.locator("#floor input[type=range]")
    floor.evaluate("node => node.scrollIntoView({block: 'end'})")
    inside = "([x, y]) => document.elementFromPoint(x, y)?.closest('figure, #floor')?.id"
    for name, place in (("original", user.page.locator("#original .stage")), ("floor", floor)):
        box = place.bounding_box()
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert 0 < middle[1] < 844
        assert user.page.evaluate(inside, middle) == name  # and nothing is above it
