"""Every file in examples/ runs, as a user runs it, and does what it says."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from chat_stub import chat_stub
from demo_server import started
from PIL import Image

import pmtools
from pmtools.answers import undo
from pmtools.decoding import METHODS
from pmtools.evaluation.scenes import scene_items
from pmtools.testing.models import tiny_model, tiny_processor
from pmtools.zoo import demo_model

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *arguments: object, cwd: Path, **environment: str) -> str:
    """What the example prints; its errors are the test's."""
    # no bytecode beside the examples, and nothing of the user's settings
    settings = {"PATH": os.environ["PATH"], "HOME": str(cwd), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *map(str, arguments)],
        cwd=cwd,
        env={**settings, **environment},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def load(name: str):
    """The example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_has_its_test():
    tests = "".join(test.read_text("utf-8") for test in Path(__file__).parent.glob("test_*.py"))
    assert not [path.stem for path in EXAMPLES.glob("*.py") if path.stem not in tests]


def test_magnify_photograph(tmp_path):
    printed = run("magnify_photograph", tmp_path / "out", cwd=tmp_path)
    assert "undone, it is back at [128.0, 346.0, 206.0, 428.0]" in printed
    with Image.open(tmp_path / "out" / "magnify_photograph.png") as picture:
        assert picture.width > 4 * 512
    warp = pmtools.Warp.from_dict(pmtools.io.read_json(tmp_path / "out" / "warp.json"))
    assert warp.source_hw == (512, 512)


@pytest.mark.slow
def test_decode_with_pm(tmp_path):
    printed = run("decode_with_pm", "--out", tmp_path / "seen", cwd=tmp_path, HF_HUB_OFFLINE="1").splitlines()
    assert printed[0].endswith("?")
    for line, name in zip(printed[1:], ("plain:", "magnified:"), strict=False):
        assert re.fullmatch(rf"{name} +\w+", line)
    with Image.open(tmp_path / "seen" / "token_000.png") as picture:
        assert picture.width > 3 * 480


@pytest.mark.slow
def test_decode_with_pm_takes_any_model(tmp_path, capsys):
    model = tiny_model("llava")
    model.save_pretrained(tmp_path / "model")
    tiny_processor(model).save_pretrained(tmp_path / "model")
    Image.new("RGB", (60, 40), "green").save(tmp_path / "photo.png")
    arguments = [tmp_path / "photo.png", "what is it", "--model", tmp_path / "model", "--out", tmp_path / "seen"]
    load("decode_with_pm").main([str(argument) for argument in arguments])
    assert capsys.readouterr().out.startswith("what is it\nplain:")
    assert list((tmp_path / "seen").glob("token_*.png"))


@pytest.mark.slow
def test_datasets_map(tmp_path):
    printed = run("datasets_map", cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert printed.splitlines()[0].startswith("(512, 512) -> (336, 336) [")
    assert printed.splitlines()[1].startswith("(600, 400) -> (336, 336) [")


@pytest.mark.slow
def test_ray_data(tmp_path, astronaut):
    pandas = pytest.importorskip("pandas")
    (tmp_path / "in").mkdir()
    Image.fromarray(astronaut).save(tmp_path / "in" / "a.png")
    Image.fromarray(astronaut[:200, :300]).save(tmp_path / "in" / "b.jpg")
    (tmp_path / "boxes.json").write_text('{"a.png": [[128, 346, 206, 428]]}')
    answer = 'It is at {"bbox_2d": [100, 100, 200, 200]}.'
    arguments = [tmp_path / "in", tmp_path / "boxes.json", tmp_path / "out", "Where is it?", "--model", "stub"]
    with chat_stub(lambda body: {"content": answer}) as stub:
        stub.failures = 1  # the server is busy once
        options = ["--url", stub.url, "--cpus", 4]
        printed = run("ray_data", *arguments, *options, cwd=tmp_path, RAY_USAGE_STATS_ENABLED="0")
    assert printed.splitlines()[-1] == f"2 answers in {tmp_path / 'out'}"
    rows = {Path(row["path"]).name: row for row in pandas.read_parquet(tmp_path / "out").to_dict("records")}
    assert set(rows) == {"a.png", "b.jpg"}
    for row in rows.values():
        warp = pmtools.Warp.from_dict(json.loads(row["warp"]))
        assert row["answer"] == undo(answer, warp=warp, format="json").text
    assert rows["a.png"]["answer"] != answer == rows["b.jpg"]["answer"]  # one box was given


@pytest.mark.slow
def test_ray_data_asks_a_real_server(tmp_path):
    pandas = pytest.importorskip("pandas")
    for name in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(name, reason=f"the server needs {name}: pip install 'pmtools[serve]'")
    items = list(scene_items(limit=4, seed=11))
    (tmp_path / "in").mkdir()
    for index, item in enumerate(items):
        item.image.save(tmp_path / "in" / f"{index}.png")
    (tmp_path / "boxes.json").write_text("{}")
    question = "Is there a red circle in this image?"
    arguments = [tmp_path / "in", tmp_path / "boxes.json", tmp_path / "out", question, "--model", "demo-model"]
    with started("serve") as url:
        run("ray_data", *arguments, "--url", url, "--cpus", 4, cwd=tmp_path, RAY_USAGE_STATS_ENABLED="0")
    rows = pandas.read_parquet(tmp_path / "out").sort_values("path")
    demo = demo_model()
    pm = METHODS["pm"](demo.processor, **demo.settings)
    options = {"max_new_tokens": 2, "do_sample": False}
    here = [pm.generate(demo.model, item.image, demo.prompt(question), **options) for item in items]
    assert rows["answer"].str.strip().tolist() == here


# ------------------------------------------------------------------------------------------------- a VLM behind an API


class Stub(BaseHTTPRequestHandler):
    """A server with OpenAI's chat completions, which keeps what it was asked."""

    answer = "The patch says COLLINS ASHBY. It is at [250, 250, 500, 750]."
    status = 200

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked = (self.path, dict(self.headers), json.loads(body))
        reply = json.dumps({"choices": [{"message": {"role": "assistant", "content": self.answer}}]})
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        if self.server.status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(reply.encode() if self.server.status == 200 else b'{"error": "no such model"}')

    def do_GET(self):
        self.server.asked = (self.path, dict(self.headers), None)
        self.send_error(404)

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture
def server():
    with HTTPServer(("127.0.0.1", 0), Stub) as running:
        running.status = 200
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def ask(server, monkeypatch, tmp_path, astronaut):
    """Run the example's main on a photograph, against the stub."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Image.fromarray(astronaut).resize((2048, 1024)).save(tmp_path / "photo.png", compress_level=1)
    module = load("ask_vlm_api")
    return lambda: module.main([str(tmp_path / "photo.png"), "512,692,824,856", "What is it?", "--model", "m"])


def test_ask_vlm_api(ask, server, capsys):
    ask()
    path, headers, body = server.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body["model"] == "m"
    picture, text = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    head, _, data = picture["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as sent:
        assert sent.size == (1024, 512)

    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == Stub.answer
    # by hand: the box in 0..1000 is at 256..512, 128..384 of the image sent; its source is what the warp says
    module = load("ask_vlm_api")
    _, warp = module.magnify_once(Image.new("RGB", (2048, 1024)), [512, 692, 824, 856])
    wanted = warp.inverse_boxes([256.0, 128.0, 512.0, 384.0]).round(1).tolist()
    assert printed[1] == f"on the photograph: {wanted}"


def test_a_server_that_refuses_says_why(ask, server):
    server.status = 404
    with pytest.raises(SystemExit, match=r"answered 404: .*no such model"):
        ask()


def test_the_key_follows_no_redirect(ask, server):
    server.status = 302
    with pytest.raises(SystemExit, match="answered 302"):
        ask()
    assert server.asked[0] == "/v1/chat/completions"


def test_no_server_says_what_to_set(ask, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")  # the discard port: nobody listens
    with pytest.raises(SystemExit, match="set OPENAI_BASE_URL"):
        ask()
