"""Idempotency keys (section 2 of the contract), on every route that begins work.

python -m pytest tests/wire/test_repeats.py
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from answering import MEDIUM, Api, colours, data_uri, files, in_new_workspace

from wire.reading import document

PICTURES = [data_uri(data) for data in colours(3)]
BODIES: dict[str, dict[str, Any]] = {
    MEDIUM: {"prompt": "a fox", "image_style_references": [{"url": url} for url in PICTURES]},
    "/styles/train": {"name": "woodcuts", "urls": PICTURES},
    "/moodboards": {"name": "woodcuts", "urls": PICTURES},
}
OTHERS: dict[str, dict[str, Any]] = {
    MEDIUM: {"prompt": "a bear"},
    "/styles/train": {"max_train_steps": 2},
    "/moodboards": {"name": "linocuts"},
}
HEADERS = {"Idempotency-Key", "X-Idempotency-Key"}
every_route = pytest.mark.parametrize("route", BODIES)


def post(api: Api, route: str, key: str = "k", **fields: Any) -> httpx.Response:
    return api.client.post(route, json=BODIES[route] | fields, headers={"Idempotency-Key": key})


def made(api: Api) -> int:
    return len(api.client.get("/jobs").json()["items"]) + len(api.client.get("/moodboards").json()["items"])


@every_route
def test_a_request_that_is_sent_again_is_answered_as_before_and_makes_nothing(api: Api, route: str) -> None:
    first = post(api, route)
    before = made(api), files(api)
    again = post(api, route)
    assert (again.status_code, again.json()) == (200, first.json())
    assert (made(api), files(api)) == before
    assert post(api, route, "another").json() != first.json()


@every_route
def test_requests_with_one_key_at_one_time_make_one_thing_and_leave_no_files(api: Api, route: str) -> None:
    before = files(api)
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: post(api, route), range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert len(api.client.get("/jobs").json()["items"]) == 1
    assert files(api) == before + len(PICTURES)


@every_route
def test_a_key_that_came_with_another_body_is_422(api: Api, route: str) -> None:
    post(api, route)
    before = made(api), files(api)
    answer = post(api, route, **OTHERS[route])
    assert answer.status_code == 422
    assert "Idempotency-Key 'k' was used for another request" in answer.json()["error"]
    assert (made(api), files(api)) == before


def test_a_key_is_the_workspaces_and_the_routes_own(api: Api) -> None:
    routes = [*BODIES, MEDIUM.replace("medium", "large")]
    bodies = {**BODIES, routes[-1]: BODIES[MEDIUM]}
    for _ in range(2):
        for route in routes:
            sent = api.client.post(route, json=bodies[route], headers={"Idempotency-Key": "k"})
            assert sent.status_code == 200, sent.text
    assert len(api.client.get("/jobs").json()["items"]) == len(routes)
    with in_new_workspace(api) as other:
        post(other, "/styles/train")
        assert len(other.client.get("/jobs").json()["items"]) == 1


@pytest.mark.parametrize("route", ["/styles/train", "/moodboards"])
def test_a_request_is_known_again_though_its_pictures_have_gone(api: Api, route: str) -> None:
    assets = [api.upload(data) for data in colours(3)]
    urls = [asset["image_url"] for asset in assets]
    first = post(api, route, urls=urls)
    for asset in assets:
        api.client.delete(f"/assets/{asset['id']}")
    assert post(api, route, urls=urls).json() == first.json()
    assert post(api, route, "another", urls=urls).status_code == 422


def test_a_request_that_was_refused_may_be_mended_under_its_key(api: Api) -> None:
    unreachable = [*PICTURES, "http://10.0.0.1/a.png"]
    assert post(api, "/moodboards", urls=unreachable).status_code == 422
    assert post(api, "/moodboards").status_code == 200


def test_a_board_is_told_as_it_stands_by_now(api: Api) -> None:
    board = post(api, "/moodboards").json()
    path = f"/moodboards/{board['id']}"
    changed = api.client.patch(path, json={"name": "linocuts", "urls": PICTURES[:1]}).json()
    assert changed["job_id"] != board["job_id"]
    assert post(api, "/moodboards").json() == changed
    api.client.delete(path)
    gone = post(api, "/moodboards")
    assert gone.status_code == 404
    assert board["id"] in gone.json()["error"]


def test_the_document_tells_of_keys_where_they_are_honoured(api: Api) -> None:
    operations = {path: one["post"] for path, one in document(api)["paths"].items() if "post" in one}
    taking = {
        path: {name for name in HEADERS if name in [one["name"] for one in operation.get("parameters", [])]}
        for path, operation in operations.items()
    }
    medium, *others = BODIES
    routes = [medium, medium.replace("medium", "large"), medium.replace("medium", "medium-turbo"), *others]
    assert {path: names for path, names in taking.items() if names} == dict.fromkeys(routes, HEADERS)
