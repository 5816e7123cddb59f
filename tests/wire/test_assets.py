"""Section 4 of the contract: pictures uploaded to be used as references.

python -m pytest tests/wire/test_assets.py
"""

import re
import socket

import httpx
import pytest
from answering import Api, picture
from test_pictures import READABLE, rotated_jpeg

from easel.api import bodies


def test_an_upload_answers_what_the_picture_is(api: Api) -> None:
    asset = api.upload(picture(64, 48), description="a fox")
    assert asset.pop("id")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", asset.pop("uploaded_at"))
    assert re.fullmatch(rf"{api.url}/files/[0-9a-f]{{40}}\.png", asset.pop("image_url"))
    assert asset == {
        "width": 64,
        "height": 48,
        "size_bytes": len(picture(64, 48)),
        "mime_type": "image/png",
        "description": "a fox",
        "metadata": {},
    }


@pytest.mark.parametrize("name", READABLE)
def test_every_picture_that_can_be_read_is_taken_and_given_back_as_it_was(api: Api, name: str) -> None:
    data, mime, _ = READABLE[name]
    asset = api.upload(data)
    file = httpx.get(asset["image_url"])
    assert file.content == data
    assert asset["mime_type"] == file.headers["Content-Type"] == mime


def test_the_size_of_a_rotated_picture_is_as_displayed(api: Api) -> None:
    asset = api.upload(rotated_jpeg())
    assert (asset["width"], asset["height"]) == (20, 30)


def test_assets_are_listed_read_and_deleted(api: Api) -> None:
    old, new = api.upload(picture()), api.upload(picture())
    first = api.client.get("/assets?limit=1").json()
    assert first["items"] == [new]
    second = api.client.get("/assets", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert second == {"items": [old], "next_cursor": None}
    assert api.client.get(f"/assets/{old['id']}").json() == old
    deleted = api.client.delete(f"/assets/{old['id']}")
    assert deleted.status_code == 200
    assert deleted.json()["success"] is True
    assert old["id"] in deleted.json()["message"]
    assert api.client.delete(f"/assets/{old['id']}").status_code == 404
    assert httpx.get(old["image_url"]).status_code == 404
    assert httpx.get(new["image_url"]).status_code == 200


FORM = {"Content-Type": "multipart/form-data; boundary=b"}

PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'

BROKEN_FORMS = {
    "json": ({"Content-Type": "application/json"}, b"{}"),
    "no boundary": ({"Content-Type": "multipart/form-data"}, PART),
    "another boundary": (FORM, PART.replace(b"--b", b"--c")),
    "nothing": (FORM, b""),
    "no end": (FORM, PART + picture()),
    "no name": (FORM, PART.replace(b' name="file";', b"") + b"\r\n--b--\r\n"),
    "garbage": (FORM, bytes(range(256)) * 100),
    "text for the file": (FORM, PART.replace(b' filename="a.png"', b"") + b"fox\r\n--b--\r\n"),
    "another field": (FORM, PART.replace(b'"file"', b'"image"') + b"fox\r\n--b--\r\n"),
    "two files": (FORM, (PART + b"fox\r\n") * 2 + b"--b--\r\n"),
    "10,000 parts": (FORM, PART.replace(b'; filename="a.png"', b"") * 10_000 + b"\r\n--b--\r\n"),
    "an endless field": (FORM, PART.replace(b'; filename="a.png"', b"") + b"a" * 2_000_000),
    "an endless header": (FORM, PART[:40] + b"a" * 2_000_000),
}


@pytest.mark.parametrize("name", BROKEN_FORMS)
def test_a_form_that_cannot_be_read_is_400(api: Api, name: str) -> None:
    headers, body = BROKEN_FORMS[name]
    answer = api.client.post("/assets", headers=headers, content=body)
    assert answer.status_code == 400
    told = answer.json()
    assert told["error"] == told["message"]
    assert told["details"]


@pytest.mark.parametrize("description", ["a" * 5001, "a\0b"])
def test_a_description_that_cannot_be_kept_is_400(api: Api, description: str) -> None:
    answer = api.client.post("/assets", files={"file": picture()}, data={"description": description})
    assert answer.status_code == 400
    assert answer.json()["details"][0]["path"] == ["description"]


def test_a_file_over_75_megabytes_is_400(api: Api) -> None:
    padded = picture() + bytes(79_000_000)
    answer = api.client.post("/assets", files={"file": padded})
    assert answer.status_code == 400
    assert "75 MB" in answer.json()["error"]


def test_a_slow_upload_is_given_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "UPLOAD_SECONDS", 0.2)
    head = ["POST /assets HTTP/1.1", "Host: a", f"Authorization: {api.client.headers['Authorization']}"]
    head += [f"Content-Type: {FORM['Content-Type']}", "Content-Length: 1000", "", ""]
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2]))) as connection:
        connection.sendall("\r\n".join(head).encode() + PART)
        assert b"400 Bad Request" in connection.recv(1000)
