"""Webhooks on their way: what is sent where, and how the last attempt went."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select, update

from easel.store import queue, tables
from easel.store.database import Database
from easel.store.queue import Entry


@dataclass(frozen=True)
class Delivery:
    """A message for a receiver; `id` is the same at each attempt."""

    id: UUID
    url: str
    body: str
    attempts: int  # made so far
    secrets: list[str]


async def get(database: Database, delivery_id: UUID) -> Delivery:
    """The delivery, with the secrets that sign it."""
    query = (
        select(
            tables.Delivery.id,
            tables.Delivery.url,
            tables.Delivery.body,
            tables.Delivery.attempts,
            tables.Workspace.webhook_secrets,
        )
        .join(tables.Workspace, tables.Workspace.id == tables.Delivery.workspace_id)
        .where(tables.Delivery.id == delivery_id)
    )
    async with database.read() as connection:
        return Delivery(*(await connection.execute(query)).one())


async def settle(database: Database, entry: Entry, error: str | None, again_in: timedelta | None) -> None:
    """Record an attempt, and either leave the queue or come back `again_in`."""
    async with database.begin() as connection:
        await connection.execute(
            update(tables.Delivery)
            .where(tables.Delivery.id == entry.row)
            .values(attempts=tables.Delivery.attempts + 1, delivered=error is None, error=error)
        )
        if again_in is None:
            await queue.remove(connection, entry)
        else:
            await queue.put_off(connection, entry, again_in)
