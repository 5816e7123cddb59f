"""Styles, from the request to a picture. Alone: python -m pytest tests/test_styles.py"""

import os
import signal
import time
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
from serving import serving
from test_pictures import UNREADABLE

from easel import Client
from easel.engine.null import NullPainter
from easel.store import workspaces

TRAIN = "/styles/train"
LARGE = MEDIUM.replace("medium", "large")


@pytest.fixture(scope="module")
def server(staffed_server: Api) -> Api:
    return staffed_server


def body(**fields: Any) -> dict[str, Any]:
    urls = [data_uri(data) for data in colours(3)]
    return {"name": "woodcuts", "urls": urls, "max_train_steps": 2, **fields}


def begun(api: Api, **fields: Any) -> str:
    """The id of a training."""
    answer = api.client.post(TRAIN, json=body(**fields))
    assert answer.status_code == 200, answer.text
    return answer.json()["job_id"]


def trained(api: Api, **fields: Any) -> dict[str, Any]:
    """A style, trained."""
    job = ended(api, begun(api, **fields))
    assert job["status"] == "completed", job
    return api.client.get(f"/styles/{job['result']['style_id']}").json()


def assert_refused(answer: httpx.Response, status: int, path: list[Any], *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert path in [detail["path"] for detail in answer.json()["details"]]
    for word in words:
        assert word in answer.json()["error"]


def test_a_style_is_trained_by_a_job_and_a_picture_is_painted_in_it(api: Api) -> None:
    asset = api.upload(picture(), description="a fox")
    urls = [asset["image_url"], *(data_uri(data) for data in colours(6)[1:])]
    with receiving(200) as receiver:
        headers = {"X-Webhook-URL": receiver.url}
        asked = body(urls=urls, trigger_word="woodcut", model="k2", type="Style", batch_size=2)
        job = api.client.post(TRAIN, json=asked, headers=headers).json()
        assert job.keys() == {"job_id", "status", "created_at", "completed_at", "result"}
        done = ended(api, job["job_id"])
        while not receiver.messages:
            time.sleep(0.01)
    assert receiver.messages[0][1] == api.client.get(f"/jobs/{job['job_id']}").text
    assert done["result"].keys() == {"style_id"}
    style = api.client.get(f"/styles/{done['result']['style_id']}").json()
    assert (style["title"], style["prompt"], style["models"]) == ("woodcuts", "woodcut", ["k2"])
    assert (style["public"], style["like_count"], len(style["urls"])) == (False, 0, 4)
    assert style["cover_url"] == style["urls"][0] == asset["image_url"]
    assert [httpx.get(url).status_code for url in style["urls"]] == [200] * 4

    told = api.client.get(f"/jobs/{job['job_id']}/details").json()
    assert (told["kind"], told["cost"], told["charged"]) == ("training", "0", False)
    assert (told["details"]["pictures"], told["details"]["captions"]) == (6, 1)
    assert [one["job_id"] for one in api.client.get("/jobs?types=training").json()["items"]] == [
        job["job_id"]
    ]
    painted = details(api, styles=[{"id": style["id"], "strength": -0.5}])
    assert painted["details"]["styles"] == {"6 pictures, 2 steps": -0.5}
    assert painted["cost"] == "0.03"
    assert details(api, presetStyles=[{"id": style["id"]}])["details"]["styles"] == {"6 pictures, 2 steps": 1}
    assert details(api, styles=[{"id": style["id"], "strength": 0}])["details"]["styles"] == {}


def test_several_styles_act_at_once(api: Api) -> None:
    uses = [{"id": trained(api, max_train_steps=steps)["id"], "strength": steps / 10} for steps in (1, 2)]
    told = details(api, styles=uses)
    assert told["details"]["styles"] == {"3 pictures, 1 steps": 0.1, "3 pictures, 2 steps": 0.2}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"urls": ["https://8.8.8.8/a.png"] * 2}, ["urls"]),
        ({"urls": ["https://8.8.8.8/a.png"] * 2001}, ["urls"]),
        ({"urls": None}, ["urls"]),
        ({"name": " "}, ["name"]),
        ({"name": "a" * 201}, ["name"]),
        ({"model": "flux_dev"}, ["model"]),
        ({"type": "Default"}, ["type"]),
        ({"trigger_word": "a\0"}, ["trigger_word"]),
        ({"max_train_steps": 0}, ["max_train_steps"]),
        ({"max_train_steps": 2001}, ["max_train_steps"]),
        ({"learning_rate": 0}, ["learning_rate"]),
        ({"learning_rate": "fast"}, ["learning_rate"]),
        ({"batch_size": 0}, ["batch_size"]),
        ({"epochs": 3}, ["epochs"]),
    ],
)
def test_a_training_that_is_not_valid_is_400(idle: Api, changes: dict[str, Any], path: list[Any]) -> None:
    before = files(idle)
    assert_refused(idle.client.post(TRAIN, json=body(**changes)), 400, path)
    assert (files(idle), idle.client.get("/jobs").json()["items"]) == (before, [])


def test_pictures_that_cannot_be_used_are_all_named_and_nothing_is_left(alone: Api) -> None:
    good = map(data_uri, colours(3))
    urls = [*good, *(data_uri(data) for data in UNREADABLE.values()), "http://10.0.0.1/a.png"]
    answer = alone.client.post(TRAIN, json=body(urls=urls))
    assert answer.status_code == 422
    wrong = [["urls", place] for place in range(3, len(urls))]
    assert [detail["path"] for detail in answer.json()["details"]] == wrong
    assert f"{len(wrong)} of {len(urls)} pictures cannot be used" in answer.json()["error"]
    assert (files(alone), alone.client.get("/jobs").json()["items"]) == (0, [])


def test_a_training_that_fails_names_the_pictures_and_leaves_nothing(postgres: str, tmp_path: Path) -> None:
    with (
        answering(fresh_database(postgres), tmp_path) as server,
        at_work(server),
        in_new_workspace(server) as api,
    ):
        urls = [*map(data_uri, colours(3)), f"{api.url}/healthz".replace("127.0.0.1", "localhost")]
        job = ended(api, begun(api, urls=urls))
        assert job["error"]["code"] == "reference_unreadable"
        assert job["error"]["message"].startswith("1 of 4 pictures cannot be used: urls.3")
        swept(api)
        assert api.client.get("/styles").json()["items"] == []


def swept(api: Api) -> None:
    """Wait until no file is kept."""
    deadline = time.monotonic() + 5
    while files(api):
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Patient(NullPainter):
    """Trains until it is told to stop."""

    def train(self, lessons: Any, recipe: Any, notebook: Any) -> Any:
        list(lessons)
        for number in range(1, 10**6):
            notebook.keep(b"%d" % number)
            notebook.step(number)
            time.sleep(0.01)


def test_a_cancelled_training_stops_and_leaves_nothing(postgres: str, tmp_path: Path) -> None:
    with (
        answering(fresh_database(postgres), tmp_path) as server,
        at_work(server, Patient()),
        in_new_workspace(server) as api,
    ):
        job = begun(api)
        with api.client.stream("GET", f"/jobs/{job}/events") as stream:
            lines = stream.iter_lines()
            while '"step":5,' not in next(lines):
                pass
        assert api.client.delete(f"/jobs/{job}").json()["status"] == "cancelled"
        swept(api)
        assert trainings_go_on(api, job)


def trainings_go_on(api: Api, cancelled: str) -> bool:
    """Whether the next training is begun, as the one before has let its thread go."""
    job = begun(api)
    while api.client.get(f"/jobs/{job}").json()["status"] == "queued":
        time.sleep(0.02)
    api.client.delete(f"/jobs/{job}")
    return api.client.get(f"/jobs/{cancelled}").json()["result"] is None


def test_a_training_cancelled_before_it_begins_leaves_nothing(alone: Api) -> None:
    job = begun(alone)
    assert files(alone) == 3
    alone.client.delete(f"/jobs/{job}")
    assert files(alone) == 0


def test_pictures_are_painted_while_a_style_trains(alone: Api) -> None:
    job = begun(alone)
    with at_work(alone, Patient()):
        while alone.client.get(f"/jobs/{job}").json()["status"] == "queued":
            time.sleep(0.02)
        assert ended(alone, alone.submit()["job_id"])["status"] == "completed"
        assert alone.client.get(f"/jobs/{job}").json()["status"] == "processing"
        alone.client.delete(f"/jobs/{job}")


def test_a_training_waits_in_the_backlog_and_leaves_it_for_its_own_line(
    postgres: str, tmp_path: Path
) -> None:
    limits = {"concurrency": 1}
    with answering(fresh_database(postgres), tmp_path, **limits) as server, in_new_workspace(server) as api:
        first = api.submit()["job_id"]
        job = begun(api)
        assert api.client.get(f"/jobs/{job}").json()["status"] == "backlogged"
        with at_work(api):
            assert ended(api, first)["status"] == "completed"
            assert ended(api, job)["status"] == "completed"


def test_a_worker_that_is_killed_leaves_its_training_to_another_which_goes_on(data_folder: Path) -> None:
    with (
        serving(data_folder, EASEL_NULL_STEP_SECONDS="0.02") as served,
        Client(served.token, served.url) as client,
    ):
        urls = [data_uri(data) for data in colours(3)]
        job = client.styles.train("woodcuts", urls, max_train_steps=60)
        for news in client.jobs.follow(job.job_id):
            if getattr(news, "step", 0) >= 20:
                break
        os.kill(worker_of(served.process.pid), signal.SIGKILL)
        assert client.styles.trained(job).title == "woodcuts"
        assert client.jobs.details(job.job_id).details["resumed"] >= 15


def worker_of(supervisor: int) -> int:
    """The process id of the worker that the supervisor has started."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return next(
        int(pid) for pid in children if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"\0work\0")
    )


def test_an_unknown_style_is_refused_by_name(idle: Api) -> None:
    for unknown in (str(UUID(int=7)), "tok_abc"):
        asked = {"prompt": "a fox", "styles": [{"id": unknown, "strength": 1}]}
        assert_refused(idle.client.post(MEDIUM, json=asked), 422, ["styles", 0, "id"], unknown)


@pytest.mark.parametrize(
    ("uses", "status", "path"),
    [
        ([{"id": "a", "strength": 2.1}], 422, ["styles", 0, "strength"]),
        ([{"id": "a", "strength": -2.1}], 422, ["styles", 0, "strength"]),
        ([{"strength": 1}], 422, ["styles", 0, "id"]),
        ([{"id": "a"}] * 11, 400, ["styles"]),
    ],
)
def test_uses_of_styles_have_limits(idle: Api, uses: list[Any], status: int, path: list[Any]) -> None:
    assert_refused(idle.client.post(MEDIUM, json={"prompt": "a fox", "styles": uses}), status, path)


def test_a_style_works_with_the_model_that_it_was_trained_for(idle: Api) -> None:
    small, large = idle.make_style("k2"), idle.make_style("k2-large")
    asked = {"prompt": "a fox", "styles": [{"id": small, "strength": 1}]}
    assert_refused(idle.client.post(LARGE, json=asked), 422, ["styles", 0, "id"], "medium and medium-turbo")
    assert idle.client.post(f"{MEDIUM}-turbo", json=asked).status_code == 200
    asked["styles"] = [{"id": large, "strength": 1}]
    assert_refused(idle.client.post(MEDIUM, json=asked), 422, ["styles", 0, "id"], "paint with large")
    assert idle.client.post(LARGE, json=asked).status_code == 200


def test_a_style_deleted_before_its_picture_fails_the_picture(alone: Api) -> None:
    style = alone.make_style()
    job = alone.submit(styles=[{"id": style}])
    assert files(alone) == 1
    assert alone.client.delete(f"/styles/{style}").json()["success"]
    assert files(alone) == 0
    with at_work(alone):
        failed = ended(alone, job["job_id"])
    assert failed["error"]["code"] == "reference_unreadable"
    assert style in failed["error"]["message"]


def ids(api: Api, query: str = "") -> list[str]:
    answer = api.client.get(f"/styles{query}")
    assert answer.status_code == 200, answer.text
    return [style["id"] for style in answer.json()["items"]]


def test_styles_are_searched(alone: Api) -> None:
    first, large, third = made = [alone.make_style(), alone.make_style("k2-large"), alone.make_style()]
    owner = alone.client.get(f"/styles/{first}").json()["owner"]["id"]
    assert ids(alone) == ids(alone, "?liked=False") == ids(alone, "?filter=all") == made[::-1]
    assert ids(alone, "?liked=true") == []
    assert ids(alone, f"?ids={first},{third}") == ids(alone, f"?ids={first}&ids={third}") == [third, first]
    assert ids(alone, "?ids=nothing") == ids(alone, "?ids=%00") == ids(alone, "?user=%00") == []
    assert ids(alone, "?model=k2-large") == [large]
    assert (ids(alone, f"?user={owner}"), ids(alone, f"?user={uuid4()}")) == (made[::-1], [])
    assert (ids(alone, "?filter=user"), ids(alone, "?filter=krea")) == (made[::-1], [])
    page = alone.client.get("/styles?limit=2").json()
    rest = alone.client.get("/styles", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [style["id"] for style in page["items"] + rest["items"]] == made[::-1]
    assert rest["next_cursor"] is None
    for wrong in ("?filter=best", "?limit=0", "?liked=perhaps", "?cursor=yesterday"):
        assert alone.client.get(f"/styles{wrong}").status_code == 400


def test_a_style_is_changed_by_its_owner(api: Api) -> None:
    style = trained(api)
    path = f"/styles/{style['id']}"
    cover = api.upload(picture(9))["image_url"]
    changes = {"title": "prints", "public": True, "cover_url": cover, "urls": style["urls"][:2]}
    assert api.client.patch(path, json=changes).json() == style | changes
    assert api.client.get(path).json() == style | changes
    assert [httpx.get(url).status_code for url in style["urls"]] == [200, 200, 404]
    for wrong in ({}, {"public": None}, {"likes": 3}, {"title": ""}, {"cover_url": "javascript:alert(1)"}):
        assert api.client.patch(path, json=wrong).status_code == 400
    assert_refused(api.client.patch(path, json={"urls": ["data:,"]}), 422, ["urls", 0])


def test_a_public_style_is_seen_and_used_by_all_and_changed_by_none_of_them(api: Api) -> None:
    style = trained(api)["id"]
    with in_new_workspace(api) as stranger:
        assert stranger.client.get(f"/styles/{style}").status_code == 404
        api.client.patch(f"/styles/{style}", json={"public": True})
        assert stranger.client.get(f"/styles/{style}").json()["owner"]["name"].startswith("test")
        assert style in ids(stranger, "?filter=public")
        assert ids(stranger, "?filter=user") == ids(stranger, "?filter=shared") == []
        assert details(stranger, styles=[{"id": style}])["details"]["styles"] == {"3 pictures, 2 steps": 1}
        refused = [
            stranger.client.patch(f"/styles/{style}", json={"title": "mine"}),
            stranger.client.delete(f"/styles/{style}"),
            stranger.client.get(f"/styles/{style}/share/link"),
            stranger.client.post(f"/styles/{style}/share/workspace"),
            stranger.client.delete(f"/styles/{style}/share/workspace"),
        ]
        assert [answer.status_code for answer in refused] == [403] * 5


def test_a_style_is_shared_with_another_workspace(idle: Api) -> None:
    style = idle.make_style()
    path = f"/styles/{style}/share/workspace"
    with in_new_workspace(idle) as friend, in_new_workspace(idle) as stranger:
        friend_id = friend.client.get(f"/styles/{friend.make_style()}").json()["owner"]["id"]
        answer = idle.client.post(path, json={"workspace_id": friend_id}).json()
        assert (answer["success"], answer["style_id"]) == (True, style)
        assert (answer["workspace"]["id"], answer["workspace"]["is_default"]) == (friend_id, False)
        assert ids(friend, "?filter=shared") == [style]
        assert friend.submit(styles=[{"id": style}])["status"] == "queued"
        assert stranger.client.get(f"/styles/{style}").status_code == 404
        assert idle.client.request("DELETE", path, json={"workspace_id": friend_id}).json()["success"]
        assert ids(friend, "?filter=shared") == []
        idle.client.post(path, json={"workspace_id": friend_id})
        assert idle.client.delete(path).json()["success"]
        assert friend.client.get(f"/styles/{style}").status_code == 404
    assert idle.client.post(path).json()["workspace"]["name"].startswith("test")
    assert idle.client.post(path, json={"workspace_id": str(uuid4())}).status_code == 404
    assert idle.client.post(path, json={"workspace_id": "mine"}).status_code == 400


def test_a_link_shows_a_style_to_anybody(idle: Api) -> None:
    style = idle.make_style(trigger_word="woodcut")
    first, again = (idle.client.get(f"/styles/{style}/share/link") for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert (first.json()["is_new"], again.json()["is_new"]) == (True, False)
    link = first.json()["share_link"]
    assert httpx.get(link).json() == idle.client.get(f"/styles/{style}").json()
    assert httpx.get(link + "x").status_code == 404


def test_the_first_workspace_is_the_default_one(alone: Api) -> None:
    first = alone.store(workspaces.default)
    style = alone.make_style()
    answer = alone.client.post(f"/styles/{style}/share/workspace", json={"workspace_id": str(first)}).json()
    assert answer["workspace"]["id"] == str(first)
    assert answer["workspace"]["is_default"]
