"""The PgQueuer queue: entries are added, held under a lease, and taken away inside our own transactions.

PgQueuer's own loop is not used: it takes entries ahead of need, and lets go of them outside the transaction
that settles them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.types import JobId, QueueEntrypoint, QueueManagerId
from pgqueuer.ports.repository import EntrypointExecutionParameter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.catalog import MODELS
from easel.store.bell import CHANNEL, ring
from easel.store.database import Database, driver_connection
from easel.store.quick import Quick

ANALYSE = "analysis"
TRAIN = "training"
DELIVER = "deliver"
PAINT = (*MODELS, ANALYSE)  # what needs a painter: a line for each variant, since not every worker has all
JOBS = (*PAINT, TRAIN)  # trainings take minutes, and keep no picture waiting
LEASE = timedelta(seconds=3)
# PgQueuer's own way in logs each entry as well, and the bell would be one more errand.
ENTER = "INSERT INTO pgqueuer (entrypoint, payload, priority, execute_after, status)"
ADD = Quick(
    f"WITH entry AS ({ENTER} VALUES (:entrypoint, :payload, 0, now(), 'queued'))"
    f" SELECT pg_notify('{CHANNEL}', :entrypoint)"
)
REMOVE = Quick("DELETE FROM pgqueuer WHERE id = :id")
# Of the jobs that a statement calls `job`, those that are queued get an entry.
LINE = "coalesce(variant, kind)"
ENTER_JOBS = f"{ENTER} SELECT {LINE}, uuid_send(id), -turn, now(), 'queued' FROM job WHERE status = 'queued'"


@dataclass(frozen=True)
class Entry:
    """A place in the queue, and the row that it is about."""

    id: int
    row: UUID


async def add(connection: AsyncConnection, entrypoint: str, row: UUID) -> None:
    """Queue work on `row`; it is seen when the transaction of `connection` commits."""
    await ADD.within(connection, entrypoint=entrypoint, payload=row.bytes)


async def take(database: Database, entrypoints: Sequence[str], worker: UUID, most: int) -> list[Entry]:
    """Take the first entries that nobody holds, or whose holder has not been heard of for a lease."""
    unlimited = EntrypointExecutionParameter(concurrency_limit=0)
    async with database.read() as connection:
        taken = await (await _queries(connection)).dequeue(
            batch_size=most,
            entrypoints={QueueEntrypoint(entrypoint): unlimited for entrypoint in entrypoints},
            queue_manager_id=QueueManagerId(worker),
            global_concurrency_limit=None,
            heartbeat_timeout=LEASE,
        )
    return [Entry(job.id, UUID(bytes=job.payload)) for job in taken]


async def hold(database: Database, entries: Sequence[Entry]) -> None:
    """Renew the leases of entries that are being worked on."""
    async with database.read() as connection:
        await (await _queries(connection)).update_heartbeat([JobId(entry.id) for entry in entries])


async def remove(connection: AsyncConnection, entry: Entry) -> None:
    """Take a settled entry away."""
    await REMOVE.within(connection, id=entry.id)


async def put_off(connection: AsyncConnection, entry: Entry, delay: timedelta) -> None:
    """Queue an entry again, for later."""
    statement = text(
        "UPDATE pgqueuer SET status = 'queued', queue_manager_id = NULL, execute_after = now() + :delay"
        " WHERE id = :id"
    )
    await connection.execute(statement, {"id": entry.id, "delay": delay})


async def hurry(connection: AsyncConnection, entrypoint: str, row: UUID) -> None:
    """Have `row` worked on now: its entry comes forward, or a new one is queued."""
    statement = text(
        "UPDATE pgqueuer SET execute_after = now() WHERE entrypoint = :entrypoint AND payload = :payload"
    )
    hurried = await connection.execute(statement, {"entrypoint": entrypoint, "payload": row.bytes})
    if hurried.rowcount:
        await ring(connection, entrypoint)
    else:
        await add(connection, entrypoint, row)


async def depth(database: Database) -> list[tuple[str, str, int]]:
    """How many entries there are, by entrypoint and status."""
    query = text("SELECT entrypoint, status::text, count(*) FROM pgqueuer GROUP BY 1, 2")
    async with database.read() as connection:
        return [(row[0], row[1], row[2]) for row in await connection.execute(query)]


async def prune(connection: AsyncConnection) -> None:
    """Forget what PgQueuer has logged of finished work."""
    await connection.execute(text("DELETE FROM pgqueuer_log WHERE created < now() - interval '1 hour'"))


async def _queries(connection: AsyncConnection) -> Queries:
    return Queries(AsyncpgDriver(await driver_connection(connection)))
