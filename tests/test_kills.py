"""kill -9 at random moments, three commands at once, a full disk: nothing lost, nothing twice, nothing left.

`make test-kills` kills each command a hundred times. The commands run in processes that are forked with everything imported, so
that the moments fall into their work.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from io_pictures import picture

from pmtools import io

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals"),
]
torch = pytest.importorskip("torch")

KILLS = int(os.environ.get("PMTOOLS_KILLS", "12"))
MAGNIFY = ["magnify", "in", "--box", "4,3,12,9", "-o", "out", "--warp", "out", "--show", "shown", "--jobs", "2"]
METHODS = ["--methods", "greedy,crop", "--batch-size", "3"]
SCENES = ["eval", "scenes", "--limit", "24", "--out", "out", *METHODS]
MME = ["eval", "mme", "--data", "data", "--out", "out", *METHODS]
LAST_WORDS = 300  # bytes: what is said goes into a file, too
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["pmtools.cli.application", "pmtools.cli.eval", "pmtools.zoo", "pmtools.decoding", "matplotlib.figure"]
)


def command(arguments, folder, bytes_at_most=None):
    """A command line in a folder; what it says goes to a file. Runs in a process of its own."""
    torch.set_num_threads(1)
    os.chdir(folder)
    if bytes_at_most is not None:  # of a file; as with a full disk, the rest is not written
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_at_most, bytes_at_most))
    with open(os.devnull, "w") as nowhere, open(f"../said.{os.getpid()}", "w") as said:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(said.fileno(), 2)
        from pmtools import cli

        cli.main(arguments)


def started(arguments, **options):
    process = PROCESSES.Process(target=command, args=(arguments, os.getcwd()), kwargs=options)
    process.start()
    return process


def ended(process):
    """The exit code, and what was said."""
    process.join(300)
    path = Path("..", f"said.{process.pid}")
    return process.exitcode, path.read_text() if path.exists() else ""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder to work in, with pictures and questions."""
    folder = tmp_path / "work"
    for k in range(16):
        io.write_image(picture(size=(320, 240), seed=k), folder / f"in/{k:02}.png", compress_level=0)
    lines = []
    for k in range(20):
        name = f"{k // 2}.png"
        io.write_image(picture(size=(96, 96), seed=k // 2), folder / "data/images" / name)
        asked = {"question_id": name, "image": name, "category": "existence", "label": ("yes", "no")[k % 2]}
        lines.append(asked | {"text": f"Is there a {('red', 'blue')[k % 2]} star in this image?"})
    (folder / "data/questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.chdir(folder)


def files(folder):
    return {path.as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def is_cut(found):
    return any(
        is_leftover(name) or (name.endswith(".jsonl") and content[-1:] not in b"\n") for name, content in found.items()
    )


def is_leftover(name):
    return ".pmtools-" in name


def assert_whole_or_not_there(found, whole):
    """Of every file the beginning, for lists of answers and the setup, or all of it."""
    for name, content in found.items():
        if is_leftover(name):
            continue
        if name.endswith((".jsonl", "setup.json")) and "questions" not in name:
            assert whole[name].startswith(content), f"{name}: lost, twice, or another"
        else:
            assert content == whole[name], f"{name}: not whole"


def test_the_check_can_fail():
    whole = {"a.jsonl": b"1\n2\n", "b.png": b"ab"}
    assert_whole_or_not_there({"a.jsonl": b"1\n2"}, whole)
    for found in ({"a.jsonl": b"1\n1\n"}, {"b.png": b"a"}, {"a.jsonl": b"2\n"}):
        with pytest.raises(AssertionError):
            assert_whole_or_not_there(found, whole)


@pytest.fixture(params=[MAGNIFY, SCENES, MME], ids=["magnify", "scenes", "mme"])
def arguments(request, work):
    return request.param


def uninterrupted(arguments):
    """All files of a whole run, and the seconds that it took; the folders are gone again."""
    ended(started(["--version"]))  # everything is imported
    start = time.monotonic()
    code, said = ended(started(arguments))
    assert code == 0, said
    taken = time.monotonic() - start
    whole = {name: content for folder in ("out", "shown") for name, content in files(folder).items()}
    assert whole
    remove()
    return whole, taken


def remove():
    for folder in ("out", "shown"):
        shutil.rmtree(folder, ignore_errors=True)


def found_files():
    return {name: content for folder in ("out", "shown") for name, content in files(folder).items()}


def found_sizes():
    sizes = {}
    for folder in ("out", "out/answers", "shown"):
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            sizes |= {entry.path: entry.stat().st_size for entry in entries}
    return sizes


def test_kills_lose_nothing_repeat_nothing_and_leave_nothing(arguments, capsys):
    """A quarter of the kills at any time, the others once something has been written."""
    whole, taken = uninterrupted(arguments)
    kills = KILLS if arguments is MAGNIFY else KILLS // 2
    chance, counts = random.Random(7), {"kills": 0, "with work done": 0, "with a half-written file": 0, "whole runs": 0}
    while counts["kills"] < kills:
        before, sizes, process = found_files(), found_sizes(), started(arguments)
        at_any_time = chance.random() < 0.25
        while not at_any_time and process.is_alive() and found_sizes() == sizes:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, taken / (2 if at_any_time else 4)))
        process.kill()
        code, said = ended(process)
        assert code in (0, -signal.SIGKILL), said
        found = found_files()
        assert_whole_or_not_there(found, whole)
        done = {name: content for name, content in found.items() if not is_leftover(name)}
        if code:
            counts["kills"] += 1
            counts["with work done"] += done != before
            counts["with a half-written file"] += is_cut(found)
        if done == whole:  # from the beginning
            counts["whole runs"] += 1
            remove()
        elif arguments is MAGNIFY and chance.random() < 0.3:
            for name in done:
                if chance.random() < 0.3:
                    os.unlink(name)
    assert ended(started(arguments))[0] == 0
    assert found_files() == whole
    with capsys.disabled():
        print(f"\n{' '.join(arguments[:2])}: {counts}")


def test_three_at_once(arguments):
    """`magnify` shares a folder; an evaluation refuses it while another is at work there."""
    whole, _ = uninterrupted(arguments)
    results = [ended(process) for process in [started(arguments) for _ in range(3)]]
    assert found_files() == whole
    codes = sorted(code for code, _ in results)
    if arguments is MAGNIFY:
        assert codes == [0, 0, 0], results
    else:
        assert codes in ([0, 0, 0], [0, 0, 2], [0, 2, 2]), results  # those that come when the first has ended
        refused = [said for code, said in results if code]
        assert all("--out must be what no other run is writing to, got" in said for said in refused), refused
        assert all(said.count("\n") == 1 for said in refused), refused


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_a_full_disk_loses_nothing(arguments, share):
    """A limit on the size of files, which is met by every write in turn."""
    whole, _ = uninterrupted(arguments)
    sizes = sorted(map(len, whole.values()))
    code, said = ended(started(arguments, bytes_at_most=max(LAST_WORDS, int(sizes[-1] * share))))
    assert code in (1, 2), said
    assert "Traceback" not in said
    assert any(Path(name).name in said for name in whole), said  # the file is named
    found = found_files()
    assert_whole_or_not_there(found, whole)
    assert not any(map(is_leftover, found))
    assert ended(started(arguments))[0] == 0
    assert found_files() == whole
