"""Which job comes next: within a workspace the oldest, among workspaces each in its turn.

A workspace has only so many jobs under way, queued or being painted. Further ones wait in its backlog, and
leave it, oldest first, in the transaction that ends another.
"""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.errors import TooManyRequests
from easel.settings import Limits
from easel.store import queue, workers
from easel.store.bell import CHANNEL
from easel.store.quick import Quick
from easel.store.tables import Job

WAIT = 5  # seconds, until it is worth asking a full backlog again


def next_turn(line: str) -> str:
    """SQL: the turn of a job that is queued now: behind its workspace's own, beside the first of all others.

    Only lines count that the same workers take from: others move at their own pace, or not at all.
    """
    return f"""(
        SELECT greatest(max(mine.last) + 1, min(every.first), 0)
        FROM unnest(coalesce(({workers.SHARED_WITH.format(line=line)}), ARRAY[{line}])) AS lines (line)
        CROSS JOIN LATERAL (
            SELECT max(turn) AS last FROM jobs AS other
            WHERE other.workspace_id = :workspace_id AND other.status = 'queued'
                AND coalesce(other.variant, other.kind) = lines.line
        ) AS mine
        CROSS JOIN LATERAL (
            SELECT -max(priority) AS first FROM pgqueuer WHERE entrypoint = lines.line AND status = 'queued'
        ) AS every
    )"""


PROMOTE = Quick(
    f"""
    WITH job AS (
        UPDATE jobs SET status = 'queued', turn = {next_turn("coalesce(jobs.variant, jobs.kind)")}
        WHERE id = (
            SELECT id FROM jobs
            WHERE workspace_id = :workspace_id AND completed_at IS NULL AND status = 'backlogged'
            ORDER BY created_at LIMIT 1
        ) AND (CAST(:most AS bigint) IS NULL OR :most > (
            SELECT count(*) FROM jobs
            WHERE workspace_id = :workspace_id AND completed_at IS NULL AND status IN ('queued', 'processing')
        ))
        RETURNING id, kind, variant, status, turn
    ), entry AS ({queue.ENTER_JOBS})
    SELECT pg_notify('{CHANNEL}', {queue.LINE}) FROM job
    """
)


async def promote(connection: AsyncConnection, workspace_id: UUID, limits: Limits) -> None:
    """Queue the oldest jobs of the backlog, as many as may be under way; the workspace is held."""
    while await PROMOTE.within(connection, workspace_id=workspace_id, most=limits.concurrency):
        pass


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
