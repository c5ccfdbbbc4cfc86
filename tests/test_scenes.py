"""The scenes benchmark: exact answers, exact boxes, balance, and the same questions for the same seed."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from pmtools.evaluation.scenes import CATEGORIES, SIZES, SceneItem, drawing, scene_items
from pmtools.evaluation.scenes.composition import compose_scene, place_objects
from pmtools.evaluation.scenes.drawing import COLORS, SHAPES, SIDE, Scene, draw_scene
from pmtools.evaluation.scenes.items import YES_NO_CATEGORIES
from pmtools.evaluation.scenes.questions import LEAST_OFFSET, NUMBERS, ask


def one_object(
    shape: int, *, color: int = 0, center=(150.0, 220.0), diameter: float = 80.0, angle: float = 0.2
) -> Scene:
    return Scene(np.array([shape]), np.array([color]), np.array([center]), np.array([diameter]), np.array([angle]))


def drawn_mask(scene: Scene) -> np.ndarray:
    """Where an object is, from two drawings that differ in it alone."""
    with_object = draw_scene(scene, np.random.default_rng(3))
    without = draw_scene(scene.only(np.zeros(len(scene), bool)), np.random.default_rng(3))
    return np.abs(with_object - without).max(axis=0) > 0.02


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_boxes_are_those_of_the_drawing(shape):
    scene = one_object(shape)
    y, x = np.nonzero(drawn_mask(scene))
    seen = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
    # a corner thinner than a pixel may fade; the box may not be shifted, swapped or grown
    np.testing.assert_allclose(seen, scene.boxes_xyxy[0], atol=1.6)
    np.testing.assert_allclose(seen.reshape(2, 2).mean(0), scene.boxes_xyxy[0].reshape(2, 2).mean(0), atol=0.8)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_all_shapes_cover_the_same_area(shape):
    mask = drawn_mask(one_object(shape, diameter=100.0))
    assert mask.sum() == pytest.approx(np.pi / 4 * 100**2, rel=0.06)  # partly covered border pixels count in full


def test_shapes_turn_clockwise_on_the_screen():
    square = one_object(SHAPES.index("square"), angle=0.3)
    assert (square.boxes_xyxy[0, 2:] - square.boxes_xyxy[0, :2] > 0.886 * 80 * 1.1).all()
    triangle = one_object(SHAPES.index("triangle"), angle=0.3)  # its tip points up and, turned clockwise, to the right
    y, x = np.nonzero(drawn_mask(triangle))
    assert x[y == y.min()].mean() > 150 + 5


def test_objects_keep_apart_and_inside():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scene = place_objects(rng, count=6, diameters=(13, 60))
        boxes = scene.boxes_xyxy
        assert (boxes > 0).all()
        assert (boxes < SIDE).all()
        gaps = np.hypot(*(scene.centers_xy[:, None] - scene.centers_xy[None]).transpose(2, 0, 1))
        reach = 0.78 * (scene.diameters[:, None] + scene.diameters)
        assert (gaps + np.eye(len(scene)) * 1e9 > reach).all()


def truth(item: SceneItem) -> str:
    """The answer, read from the text and the scene by other code than the benchmark's."""
    scene, words = item.scene, item.question.text.lower().rstrip("?").split()
    objects = [
        {"color": COLORS[c], "shape": SHAPES[s], "x": x, "y": y}
        for c, s, (x, y) in zip(scene.colors, scene.shapes, scene.centers_xy, strict=True)
    ]

    def find(phrase: list[str]) -> list[dict]:
        phrase = [{"crosses": "cross"}.get(w, w.removesuffix("s") if w != "cross" else w) for w in phrase]
        colors, shapes = [w for w in phrase if w in COLORS], [w for w in phrase if w in SHAPES]
        assert colors or shapes
        return [o for o in objects if (not colors or o["color"] in colors) and (not shapes or o["shape"] in shapes)]

    category = item.question.category
    if category == "existence":
        return "yes" if find(words) else "no"
    if category == "color":
        (found,) = find(words[:3])
        return "yes" if found["color"] == words[-1] else "no"
    if category == "count":
        return "yes" if len(find(words)) == next(NUMBERS.index(w) for w in words if w in NUMBERS) else "no"
    if category == "open_count":
        return NUMBERS[len(find(words))]
    if category == "open_color":
        (found,) = find(words)
        return found["color"]
    if category == "open_shape":
        (found,) = find([w for w in words if w in COLORS])
        return found["shape"]
    at, relation = next((k, w) for k, w in enumerate(words) if w in {"left", "right", "above", "below"})
    (a,), (b,) = find(words[:at]), find(words[at:])
    holds = {
        "left": a["x"] < b["x"], "right": a["x"] > b["x"], "above": a["y"] < b["y"], "below": a["y"] > b["y"]
    }[relation]  # fmt: skip
    return "yes" if holds else "no"


def test_answers_are_true():
    items = list(scene_items(seed=1, limit=660))
    assert {item.question.category for item in items} == set(CATEGORIES)
    for item in items:
        assert truth(item) == item.question.answer, item.question.text


def test_the_checker_sees_a_wrong_answer():
    item = next(scene_items(seed=1))
    flipped = {"yes": "no", "no": "yes"}[item.question.answer]
    assert truth(item) != flipped


def test_relevant_boxes_are_those_of_the_mentioned_objects():
    for item in scene_items(seed=2, limit=200):
        if item.question.category in {"open_color", "open_shape", "color"}:
            (k,) = item.question.relevant
            word = item.question.mentions[0][0]
            assert word in {SHAPES[item.scene.shapes[k]], COLORS[item.scene.colors[k]]}
            np.testing.assert_array_equal(item.relevant_boxes_xyxy[0], item.scene.boxes_xyxy[k])


def test_balance():
    items = list(scene_items(seed=3, limit=33 * 120))  # 120 turns of 7 categories and 3 sizes
    answers, numbers = defaultdict(Counter), Counter()
    for item in items:
        answers[item.question.category][item.question.answer] += 1
        if item.question.category == "count":
            number = next(w for w in item.question.text.split() if w in NUMBERS)
            numbers[number, item.question.answer] += 1
    for category, counts in answers.items():
        assert max(counts.values()) - min(counts.values()) <= (0 if category in YES_NO_CATEGORIES else 3), counts
    for number in NUMBERS[1:5]:  # no number gives its answer away
        share = numbers[number, "yes"] / (numbers[number, "yes"] + numbers[number, "no"])
        assert 0.35 < share < 0.65
    assert {item.size for item in items[:33]} == set(SIZES)


def test_yes_no_pictures_have_both_answers():
    by_image = defaultdict(list)
    for item in scene_items(seed=4, limit=330):
        by_image[item.image_index].append(item)
    for items in by_image.values():
        if items[0].question.category in YES_NO_CATEGORIES:
            assert sorted(i.question.answer for i in items) == ["no", "yes"]
        else:
            assert len(items) == 1


def test_sizes_and_offsets_are_as_promised():
    for item in scene_items(seed=5, limit=330):
        low, high = SIZES[item.size]
        assert (item.scene.diameters >= low).all()
        assert (item.scene.diameters <= high).all()
        if item.question.category == "position":
            a, b = item.scene.centers_xy[list(item.question.relevant)]
            axis = 0 if "left" in item.question.text or "right" in item.question.text else 1
            assert abs(a[axis] - b[axis]) >= LEAST_OFFSET


def test_same_seed_same_pictures_and_a_prefix_is_a_prefix():
    first, again = list(scene_items(seed=6, limit=20)), list(scene_items(seed=6, limit=40))
    for a, b in zip(first, again, strict=False):
        assert a.question == b.question
        np.testing.assert_array_equal(a.pixels, b.pixels)
    assert len(first) == 20
    assert list(scene_items(limit=0)) == []


def test_splits_and_seeds_differ():
    streams = [
        [i.question.text for i in scene_items(seed=s, split=split, limit=60)]
        for s, split in ((0, "test"), (0, "tune"), (1, "test"))
    ]
    assert streams[0] != streams[1]
    assert streams[0] != streams[2]


def test_pixels_are_the_drawing():
    item = next(scene_items(seed=7))
    assert item.pixels.shape == (SIDE, SIDE, 3)
    assert item.pixels.dtype == np.uint8
    assert item.image.mode == "RGB"
    k = 0
    x, y = item.scene.centers_xy[k].astype(int)
    color = item.pixels[y - 2 : y + 3, x - 2 : x + 3].mean(axis=(0, 1)) / 255
    np.testing.assert_allclose(color, drawing._RGB[item.scene.colors[k]], atol=0.25)


@pytest.mark.parametrize("side", [96, 200])
def test_shrunk_pictures_are_the_same_questions_about_the_same_places(side):
    for item, small in zip(scene_items(seed=4, limit=12), scene_items(seed=4, limit=12, side=side), strict=True):
        assert (small.question, small.image.size) == (item.question, (side, side))
        np.testing.assert_allclose(small.relevant_boxes_xyxy / side, item.relevant_boxes_xyxy / SIDE, rtol=1e-12)
        # shrinking keeps the mean of what is large: no shift, no mirror
        halves = [[np.asarray(i.image, float)[: s // 2].mean(), np.asarray(i.image, float)[:, : s // 2].mean()]
                  for i, s in ((item, SIDE), (small, side))]  # fmt: skip
        np.testing.assert_allclose(*halves, atol=1.5)


def test_plans():
    rng = np.random.default_rng(8)
    for _ in range(30):
        assert len(set(compose_scene(rng, plan="unique_color", diameters=(20, 30)).colors)) > 1
        scene = compose_scene(rng, plan="repeat_shape", diameters=(20, 30), repeats=3)
        assert (scene.shapes == scene.shapes[0]).sum() == 3


def test_bad_input():
    rng = np.random.default_rng(9)
    with pytest.raises(ValueError, match="`plan` must be one of 'mixed'"):
        compose_scene(rng, plan="many", diameters=(20, 30))
    with pytest.raises(ValueError, match="`category` must be one of"):
        ask(compose_scene(rng, plan="mixed", diameters=(20, 30)), category="taste", rng=rng)
    with pytest.raises(ValueError, match="`split`"):
        next(scene_items(split="train"))
    with pytest.raises(ValueError, match="`limit`"):
        next(scene_items(limit=-1))
    with pytest.raises(ValueError, match="`side`"):
        next(scene_items(side=400))
