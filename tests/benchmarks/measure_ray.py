"""Ray Data, all the way: rows a second with one and two workers against a plain loop, and what a killed worker loses.

    python tests/benchmarks/measure_ray.py [--images 10000]

The server is a stub that answers at once, so the numbers are those of reading, magnifying, encoding, sending and undoing.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "examples")]
ANSWER = 'It is at {"bbox_2d": [30, 30, 60, 60]}.'
OPTIONS = {"model": "stub", "question": "Where is it?", "format": "json", "max_pixels": 128 * 96}


def serve(pipe: Any) -> None:
    """Answer until the pipe closes."""
    from chat_stub import chat_stub

    class Forgetful(list[Any]):
        def append(self, _: Any) -> None:
            """Requests of 10,000 images are not kept."""

    with chat_stub(lambda body: {"content": ANSWER}) as stub:
        stub.asked = Forgetful()
        pipe.send(stub.url)
        pipe.recv()


def make_images(folder: Path, count: int) -> dict[str, Any]:
    """Noise of many sizes, and a box on each."""
    rng = np.random.default_rng(0)
    boxes = {}
    for index in range(count):
        width, height = (int(n) for n in rng.integers(120, 240, 2))
        name = f"{index:05}.jpg"
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / name, quality=70)
        x, y = rng.integers(0, 80, 2).tolist()
        boxes[name] = [[x, y, x + 30, y + 20]]
    return boxes


def plain_loop(folder: Path, boxes: dict[str, Any], url: str) -> list[dict[str, Any]]:
    """The same functions, one row after the other."""
    from ray_data import finish, prepare

    host = url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(host)
    rows = []
    for path in sorted(folder.iterdir()):
        row = prepare({"path": str(path), "bytes": path.read_bytes()}, boxes=boxes, **OPTIONS)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(row["payload"]), headers)
        rows.append(finish({**row, "http_response": json.load(connection.getresponse())}, format=OPTIONS["format"]))
    return rows


def kill_a_worker(done: threading.Event, killed: list[int]) -> None:
    """Kill one process that sends requests, a few seconds after it began."""
    while not killed and not done.wait(0.2):
        if _senders():
            done.wait(4)
            for pid in _senders()[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)


def _senders() -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [
        int(line.split()[0]) for line in listed.splitlines() if "HttpRequestUDF" in line or "ray::MapWorker" in line
    ]


def with_ray(
    folder: Path, boxes: dict[str, Any], url: str, *, workers: int, kill: bool = False
) -> list[dict[str, Any]]:
    """The example's own data set, written to Parquet and read again."""
    import pandas
    from ray_data import answers

    done, killed = threading.Event(), []
    thread = threading.Thread(target=kill_a_worker, args=(done, killed))
    if kill:
        thread.start()
    with tempfile.TemporaryDirectory() as out:
        answers(folder, boxes, url=url, concurrency=workers, **OPTIONS).write_parquet(out)
        rows = pandas.read_parquet(out).to_dict("records")
    done.set()
    if kill:
        thread.join()
        print(f"killed: {killed}")
    assert bool(killed) == kill
    return rows


def check(rows: list[dict[str, Any]], boxes: dict[str, Any]) -> None:
    """Every image once, and its answer undone by its own warp."""
    import pmtools
    from pmtools.answers import undo

    assert sorted(Path(row["path"]).name for row in rows) == sorted(boxes)
    for row in rows[:: max(1, len(rows) // 500)]:
        warp = pmtools.Warp.from_dict(json.loads(row["warp"]))
        with Image.open(row["path"]) as image:
            assert warp.source_hw == (image.height, image.width)
        assert row["answer"] == undo(ANSWER, warp=warp, format="json").text != row["raw"]


def main() -> None:
    """Run all, and print rows a second."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    count = parser.parse_args().images
    import ray
    import ray_data
    from ray import cloudpickle

    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    url = here.recv()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=4, include_dashboard=False, logging_level="ERROR")
    cloudpickle.register_pickle_by_value(ray_data)  # workers do not have the folder of examples
    with tempfile.TemporaryDirectory() as folder:
        boxes = make_images(Path(folder), count)
        runs = {
            "a plain loop": lambda: plain_loop(Path(folder), boxes, url),
            "Ray, one worker": lambda: with_ray(Path(folder), boxes, url, workers=1),
            "Ray, two workers": lambda: with_ray(Path(folder), boxes, url, workers=2),
            "Ray, two workers, one killed": lambda: with_ray(Path(folder), boxes, url, workers=2, kill=True),
        }
        speeds = {}
        for name, run in runs.items():
            start = time.perf_counter()
            rows = run()
            speeds[name] = count / (time.perf_counter() - start)
            check(rows, boxes)
            print(f"{name}: {len(rows)} rows, {speeds[name]:.0f} a second, {speeds[name] / speeds['a plain loop']:.2f}")
    ray.shutdown()
    here.send("end")
    server.join()


if __name__ == "__main__":
    main()
