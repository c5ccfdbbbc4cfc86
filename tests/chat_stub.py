"""A server with OpenAI's chat completions that says what a test tells it to, whole or letter by letter: for formats alone."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Stub:
    """What was asked, and what is answered: `say(body)` gives a message, or the whole response as text.

    Attributes
    ----------
    asked : list of (path, headers, body)
    """

    def __init__(self, say: Callable[[dict[str, Any]], dict[str, Any] | str]) -> None:
        self.say = say
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.failures = 0
        self.url = ""


def chunks(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A message in pieces of three letters, as servers stream it."""

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    text = message.get("content") or ""
    yield from (chunk({"content": text[i : i + 3]}) for i in range(0, len(text), 3))
    for index, call in enumerate(message.get("tool_calls") or []):
        arguments = call["function"]["arguments"]
        yield chunk({"tool_calls": [{**call, "index": index, "function": {**call["function"], "arguments": ""}}]})
        for i in range(0, len(arguments), 3):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments[i : i + 3]}}]})
    yield chunk({}, "tool_calls" if message.get("tool_calls") else "stop")


@contextlib.contextmanager
def chat_stub(say: Callable[[dict[str, Any]], dict[str, Any] | str]) -> Iterator[Stub]:
    """Run a stub; `url` is its address, with /v1."""
    stub = Stub(say)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            stub.asked.append((self.path, dict(self.headers), None))
            self._send(b'{"object": "list", "data": []}', "application/json")

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            body = json.loads(raw)
            stub.asked.append((self.path, dict(self.headers), body))
            if stub.failures:
                stub.failures -= 1
                self._send(b'{"error": {"message": "busy"}}', "application/json", 503)
                return
            if not self.path.endswith("/chat/completions"):
                self._send(raw, "application/json")
                return
            said = stub.say(body)
            if isinstance(said, str):
                self._send(said.encode(), "application/json")
                return
            message = {"role": "assistant", **said}
            if body.get("stream"):
                lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks(message)] + ["data: [DONE]\n\n"]
                self._send("".join(lines).encode(), "text/event-stream")
                return
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
            self._send(json.dumps(reply).encode(), "application/json")

        def _send(self, content: bytes, kind: str, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        stub.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()
