"""The reading benchmark: its pictures, what each method shows and where it lies, grades and tests, and the real reader."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pmtools.evaluation.overlap import iou
from pmtools.evaluation.reading import looks, pages, photographs, signs
from pmtools.evaluation.reading.benchmark import evaluate_reading, grade
from pmtools.evaluation.reading.demonstration import read_signs
from pmtools.evaluation.reading.reader import normalised
from pmtools.evaluation.reading.report import summarize, table
from pmtools.evaluation.reading.settings import SETTINGS
from pmtools.evaluation.statistics import holm, sign_flip_test

pytest.importorskip("sklearn", reason="two photographs are in scikit-learn: pip install 'pmtools[reading]'")


@pytest.fixture(scope="module")
def pictures():
    return list(signs.sign_pictures(photographs.find_photographs(), count=2, seed=3))


class TestPictures:
    def test_a_seed_gives_them(self, pictures):
        again = list(signs.sign_pictures(photographs.find_photographs(), count=2, seed=3))
        for a, b in zip(pictures, again, strict=True):
            assert (a.texts, a.group) == (b.texts, b.group)
            assert a.image.tobytes() == b.image.tobytes()
        other = next(signs.sign_pictures(photographs.find_photographs(), count=1, seed=4))
        assert other.texts != pictures[0].texts

    def test_signs_are_in_the_picture_and_apart(self, pictures):
        for picture in pictures:
            assert picture.image.size == (signs.SIDE, signs.SIDE)
            assert ((picture.boxes_xyxy >= 0) & (picture.boxes_xyxy <= signs.SIDE)).all()
            for a, b in itertools.combinations(picture.boxes_xyxy, 2):
                assert iou(a, b) == 0

    def test_a_box_is_around_its_sign(self, monkeypatch):
        """Against the same photograph without signs, what differs lies in the box, and fills it."""
        monkeypatch.setattr(signs, "photographed", lambda image, rng: image)
        (picture,) = signs.sign_pictures(photographs.find_photographs(), count=1, words=1)
        found = photographs.find_photographs()
        plain = signs._cut(found[found.names[0]], signs.SIDE, np.random.default_rng([0, 1, 0]))
        differs = np.abs(np.asarray(picture.image, int) - np.asarray(plain, int)).max(-1) > 0
        y, x = np.nonzero(differs)
        np.testing.assert_allclose([x.min(), y.min(), x.max() + 1, y.max() + 1], picture.boxes_xyxy[0], atol=2.5)

    def test_tuning_and_test_photographs_are_others(self, tmp_path):
        for name in "abcdefg":
            Image.new("RGB", (64, 64)).save(tmp_path / f"{name}.png")
        tune, test = (set(photographs.find_photographs(tmp_path, split=split).names) for split in ("tune", "test"))
        assert not tune & test
        assert {f"{name}.png" for name in "abcdefg"} <= tune | test

    def test_a_split_that_is_none_is_refused(self):
        with pytest.raises(ValueError, match="`split` must be one of 'test', 'tune'"):
            photographs.find_photographs(split="tuning")

    def test_a_folder_without_pictures_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="`photographs` must be a folder with at least two pictures"):
            photographs.find_photographs(tmp_path)
        with pytest.raises(ValueError, match="`scans` must be a folder with images"):
            next(pages.scan_pictures(tmp_path, None, count=1))

    def test_pages_ask_for_one_line_each(self):
        found = list(pages.page_pictures(count=12))
        assert [picture.index for picture in found] == list(range(12))
        assert {picture.group for picture in found} == {"page 0", "page 1"}
        assert len({picture.asked for picture in found[:10]}) == 10


class Blind:
    """Reads nothing, and says that text is in the middle."""

    def __call__(self, image):
        return []

    def text_map(self, image):
        there = np.zeros((image.height, image.width))
        there[image.height // 3 : image.height // 2, image.width // 3 : image.width // 2] = 1
        return there


#: Methods that show the square twice, or draw over it.
MORE_THAN_ONE = {"boxes-mosaic", "own-map-bbox"}


@pytest.mark.parametrize("method", looks.METHODS)
@pytest.mark.parametrize("size", [(900, 600), (640, 640)])
def test_what_is_shown_lies_where_it_is_said_to_lie(method, size):
    """A magenta square, found again in what each method shows, is taken back to where it was painted."""
    image = Image.new("RGB", size, (60, 90, 60))
    box = np.array([250.0, 210.0, 290.0, 250.0])
    ImageDraw.Draw(image).rectangle((250, 210, 289, 249), fill=(255, 0, 255))
    picture = signs.Picture(0, "p", image, ("x",), box[None], (0,))
    case = looks.Case(picture, Blind(), longest=300, seed=0, settings=SETTINGS)
    seen = 0
    for look in looks.METHODS[method](case):
        assert look.image.size in {case.size_hw[::-1], tuple(2 * side for side in case.size_hw[::-1])}
        pixels = np.asarray(look.image, float)
        y, x = np.nonzero((pixels[..., 0] > 160) & (pixels[..., 1] < 70) & (pixels[..., 2] > 160))
        if len(x) < 30 or method in MORE_THAN_ONE:
            continue
        back = look.back(np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], float))[0]
        assert iou(back, box) > 0.7
        seen += 1
    assert seen or method in MORE_THAN_ONE | {"own-map-mask", "own-map-shuffled", "own-map-blur"}


def test_the_checker_sees_a_shift():
    box = np.array([250.0, 210.0, 290.0, 250.0])
    assert iou(box + 8, box) < 0.7


class TestGrades:
    PICTURE = signs.Picture(
        0, "p", Image.new("RGB", (9, 9)), ("Café 3", "other"), np.array([[0, 0, 10, 10.0], [50, 50, 60, 60]]), (0,)
    )

    @pytest.mark.parametrize(
        ("found", "want"),
        [
            ([], (False, False, 0.0)),
            ([["CAFE3", 0, 0, 10, 10]], (True, True, 0.0)),
            ([["CAFE3", 7, 7, 17, 17]], (True, False, 0.0)),
            ([["cafe", 0, 0, 10, 10], ["?", 51, 50, 61, 60]], (False, False, 1.0)),
            ([["?", 54, 50, 64, 60]], (False, False, 1.0)),  # 60 shared of 140 pixels
            ([["?", 57, 50, 67, 60]], (False, False, 0.0)),  # 30 of 170
        ],
    )
    def test_grade(self, found, want):
        got = grade(self.PICTURE, json.dumps(found))
        assert (got["read"][0], got["placed"][0], got["others"]) == want

    def test_normalised(self):
        assert normalised(" É-a\t7! ") == "ea7"


class TestStatistics:
    def test_sign_flips_against_all_of_them(self, rng):
        values, groups = rng.normal(0.4, 1, 12), np.repeat(range(6), 2)
        sums = values.reshape(6, 2).sum(1)
        all_signs = np.array(list(itertools.product([-1, 1], repeat=6))) @ sums
        # ties with the observed sum, to the last digits, count as extreme
        want = min(1.0, 2 * min((all_signs >= sums.sum() - 1e-9).mean(), (all_signs <= sums.sum() + 1e-9).mean()))
        assert sign_flip_test(values, groups) == pytest.approx(want)

    def test_a_group_is_one_piece_of_evidence(self):
        assert sign_flip_test(np.ones(100), np.zeros(100)) == 1.0
        assert sign_flip_test(np.ones(100), np.arange(100)) < 1e-3

    def test_holm(self):
        assert holm([0.04, 0.01, 0.02]) == [0.04, 0.03, 0.04]
        assert holm([0.9, 0.8]) == [1.0, 1.0]
        assert holm([]) == []

    def test_the_table(self):
        def rows(read):
            return [{"group": group, "read": [read], "placed": [read], "others": -1.0} for group in "abcde"]

        summary = summarize({"plain": rows(False), "good": rows(True)})
        assert summary["methods"]["good"] | {"won": 5, "lost": 0, "p": 0.0625} == summary["methods"]["good"]
        assert "| good | 1.000 | 1.000-1.000 | 1.000 |  | 5 | 0 | 0.062 |" in table(summary)


@pytest.mark.slow
class TestTheRealReader:
    @pytest.fixture(scope="class")
    def reader(self):
        pytest.importorskip("rapidocr_onnxruntime", reason="the reader: pip install 'pmtools[reading]'")
        from pmtools.evaluation.reading.reader import PaddleReader

        return PaddleReader()

    def test_it_reads_and_says_where(self, reader, pictures):
        picture = pictures[0]
        found = {normalised(read.text): read.box_xyxy for read in reader(picture.image)}
        for text, box in zip(picture.texts, picture.boxes_xyxy, strict=True):
            assert iou(found[text], box) > 0.3  # the letters, not the sign

    def test_a_run_goes_on_and_says_what_was_read(self, reader, pictures, tmp_path):
        options = {"out": tmp_path, "longest": 336, "methods": ["plain", "boxes-zoom"]}
        evaluate_reading(pictures[:1], reader, **options)
        first = (tmp_path / "answers" / "plain.jsonl").read_text()
        summary = evaluate_reading(pictures, reader, **options)
        assert (tmp_path / "answers" / "plain.jsonl").read_text().startswith(first)
        scores = {name: entry["read"] for name, entry in summary["methods"].items()}
        assert scores["boxes-zoom"] > scores["plain"] + 0.4
        assert summary["methods"]["boxes-zoom"]["n"] == 6
        with pytest.raises(ValueError, match="longest"):
            evaluate_reading(pictures, reader, **{**options, "longest": 512})

    def test_scans_count_what_the_reader_reads_at_full_size(self, reader, tmp_path):
        page = next(pages.page_pictures(count=1)).image
        page.save(tmp_path / "scan.png")
        found = list(pages.scan_pictures(tmp_path, reader, count=3))
        assert [picture.index for picture in found] == [0, 1, 2]
        assert all(len(picture.texts) > 20 for picture in found)

    def test_the_command(self, reader, tmp_path):
        from typer.testing import CliRunner

        from pmtools.cli.application import app

        arguments = ["eval", "reading", "--out", str(tmp_path), "--limit", "3", "--methods", "plain,boxes-zoom"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert "reading, signs at 336 px, 1 photographs or pages, seed 0, test" in result.output
        assert "boxes-zoom" in (tmp_path / "tables.md").read_text()

    def test_the_demonstration(self, reader):
        """The words of the picture in README."""
        found = read_signs()
        assert found.plain == ()
        assert {normalised(word) for word in found.magnified} == set(found.words) == {"festival", "lemon", "theatre"}
        assert found.figure.width > 3 * 500
