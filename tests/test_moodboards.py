"""Moodboards, from the request to a picture. Alone: python -m pytest tests/test_moodboards.py"""

import asyncio
import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from answering import LOOPBACK, Api, answering, in_new_workspace, picture
from at_work import working
from conftest import fresh_database, opened

from easel.engine.null import NullPainter


@pytest.fixture(scope="module")
def server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API with a worker beside it."""
    with answering(fresh_database(postgres), tmp_path_factory.mktemp("api")) as api, at_work(api):
        yield api


@pytest.fixture
def api(server: Api) -> Iterator[Api]:
    with in_new_workspace(server) as api:
        yield api


@pytest.fixture
def idle(postgres: str, tmp_path: Path) -> Iterator[Api]:
    """An API without a worker."""
    with answering(fresh_database(postgres), tmp_path) as server, in_new_workspace(server) as api:
        yield api


@contextmanager
def at_work(api: Api, **given: Any) -> Iterator[None]:
    """A worker in a thread of its own."""
    stop, started = threading.Event(), threading.Event()

    async def run() -> None:
        async with (
            opened(api.database_url) as database,
            working(database, api.blobs, NullPainter(), allow_networks=LOOPBACK, **given),
        ):
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    started.wait()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def colours(count: int) -> list[bytes]:
    """So many pictures, each in a colour of its own."""
    return [picture(colour=f"#{37 * number % 256:02x}{number:02x}80") for number in range(count)]


def post(api: Api, **fields: Any) -> httpx.Response:
    return api.client.post("/moodboards", json={"name": "a board", **fields})


def make(api: Api, **fields: Any) -> dict[str, Any]:
    answer = post(api, **fields or {"urls": [data_uri(data) for data in colours(2)]})
    assert answer.status_code == 200, answer.text
    return answer.json()


def ended(api: Api, job_id: str) -> dict[str, Any]:
    """The job, once it has ended."""
    with api.client.stream("GET", f"/jobs/{job_id}/events") as stream:
        stream.read()
    return api.client.get(f"/jobs/{job_id}").json()


def analysed(api: Api, board: dict[str, Any]) -> dict[str, Any]:
    """The board, once its analysis has ended."""
    job = ended(api, board["job_id"])
    assert job["status"] == "completed", job
    return api.client.get(f"/moodboards/{board['id']}").json()


def details(api: Api, **fields: Any) -> dict[str, Any]:
    """What is told of a picture that was painted."""
    job = ended(api, api.submit(**fields)["job_id"])
    assert job["status"] == "completed", job
    return api.client.get(f"/jobs/{job['job_id']}/details").json()


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
