"""Moodboards, from the request to a picture. Alone: python -m pytest tests/test_moodboards.py"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from answering import (
    MEDIUM,
    Api,
    answering,
    colours,
    data_uri,
    details,
    ended,
    files,
    in_new_workspace,
    picture,
)
from at_work import at_work
from databases import fresh_database
from receiving import receiving
from sqlalchemy import text
from test_pictures import UNREADABLE

from easel.engine.null import NullPainter
from easel.store.database import Database


@pytest.fixture(scope="module")
def server(staffed_server: Api) -> Api:
    return staffed_server


def post(api: Api, **fields: Any) -> httpx.Response:
    return api.client.post("/moodboards", json={"name": "a board", **fields})


def make(api: Api, **fields: Any) -> dict[str, Any]:
    answer = post(api, **fields or {"urls": [data_uri(data) for data in colours(2)]})
    assert answer.status_code == 200, answer.text
    return answer.json()


def analysed(api: Api, board: dict[str, Any]) -> dict[str, Any]:
    """The board, once its analysis has ended."""
    job = ended(api, board["job_id"])
    assert job["status"] == "completed", job
    return api.client.get(f"/moodboards/{board['id']}").json()


def test_a_board_is_read_by_a_job_and_lends_its_direction_to_a_picture(api: Api) -> None:
    asset = api.upload(picture())
    board = make(
        api, urls=[data_uri(colours(1)[0]), api.upload(picture(9))["image_url"]], asset_ids=[asset["id"]]
    )
    assert (board["name"], len(board["urls"]), board["analysed"]) == ("a board", 3, False)
    assert board["urls"][2] == asset["image_url"]

    job = ended(api, board["job_id"])
    assert job["result"] == {"moodboard_id": board["id"]}
    board = api.client.get(f"/moodboards/{board['id']}").json()
    assert board["analysed"]
    assert board["taste_profile"] == "3 flat pictures."
    assert (board["keywords"], board["avoids"]) == (["flat"], ["photograph"])
    assert board["palette"] == [{"colour": "#000080", "weight": 1}]
    [cluster] = board["clusters"]
    assert httpx.get(cluster["url"]).content == colours(1)[0]

    told = details(api, moodboards=[{"id": board["id"]}])
    assert told["cost"] == "0.04"
    assert told["expanded_prompt"] == "a fox, flat"
    assert (told["details"]["references"], told["details"]["avoids"]) == (1, ["photograph"])
    assert told["details"]["moodboard"]["strength"] == 0.35


def counted(api: Api, query: str) -> Any:
    async def read(database: Database) -> Any:
        async with database.read() as connection:
            return await connection.scalar(text(query))

    return api.store(read)


def assert_nothing_left(api: Api, files_before: int = 0) -> None:
    assert files(api) == files_before
    assert counted(api, "SELECT count(*) FROM moodboards") == 0
    assert counted(api, "SELECT count(*) FROM jobs WHERE completed_at IS NULL") == 0


def assert_refused(answer: httpx.Response, status: int, path: list[Any], *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.elapsed.total_seconds() < 1
    assert path in [detail["path"] for detail in answer.json()["details"]]
    for word in words:
        assert word in answer.json()["error"]


def test_an_analysis_is_a_job_like_others_and_costs_nothing(api: Api) -> None:
    with receiving(200) as receiver:
        body = {"name": "a", "urls": [data_uri(data) for data in colours(3)]}
        board = api.client.post("/moodboards", json=body, headers={"X-Webhook-URL": receiver.url}).json()
        job = ended(api, board["job_id"])
        while not receiver.messages:
            pass
    assert receiver.messages[0][1] == api.client.get(f"/jobs/{job['job_id']}").text
    told = api.client.get(f"/jobs/{job['job_id']}/details").json()
    assert (told["kind"], told["cost"], told["charged"]) == ("analysis", "0", False)
    assert (told["variant"], told["prompt"], told["seed"]) == (None, None, None)
    assert told["details"]["pictures"] == 3
    with api.client.stream("GET", f"/jobs/{job['job_id']}/events") as stream:
        assert stream.read().count(b"event: progress") == 3
    assert api.client.get("/usage").json()["pictures"] == 0
    assert [one["job_id"] for one in api.client.get("/jobs?types=analysis").json()["items"]] == [
        job["job_id"]
    ]
    assert api.client.get("/jobs?types=medium").json()["items"] == []


def test_a_board_that_is_not_analysed_is_analysed_within_the_job(alone: Api) -> None:
    board = make(alone)
    alone.client.delete(f"/jobs/{board['job_id']}")
    job = alone.submit(moodboards=[{"id": board["id"], "strength": 1.5}])
    with at_work(alone):
        assert ended(alone, job["job_id"])["status"] == "completed"
    assert alone.client.get(f"/moodboards/{board['id']}").json()["analysed"]
    assert alone.client.get(f"/jobs/{board['job_id']}").json()["status"] == "cancelled"


def test_below_0_a_board_pushes_away_and_at_0_it_is_none(api: Api) -> None:
    board = analysed(api, make(api))
    pushed = details(api, moodboards=[{"id": board["id"], "strength": -0.5}])
    assert pushed["expanded_prompt"] == "a fox"
    assert pushed["details"]["avoids"] == ["flat"]
    assert list(pushed["details"]["moodboard"]["references"].values()) == [-0.5]
    none = details(api, moodboards=[{"id": board["id"], "strength": 0}])
    assert (none["details"]["references"], none["expanded_prompt"]) == (0, "a fox")


def test_a_board_with_references_costs_what_a_board_costs(api: Api) -> None:
    reference = {"url": api.upload(picture())["image_url"]}
    board = analysed(api, make(api))
    told = details(api, moodboards=[{"id": board["id"]}], image_style_references=[reference])
    assert (told["cost"], told["details"]["references"]) == ("0.04", 2)


def test_words_are_edited_and_stay_when_the_pictures_change(api: Api) -> None:
    board = analysed(api, make(api))
    path = f"/moodboards/{board['id']}"
    words = {"taste_profile": "My own.", "keywords": ["linocut print"]}
    edited = api.client.patch(path, json={"name": "another", **words}).json()
    assert edited == board | words | {"name": "another"}

    pictures = [board["urls"][0], data_uri(picture(9))]
    changed = api.client.patch(path, json={"urls": pictures}).json()
    assert changed["job_id"] != board["job_id"]
    assert (changed["analysed"], changed["keywords"], changed["clusters"]) == (False, ["linocut print"], [])
    assert [httpx.get(url).status_code for url in board["urls"]] == [200, 404]
    assert httpx.get(board["clusters"][0]["url"]).status_code == 404
    changed = analysed(api, changed)
    assert (changed["taste_profile"], changed["keywords"], changed["avoids"]) == (
        "My own.", ["linocut print"], ["photograph"],
    )  # fmt: skip
    assert details(api, moodboards=[{"id": board["id"]}])["expanded_prompt"] == "a fox, linocut print"
    back = api.client.patch(path, json={"taste_profile": None, "keywords": None}).json()
    assert (back["taste_profile"], back["keywords"]) == ("2 flat pictures.", ["flat"])


def test_other_pictures_stop_the_analysis_of_the_old_ones(idle: Api) -> None:
    board = make(idle)
    changed = idle.client.patch(f"/moodboards/{board['id']}", json={"urls": board["urls"][:1]}).json()
    assert idle.client.get(f"/jobs/{board['job_id']}").json()["status"] == "cancelled"
    assert idle.client.get(f"/jobs/{changed['job_id']}").json()["status"] == "queued"


def test_boards_are_listed_newest_first_a_page_at_a_time(idle: Api) -> None:
    made = [make(idle)["id"] for _ in range(3)]
    first = idle.client.get("/moodboards?limit=2").json()
    second = idle.client.get("/moodboards", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [board["id"] for board in first["items"] + second["items"]] == made[::-1]
    assert second["next_cursor"] is None


def test_a_deleted_board_leaves_nothing_but_its_assets(postgres: str, tmp_path: Path) -> None:
    with (
        answering(fresh_database(postgres), tmp_path) as server,
        at_work(server),
        in_new_workspace(server) as api,
    ):
        asset = api.upload(picture())
        board = analysed(
            api, make(api, urls=[data_uri(data) for data in colours(3)], asset_ids=[asset["id"]])
        )
        link = api.client.get(f"/moodboards/{board['id']}/share/link").json()["share_link"]
        assert files(api) == 5
        waiting = make(api)
        assert api.client.delete(f"/moodboards/{waiting['id']}").json()["success"]
        assert api.client.delete(f"/moodboards/{board['id']}").json()["success"]
        assert api.client.delete(f"/moodboards/{board['id']}").status_code == 404
        assert httpx.get(link).status_code == 404
        ended(api, waiting["job_id"])
    assert_nothing_left(api, files_before=1)


def test_a_link_shows_the_board_to_anybody(api: Api) -> None:
    board = analysed(api, make(api))
    first, again = (api.client.get(f"/moodboards/{board['id']}/share/link").json() for _ in range(2))
    assert (first["is_new"], again["is_new"]) == (True, False)
    assert first["share_link"] == again["share_link"]
    seen = httpx.get(first["share_link"]).json()
    assert seen == {field: value for field, value in board.items() if field not in ("id", "job_id")}
    assert httpx.get(first["share_link"] + "x").status_code == 404


def test_how_many_pictures_a_board_has_is_limited(alone: Api) -> None:
    url = alone.upload(picture())["image_url"]
    before = files(alone)
    for fields in ({}, {"urls": [], "asset_ids": []}, {"urls": [f"{url}?{n}" for n in range(201)]}):
        assert_refused(post(alone, **fields), 400, ["urls"], "200")
    half = {"urls": [url] * 101, "asset_ids": [str(uuid4())] * 100}
    assert_refused(post(alone, **half), 400, ["urls"], "201 pictures", "1 to 200")
    board = make(alone)
    emptied = alone.client.patch(f"/moodboards/{board['id']}", json={"urls": []})
    assert_refused(emptied, 400, ["urls"], "0 pictures")
    alone.client.delete(f"/moodboards/{board['id']}")
    assert_nothing_left(alone, before)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"urls": ["x"]}, ["name"]),
        ({"name": " ", "urls": ["x"]}, ["name"]),
        ({"name": "a\0", "urls": ["x"]}, ["name"]),
        ({"name": "a" * 201, "urls": ["x"]}, ["name"]),
        ({"name": "a", "images": ["x"]}, ["images"]),
        ({"name": "a", "urls": "x"}, ["urls"]),
    ],
)
def test_a_body_that_is_not_valid_is_400(idle: Api, body: dict[str, Any], path: list[Any]) -> None:
    assert_refused(idle.client.post("/moodboards", json=body), 400, path)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({}, []),
        ({"name": None}, ["name"]),
        ({"keywords": ["a"] * 51}, ["keywords"]),
        ({"taste_profile": "a" * 5001}, ["taste_profile"]),
        ({"clusters": []}, ["clusters"]),
    ],
)
def test_changes_that_are_not_valid_are_400(idle: Api, changes: dict[str, Any], path: list[Any]) -> None:
    board = make(idle)
    assert_refused(idle.client.patch(f"/moodboards/{board['id']}", json=changes), 400, path)
    assert idle.client.get(f"/moodboards/{board['id']}").json() == board


def test_pictures_that_cannot_be_used_are_all_named_and_nothing_is_left(alone: Api) -> None:
    asset, (good, other) = alone.upload(picture()), map(data_uri, colours(2))
    urls = [
        good,
        *(data_uri(data) for data in UNREADABLE.values()),
        other,
        "http://10.0.0.1/a.png",
        "fox.png",
        f"{alone.url}/files/{'0' * 40}.png",
        good,
        asset["image_url"],
    ]
    asset_ids = [asset["id"], str(uuid4())]
    answer = post(alone, urls=urls, asset_ids=asset_ids)
    assert answer.elapsed.total_seconds() < 2
    assert answer.status_code == 422
    count = len(UNREADABLE)
    fine = {0, count + 1, count + 6}
    wrong = [["urls", place] for place in range(len(urls)) if place not in fine]
    assert [detail["path"] for detail in answer.json()["details"]] == [
        *wrong, ["asset_ids", 0], ["asset_ids", 1],
    ]  # fmt: skip
    assert f"{len(wrong) + 2} of {len(urls) + 2} pictures cannot be used" in answer.json()["error"]
    assert "asset_ids.1" in answer.json()["error"]
    assert_nothing_left(alone, files_before=1)


def test_what_only_fetching_can_tell_fails_the_analysis_naming_which(postgres: str, tmp_path: Path) -> None:
    with (
        answering(fresh_database(postgres), tmp_path) as server,
        at_work(server),
        in_new_workspace(server) as api,
    ):
        twins = [api.upload(picture())["image_url"] for _ in range(2)]
        gone = api.upload(picture(9))
        urls = [twins[0], f"{api.url}/healthz".replace("127.0.0.1", "localhost"), twins[1], gone["image_url"]]
        board = make(api, urls=urls)
        api.client.delete(f"/assets/{gone['id']}")
        job = ended(
            api, api.client.patch(f"/moodboards/{board['id']}", json={"urls": urls[:3]}).json()["job_id"]
        )
        assert job["error"]["code"] == "reference_unreadable"
        message = job["error"]["message"]
        assert message.startswith("2 of 3 pictures cannot be used: urls.1: The bytes are no picture")
        assert "urls.2: It is the same picture as urls.0" in message
        assert not api.client.get(f"/moodboards/{board['id']}").json()["analysed"]
        painted = ended(api, api.submit(moodboards=[{"id": board["id"]}])["job_id"])
        assert painted["error"]["message"] == message
        api.client.delete(f"/moodboards/{board['id']}")
    assert_nothing_left(api, files_before=2)


def test_a_board_that_the_backlog_has_no_room_for_leaves_nothing(postgres: str, tmp_path: Path) -> None:
    limits = {"concurrency": 1, "backlog": 0}
    with answering(fresh_database(postgres), tmp_path, **limits) as server, in_new_workspace(server) as api:
        busy = api.submit()
        answer = post(api, urls=[data_uri(picture())])
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
        api.client.delete(f"/jobs/{busy['job_id']}")
        assert_nothing_left(api)


def test_a_board_deleted_before_its_picture_fails_the_picture(alone: Api) -> None:
    board = make(alone)
    job = alone.submit(moodboards=[{"id": board["id"]}])
    alone.client.delete(f"/moodboards/{board['id']}")
    with at_work(alone):
        failed = ended(alone, job["job_id"])
    assert failed["error"]["code"] == "reference_unreadable"
    assert board["id"] in failed["error"]["message"]


def test_an_analysis_is_cancelled_between_two_pictures(alone: Api) -> None:
    class Slow(NullPainter):
        def analyse(self, pictures: Any, *listeners: Any) -> Any:
            def slowly() -> Iterator[Any]:
                for one in pictures:
                    alone.client.delete(f"/jobs/{board['job_id']}")
                    yield one

            return super().analyse(slowly())

    board = make(alone)
    with at_work(alone, Slow()):
        assert ended(alone, board["job_id"])["status"] == "cancelled"
        make(alone)
        assert ended(alone, alone.submit()["job_id"])["status"] == "completed"
    assert not alone.client.get(f"/moodboards/{board['id']}").json()["analysed"]


def test_an_unknown_board_is_refused_at_once(idle: Api) -> None:
    unknown = str(UUID(int=7))
    answer = idle.client.post(MEDIUM, json={"prompt": "a fox", "moodboards": [{"id": unknown}]})
    assert_refused(answer, 422, ["moodboards", 0, "id"], unknown)
