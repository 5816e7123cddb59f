"""Rule 9 of the contract: every refusal has the same shape, also of what cannot be read or found.

python -m pytest tests/wire/test_errors.py
"""

import json
import socket
from collections.abc import Iterator

import pytest
from answering import MEDIUM, Api

from easel.api import bodies
from wire.reading import assert_told


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/nothing", 404), ("PUT", "/jobs", 405), ("GET", MEDIUM, 405)],
)
def test_an_unknown_route_or_method_is_told_in_the_same_shape(
    api: Api, method: str, path: str, status: int
) -> None:
    answer = api.client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"] == answer.json()["message"]
    assert f"{method} {path}" in answer.json()["error"]


def test_a_wrong_method_is_told_the_right_ones(api: Api) -> None:
    assert api.client.put("/jobs/x").headers["Allow"] == "DELETE, GET"
    assert api.client.post("/files/x").headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("id", ["x", "00000000-0000-0000-0000-000000000000", "%00", "a%2Fb", "é"])
@pytest.mark.parametrize(
    "path",
    [
        "/jobs/{}",
        "/jobs/{}/details",
        "/jobs/{}/events",
        "/assets/{}",
        "/moodboards/{}",
        "/styles/{}",
        "/styles/{}/share/link",
        "/webhooks/deliveries/{}",
    ],
)
def test_an_id_of_nothing_is_404(api: Api, path: str, id: str) -> None:
    answer = api.client.get(path.format(id))
    assert answer.status_code == 404
    assert answer.json()["error"] == answer.json()["message"]


def test_a_body_over_40_megabytes_is_413(api: Api) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"prompt": "'
        for _ in range(50):
            yield b"a" * 1_000_000

    for body in ({"content": endless()}, {"content": b"a" * 40_000_001}):
        answer = api.client.post(MEDIUM, **body)
        assert answer.status_code == 413
        assert "POST /assets" in answer.json()["error"]


def test_a_body_of_endless_values_is_400(api: Api) -> None:
    for body in (
        b'{"prompt": "a", "image_style_references": [' + b"1," * 1_000_000 + b"1]}",
        json.dumps({f"field{number}": 1 for number in range(100_000)}).encode(),
    ):
        assert_told(api.client.post(MEDIUM, content=body), 400, [], "10,000 values")


def test_a_slow_body_is_given_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "JSON_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2]))) as connection:
        token = api.client.headers["Authorization"]
        head = [f"POST {MEDIUM} HTTP/1.1", "Host: a", f"Authorization: {token}", "Content-Length: 9"]
        connection.sendall("\r\n".join([*head, "", "{"]).encode())
        assert b"400 Bad Request" in connection.recv(1000)
