"""Resumable running: whatever is cut off and wherever, nothing is lost and nothing is answered twice."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from pmtools.evaluation.answering import answer_items, answers_path, found_answers, write_whole
from pmtools.evaluation.json_lines import RecordError

METHODS = ["right", "wrong"]


@dataclass(frozen=True)
class Sum:
    index: int


def items(limit=30):
    return (Sum(index) for index in range(limit))


class Calculator:
    """Doubles the index, or adds one to that, and counts what it was asked; interrupted after `stop` batches."""

    def __init__(self, stop=None):
        self.asked, self.stop = [], stop

    def __call__(self, items, methods, /):
        if self.stop is not None and len(self.asked) >= self.stop:
            raise KeyboardInterrupt
        self.asked.append([(m, i.index) for m in methods for i in items])
        return {m: [str(2 * i.index + (m == "wrong")) for i in items] for m in methods}


def run(answer, out, *, limit=30, methods=METHODS, **options):
    record = lambda item, reply: {"reply": reply}  # noqa: E731
    return answer_items(items(limit), answer, methods=methods, out=out, record=record, **options)


def test_all_are_answered_in_order(tmp_path):
    found = run(Calculator(), tmp_path, batch_size=7)
    for method in METHODS:
        assert found[method] == [{"index": k, "reply": str(2 * k + (method == "wrong"))} for k in range(30)]
        lines = answers_path(tmp_path, method).read_text().splitlines()
        assert [json.loads(line) for line in lines] == found[method]


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_stopped_runs_go_on(tmp_path, stop):
    whole = run(Calculator(), tmp_path / "whole", batch_size=7)
    first, second = Calculator(stop=stop), Calculator()
    with pytest.raises(KeyboardInterrupt):
        run(first, tmp_path / "cut", batch_size=7)
    assert run(second, tmp_path / "cut", batch_size=7) == whole
    asked = [key for batch in first.asked + second.asked for key in batch]
    assert len(asked) == len(set(asked)) == 60


@pytest.mark.parametrize("cut", [1, 9, 25])
def test_a_line_cut_short_is_answered_again(tmp_path, cut):
    whole = run(Calculator(), tmp_path, batch_size=7)
    path = answers_path(tmp_path, "wrong")
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    calculator = Calculator()
    assert run(calculator, tmp_path, batch_size=7) == whole
    assert sum(map(len, calculator.asked)) == 1
    assert path.read_bytes() == content


def test_more_items_and_more_methods_add_to_what_is_there(tmp_path):
    run(Calculator(), tmp_path, limit=10, methods=["right"])
    calculator = Calculator()
    found = run(calculator, tmp_path, limit=20)
    assert [len(records) for records in found.values()] == [20, 20]
    assert sum(map(len, calculator.asked)) == 30


def test_methods_that_lack_the_same_items_share_a_call(tmp_path):
    calculator = Calculator()
    run(calculator, tmp_path, limit=10, batch_size=5)
    assert [len(batch) for batch in calculator.asked] == [10, 10]


def test_methods_share_a_call_whatever_stands_between_them(tmp_path):
    run(Calculator(), tmp_path, limit=4, methods=["b"])
    calculator = Calculator()
    run(calculator, tmp_path, limit=8, methods=["a", "b", "c"], batch_size=8)
    assert [sorted({method for method, _ in batch}) for batch in calculator.asked] == [["a", "c"], ["b"]]


def test_fewer_wished_for_are_fewer_returned(tmp_path):
    run(Calculator(), tmp_path, limit=20)
    assert len(run(Calculator(stop=0), tmp_path, limit=5, methods=["wrong"])["wrong"]) == 5


def test_another_setup_is_refused_and_named(tmp_path):
    run(Calculator(), tmp_path, limit=5, setup={"seed": 1, "model": "a"})
    run(Calculator(), tmp_path, limit=5, setup={"model": "a", "seed": 1})
    with pytest.raises(ValueError, match="`out` holds answers of another setup, which differs in `seed`"):
        run(Calculator(), tmp_path, limit=5, setup={"seed": 2, "model": "a"})
    (tmp_path / "setup.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="`out` holds answers of another setup, or of none"):
        run(Calculator(), tmp_path, limit=5, setup={"seed": 2, "model": "a"})


@pytest.mark.parametrize("kept", [0, 1, 9, 30])
def test_a_setup_cut_short_is_written_again(tmp_path, kept):
    setup = {"seed": 1, "model": "a"}
    run(Calculator(), tmp_path, limit=5, setup=setup)
    whole = (tmp_path / "setup.json").read_bytes()
    (tmp_path / "setup.json").write_bytes(whole[:kept])
    run(Calculator(stop=0), tmp_path, limit=5, setup=setup)
    assert (tmp_path / "setup.json").read_bytes() == whole


def test_two_runs_in_one_folder_are_refused(tmp_path):
    pytest.importorskip("fcntl")

    def nested(items, methods, /):
        run(Calculator(), tmp_path)

    with pytest.raises(ValueError, match="no other run"):
        run(nested, tmp_path)
    run(Calculator(), tmp_path)  # the lock is gone with the run


def test_methods_and_batches_are_checked(tmp_path):
    for methods in ([], ["right", "right"]):
        with pytest.raises(ValueError, match="`methods`"):
            run(Calculator(), tmp_path, methods=methods)
    with pytest.raises(ValueError, match="`batch_size`"):
        run(Calculator(), tmp_path, batch_size=0)


def test_a_line_that_is_no_record_is_named(tmp_path):
    run(Calculator(), tmp_path, limit=3)
    path = answers_path(tmp_path, "right")
    path.write_text("{\n" + path.read_text())
    with pytest.raises(RecordError, match=r"right\.jsonl:1"):
        found_answers(tmp_path, "right")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"reply": "2"}, "`index` must be an integer"),
        ({"index": "1", "reply": "2"}, "`index` must be an integer"),
        ({"index": 1}, "index 1 has no `reply`"),
        ({"index": 1, "reply": True}, "index 1 has no `reply` as this command writes it"),
    ],
)
def test_a_line_that_somebody_changed_is_named(tmp_path, line, says):
    answers_path(tmp_path, "right").parent.mkdir()
    answers_path(tmp_path, "right").write_text(json.dumps(line) + "\n")
    with pytest.raises(RecordError, match=says):
        run(Calculator(), tmp_path)


def test_blank_lines_are_no_answers(tmp_path):
    answers_path(tmp_path, "right").parent.mkdir()
    answers_path(tmp_path, "right").write_text("\n\n")
    assert len(run(Calculator(), tmp_path)["right"]) == 30


def test_progress_adds_up(tmp_path):
    seen = []
    for _ in range(2):  # what is found counts too
        run(Calculator(), tmp_path, batch_size=8, progress=seen.append)
    assert sum(seen) == 2 * 60


def test_whole_files_or_none(tmp_path):
    path = tmp_path / "summary.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
