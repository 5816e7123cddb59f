"""How the server says it is, and what it does without its database. Alone: pytest tests/test_api_health.py"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import httpx
import obstore
import pytest
from answering import MEDIUM, Api, answering, in_new_workspace, picture
from databases import fresh_database, migrate, postmaster
from prometheus_client.parser import text_string_to_metric_families

from easel.store import queue, workers
from easel.store.embedded import Embedded


@pytest.fixture
def server(postgres: str, tmp_path: Path) -> Iterator[Api]:
    with answering(fresh_database(postgres), tmp_path) as api:
        yield api


def say(api: Api, state: str, error: str | None = None, lines: Sequence[str] = queue.JOBS) -> None:
    worker = workers.Worker(uuid4(), "here", 1, state, lines, error)
    api.store(lambda database: workers.say(database, worker))


def metrics(api: Api) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(httpx.get(f"{api.url}/metrics").text)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_server_is_alive_before_it_is_ready(server: Api) -> None:
    assert httpx.get(f"{server.url}/healthz").json() == {"status": "ok"}
    answer = httpx.get(f"{server.url}/readyz")
    assert answer.status_code == 503
    assert "easel work" in answer.json()["error"]


def test_the_server_is_ready_when_a_worker_is(server: Api) -> None:
    say(server, "loading")
    answer = httpx.get(f"{server.url}/readyz")
    assert answer.status_code == 503
    assert "is loading" in answer.json()["error"]
    say(server, "ready")
    assert httpx.get(f"{server.url}/readyz").json() == {"status": "ready"}


def test_a_ready_server_tells_of_models_that_no_worker_paints(server: Api) -> None:
    say(server, "ready", lines=("medium", "analysis"))
    say(server, "loading", lines=("medium-turbo",))
    answer = httpx.get(f"{server.url}/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "waits": {
            "medium-turbo": "a worker is loading its checkpoint",
            "large": "no running worker takes jobs for large: start one with `easel work`",
            "training": "no running worker takes jobs for training: start one with `easel work`",
        },
    }


def test_a_worker_that_cannot_load_its_checkpoint_says_why(server: Api) -> None:
    say(server, "failed", "transformer.safetensors is missing")
    answer = httpx.get(f"{server.url}/readyz")
    assert answer.status_code == 503
    assert "transformer.safetensors is missing" in answer.json()["error"]


def test_requests_the_queue_and_workers_are_counted(server: Api) -> None:
    say(server, "ready")
    with in_new_workspace(server) as api:
        api.submit()
        api.client.post(MEDIUM, json={})
    counted = metrics(server)
    assert counted["easel_requests_total", ("POST", MEDIUM, "200")] == 1
    assert counted["easel_requests_total", ("POST", MEDIUM, "400")] == 1
    assert counted["easel_request_seconds_count", (MEDIUM,)] == 2
    assert counted["easel_queue", ("queued", "medium")] == 1
    assert counted["easel_jobs", ("queued",)] == 1
    assert counted["easel_jobs", ("backlogged",)] == 0
    assert counted["easel_workers", ("ready",)] == 1


def test_without_its_database_the_server_answers_503_and_comes_back(data_folder: Path) -> None:
    embedded = Embedded(data_folder)
    url = embedded.start()
    asyncio.run(migrate(url))
    with answering(url, data_folder) as server, in_new_workspace(server) as api:
        job = api.submit()
        embedded.stop()
        for method, path in [("POST", MEDIUM), ("GET", "/jobs"), ("GET", f"/jobs/{job['job_id']}")]:
            answer = api.client.request(method, path, json={"prompt": "a fox"})
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert "database" in answer.json()["error"]
        assert httpx.get(f"{api.url}/readyz").status_code == 503
        assert httpx.get(f"{api.url}/healthz").status_code == 200
        embedded.start()
        deadline = time.monotonic() + 20
        while (status := api.client.get("/jobs").status_code) != 200:
            assert status == 503
            assert time.monotonic() < deadline
        assert api.client.get(f"/jobs/{job['job_id']}").json() == job
    embedded.stop()


def test_a_server_that_is_killed_and_starts_again_is_never_taken_for_a_fault(data_folder: Path) -> None:
    embedded = Embedded(data_folder)
    url = embedded.start()
    asyncio.run(migrate(url))
    statuses: list[int] = []
    over = threading.Event()
    with answering(url, data_folder) as server, in_new_workspace(server) as api:

        def ask() -> None:
            with httpx.Client(base_url=api.url, headers=api.client.headers) as client:
                while not over.is_set():
                    statuses.append(client.post(MEDIUM, json={"prompt": "a fox"}).status_code)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        os.kill(postmaster(data_folder), signal.SIGKILL)
        time.sleep(0.5)
        embedded.start()
        time.sleep(0.5)
        over.set()
        for thread in threads:
            thread.join()
    embedded.stop()
    assert set(statuses) == {200, 503}
    assert statuses[-1] == 200


def test_storage_that_fails_is_503_and_nothing_is_kept(server: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object, **__: object) -> None:
        raise obstore.exceptions.GenericError("No space left on device")

    monkeypatch.setattr(obstore, "put_async", full)
    with in_new_workspace(server) as api:
        answer = api.client.post("/assets", files={"file": picture()})
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert api.client.get("/assets").json()["items"] == []


def test_the_api_is_small_and_knows_nothing_of_torch() -> None:
    program = """
import psutil, sys
import easel.api.app
assert "torch" not in sys.modules
print(psutil.Process().memory_info().rss)
"""
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(printed.stdout) < 150 * 2**20
