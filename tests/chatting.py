"""A language model behind an OpenAI-compatible address, on a free port of this machine."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Model(ThreadingHTTPServer):
    """Answers `says`, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, says: str) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.says, self.finish, self.status = says, "stop", 200
        self.raw: bytes | None = None  # in place of an answer
        self.takes = 0.0  # seconds
        self.asked: list[dict[str, Any]] = []
        self.roads: list[tuple[str, str | None]] = []  # the path and the key of each question


class Answer(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.server.roads.append((self.path, self.headers["authorization"]))
        time.sleep(self.server.takes)
        message = {"role": "assistant", "content": self.server.says}
        said = {"choices": [{"message": message, "finish_reason": self.server.finish}]}
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.raw or json.dumps(said).encode())

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def chatting(says: str = "") -> Iterator[Model]:
    with Model(says) as model:
        thread = Thread(target=model.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield model
        finally:
            model.shutdown()
            thread.join()
