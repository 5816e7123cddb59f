"""Which job comes next: within a workspace the oldest, among workspaces each in its turn.

A workspace has only so many jobs under way, queued or being painted. Further ones wait in its backlog, and
leave it, oldest first, in the transaction that ends another.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.errors import TooManyRequests
from easel.settings import Limits
from easel.store import queue
from easel.store.tables import Job

WAIT = 5  # seconds, until it is worth asking a full backlog again


def next_turn(workspace_id: UUID | BindParameter[Any]) -> Any:
    """The turn of a job that is queued now: behind its workspace's own, beside the first of all others."""
    last_of_mine = select(func.max(Job.turn)).where(Job.workspace_id == workspace_id, Job.status == "queued")
    return func.greatest(queue.FIRST_TURN, last_of_mine.scalar_subquery() + 1, 0)


async def promote(connection: AsyncConnection, workspace_id: UUID, limits: Limits) -> None:
    """Queue the oldest jobs of the backlog, as many as may be under way; the workspace is held."""
    mine = (Job.workspace_id == workspace_id, Job.completed_at.is_(None))
    under_way = select(func.count()).where(*mine, Job.status.in_(("queued", "processing"))).scalar_subquery()
    oldest = select(Job.id).where(*mine, Job.status == "backlogged").order_by(Job.created_at).limit(1)
    if limits.concurrency is not None:
        oldest = oldest.where(under_way < limits.concurrency)
    statement = (
        update(Job)
        .where(Job.id == oldest.scalar_subquery())
        .values(status="queued", turn=next_turn(workspace_id))
        .returning(Job.id, Job.kind, Job.turn)
    )
    while (promoted := (await connection.execute(statement)).one_or_none()) is not None:
        await queue.add(connection, queue.entrypoint_of(promoted.kind), promoted.id, promoted.turn)


async def check_size(connection: AsyncConnection, workspace_id: UUID, limits: Limits) -> None:
    """Refuse with TooManyRequests, if more jobs wait than may; the workspace is held."""
    waiting = select(func.count()).where(
        Job.workspace_id == workspace_id, Job.completed_at.is_(None), Job.status == "backlogged"
    )
    if limits.backlog is not None and (await connection.execute(waiting)).scalar_one() > limits.backlog:
        raise TooManyRequests(
            f"The backlog is full: at most {limits.backlog} jobs may wait behind the {limits.concurrency}"
            " that are under way; try again when some are done",
            maximum=limits.backlog,
            wait=WAIT,
        )
