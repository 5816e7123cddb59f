"""Workers: each says of itself, every other second, that it is there and how it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.store import tables
from easel.store.database import Database
from easel.store.queue import TRAIN

FORGOTTEN_AFTER = "interval '10 seconds'"
NEED_RAW = ("large", TRAIN)  # where Krea's weights paint
# The lines that the workers who take from `line` take from in turn; trainings are done beside the rest.
SHARED_WITH = f"""
    SELECT array_agg(DISTINCT shared) FROM workers, unnest(lines) AS shared
    WHERE {{line}} = ANY (lines) AND ({{line}} = '{TRAIN}') = (shared = '{TRAIN}')
        AND state <> 'failed' AND seen_at > now() - {FORGOTTEN_AFTER}
"""


@dataclass(frozen=True)
class Worker:
    """A worker process: loading its checkpoint, ready, or failed with the reason in `error`."""

    id: UUID
    host: str
    pid: int
    state: str
    lines: Sequence[str]  # that it takes jobs from, once it is ready
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
    query = select(*columns).where(tables.Worker.seen_at > func.now() - text(FORGOTTEN_AFTER))
    async with database.read() as connection:
        return [Worker(**row._mapping) for row in await connection.execute(query)]


def why_waiting(found: Sequence[Worker], line: str) -> str | None:
    """Why jobs of this line are not begun; None where one of these workers is ready to."""
    those = [worker for worker in found if line in worker.lines]
    if any(worker.state == "ready" for worker in those):
        return None
    remedy = "start one with `easel work`"
    if any(worker.engine == "krea" for worker in found) and line in NEED_RAW:
        remedy += ", and EASEL_KREA_RAW set to Krea-2-Raw"
    return why_idle(those) or f"no running worker takes jobs for {line}: {remedy}"


def why_idle(found: Sequence[Worker]) -> str:
    """Why none of these workers is ready."""
    reasons = [worker.error for worker in found if worker.error]
    reasons += ["a worker is loading its checkpoint" for worker in found if worker.state == "loading"]
    return "; ".join(reasons)


async def leave(database: Database, worker_id: UUID) -> None:
    """Forget a worker that ends."""
    async with database.begin() as connection:
        await connection.execute(delete(tables.Worker).where(tables.Worker.id == worker_id))


async def prune(connection: AsyncConnection) -> None:
    """Forget workers that ended without a word."""
    await connection.execute(
        delete(tables.Worker).where(tables.Worker.seen_at < func.now() - text(FORGOTTEN_AFTER))
    )
