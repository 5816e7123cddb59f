"""How much a workspace may ask for, and whose turn it is. Alone: python -m pytest tests/test_limits.py"""

import asyncio
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from answering import MEDIUM, Api, answering, colours, data_uri, in_new_workspace, picture
from at_work import BASE, working
from commands import easel
from databases import fresh_database, opened
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from easel.api.rates import Rates
from easel.engine.null import NullPainter
from easel.errors import TooManyRequests
from easel.schema.generation import GenerationRequest
from easel.settings import UNLIMITED, Limits
from easel.store import claims, ends, events, queue, submits, workspaces
from easel.store.askers import Asker
from easel.store.blobs import Blobs
from easel.store.database import SESSION, Database

FOX = GenerationRequest(prompt="a fox")
RATE_HEADERS = ("Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
MADE: dict[str, Any] = {
    "file_key": "f.png", "expanded_prompt": "a fox", "engine": "null", "checkpoint": "null", "details": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with answering(fresh_database(postgres), tmp_path_factory.mktemp("api"), concurrency=2, backlog=2) as api:
        yield api


def statuses(api: Api, made: list[dict[str, Any]]) -> list[str]:
    return [api.client.get(f"/jobs/{job['job_id']}").json()["status"] for job in made]


def post(api: Api, **headers: str) -> httpx.Response:
    return api.client.post(MEDIUM, json={"prompt": "a fox"}, headers=headers)


async def submitted(database: Database, workspace: UUID, limits: Limits = UNLIMITED) -> UUID:
    return (await submits.submit(database, Asker(workspace, BASE, limits=limits), "medium", FOX)).job_id


async def taken(database: Database) -> queue.Entry:
    [entry] = await queue.take(database, queue.PAINT, uuid4(), 1)
    return entry


async def painted(database: Database, limits: Limits = UNLIMITED) -> UUID:
    """The job whose turn it is, once it is complete."""
    entry = await taken(database)
    claim = await claims.claim(database, entry.row)
    assert claim is not None
    await ends.complete(database, claim, entry, **MADE, limits=limits)
    return entry.row


def test_jobs_beyond_the_concurrency_wait_and_move_up_when_others_end(api: Api) -> None:
    made = [api.submit() for _ in range(4)]
    assert [job["status"] for job in made] == ["queued", "queued", "backlogged", "backlogged"]
    assert statuses(api, made) == [job["status"] for job in made]
    assert [job["status"] for job in api.client.get("/jobs?status=backlogged").json()["items"]] == [
        "backlogged", "backlogged",
    ]  # fmt: skip
    api.client.delete(f"/jobs/{made[0]['job_id']}")
    assert statuses(api, made) == ["cancelled", "queued", "queued", "backlogged"]


def test_a_cancelled_job_of_the_backlog_never_starts(api: Api) -> None:
    made = [api.submit() for _ in range(4)]
    assert api.client.delete(f"/jobs/{made[2]['job_id']}").json()["status"] == "cancelled"
    api.client.delete(f"/jobs/{made[0]['job_id']}")
    assert statuses(api, made) == ["cancelled", "queued", "cancelled", "queued"]


def test_one_workspaces_limits_are_not_anothers(api: Api) -> None:
    for _ in range(4):
        api.submit()
    with in_new_workspace(api) as other:
        assert other.submit()["status"] == "queued"


def test_a_full_backlog_is_refused_by_its_maximum_and_a_repeated_request_is_not(api: Api) -> None:
    made = [api.submit() for _ in range(3)]
    last = post(api, **{"Idempotency-Key": "k"})
    assert last.json()["status"] == "backlogged"
    refused = post(api)
    assert refused.status_code == 429
    assert refused.json()["error"] == refused.json()["message"]
    assert "at most 2 jobs may wait behind the 2" in refused.json()["message"]
    assert {name: refused.headers[name] for name in RATE_HEADERS} == {
        "Retry-After": "5",
        "RateLimit-Limit": "2",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "5",
    }
    assert post(api, **{"Idempotency-Key": "k"}).json() == last.json()
    api.client.delete(f"/jobs/{made[0]['job_id']}")
    assert post(api).json()["status"] == "backlogged"
    assert len(api.client.get("/jobs").json()["items"]) == 5


@pytest.mark.parametrize("route", ["/styles/train", "/moodboards"])
def test_one_key_at_one_time_takes_one_place(api: Api, route: str) -> None:
    body = {"name": "woodcuts", "urls": [data_uri(data) for data in colours(3)]}

    def send(_: int) -> httpx.Response:
        return api.client.post(route, json=body, headers={"Idempotency-Key": "k"})

    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(send, range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert [job["status"] for job in api.client.get("/jobs").json()["items"]] == ["queued"]


def test_without_settings_nothing_waits(postgres: str, tmp_path: Path) -> None:
    with answering(fresh_database(postgres), tmp_path) as server, in_new_workspace(server) as api:
        assert {api.submit()["status"] for _ in range(20)} == {"queued"}
        assert "RateLimit-Limit" not in api.client.get("/jobs").headers


def test_two_hundred_jobs_leave_the_backlog_exactly_in_their_order(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            limits, dice = Limits(concurrency=3), random.Random(5)
            workspace = await workspaces.default(database)
            made = [await submitted(database, workspace, limits) for _ in range(200)]
            begun = []
            while begun != made:
                entry = await taken(database)
                claim = await claims.claim(database, entry.row)
                assert claim is not None
                begun.append(claim.id)
                end = dice.choice(["complete", "fail", "cancel"])
                if end == "complete":
                    await ends.complete(database, claim, entry, **MADE, limits=limits)
                elif end == "fail":
                    await ends.fail(database, claim, entry, code="timeout", message="", limits=limits)
                else:
                    await ends.cancel(database, workspace, claim.id, BASE, limits=limits)
                    await ends.discard(database, entry)
                assert begun == made[: len(begun)]
            assert await queue.take(database, queue.PAINT, uuid4(), 1) == []

    asyncio.run(story())


def test_of_jobs_ended_at_once_each_lets_one_out(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            limits = Limits(concurrency=5)
            workspace = await workspaces.default(database)
            for _ in range(50):
                await submitted(database, workspace, limits)
            for _ in range(10):
                entries = await queue.take(database, queue.PAINT, uuid4(), 10)
                assert len(entries) == 5
                held = [(await claims.claim(database, entry.row), entry) for entry in entries]
                await asyncio.gather(
                    *(
                        ends.complete(database, claim, entry, **MADE, limits=limits)
                        for claim, entry in held
                        if claim
                    )
                )
            assert await queue.take(database, queue.PAINT, uuid4(), 10) == []

    asyncio.run(story())


def test_a_backlog_empties_when_its_limit_is_taken_away(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            made = [await submitted(database, workspace, Limits(concurrency=1)) for _ in range(5)]
            assert [await painted(database) for _ in made] == made

    asyncio.run(story())


def test_a_light_workspace_starts_soon_though_a_heavy_one_has_queued_500(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            heavy = await workspaces.create(database, "heavy", "ada")
            light = await workspaces.create(database, "light", "bob")
            lots = [await submitted(database, heavy) for _ in range(500)]
            assert [await painted(database) for _ in range(100)] == lots[:100]
            await taken(database)
            job = await submitted(database, light)
            assert job in [await painted(database) for _ in range(2)]

    asyncio.run(story())


def test_workspaces_take_turns_and_each_keeps_its_order(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            ours = [await workspaces.create(database, name, "ada") for name in ("a", "b", "c")]
            made = {workspace: [await submitted(database, workspace) for _ in range(6)] for workspace in ours}
            begun = [await painted(database) for _ in range(9)]
            for workspace in ours:
                made[workspace] += [await submitted(database, workspace) for _ in range(3)]
            begun += [await painted(database) for _ in range(18)]
            owner = {job: workspace for workspace, its in made.items() for job in its}
            for turn in range(9):
                assert {owner[job] for job in begun[3 * turn : 3 * turn + 3]} == set(ours)
            for workspace in ours:
                assert [job for job in begun if owner[job] == workspace] == made[workspace]

    asyncio.run(story())


def test_a_workspace_that_was_away_has_saved_up_no_turns(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            heavy = await workspaces.create(database, "heavy", "ada")
            light = await workspaces.create(database, "light", "bob")
            lots = [await submitted(database, heavy) for _ in range(30)]
            for _ in range(20):
                await painted(database)
            few = [await submitted(database, light) for _ in range(5)]
            begun = [await painted(database) for _ in range(10)]
            assert begun[0::2] == lots[20:25]
            assert begun[1::2] == few

    asyncio.run(story())


def test_a_worker_starts_the_backlog_in_order(database_url: str, blobs: Blobs) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            made = [await submitted(database, workspace, Limits(concurrency=2)) for _ in range(20)]
            async with working(database, blobs, NullPainter(0), concurrency=2):
                async for _ in events.follow(database, made[-1]):
                    pass
            async with database.read() as connection:
                started = await connection.scalars(text("SELECT id FROM jobs ORDER BY started_at"))
            assert list(started) == made

    asyncio.run(story())


def test_requests_beyond_the_rate_are_refused_and_other_tokens_are_not(postgres: str, tmp_path: Path) -> None:
    with (
        answering(fresh_database(postgres), tmp_path, requests_per_minute=3) as server,
        in_new_workspace(server) as api,
        in_new_workspace(server) as other,
    ):
        answers = [api.client.get("/jobs") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
        assert {answer.headers["RateLimit-Limit"] for answer in answers} == {"3"}
        refused = answers[-1]
        assert "at most 3 a minute" in refused.json()["message"]
        assert 1 <= int(refused.headers["Retry-After"]) <= 20
        assert refused.headers["Retry-After"] == refused.headers["RateLimit-Reset"]
        key = api.client.headers["Authorization"].partition(" ")[2]
        ran = easel("generate", "a fox", KREA_BASE_URL=api.url, KREA_API_KEY=key)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr.startswith("easel: Too many requests: at most 3 a minute")
        assert other.client.get("/jobs").status_code == 200
        assert httpx.get(f"{api.url}/jobs").status_code == 401
        assert httpx.get(f"{api.url}/healthz").status_code == 200


def test_a_bucket_fills_as_time_goes_on_but_never_over_its_rim(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("easel.api.rates.monotonic", lambda: now)
    rates, token = Rates(60), uuid4()

    def drained(count: int) -> None:
        for _ in range(count):
            rates.take(token)
        with pytest.raises(TooManyRequests, match="at most 60 a minute; try again in 1 s"):
            rates.take(token)

    drained(60)
    now += 5
    drained(5)
    now += 3600
    drained(60)


def test_the_document_tells_of_refusals_by_limits(api: Api) -> None:
    paths = httpx.get(f"{api.url}/openapi.json").json()["paths"]
    assert {"402", "429"} <= paths[MEDIUM]["post"]["responses"].keys()
    assert "429" in paths["/jobs"]["get"]["responses"]
    assert "429" not in paths["/healthz"]["get"]["responses"]


def test_a_finished_job_lets_the_next_one_out_over_http(api: Api) -> None:
    made = [api.submit() for _ in range(3)]
    api.complete(*api.begin(made[0]), picture())
    api.client.delete(f"/jobs/{made[1]['job_id']}")
    assert statuses(api, made) == ["completed", "cancelled", "queued"]


def test_a_process_that_was_stopped_lets_go_of_the_workspace_it_held(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SESSION, "idle_in_transaction_session_timeout", "500ms")

    async def story() -> None:
        async with opened(database_url) as stopped, opened(database_url) as database:
            workspace = await workspaces.default(database)

            async def stop_in_the_middle() -> None:
                async with stopped.begin() as connection:
                    await workspaces.hold(connection, workspace)
                    await asyncio.wait_for(submitted(database, workspace, Limits(concurrency=1)), 20)
                    await workspaces.hold(connection, workspace)

            with pytest.raises(DBAPIError):
                await stop_in_the_middle()

    asyncio.run(story())
