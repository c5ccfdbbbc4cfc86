"""The runner: resumable at any point, nothing lost, nothing twice, the same table."""

import pytest

from pmtools.evaluation.runner import RECORDS, grade, read_records, run_scenes
from pmtools.evaluation.scenes import scene_items


class Oracle:
    """Answers rightly, or `wrong`, and counts what it was asked; stops after `stop` batches."""

    def __init__(self, stop=None):
        self.asked, self.stop = [], stop

    def __call__(self, items, methods, /):
        if self.stop is not None and len(self.asked) >= self.stop:
            raise KeyboardInterrupt
        self.asked.append([(m, i.index) for m in methods for i in items])
        return {m: [i.question.answer if m == "right" else "perhaps" for i in items] for m in methods}


METHODS = ["right", "wrong"]


def items(limit=30):
    return scene_items(seed=1, limit=limit)


def test_all_are_answered_in_order(tmp_path):
    records = run_scenes(items(), Oracle(), methods=METHODS, out=tmp_path, batch_size=7)
    assert [(r["method"], r["index"]) for r in records] == [(m, k) for m in METHODS for k in range(30)]
    assert all(r["right"] == (r["method"] == "right") for r in records)


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_stopped_runs_go_on(tmp_path, stop):
    whole = run_scenes(items(), Oracle(), methods=METHODS, out=tmp_path / "whole", batch_size=7)
    first, second = Oracle(stop=stop), Oracle()
    with pytest.raises(KeyboardInterrupt):
        run_scenes(items(), first, methods=METHODS, out=tmp_path / "cut", batch_size=7)
    again = run_scenes(items(), second, methods=METHODS, out=tmp_path / "cut", batch_size=7)
    assert again == whole
    asked = [key for batch in first.asked + second.asked for key in batch]
    assert len(asked) == len(set(asked)) == 60


def test_a_line_cut_short_is_answered_again(tmp_path):
    whole = run_scenes(items(), Oracle(), methods=METHODS, out=tmp_path, batch_size=7)
    path = tmp_path / RECORDS
    path.write_bytes(path.read_bytes()[:-25])
    oracle = Oracle()
    assert run_scenes(items(), oracle, methods=METHODS, out=tmp_path, batch_size=7) == whole
    assert sum(map(len, oracle.asked)) == 1
    assert len(read_records(tmp_path)) == 60


def test_more_questions_and_more_methods_add_to_what_is_there(tmp_path):
    run_scenes(items(10), Oracle(), methods=["right"], out=tmp_path)
    oracle = Oracle()
    records = run_scenes(items(20), oracle, methods=METHODS, out=tmp_path)
    assert len(records) == 40
    assert sum(map(len, oracle.asked)) == 30


def test_methods_that_lack_the_same_items_share_a_call(tmp_path):
    oracle = Oracle()
    run_scenes(items(10), oracle, methods=METHODS, out=tmp_path, batch_size=5)
    assert [len(batch) for batch in oracle.asked] == [10, 10]


def test_fewer_wished_for_are_fewer_returned(tmp_path):
    run_scenes(items(20), Oracle(), methods=METHODS, out=tmp_path)
    assert len(run_scenes(items(5), Oracle(stop=0), methods=["wrong"], out=tmp_path)) == 5


def test_another_setup_is_refused(tmp_path):
    run_scenes(items(5), Oracle(), methods=METHODS, out=tmp_path, setup={"seed": 1})
    run_scenes(items(5), Oracle(), methods=METHODS, out=tmp_path, setup={"seed": 1})
    with pytest.raises(ValueError, match="`out` holds answers of another setup"):
        run_scenes(items(5), Oracle(), methods=METHODS, out=tmp_path, setup={"seed": 2})


def test_methods_are_checked(tmp_path):
    for methods in ([], ["right", "right"]):
        with pytest.raises(ValueError, match="`methods`"):
            run_scenes(items(5), Oracle(), methods=methods, out=tmp_path)


def test_progress_adds_up(tmp_path):
    seen = []
    for _ in range(2):  # what is found counts too
        run_scenes(items(30), Oracle(), methods=METHODS, out=tmp_path, batch_size=8, progress=seen.append)
    assert sum(seen) == 2 * 60


def test_grades():
    by_category = {item.question.category: item for item in items(33)}
    count = by_category["open_count"]
    assert grade(count, count.question.answer)
    assert grade(count, "There are " + count.question.answer + ".")
    assert not grade(count, "many")
    yes_no = by_category["existence"]
    assert grade(yes_no, yes_no.question.answer.upper() + ", it seems")
    assert not grade(yes_no, "")
