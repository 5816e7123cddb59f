"""Jobs end, completed, failed or cancelled: in one statement, guarded by the state that it leaves."""

import json
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.errors import UnsafePicture
from easel.ids import new_id
from easel.schema.jobs import TERMINAL, Job
from easel.settings import UNLIMITED, Limits
from easel.store import backlog, events, ledger, queue, styles, tables, workspaces
from easel.store.bell import ring
from easel.store.claims import Claim
from easel.store.database import Database
from easel.store.jobs import SAID, SHOW, found, told
from easel.store.queue import Entry
from easel.store.quick import Quick
from easel.store.styles import NewStyle

END = Quick(  # of one that its worker still holds, with its queue entry, or of any that is open
    f"""
    WITH job AS (
        UPDATE jobs SET status = :status, completed_at = clock_timestamp(), lease = NULL,
            file_key = :file_key, expanded_prompt = :expanded_prompt, engine = :engine,
            checkpoint = :checkpoint, details = CAST(:details AS jsonb), error_code = :error_code,
            error_message = :error_message
        WHERE id = :id AND workspace_id = :workspace_id AND completed_at IS NULL
            AND (CAST(:lease AS uuid) IS NULL OR (lease = :lease AND status = 'processing'))
        RETURNING *
    ), event AS (
        INSERT INTO events (job_id, kind, data) SELECT id, status, '{{}}' FROM job
    ), entry AS (DELETE FROM pgqueuer USING job WHERE pgqueuer.id = :entry)
    SELECT {SAID}, workspace_id, cost, base_url, webhook_url FROM job
    """
)
NO_END = dict.fromkeys(
    ("file_key", "expanded_prompt", "engine", "checkpoint", "error_code", "error_message", "lease", "entry")
) | {"details": "{}"}


async def complete(
    database: Database,
    claim: Claim,
    entry: Entry,
    *,
    file_key: str | None,
    expanded_prompt: str | None,
    engine: str,
    checkpoint: str,
    details: dict[str, Any],
    style: NewStyle | None = None,
    limits: Limits = UNLIMITED,
) -> bool:
    """End a job with what it made, and charge it; False when it is no longer ours."""
    return await _finish(
        database,
        claim,
        entry,
        limits,
        style,
        status="completed",
        file_key=file_key,
        expanded_prompt=expanded_prompt,
        engine=engine,
        checkpoint=checkpoint,
        details=json.dumps(details),
    )


async def fail(
    database: Database, claim: Claim, entry: Entry, *, code: str, message: str, limits: Limits = UNLIMITED
) -> bool:
    """End a job with the reason why it made nothing; False when it is no longer ours."""
    message = message.replace("\x00", "")
    return await _finish(
        database, claim, entry, limits, None, status="failed", error_code=code, error_message=message
    )


async def _finish(
    database: Database, claim: Claim, entry: Entry, limits: Limits, style: NewStyle | None, **values: Any
) -> bool:
    async with database.begin() as connection:
        await workspaces.hold(connection, claim.workspace_id)
        row = await _end(
            connection, claim.workspace_id, claim.id, lease=claim.lease, entry=entry.id, **values
        )
        if row is None:
            return False
        if values.get("error_code") == UnsafePicture.code:
            await events.forget(connection, row.id)
        if style:
            await styles.insert_into(connection, claim.workspace_id, style)
        if row.status == "completed" and row.cost:
            await ledger.charge(connection, row.workspace_id, row.id, row.cost)
        await backlog.promote(connection, claim.workspace_id, limits)
    database.bell.soon(str(claim.id))
    return True


async def discard(database: Database, entry: Entry) -> None:
    """Take away the queue entry of a job that has ended otherwise; one that goes on elsewhere keeps it."""
    async with database.begin() as connection:
        job = select(tables.Job.status).where(tables.Job.id == entry.row).with_for_update(read=True)
        if await connection.scalar(job) in TERMINAL:
            await queue.remove(connection, entry)


async def cancel(
    database: Database, workspace_id: UUID, job_id: UUID, base_url: str, *, limits: Limits = UNLIMITED
) -> Job:
    """End a job before it is done; one that has ended already stays as it is. NotFound if there is none."""
    async with database.begin() as connection:
        await workspaces.hold(connection, workspace_id)
        row = await stop(connection, workspace_id, job_id, limits)
        row = row or await SHOW.within(connection, workspace_id=workspace_id, id=job_id)
        return told(found(row, job_id), base_url)


async def stop(connection: AsyncConnection, workspace_id: UUID, job_id: UUID, limits: Limits) -> Any:
    """Cancel a job that has not ended, in a transaction that holds the workspace; the row if there was one.

    Its queue entry stays: a worker that comes to it finds nothing to do, one at work stops at its next step.
    """
    row = await _end(connection, workspace_id, job_id, status="cancelled")
    await ring(connection, str(job_id))
    await backlog.promote(connection, workspace_id, limits)
    return row


async def _end(connection: AsyncConnection, workspace_id: UUID, job_id: UUID, **values: Any) -> Any:
    """What all ends have in common: the state, the event and the webhook, in the caller's transaction, who
    rings for those that follow the job."""
    row = await END.within(connection, workspace_id=workspace_id, id=job_id, **{**NO_END, **values})
    if row is None:
        return None
    if row.webhook_url is not None:
        delivery = {
            "id": new_id(),
            "workspace_id": row.workspace_id,
            "job_id": row.id,
            "url": row.webhook_url,
            "body": told(row, row.base_url).model_dump_json(),
        }
        await connection.execute(insert(tables.Delivery).values(delivery))
        await queue.add(connection, queue.DELIVER, delivery["id"])
    return row
