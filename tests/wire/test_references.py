"""The media fields of section 2 of the contract: pictures given by URL, and inside the body.

python -m pytest tests/wire/test_references.py
"""

import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from answering import MEDIUM, Api, data_uri, picture
from sqlalchemy import text
from test_pictures import UNREADABLE, png

from easel.api import references
from easel.store.database import Database
from wire.reading import A_FOX, assert_told


def stored_request(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    """The request in the row of `job`."""

    async def read(database: Database) -> Any:
        query = text("SELECT request FROM jobs WHERE id = :id")
        async with database.read() as connection:
            return await connection.scalar(query, {"id": job["job_id"]})

    return api.store(read)


def stored_references(api: Api, job: dict[str, Any]) -> list[str]:
    """The reference URLs in the row of `job`."""
    return [reference["url"] for reference in stored_request(api, job)["image_style_references"]]


UNUSABLE_URLS = {
    "fox.png": "no http(s) URL",
    "ftp://example.com/fox.png": "no http(s) URL",
    "http://10.0.0.1/fox.png": "no public address",
    "http://169.254.169.254/latest/meta-data": "no public address",
    "http://nowhere.invalid/fox.png": "cannot be found",
    "http://127.0.0.1:9/fox.png": "cannot be reached",
    "data:image/png,fox": "no base64 data URI",
    "data:image/png;base64,!!": "no valid base64",
    data_uri(b"fox"): "no picture",
    data_uri(picture()[:60]): "broken or cut short",
}


@pytest.mark.parametrize("url", UNUSABLE_URLS, ids=lambda url: url[:40])
def test_a_reference_that_cannot_be_used_is_422(api: Api, url: str) -> None:
    answer = api.client.post(MEDIUM, json=A_FOX | {"image_style_references": [{"url": url}]})
    assert_told(answer, 422, ["image_style_references", 0, "url"], UNUSABLE_URLS[url])


@pytest.mark.parametrize("name", ["image_url", "imageUrl"])
@pytest.mark.parametrize("url", UNUSABLE_URLS, ids=lambda url: url[:40])
def test_a_start_picture_that_cannot_be_used_is_422(api: Api, url: str, name: str) -> None:
    answer = api.client.post(MEDIUM, json=A_FOX | {name: url})
    assert_told(answer, 422, ["image_url"], UNUSABLE_URLS[url])


def test_a_start_picture_is_kept_at_submit_by_asset_url_public_url_or_data_uri(api: Api, far: str) -> None:
    asset = api.upload(picture())["image_url"]
    jobs = [api.submit(image_url=url, strength=0.6) for url in (asset, f"{far}/fox.png", data_uri(picture()))]
    urls = [stored_request(api, job)["image_url"] for job in jobs]
    assert urls[0] == asset
    assert all(url.startswith(f"{api.url}/files/") and httpx.get(url).content == picture() for url in urls)


def test_a_start_picture_costs_nothing_more(api: Api) -> None:
    job = api.submit(image_url=data_uri(picture()))
    assert api.client.get(f"/jobs/{job['job_id']}/details").json()["cost"] == "0.03"


def test_a_start_picture_that_takes_longer_than_clients_wait_is_422(
    api: Api, far: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "FETCH_SECONDS", 0.2)
    answer = api.client.post(MEDIUM, json=A_FOX | {"image_url": f"{far}/slow.png"})
    assert_told(answer, 422, ["image_url"], "0.2 seconds", "POST /assets")


@pytest.fixture(scope="module")
def far() -> Iterator[str]:
    """A server of pictures, and of other things, by path."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Gallery) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Gallery(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/slow.png":
            time.sleep(1)
        self.send_response(404 if self.path == "/gone.png" else 200)
        self.end_headers()
        self.wfile.write(b"<html>" if self.path == "/page" else picture())

    def log_message(self, *_: Any) -> None:
        pass


def test_a_public_url_is_fetched_at_once_and_the_picture_kept(api: Api, far: str) -> None:
    job = api.submit(image_style_references=[{"url": f"{far}/fox.png", "strength": 0.6}])
    [url] = stored_references(api, job)
    assert url.startswith(f"{api.url}/files/")
    assert httpx.get(url).content == picture()


@pytest.mark.parametrize(("path", "word"), [("/page", "no picture"), ("/gone.png", "answered 404")])
def test_a_url_that_cannot_be_fetched_or_is_no_image_is_422(api: Api, far: str, path: str, word: str) -> None:
    body = A_FOX | {"image_style_references": [{"url": f"{far}/fox.png"}, {"url": far + path}]}
    assert_told(api.client.post(MEDIUM, json=body), 422, ["image_style_references", 1, "url"], word)


def test_references_that_take_longer_than_clients_wait_are_422(
    api: Api, far: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "FETCH_SECONDS", 0.2)
    answer = api.client.post(MEDIUM, json=A_FOX | {"image_style_references": [{"url": f"{far}/slow.png"}]})
    assert_told(answer, 422, ["image_style_references"], "0.2 seconds", "POST /assets")


@pytest.mark.parametrize("strength", [-2, -0.5, 0, 0.5, 1, 2])
def test_a_strength_may_be_older_and_wider_than_the_documented_range(api: Api, strength: float) -> None:
    url = api.upload(picture())["image_url"]
    api.submit(image_style_references=[{"url": url, "strength": strength}])


@pytest.mark.parametrize("name", ["image_style_references", "imageStyleRefs"])
def test_ten_references_are_taken_under_either_name_with_items_open(api: Api, name: str) -> None:
    url = api.upload(picture())["image_url"]
    job = api.submit(**{name: [{"url": url, "weight": 1}] * 10})
    assert stored_references(api, job) == [url] * 10


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


def test_an_overlong_url_is_not_repeated_in_the_refusal(api: Api, far: str) -> None:
    for url in ("x" * 1_000_000, f"{far}/" + "x" * 1_000_000):
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


def test_an_idempotency_key_holds_also_when_the_picture_has_gone(api: Api) -> None:
    headers = {"Idempotency-Key": "k"}
    with ThreadingHTTPServer(("127.0.0.1", 0), Gallery) as server:
        Thread(target=server.serve_forever).start()
        body = A_FOX | {"image_style_references": [{"url": f"http://127.0.0.1:{server.server_port}/fox.png"}]}
        first = api.client.post(MEDIUM, json=body, headers=headers)
        server.shutdown()
    again = api.client.post(MEDIUM, json=body, headers=headers)
    assert (again.status_code, again.json()) == (200, first.json())
    assert api.client.post(MEDIUM, json=body).status_code == 422


def test_ten_references_in_one_body_of_megabytes_are_taken(api: Api) -> None:
    pictures = [
        png(8, 8, body=zlib.compress(8 * (b"\0" + bytes(24)))) + bytes(2_000_000 + n) for n in range(10)
    ]
    job = api.submit(image_style_references=[{"url": data_uri(data)} for data in pictures])
    assert len(set(stored_references(api, job))) == 10


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_picture_is_400_as_upload_and_422_as_data_uri(api: Api, name: str) -> None:
    data = UNREADABLE[name]
    upload = api.client.post("/assets", files={"file": ("fox.png", data)})
    assert_told(upload, 400, ["file"], "file")
    reference = api.client.post(MEDIUM, json=A_FOX | {"image_style_references": [{"url": data_uri(data)}]})
    assert_told(reference, 422, ["image_style_references", 0, "url"])
