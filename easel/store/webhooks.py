"""Webhooks on their way: what is sent where, how the last attempt went, and the secrets that sign."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text, update

from easel.errors import NotFound, Unprocessable
from easel.schema.pages import Page
from easel.schema.times import written
from easel.schema.webhooks import Delivery, State
from easel.signing import new_webhook_secret
from easel.store import queue, tables
from easel.store.database import Database
from easel.store.queue import Entry

TOLD = (  # the columns that a Delivery is made of
    tables.Delivery.id,
    tables.Delivery.job_id,
    tables.Delivery.url,
    tables.Delivery.state,
    tables.Delivery.attempts,
    tables.Delivery.error,
    tables.Delivery.created_at,
    tables.Delivery.next_attempt_at,
)


@dataclass(frozen=True)
class Message:
    """What is sent to a receiver; `id` is the same at each attempt."""

    id: UUID
    url: str
    body: str
    attempts: int  # made so far
    secrets: list[str]


async def message(database: Database, delivery_id: UUID) -> Message:
    """The message of a delivery, with the secrets that sign it."""
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
        return Message(*(await connection.execute(query)).one())


async def settle(database: Database, entry: Entry, error: str | None, again_in: timedelta | None) -> None:
    """Record an attempt, and either leave the queue or come back `again_in`."""
    state: State = "delivered" if error is None else "failed" if again_in is None else "pending"
    async with database.begin() as connection:
        await connection.execute(
            update(tables.Delivery)
            .where(tables.Delivery.id == entry.row)
            .values(
                attempts=tables.Delivery.attempts + 1,
                state=state,
                error=error,
                next_attempt_at=None if again_in is None else func.now() + again_in,
            )
        )
        if again_in is None:
            await queue.remove(connection, entry)
        else:
            await queue.put_off(connection, entry, again_in)


async def put_off(database: Database, entry: Entry, delay: timedelta) -> None:
    """Come back to a delivery after `delay`; it was not attempted."""
    async with database.begin() as connection:
        await queue.put_off(connection, entry, delay)


async def page(
    database: Database,
    workspace_id: UUID,
    *,
    limit: int,
    before: datetime | None = None,
    job_id: UUID | None = None,
    state: State | None = None,
) -> Page[Delivery]:
    """The newest deliveries made before `before`."""
    query = select(*TOLD).where(tables.Delivery.workspace_id == workspace_id)
    if before is not None:
        query = query.where(tables.Delivery.created_at < before)
    if job_id is not None:
        query = query.where(tables.Delivery.job_id == job_id)
    if state is not None:
        query = query.where(tables.Delivery.state == state)
    async with database.read() as connection:
        rows = (
            await connection.execute(query.order_by(tables.Delivery.created_at.desc()).limit(limit + 1))
        ).all()
    items = [_delivery(row) for row in rows[:limit]]
    return Page(items=items, next_cursor=written(items[-1].created_at) if len(rows) > limit else None)


async def get(database: Database, workspace_id: UUID, delivery_id: UUID) -> Delivery:
    """The delivery, or NotFound."""
    query = select(*TOLD).where(*_mine(workspace_id, delivery_id))
    async with database.read() as connection:
        return _found((await connection.execute(query)).one_or_none(), delivery_id)


async def resend(database: Database, workspace_id: UUID, delivery_id: UUID) -> Delivery:
    """Send the same message again, now, with all its attempts before it. NotFound if there is none."""
    statement = (
        update(tables.Delivery)
        .where(*_mine(workspace_id, delivery_id))
        .values(state="pending", attempts=0, error=None, next_attempt_at=func.now())
        .returning(*TOLD)
    )
    async with database.begin() as connection:
        delivery = _found((await connection.execute(statement)).one_or_none(), delivery_id)
        await queue.hurry(connection, queue.DELIVER, delivery.id)
    return delivery


async def rotate_secret(database: Database, workspace_id: UUID) -> str:
    """A new secret, which signs beside the present one until that is dropped."""
    statement = text(
        "UPDATE workspaces SET webhook_secrets = array_prepend(:secret, webhook_secrets)"
        " WHERE id = :id AND cardinality(webhook_secrets) < 2"
    )
    secret = new_webhook_secret()
    async with database.begin() as connection:
        done = await connection.execute(statement, {"secret": secret, "id": workspace_id})
    if not done.rowcount:
        raise Unprocessable(
            "Two secrets sign already: drop the older one with `easel webhooks drop-old-secret`"
        )
    return secret


async def drop_old_secret(database: Database, workspace_id: UUID) -> None:
    """Let the newer of two secrets sign alone."""
    statement = text(
        "UPDATE workspaces SET webhook_secrets = webhook_secrets[1:1]"
        " WHERE id = :id AND cardinality(webhook_secrets) = 2"
    )
    async with database.begin() as connection:
        done = await connection.execute(statement, {"id": workspace_id})
    if not done.rowcount:
        raise Unprocessable("Only one secret signs: make another with `easel webhooks rotate-secret` first")


def _mine(workspace_id: UUID, delivery_id: UUID) -> tuple[Any, ...]:
    return (tables.Delivery.workspace_id == workspace_id, tables.Delivery.id == delivery_id)


def _found(row: Any, delivery_id: UUID) -> Delivery:
    if row is None:
        raise NotFound(f"There is no delivery {str(delivery_id)!r}: see GET /webhooks/deliveries")
    return _delivery(row)


def _delivery(row: Any) -> Delivery:
    return Delivery.model_validate(row._mapping)
