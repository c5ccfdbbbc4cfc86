"""A judge played by a local server; `conftest.stub` starts one."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pmtools.evaluation.llava_bench import Judge

KEY = "sk-not-a-key"


class Stub:
    """A local endpoint that replays replies and keeps what it was sent. A reply is text, (status, headers,
    body), or a function of the request's body that gives either."""

    def __init__(self) -> None:
        self.replies: list = []
        self.requests: list[dict] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.requests.append(
                    {
                        "path": self.path,
                        "headers": {name.title(): value for name, value in self.headers.items()},
                        "body": body,
                    }
                )
                reply = stub.replies.pop(0) if len(stub.replies) > 1 else stub.replies[0]
                reply = reply(body) if callable(reply) else reply
                if reply is None:  # hang up
                    self.connection.close()
                    return
                status, headers, text = reply if isinstance(reply, tuple) else (200, {}, completion(reply))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def judge(self, **options) -> Judge:
        return Judge("judge-1", self.url, **{"key": KEY, **options})


def completion(text: str, tokens=(100, 20)) -> str:
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage})


def complaint(message: str, **codes: str) -> str:
    return json.dumps({"error": {"message": message, **codes}})
