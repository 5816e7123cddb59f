"""An engine that is lost costs no job. Alone: python -m pytest tests/test_lost.py"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import breaking
import pytest
from answering import Api, data_uri, ended, picture
from at_work import BASE, at_work
from breaking import REASON, Breaking
from databases import opened
from structlog.testing import capture_logs
from test_worker import counted, job, submitted, until
from test_worker import ended as finished

from easel import serve
from easel.engine.null import NullPainter
from easel.errors import EngineLost
from easel.jobs.worker import MOST_CLAIMS, Worker
from easel.safety.guard import Guard, guard_of
from easel.schema.painting import Painter
from easel.settings import Settings
from easel.store import claims, ends, queue, workers, workspaces
from easel.store.blobs import Blobs
from easel.store.database import Database

SETTINGS = Settings(models="null", safety="off")


@asynccontextmanager
async def supervised(
    database_url: str, data: Path, breaks: str, monkeypatch: pytest.MonkeyPatch, **settings: str
) -> AsyncIterator[None]:
    """A worker process under the supervisor of `easel serve`, whose painter breaks so."""
    (data / "breaks").write_text(breaks)
    program = data / "python"  # what the supervisor takes for Python: it runs `-m easel work`
    program.write_text(f"#!/bin/sh\nexec {sys.executable} {breaking.__file__}\n")
    program.chmod(0o755)
    monkeypatch.setattr(serve.sys, "executable", str(program))
    stopping = asyncio.Event()
    environment = {
        **os.environ,
        "EASEL_DATABASE_URL": database_url,
        "EASEL_DATA": str(data),
        "EASEL_MODELS": "null",
        "EASEL_SAFETY": "off",
        **settings,
    }
    running = asyncio.create_task(serve.keep_running("work", environment, stopping))
    try:
        yield
    finally:
        stopping.set()
        await running


def worker_of(database: Database, blobs: Blobs, load: Callable[[], Painter]) -> Worker:
    def tools() -> tuple[Painter, Guard]:
        return load(), guard_of(SETTINGS)

    return Worker(database, blobs, SETTINGS, tools)


async def lost(database: Database, blobs: Blobs, data: Path) -> None:
    """A worker whose painter is lost with the next job."""
    (data / "breaks").write_text("lost")
    with pytest.raises(EngineLost, match=REASON):
        await worker_of(database, blobs, lambda: Breaking(data)).run()


def test_a_job_whose_engine_is_lost_is_painted_by_the_worker_that_is_started_again(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            job_id = await submitted(database, webhook_url="http://127.0.0.1:9/hook")
            async with supervised(database_url, tmp_path, "lost", monkeypatch):
                assert (await finished(database, job_id)).status == "completed"
            assert await counted(database, "SELECT claims FROM jobs") == 2
            assert await counted(database, "SELECT count(*) FROM ledger") == 1
            assert await counted(database, "SELECT count(*) FROM deliveries") == 1

    with capture_logs() as supervisor:
        asyncio.run(story())
    assert (tmp_path / "begun").read_text() == ".."
    assert f"The engine is lost, and the worker ends error={REASON!r}" in capfd.readouterr().err
    said = [(entry["event"], entry.get("returncode")) for entry in supervisor]
    assert said == [("Died, and is started again", 1)]


def test_a_painter_that_hangs_costs_its_own_job_and_not_the_next(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            hangs, after = await submitted(database), await submitted(database)
            timeout = {"EASEL_JOB_TIMEOUT": "0.5"}
            async with supervised(database_url, tmp_path, "hang", monkeypatch, **timeout):
                failed = await finished(database, hangs)
                assert failed.error is not None
                assert failed.error.code == "timeout"
                assert (await finished(database, after)).status == "completed"
            claims = "SELECT array_agg(claims ORDER BY created_at) FROM jobs"
            assert await counted(database, claims) == [1, 1], "the next one did not wait behind it"
            assert await counted(database, "SELECT count(*) FROM ledger") == 1

    asyncio.run(story())
    assert "a job timed out, and 0.5 seconds later was still being painted" in capfd.readouterr().err


def test_a_lost_engine_gives_its_job_back_at_once_and_says_why_it_left(
    database_url: str, tmp_path: Path, blobs: Blobs
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            job_id = await submitted(database)
            await lost(database, blobs, tmp_path)
            assert (await job(database, job_id)).status == "queued"
            [worker] = await workers.alive(database)
            assert (worker.state, worker.error) == ("failed", f"the engine was lost: {REASON}")
            assert workers.why_waiting([worker], "medium") == worker.error
            begun = time.monotonic()
            running = worker_of(database, blobs, NullPainter)
            task = asyncio.create_task(running.run())
            assert (await finished(database, job_id)).status == "completed"
            assert time.monotonic() - begun < 1.5, "it waited for the lease to lapse"
            running.stop()
            await task
            assert await counted(database, "SELECT count(*) FROM ledger") == 1
            assert await counted(database, "SELECT count(*) FROM pgqueuer") == 0

    asyncio.run(story())


def test_a_job_with_which_every_engine_is_lost_fails_and_says_so(
    database_url: str, tmp_path: Path, blobs: Blobs
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            job_id, after = await submitted(database), await submitted(database)
            for _ in range(MOST_CLAIMS):
                await lost(database, blobs, tmp_path)
            failed = await job(database, job_id)
            assert failed.error is not None
            assert failed.error.code == "engine_error"
            assert failed.error.message == (
                f"The job was begun {MOST_CLAIMS} times and its worker ended each time: {REASON}"
            )
            assert (await job(database, after)).status == "queued"
            assert await counted(database, "SELECT count(*) FROM ledger") == 0
            assert await counted(database, "SELECT count(*) FROM pgqueuer") == 1

    asyncio.run(story())


def test_a_job_that_was_cancelled_meanwhile_is_not_queued_again(
    database_url: str, tmp_path: Path, blobs: Blobs
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            job_id = await submitted(database)
            workspace = await workspaces.default(database)
            (entry,) = await queue.take(database, ["medium"], UUID(int=1), 1)
            claim = await claims.claim(database, job_id)
            assert claim is not None
            await ends.cancel(database, workspace, job_id, BASE)
            await claims.give_back(database, claim, entry)
            assert (await job(database, job_id)).status == "cancelled"
            assert await counted(database, "SELECT status::text FROM pgqueuer") == "picked"

    asyncio.run(story())


def test_a_training_whose_engine_is_lost_is_taken_over(alone: Api, tmp_path: Path) -> None:
    urls = [data_uri(picture(colour=colour)) for colour in ("red", "green", "blue")]
    answer = alone.client.post("/styles/train", json={"name": "flat", "urls": urls, "max_train_steps": 2})
    training = answer.json()["job_id"]
    alone.store(lambda database: lost(database, alone.blobs, tmp_path))
    assert alone.client.get(f"/jobs/{training}").json()["status"] == "queued"
    with at_work(alone):
        assert ended(alone, training)["status"] == "completed"
    assert len(alone.client.get("/styles").json()["items"]) == 1


def test_a_worker_whose_engine_is_lost_at_its_start_ends_too(database_url: str, blobs: Blobs) -> None:
    def load() -> Painter:
        raise EngineLost(REASON)

    async def story() -> None:
        async with opened(database_url) as database:
            job_id = await submitted(database)
            with pytest.raises(EngineLost, match=REASON):
                await worker_of(database, blobs, load).run()
            assert (await job(database, job_id)).status == "queued"
            assert await counted(database, "SELECT claims FROM jobs") == 0

    asyncio.run(story())


def pauses(program: Path, monkeypatch: pytest.MonkeyPatch, starts: int, first: float = 0.02) -> list[float]:
    """How long the supervisor waits each time that `program` has ended, stopped behind so many starts."""
    monkeypatch.setattr(serve, "RESTART_SECONDS", first)
    monkeypatch.setattr(serve, "MOST_RESTART_SECONDS", 5 * first)
    monkeypatch.setattr(serve.sys, "executable", str(program))
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)

    async def story() -> None:
        stopping = asyncio.Event()
        running = asyncio.create_task(serve.keep_running("work", {}, stopping))

        async def enough() -> bool:
            return len(said) >= starts

        await until(enough, 20)
        stopping.set()
        await asyncio.wait_for(running, 5)

    with capture_logs() as said:
        asyncio.run(story())
    return [line["in_seconds"] for line in said]


def test_what_dies_at_once_is_started_again_ever_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pauses(tmp_path / "ends", monkeypatch, 5) == [0.02, 0.04, 0.08, 0.1, 0.1]


def test_what_dies_after_a_good_while_is_started_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "STEADY_SECONDS", 0)
    assert pauses(tmp_path / "ends", monkeypatch, 3) == [0.02] * 3


def test_a_stop_does_not_wait_for_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pauses(tmp_path / "ends", monkeypatch, 1, first=30) == [30]


def test_a_process_that_waits_for_ever_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(
        "import os, signal, threading\n"
        "from multiprocessing import Pipe, get_context\n"
        "from easel import process\n"
        "def wait(pipe):\n"
        "    process.end_with_parent()\n"
        "    pipe.send(os.getpid())\n"
        "    threading.Event().wait(60)\n"
        "if __name__ == '__main__':\n"
        "    here, there = Pipe()\n"
        "    get_context('spawn').Process(target=wait, args=[there], daemon=True).start()\n"
        "    print(here.recv(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, str(program)], stdout=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == -signal.SIGKILL
    assert "Its parent is gone, and the process ends" in done.stdout, "which is closed when both have ended"
