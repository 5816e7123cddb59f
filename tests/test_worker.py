"""Workers as real processes, and what happens to their jobs. Alone: python -m pytest tests/test_worker.py"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from databases import opened
from sqlalchemy import text

from easel.schema.generation import GenerationRequest, StyleReference
from easel.schema.jobs import Job
from easel.store import ends, events, jobs, submits, workers, workspaces
from easel.store.askers import Asker
from easel.store.database import Database

BASE = "http://easel.test"
FOX = GenerationRequest(prompt="a fox")  # eight steps of medium


@contextmanager
def working(database_url: str, data: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """An `easel work` process with the null painter."""
    environment = {
        **os.environ,
        "EASEL_DATABASE_URL": database_url,
        "EASEL_DATA": str(data),
        "EASEL_MODELS": "null",
        "EASEL_SAFETY": "off",  # it takes longer to judge a flat colour than to paint it
        **settings,
    }
    with subprocess.Popen([sys.executable, "-m", "easel", "work"], env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


async def submitted(database: Database, request: GenerationRequest = FOX, **options: Any) -> UUID:
    asker = Asker(await workspaces.default(database), BASE, **options)
    return (await submits.submit(database, asker, "medium", request)).job_id


async def job(database: Database, job_id: UUID) -> Job:
    return await jobs.get(database, await workspaces.default(database), job_id, BASE)


async def until(holds: Callable[[], Awaitable[Any]], seconds: float) -> float:
    """Wait until `holds` does, and say how long that took."""
    begun = time.monotonic()
    while not await holds():
        assert time.monotonic() - begun < seconds, f"not within {seconds} seconds"
        await asyncio.sleep(0.02)
    return time.monotonic() - begun


async def ended(database: Database, job_id: UUID, seconds: float = 30) -> Job:
    async def terminal() -> bool:
        return (await job(database, job_id)).completed_at is not None

    await until(terminal, seconds)
    return await job(database, job_id)


async def steps(database: Database, job_id: UUID) -> int:
    return len(await events.since(database, job_id, 0))


async def counted(database: Database, query: str) -> Any:
    async with database.read() as connection:
        return await connection.scalar(text(query))


def test_a_job_of_a_killed_worker_runs_again_elsewhere_and_is_charged_once(
    database_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            job_id = await submitted(database)
            with working(database_url, tmp_path, EASEL_NULL_STEP_SECONDS="1.5") as first:
                await until(lambda: steps(database, job_id), 20)
                with working(database_url, tmp_path):
                    await until(lambda: two_ready(database), 20)
                    first.kill()
                    before = await steps(database, job_id)

                    async def begun_again() -> bool:
                        return await steps(database, job_id) > before

                    print(f"runs again after {await until(begun_again, 30):.2f} s")
                    assert (await ended(database, job_id)).status == "completed"
            assert await counted(database, "SELECT count(*) FROM ledger") == 1
            assert await counted(database, "SELECT count(*) FROM pgqueuer") == 0

    async def two_ready(database: Database) -> bool:
        return [worker.state for worker in await workers.alive(database)] == ["ready", "ready"]

    asyncio.run(story())


def test_a_worker_that_slept_through_its_lease_cannot_finish_or_charge(
    database_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            job_id = await submitted(database)
            with working(database_url, tmp_path, EASEL_NULL_STEP_SECONDS="0.25") as sleeper:
                await until(lambda: steps(database, job_id), 20)
                sleeper.send_signal(signal.SIGSTOP)
                with working(database_url, tmp_path):
                    done = await ended(database, job_id)
                    sleeper.send_signal(signal.SIGCONT)
                    await asyncio.sleep(3)
            assert await job(database, job_id) == done
            assert await counted(database, "SELECT count(*) FROM ledger") == 1
            assert await counted(database, "SELECT count(*) FROM events WHERE kind = 'completed'") == 1

    asyncio.run(story())


def test_a_job_cancelled_in_the_middle_frees_the_painter_and_is_not_charged(
    database_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            with working(database_url, tmp_path, EASEL_NULL_STEP_SECONDS="0.5"):
                job_id = await submitted(database, webhook_url="http://127.0.0.1:9/hook")
                await until(lambda: steps(database, job_id), 20)
                waiting = await submitted(database)
                cancelled = await ends.cancel(database, workspace, job_id, BASE)
                print(
                    f"free after {await until(lambda: steps(database, waiting), 20):.2f} s of steps of 0.5 s"
                )
                assert (await job(database, job_id)) == cancelled
            assert await counted(database, "SELECT count(*) FROM ledger") == 0
            assert await counted(database, "SELECT body FROM deliveries") == cancelled.model_dump_json()

    asyncio.run(story())


def test_a_job_that_takes_too_long_fails_with_timeout_and_the_next_one_runs(
    database_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            slow = await submitted(database)
            asker = Asker(await workspaces.default(database), BASE)
            turbo = await submits.submit(database, asker, "medium-turbo", FOX)
            with working(database_url, tmp_path, EASEL_NULL_STEP_SECONDS="0.25", EASEL_JOB_TIMEOUT="1.5"):
                failed = await ended(database, slow)
                assert failed.error is not None
                assert failed.error.code == "timeout"
                assert "raise EASEL_JOB_TIMEOUT" in failed.error.message
                assert (await ended(database, turbo.job_id)).status == "completed"
            assert await counted(database, "SELECT count(*) FROM ledger") == 1

    asyncio.run(story())


def test_a_stopped_worker_finishes_its_picture_and_takes_no_other(database_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            first, second = await submitted(database), await submitted(database)
            with working(database_url, tmp_path, EASEL_NULL_STEP_SECONDS="0.1") as worker:
                await until(lambda: steps(database, first), 20)
                worker.terminate()
                assert await asyncio.to_thread(worker.wait, 10) == 0
            assert (await job(database, first)).status == "completed"
            assert (await job(database, second)).status == "queued"
            assert await workers.alive(database) == []

    asyncio.run(story())


def test_an_idle_worker_begins_a_job_at_once(database_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            with working(database_url, tmp_path):
                await ended(database, await submitted(database))
                for _ in range(20):
                    await ended(database, await submitted(database))
                    await asyncio.sleep(0.1)
                waited = "percentile_cont(0.5) WITHIN GROUP (ORDER BY started_at - created_at)"
                median = await counted(database, f"SELECT {waited} FROM jobs")
                print(f"accepted to begun: median {median.total_seconds() * 1000:.1f} ms")
                assert median.total_seconds() < 0.5

    asyncio.run(story())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:9/a.png", "no public address"),
        ("data:image/png;base64,aGVsbG8=", "picture"),
    ],
)
def test_a_reference_that_cannot_be_read_fails_the_job_and_says_why(
    database_url: str, tmp_path: Path, url: str, reason: str
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            request = GenerationRequest(prompt="a fox", image_style_references=[StyleReference(url=url)])
            with working(database_url, tmp_path):
                failed = await ended(database, await submitted(database, request))
            assert failed.error is not None
            assert failed.error.code == "reference_unreadable"
            assert reason in failed.error.message

    asyncio.run(story())
