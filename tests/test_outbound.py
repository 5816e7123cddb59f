"""The one door outside: nothing private is connected to. Alone: pytest tests/test_outbound.py"""

import asyncio
import http.server
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from easel import outbound
from easel.errors import OutboundError

LOOPBACK = ["127.0.0.0/8"]

PRIVATE = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://127.0.0.1.:80/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://127.255.255.254/",
    "http://0/",
    "http://0.0.0.0/",
    "http://localhost/",
    "http://user:password@127.0.0.1/",
    "http://127.0.0.1#@example.com/",
    "http://127.0.0.1:80\\@example.com/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://10.0.0.1/",
    "http://10.255.255.255/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://100.64.0.1/",
    "http://100.100.100.200/",
    "http://192.0.0.192/",
    "http://192.0.2.1/",
    "http://168.63.129.16/",
    "http://198.18.0.1/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::]/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::]/",
    "http://[2001:db8::1]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "http://[100::1]/",
]

NO_WEB_ADDRESS = [
    "",
    "picture.png",
    "//127.0.0.1/",
    "http://",
    "http:///etc/passwd",
    "file:///etc/passwd",
    "ftp://127.0.0.1/",
    "gopher://127.0.0.1:6379/_INFO",
    "data:text/html,hello",
    "http://127.0.0.1:99999/",
    "http://[::1/",
    "http://a\nb/",
]


@pytest.fixture(scope="module")
def every_connection() -> list[Any]:
    connections: list[Any] = []
    sys.addaudithook(lambda event, args: connections.append(args[1]) if event == "socket.connect" else None)
    return connections


@pytest.fixture
def connections(every_connection: list[Any]) -> list[Any]:
    every_connection.clear()
    return every_connection


class Far(http.server.BaseHTTPRequestHandler):
    """The far end: a path of its own for each way to behave."""

    def do_GET(self) -> None:
        path, _, argument = self.path[1:].partition("/")
        getattr(self, path)(argument)

    do_POST = do_GET

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def host(self, _: str) -> None:
        self.answer(200, self.headers["Host"].encode())

    def status(self, status: str) -> None:
        self.answer(int(status))

    def redirect(self, target: str) -> None:
        self.answer(302, Location=target)

    def hops(self, count: str) -> None:
        self.redirect(f"/hops/{int(count) - 1}") if int(count) else self.answer(200, b"arrived")

    def endless(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1 << 20))
        except OSError:
            pass

    def drip(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b".")
                time.sleep(0.1)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def far() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Far)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fetch(url: str, allow: list[str] = LOOPBACK) -> bytes:
    return asyncio.run(outbound.fetch(url, allow))


@pytest.mark.parametrize("url", PRIVATE)
def test_no_address_that_is_not_public_is_connected_to(url: str, connections: list[Any]) -> None:
    with pytest.raises(OutboundError):
        fetch(url, allow=[])
    with pytest.raises(OutboundError):
        asyncio.run(outbound.post(url, b"{}", {}))
    with pytest.raises(OutboundError):
        asyncio.run(outbound.check(url))
    assert connections == []


@pytest.mark.parametrize("url", NO_WEB_ADDRESS)
def test_what_is_no_web_address_is_refused(url: str, connections: list[Any]) -> None:
    with pytest.raises(OutboundError):
        fetch(url)
    assert connections == []


@pytest.mark.parametrize("target", [*PRIVATE[17:], "file:///etc/passwd", "//10.0.0.1/", "gopher://10.0.0.1/"])
def test_a_redirect_is_judged_like_a_first_address(target: str, far: str, connections: list[Any]) -> None:
    with pytest.raises(OutboundError):
        fetch(f"{far}/redirect/{target}")
    assert [address for address, _ in connections] == ["127.0.0.1"]


def test_a_name_that_leads_anywhere_private_is_refused(
    monkeypatch: pytest.MonkeyPatch, connections: list[Any]
) -> None:
    answer(monkeypatch, ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(OutboundError, match=r"10\.0\.0\.1.*EASEL_ALLOW_NETWORKS"):
        fetch("http://mixed.example/", allow=[])
    assert connections == []


def test_a_name_that_changes_its_address_is_reached_where_it_was_judged(
    far: str, monkeypatch: pytest.MonkeyPatch, connections: list[Any]
) -> None:
    lookups = answer(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    port = far.rpartition(":")[2]
    assert fetch(f"http://rebinding.example:{port}/host", LOOPBACK) == f"rebinding.example:{port}".encode()
    assert connections == [("127.0.0.1", int(port))]
    assert lookups == ["rebinding.example"]


def test_a_public_address_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("93.184.216.34", "8.8.8.8", "2606:4700::6810:84e5", "::ffff:8.8.8.8"):
        answer(monkeypatch, [address])
        asyncio.run(outbound.check("https://example.com/hook"))


def test_a_name_that_does_not_exist_is_named_in_the_refusal() -> None:
    with pytest.raises(OutboundError, match=r"'nowhere\.invalid' cannot be found"):
        fetch("http://nowhere.invalid/")


def test_three_redirects_are_followed_and_no_more(far: str) -> None:
    assert fetch(f"{far}/hops/3") == b"arrived"
    with pytest.raises(OutboundError):
        fetch(f"{far}/hops/4")


def test_a_body_without_end_is_cut_at_25_megabytes(far: str) -> None:
    with pytest.raises(OutboundError, match="larger than 25 MB"):
        fetch(f"{far}/endless")


def test_a_host_that_drips_is_left_in_time(far: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "FETCH_SECONDS", 0.5)
    with pytest.raises(OutboundError, match=r"more than 0\.5 seconds"):
        fetch(f"{far}/drip")


def test_an_answer_other_than_success_is_named(far: str) -> None:
    with pytest.raises(OutboundError, match="answered 404"):
        fetch(f"{far}/status/404")


def test_a_proxy_in_the_environment_is_not_used(far: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert fetch(f"{far}/hops/0") == b"arrived"


def test_a_post_answers_the_status_and_follows_nothing(far: str, connections: list[Any]) -> None:
    assert asyncio.run(outbound.post(f"{far}/status/410", b"{}", {}, LOOPBACK)) == 410
    assert asyncio.run(outbound.post(f"{far}/redirect//hops/0", b"{}", {}, LOOPBACK)) == 302
    assert len(connections) == 2


def answer(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let name look-ups give `answers` one after another (the last for ever); returns the names asked for."""
    names: list[str] = []

    def getaddrinfo(host: str, port: int | None, *_: object, **__: object) -> list[Any]:
        addresses = answers[min(len(names), len(answers) - 1)]
        names.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names
