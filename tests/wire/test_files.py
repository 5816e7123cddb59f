"""Rule 7 of the contract: pictures that anybody can download who knows their URL.

python -m pytest tests/wire/test_files.py
"""

import socket

import httpx
import pytest
from answering import Api, answering, in_new_workspace, picture


def test_a_file_may_be_kept_for_ever_and_is_never_taken_for_anything_else(api: Api) -> None:
    url = api.upload(picture())["image_url"]
    headers = httpx.get(url).headers
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Access-Control-Allow-Origin"] == "*"
    head = httpx.head(url)
    assert head.status_code == 200
    assert head.content == b""
    names = ("Content-Length", "Content-Type", "Cache-Control", "Accept-Ranges")
    assert [head.headers[name] for name in names] == [headers[name] for name in names]


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=5-9", 206, 5, 10),
        ("bytes=5-", 206, 5, None),
        ("bytes=-5", 206, -5, None),
        ("bytes=5-999999", 206, 5, None),
        ("bytes=-999999", 206, 0, None),
        ("bytes=-", 200, 0, None),
        ("bytes=0-1,5-6", 200, 0, None),
        ("lines=1-2", 200, 0, None),
        ("bytes=0-" + "9" * 5000, 200, 0, None),
        ("bytes=999999-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=9-5", 416, 0, 0),
    ],
)
def test_a_part_of_a_file_can_be_asked_for(
    api: Api, asked: str, status: int, start: int, end: int | None
) -> None:
    answer = httpx.get(api.upload(picture())["image_url"], headers={"Range": asked})
    assert answer.status_code == status
    assert answer.content == picture()[start:end]
    assert int(answer.headers["Content-Length"]) == len(answer.content)


@pytest.mark.parametrize(
    "path",
    [
        "/files/" + "0" * 40 + ".png",
        "/files/fox.png",
        "/files/..%2F..%2Fetc%2Fpasswd",
        "/files/../../../../etc/passwd",
        "/files/%2e%2e/%2e%2e/etc/passwd",
        "/files/" + "0" * 40 + ".png%00",
        "/files/" + "0" * 40 + ".html",
        "/files/",
    ],
)
def test_a_file_that_is_not_there_is_404(api: Api, path: str) -> None:
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2]))) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert b"404 Not Found" in connection.recv(1000)


def test_file_urls_begin_where_the_settings_say(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("public")
    with answering(database_url, folder, public_url="https://img.example/easel/") as server:  # noqa: SIM117
        with in_new_workspace(server) as api:
            asset = api.upload(picture())
            assert asset["image_url"].startswith("https://img.example/easel/files/")
            api.submit(image_style_references=[{"url": asset["image_url"]}])
