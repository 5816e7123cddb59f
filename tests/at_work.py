"""A worker inside the test's own process."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from answering import LOOPBACK, Api
from databases import opened

from easel.engine.null import NullPainter
from easel.errors import CheckpointError
from easel.jobs.worker import Worker
from easel.safety.guard import Guard, guard_of
from easel.schema.generation import GenerationRequest
from easel.schema.jobs import Job
from easel.schema.painting import Painter
from easel.settings import Settings
from easel.store import events, jobs, submits, workspaces
from easel.store.askers import Asker
from easel.store.blobs import Blobs
from easel.store.database import Database

BASE = "http://easel.test"


@asynccontextmanager
async def working(
    database: Database, blobs: Blobs, painter: Painter | None = None, **given: Any
) -> AsyncIterator[None]:
    """A worker with `painter`; without one, its checkpoint cannot be loaded."""

    settings = Settings(**{"models": "null", **given})

    def load() -> tuple[Painter, Guard]:
        if painter is None:
            raise CheckpointError("The folder '/nowhere' holds no checkpoint")
        return painter, guard_of(settings)

    worker = Worker(database, blobs, settings, load)
    running = asyncio.create_task(worker.run())
    yield
    worker.stop()
    await running


async def painted(database: Database, webhook_url: str | None = None, **request: Any) -> Job:
    """A job, once it has ended."""
    workspace = await workspaces.default(database)
    fox = GenerationRequest(**{"prompt": "a fox", **request})
    job = await submits.submit(database, Asker(workspace, BASE, webhook_url=webhook_url), "medium", fox)
    async for _ in events.follow(database, job.job_id):
        pass
    return await jobs.get(database, workspace, job.job_id, BASE)


@contextmanager
def at_work(api: Api, painter: NullPainter | None = None) -> Iterator[None]:
    """A worker in a thread of its own."""
    stop, started = threading.Event(), threading.Event()

    async def run() -> None:
        async with (
            opened(api.database_url) as database,
            working(database, api.blobs, painter or NullPainter(), allow_networks=LOOPBACK),
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
