"""What happens to a job, kept in order so that it can be followed, and followed again from any point."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.schema.jobs import TERMINAL
from easel.store import tables
from easel.store.database import Database

QUIET_SECONDS = 5.0


@dataclass(frozen=True)
class Event:
    """A step of progress (`data` is a Progress), or the end: completed, failed or cancelled."""

    id: int
    kind: str
    data: dict[str, Any]


async def since(database: Database, job_id: UUID, after: int) -> list[Event]:
    """The events of a job after the one with id `after`."""
    query = (
        select(tables.Event.id, tables.Event.kind, tables.Event.data)
        .where(tables.Event.job_id == job_id, tables.Event.id > after)
        .order_by(tables.Event.id)
    )
    async with database.read() as connection:
        return [Event(*row) for row in await connection.execute(query)]


async def follow(database: Database, job_id: UUID, after: int = 0) -> AsyncIterator[Event | None]:
    """The events of a job as they happen, up to its end; None where there are none yet, or for a while."""
    if await _ended(database, job_id, after):
        return
    rung = asyncio.Event()
    with database.bell.listening([str(job_id)], rung):
        while True:
            await database.bell.connect()
            rung.clear()
            found = await since(database, job_id, after)
            for event in found:
                yield event
                after = event.id
                if event.kind in TERMINAL:
                    return
            if not found:
                yield None
            with suppress(TimeoutError):
                await asyncio.wait_for(rung.wait(), QUIET_SECONDS)


async def _ended(database: Database, job_id: UUID, after: int) -> bool:
    query = select(tables.Event.id).where(
        tables.Event.job_id == job_id, tables.Event.id <= after, tables.Event.kind.in_(TERMINAL)
    )
    async with database.read() as connection:
        return (await connection.execute(query)).first() is not None


async def forget(connection: AsyncConnection, job_id: UUID) -> None:
    """Delete the progress of a job, with all its previews."""
    await connection.execute(
        delete(tables.Event).where(tables.Event.job_id == job_id, tables.Event.kind == "progress")
    )


async def prune(connection: AsyncConnection) -> None:
    """Forget the progress of jobs that ended an hour ago."""
    await connection.execute(
        text(
            "DELETE FROM events USING jobs WHERE events.job_id = jobs.id AND events.kind = 'progress'"
            " AND jobs.completed_at < now() - interval '1 hour'"
        )
    )
