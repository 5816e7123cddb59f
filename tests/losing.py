"""A way to a server on which an answer is lost: what was asked is done, and nobody hears of it."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import httpx


class Way(ThreadingHTTPServer):
    """Passes on what it is sent, and all answers but the first to a POST.

    Then `meanwhile` is given the client's connection, which breaks when it returns.
    """

    daemon_threads = True

    def __init__(self, server_url: str, meanwhile: Callable[[socket.socket], object]) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.server_url, self.meanwhile = server_url, meanwhile
        self.lost = Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Passing(BaseHTTPRequestHandler):
    server: Way

    def pass_on(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        url = f"{self.server.server_url}{self.path}"
        answer = httpx.request(self.command, url, headers=dict(self.headers), content=content)
        if self.command == "POST" and not self.server.lost.is_set():
            self.server.lost.set()
            self.server.meanwhile(self.connection)
            return
        self.send_response(answer.status_code)
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_DELETE = pass_on

    def log_message(self, *_: Any) -> None:
        pass


def break_now(connection: socket.socket) -> None:
    """A connection that is cut."""


def wait(connection: socket.socket) -> None:
    """A server that does not answer, until the client goes."""
    connection.recv(1)


@contextmanager
def losing_an_answer(server_url: str, meanwhile: Callable[[socket.socket], object]) -> Iterator[Way]:
    with Way(server_url, meanwhile) as way:
        thread = Thread(target=way.serve_forever)
        thread.start()
        try:
            yield way
        finally:
            way.shutdown()
            thread.join()
