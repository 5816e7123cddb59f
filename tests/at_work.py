"""A worker inside the test's own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from easel.errors import CheckpointError
from easel.jobs.worker import Worker
from easel.safety.guard import Guard, guard_of
from easel.schema.generation import GenerationRequest
from easel.schema.jobs import Job
from easel.schema.painting import Painter
from easel.settings import Settings
from easel.store import events, jobs, workspaces
from easel.store.blobs import Blobs
from easel.store.database import Database

BASE = "http://easel.test"


@asynccontextmanager
async def working(
    database: Database, blobs: Blobs, painter: Painter | None = None, **given: Any
) -> AsyncIterator[None]:
    """A worker with `painter`; without one, its checkpoint cannot be loaded."""

    settings = Settings(models="null", **given)

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
    job = await jobs.submit(database, workspace, "medium", fox, base_url=BASE, webhook_url=webhook_url)
    async for _ in events.follow(database, job.job_id):
        pass
    return await jobs.get(database, workspace, job.job_id, BASE)
