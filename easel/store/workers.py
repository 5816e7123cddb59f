"""Workers: each says of itself, every other second, that it is there and how it is."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.store import tables
from easel.store.database import Database

FORGOTTEN_AFTER = text("interval '10 seconds'")


@dataclass(frozen=True)
class Worker:
    """A worker process: loading its checkpoint, ready, or failed with the reason in `error`."""

    id: UUID
    host: str
    pid: int
    state: str
    error: str | None = None
    engine: str | None = None
    checkpoint: str | None = None


async def say(database: Database, worker: Worker) -> None:
    """Record that `worker` is alive, and how it is."""
    values = vars(worker)
    statement = (
        upsert(tables.Worker)
        .values(values)
        .on_conflict_do_update(index_elements=["id"], set_={**values, "seen_at": func.now()})
    )
    async with database.begin() as connection:
        await connection.execute(statement)


async def alive(database: Database) -> list[Worker]:
    """The workers that were heard of in the last ten seconds."""
    columns = [column for column in tables.Worker.__table__.columns if column.name != "seen_at"]
    query = select(*columns).where(tables.Worker.seen_at > func.now() - FORGOTTEN_AFTER)
    async with database.read() as connection:
        return [Worker(**row._mapping) for row in await connection.execute(query)]


async def leave(database: Database, worker_id: UUID) -> None:
    """Forget a worker that ends."""
    async with database.begin() as connection:
        await connection.execute(delete(tables.Worker).where(tables.Worker.id == worker_id))


async def prune(connection: AsyncConnection) -> None:
    """Forget workers that ended without a word."""
    await connection.execute(
        delete(tables.Worker).where(tables.Worker.seen_at < func.now() - FORGOTTEN_AFTER)
    )
