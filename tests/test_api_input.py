"""Bad input is refused, saying why and what to do. Alone: python -m pytest tests/test_api_input.py"""

import base64
import json
import socket
import zlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from answering import MEDIUM, Api, answering, in_new_workspace, picture
from conftest import fresh_database
from sqlalchemy import text
from test_pictures import UNREADABLE, png

from easel.api import bodies
from easel.store.database import Database


@pytest.fixture(scope="module")
def server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with answering(fresh_database(postgres), tmp_path_factory.mktemp("api")) as api:
        yield api


@pytest.fixture
def api(server: Api) -> Iterator[Api]:
    with in_new_workspace(server) as api:
        yield api


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def stored_references(api: Api, job: dict[str, Any]) -> list[str]:
    """The reference URLs in the row of `job`."""

    async def read(database: Database) -> list[str]:
        query = text("SELECT request FROM jobs WHERE id = :id")
        async with database.read() as connection:
            request = await connection.scalar(query, {"id": job["job_id"]})
        return [reference["url"] for reference in request["image_style_references"]]

    return api.store(read)


def assert_told(answer: httpx.Response, status: int, path: list[Any], *words: str) -> None:
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told["error"] == told["message"]
    assert path in [detail["path"] for detail in told["details"]]
    for word in words:
        assert word in told["error"]


A_FOX = {"prompt": "a fox"}
NOT_VALID: list[tuple[Any, list[Any], tuple[str, ...]]] = [
    ({}, ["prompt"], ("prompt is missing", "add it")),
    ({"prompt": ""}, ["prompt"], ("at least 1 character", "''")),
    ({"prompt": " \n"}, ["prompt"], ("what to paint",)),
    ({"prompt": "a" * 5001}, ["prompt"], ("at most 5000 characters", "aaa")),
    ({"prompt": None}, ["prompt"], ("string", "None")),
    ({"prompt": ["a fox"]}, ["prompt"], ("string", "['a fox']")),
    ({"prompt": "a \0 fox"}, ["prompt"], ("U+0000",)),
    (A_FOX | {"aspect_ratio": "5:5"}, ["aspect_ratio"], ("'16:9'", "'5:5'")),
    (A_FOX | {"resolution": "4K"}, ["resolution"], ("'1K'", "'4K'")),
    (A_FOX | {"creativity": "wild"}, ["creativity"], ("'raw'", "'wild'")),
    (A_FOX | {"seed": -1}, ["seed"], ("greater than or equal to 0", "-1")),
    (A_FOX | {"seed": 2**63}, ["seed"], ("9223372036854775807",)),
    (A_FOX | {"seed": 1.5}, ["seed"], ("integer", "1.5")),
    (A_FOX | {"seed": "7"}, ["seed"], ("integer", "'7'")),
    (A_FOX | {"model": "x"}, ["model"], ("no field of this request", "'x'", "leave it out")),
    (A_FOX | {"image_style_references": {}}, ["image_style_references"], ("array",)),
    (A_FOX | {"image_style_references": [{"url": "x"}] * 11}, ["image_style_references"], ("at most 10",)),
    (A_FOX | {"moodboards": [{"id": str(UUID(int=0))}] * 2}, ["moodboards"], ("at most 1 item",)),
]
NOBODY = "00000000-0000-0000-0000-000000000000"
NOT_USABLE: list[tuple[dict[str, Any], list[Any], tuple[str, ...]]] = [
    *(
        ({field: value}, [field], (field, "not served", "leave it out"))
        for field, value in {
            "styles": [{"id": "a", "strength": 1}],
            "presetStyles": [{"id": "a", "strength": 1}],
            "image_url": "https://example.com/a.png",
            "imageUrl": "https://example.com/a.png",
            "strength": 0.5,
            "intensity": 10,
            "complexity": -10,
            "movement": 1,
        }.items()
    ),
    ({"moodboards": [{"id": "a"}]}, ["moodboards", 0, "id"], ("UUID", "'a'")),
    ({"moodboards": [{"id": NOBODY}]}, ["moodboards", 0, "id"], ("no moodboard", NOBODY, "GET /moodboards")),
    ({"moodboards": [{}]}, ["moodboards", 0, "id"], ("id is missing",)),
    (
        {"moodboards": [{"id": NOBODY, "strength": 1.6}]},
        ["moodboards", 0, "strength"],
        ("less than or equal to 1.5", "1.6"),
    ),
    (
        {"moodboards": [{"id": NOBODY, "strength": -0.6}]},
        ["moodboards", 0, "strength"],
        ("greater than or equal to -0.5", "-0.6"),
    ),
    ({"image_style_references": ["https://a"]}, ["image_style_references", 0], ("object", "'https://a'")),
    ({"image_style_references": [{}]}, ["image_style_references", 0, "url"], ("url is missing",)),
    ({"image_style_references": [{"url": 1}]}, ["image_style_references", 0, "url"], ("string",)),
    (
        {"image_style_references": [{"url": "http://8.8.8.8/", "strength": 3}]},
        ["image_style_references", 0, "strength"],
        ("less than or equal to 2", "3"),
    ),
]
UNUSABLE_URLS = {
    "fox.png": "no http(s) URL",
    "ftp://example.com/fox.png": "no http(s) URL",
    "http://10.0.0.1/fox.png": "no public address",
    "http://169.254.169.254/latest/meta-data": "no public address",
    "http://nowhere.invalid/fox.png": "cannot be found",
    "data:image/png,fox": "no base64 data URI",
    "data:image/png;base64,!!": "no valid base64",
    data_uri(b"fox"): "no picture",
    data_uri(picture()[:60]): "broken or cut short",
}


@pytest.mark.parametrize(("body", "path", "words"), NOT_VALID, ids=lambda value: str(value)[:40])
def test_a_body_that_is_not_valid_is_400(
    api: Api, body: Any, path: list[Any], words: tuple[str, ...]
) -> None:
    assert_told(api.client.post(MEDIUM, json=body), 400, path, *words)


@pytest.mark.parametrize("body", [b"", b"{", b"fox", b'"fox"', b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_400(api: Api, body: bytes) -> None:
    assert_told(api.client.post(MEDIUM, content=body), 400, [], "body")


@pytest.mark.parametrize(("fields", "path", "words"), NOT_USABLE, ids=lambda value: str(value)[:40])
def test_what_is_not_served_and_wrong_items_are_422(
    api: Api, fields: dict[str, Any], path: list[Any], words: tuple[str, ...]
) -> None:
    assert_told(api.client.post(MEDIUM, json=A_FOX | fields), 422, path, *words)


@pytest.mark.parametrize("url", UNUSABLE_URLS, ids=lambda url: url[:40])
def test_a_reference_that_cannot_be_used_is_422(api: Api, url: str) -> None:
    answer = api.client.post(MEDIUM, json=A_FOX | {"image_style_references": [{"url": url}]})
    assert_told(answer, 422, ["image_style_references", 0, "url"], UNUSABLE_URLS[url])


def test_an_asset_url_of_ours_must_lead_to_a_file(api: Api) -> None:
    asset = api.upload(picture())
    job = api.submit(image_style_references=[{"url": asset["image_url"], "strength": 0.6}])
    api.client.delete(f"/assets/{asset['id']}")
    answer = api.client.post(
        MEDIUM,
        json=A_FOX | {"image_style_references": [{"url": asset["image_url"]}, {"url": api.url + "/a"}]},
    )
    assert_told(answer, 422, ["image_style_references", 0, "url"], asset["image_url"], "POST /assets")
    assert stored_references(api, job) == [asset["image_url"]]


def test_an_asset_is_known_by_any_name_of_the_server(api: Api) -> None:
    url = api.upload(picture())["image_url"].replace("127.0.0.1", "another.invalid")
    api.submit(image_style_references=[{"url": url}])


def test_an_overlong_url_is_not_repeated_in_the_refusal(api: Api) -> None:
    for url in ("x" * 1_000_000, "https://example.com/" + "x" * 1_000_000):
        answer = api.client.post(MEDIUM, json=A_FOX | {"image_style_references": [{"url": url}]})
        assert answer.status_code == 422
        assert len(answer.content) < 2000


def test_a_picture_in_the_body_is_kept_as_a_file_and_not_in_the_job(api: Api) -> None:
    data = picture()
    job = api.submit(image_style_references=[{"url": data_uri(data)}])
    [url] = stored_references(api, job)
    assert len(url) < 120
    assert httpx.get(url).content == data


def test_an_idempotency_key_holds_for_a_picture_in_the_body_too(api: Api) -> None:
    body = A_FOX | {"image_style_references": [{"url": data_uri(picture())}]}
    answers = [api.client.post(MEDIUM, json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()


def test_neutral_values_and_older_names_are_taken(api: Api) -> None:
    asset = api.upload(picture())
    job = api.submit(
        aspectRatio="16:9",
        imageStyleRefs=[{"url": asset["image_url"], "weight": 1}],
        styles=[],
        moodboards=None,
        image_url=None,
        intensity=0,
        seed=12.0,
    )
    assert stored_references(api, job) == [asset["image_url"]]


def test_ten_references_in_one_body_of_megabytes_are_taken(api: Api) -> None:
    pictures = [
        png(8, 8, body=zlib.compress(8 * (b"\0" + bytes(24)))) + bytes(2_000_000 + n) for n in range(10)
    ]
    job = api.submit(image_style_references=[{"url": data_uri(data)} for data in pictures])
    assert len(set(stored_references(api, job))) == 10


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


@pytest.mark.parametrize("url", ["fox", "file:///etc/passwd", "http://10.0.0.1/hook", "http://[::1]:80/"])
def test_a_webhook_url_that_may_not_be_reached_is_422(api: Api, url: str) -> None:
    answer = api.client.post(MEDIUM, json=A_FOX, headers={"X-Webhook-URL": url})
    assert_told(answer, 422, ["X-Webhook-URL"], "X-Webhook-URL")


def test_a_webhook_url_that_may_be_reached_is_taken(api: Api) -> None:
    for url in ("https://8.8.8.8/hook", f"{api.url}/hook"):
        assert api.client.post(MEDIUM, json=A_FOX, headers={"X-Webhook-URL": url}).status_code == 200


def test_an_overlong_idempotency_key_is_400(api: Api) -> None:
    answer = api.client.post(MEDIUM, json=A_FOX, headers={"Idempotency-Key": "k" * 256})
    assert_told(answer, 400, ["Idempotency-Key"], "at most 255 characters")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("cursor=yesterday", "cursor"),
        ("cursor=0.5", "cursor"),
        ("cursor=0001-01-01T00:00:00%2B14:00", "cursor"),
        ("status=done", "status"),
    ],
)
def test_a_query_that_is_not_valid_is_400(api: Api, query: str, field: str) -> None:
    assert_told(api.client.get(f"/jobs?{query}"), 400, [field], field)


@pytest.mark.parametrize("cursor", ["2026-01-01T00:00:00", "2026-01-01", "9999-12-31T23:59:59Z"])
def test_any_time_is_a_cursor(api: Api, cursor: str) -> None:
    assert api.client.get("/jobs", params={"cursor": cursor}).status_code == 200


@pytest.mark.parametrize("id", ["x", "00000000-0000-0000-0000-000000000000", "%00", "a%2Fb", "é"])
@pytest.mark.parametrize(
    "path", ["/jobs/{}", "/jobs/{}/details", "/jobs/{}/events", "/assets/{}", "/moodboards/{}"]
)
def test_an_id_of_nothing_is_404(api: Api, path: str, id: str) -> None:
    answer = api.client.get(path.format(id))
    assert answer.status_code == 404
    assert answer.json()["error"] == answer.json()["message"]


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


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_picture_is_400_as_upload_and_422_as_data_uri(api: Api, name: str) -> None:
    data = UNREADABLE[name]
    upload = api.client.post("/assets", files={"file": ("fox.png", data)})
    assert_told(upload, 400, ["file"], "file")
    reference = api.client.post(MEDIUM, json=A_FOX | {"image_style_references": [{"url": data_uri(data)}]})
    assert_told(reference, 422, ["image_style_references", 0, "url"])
