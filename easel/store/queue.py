"""Entries of the PgQueuer queue, added and taken away inside our own transactions."""

from datetime import timedelta
from uuid import UUID

from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.queries import Queries
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.store.database import driver_connection

GENERATE = "generate"
DELIVER = "deliver"


async def add(connection: AsyncConnection, entrypoint: str, row: UUID) -> None:
    """Queue work on `row`; it is seen when the transaction of `connection` commits."""
    queries = Queries(AsyncpgDriver(await driver_connection(connection)))
    await queries.enqueue(entrypoint, row.bytes)


async def remove(connection: AsyncConnection, entry: int) -> None:
    """Take a finished entry away."""
    await connection.execute(text("DELETE FROM pgqueuer WHERE id = :entry"), {"entry": entry})


async def put_off(connection: AsyncConnection, entry: int, delay: timedelta) -> None:
    """Queue an entry again, for later."""
    await connection.execute(
        text(
            "UPDATE pgqueuer SET status = 'queued', queue_manager_id = NULL, execute_after = now() + :delay"
            " WHERE id = :entry"
        ),
        {"entry": entry, "delay": delay},
    )


async def prune(connection: AsyncConnection) -> None:
    """Forget what PgQueuer has logged of finished work."""
    await connection.execute(text("DELETE FROM pgqueuer_log WHERE created < now() - interval '1 hour'"))
