"""Jobs: submitted, claimed, ended; each change of state is one statement, guarded by the state it leaves."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Update, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.catalog import MODELS
from easel.errors import Cancelled, NotFound, Unprocessable, UnsafePicture
from easel.ids import new_id
from easel.pricing import price, usd
from easel.schema.generation import GenerationRequest
from easel.schema.jobs import TERMINAL, Failure, Job, JobDetails, Progress, Result, Status
from easel.schema.pages import Page
from easel.schema.times import written
from easel.settings import Limits
from easel.store import backlog, events, ledger, queue, tables, workspaces
from easel.store.database import Database
from easel.store.queue import Entry

UNLIMITED = Limits()

TOLD = (  # the columns that a Job is made of
    tables.Job.id,
    tables.Job.status,
    tables.Job.created_at,
    tables.Job.completed_at,
    tables.Job.file_key,
    tables.Job.error_code,
    tables.Job.error_message,
)
CLOSED = (*TOLD, tables.Job.workspace_id, tables.Job.cost, tables.Job.base_url, tables.Job.webhook_url)


@dataclass(frozen=True)
class Claim:
    """A job in the hands of one worker, for as long as nobody else claims it or cancels it."""

    id: UUID
    workspace_id: UUID
    variant: str
    request: GenerationRequest
    seed: int
    lease: UUID
    claims: int  # how often the job was begun, this time included


async def submit(
    database: Database,
    workspace_id: UUID,
    variant: str,
    request: GenerationRequest,
    *,
    base_url: str,
    token_id: UUID | None = None,
    webhook_url: str | None = None,
    idempotency_key: str | None = None,
    limits: Limits = UNLIMITED,
) -> Job:
    """Accept a job: its row and its queue entry commit together, or not at all.

    It waits in the backlog if the workspace has as many under way as it may. PaymentRequired when the balance
    does not cover it, TooManyRequests when the backlog is full.
    """
    row = {
        "id": new_id(),
        "workspace_id": workspace_id,
        "token_id": token_id,
        "status": "queued" if limits.concurrency is None else "backlogged",
        "turn": backlog.next_turn(workspace_id),
        "created_at": func.clock_timestamp(),  # not before the workspace was held
        "variant": variant,
        "request": request.model_dump(mode="json"),
        "seed": request.seed if request.seed is not None else secrets.randbelow(2**32),
        "cost": price(MODELS[variant], request),
        "base_url": base_url,
        "webhook_url": webhook_url,
        "idempotency_key": idempotency_key,
    }
    async with database.begin() as connection:
        if limits != UNLIMITED:
            await workspaces.hold(connection, workspace_id)
        added = await connection.execute(
            upsert(tables.Job).values(row).on_conflict_do_nothing().returning(*TOLD, tables.Job.turn)
        )
        if (told := added.one_or_none()) is None:
            return await _same_job(connection, row, base_url)
        if limits.prepaid:
            await ledger.check_cover(connection, workspace_id)
        if told.status == "queued":
            await queue.add(connection, queue.GENERATE, told.id, told.turn)
            return _job(told, base_url)
        await backlog.promote(connection, workspace_id, limits)
        await backlog.check_size(connection, workspace_id, limits)
        return _job(await _row(connection, TOLD, workspace_id, told.id), base_url)


async def _same_job(connection: AsyncConnection, row: dict[str, Any], base_url: str) -> Job:
    query = select(*TOLD, tables.Job.variant, tables.Job.request).where(
        tables.Job.workspace_id == row["workspace_id"],
        tables.Job.idempotency_key == row["idempotency_key"],
    )
    found = (await connection.execute(query)).one()
    if (found.variant, found.request) != (row["variant"], row["request"]):
        raise Unprocessable(
            f"Idempotency-Key {row['idempotency_key']!r} was used for another request: use a new key"
        )
    return _job(found, base_url)


async def get(database: Database, workspace_id: UUID, job_id: UUID, base_url: str) -> Job:
    """The job, or NotFound."""
    async with database.read() as connection:
        return _job(await _row(connection, TOLD, workspace_id, job_id), base_url)


async def details(database: Database, workspace_id: UUID, job_id: UUID) -> JobDetails:
    """What the contract's Job has no room for, or NotFound."""
    async with database.read() as connection:
        row = await _row(connection, tables.Job.__table__.columns, workspace_id, job_id)
    return JobDetails(
        job_id=row.id,
        status=row.status,
        variant=row.variant,
        prompt=row.request["prompt"],
        expanded_prompt=row.expanded_prompt,
        seed=row.seed,
        cost=usd(row.cost),
        charged=row.status == "completed",
        engine=row.engine,
        checkpoint=row.checkpoint,
        created_at=row.created_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        details=row.details,
    )


async def page(
    database: Database,
    workspace_id: UUID,
    base_url: str,
    *,
    limit: int,
    before: datetime | None = None,
    status: Status | None = None,
    variants: Sequence[str] | None = None,
) -> Page[Job]:
    """The newest jobs created before `before`."""
    query = select(*TOLD).where(tables.Job.workspace_id == workspace_id)
    if before is not None:
        query = query.where(tables.Job.created_at < before)
    if status is not None:
        query = query.where(tables.Job.status == status)
    if variants is not None:
        query = query.where(tables.Job.variant.in_(variants))
    async with database.read() as connection:
        rows = (await connection.execute(query.order_by(tables.Job.created_at.desc()).limit(limit + 1))).all()
    items = [_job(row, base_url) for row in rows[:limit]]
    return Page(items=items, next_cursor=written(items[-1].created_at) if len(rows) > limit else None)


async def claim(database: Database, job_id: UUID) -> Claim | None:
    """Begin a queued job, or begin again: whoever held it before can no longer finish it."""
    statement = (
        update(tables.Job)
        .where(tables.Job.id == job_id, tables.Job.status.in_(("queued", "processing")))
        .values(
            status="processing",
            lease=new_id(),
            claims=tables.Job.claims + 1,
            started_at=func.coalesce(tables.Job.started_at, func.now()),
        )
        .returning(
            tables.Job.id,
            tables.Job.workspace_id,
            tables.Job.variant,
            tables.Job.request,
            tables.Job.seed,
            tables.Job.lease,
            tables.Job.claims,
        )
    )
    async with database.begin() as connection:
        row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    fields = {**row._mapping, "request": GenerationRequest.model_validate(row.request)}
    return Claim(**fields)


async def report(database: Database, claim: Claim, progress: Progress) -> None:
    """Record a step; raises Cancelled when the job is no longer ours to work on."""
    async with database.begin() as connection:
        held = await connection.scalar(select(tables.Job.id).where(*_held(claim)).with_for_update(read=True))
        if held is None:
            raise Cancelled
        await events.append(connection, claim.id, "progress", progress.model_dump())


async def complete(
    database: Database,
    claim: Claim,
    entry: Entry,
    *,
    file_key: str,
    expanded_prompt: str,
    engine: str,
    checkpoint: str,
    details: dict[str, Any],
    limits: Limits = UNLIMITED,
) -> bool:
    """End a job with its picture, and charge it; False when it is no longer ours."""
    return await _finish(
        database,
        claim,
        entry,
        limits,
        status="completed",
        file_key=file_key,
        expanded_prompt=expanded_prompt,
        engine=engine,
        checkpoint=checkpoint,
        details=details,
    )


async def fail(
    database: Database, claim: Claim, entry: Entry, *, code: str, message: str, limits: Limits = UNLIMITED
) -> bool:
    """End a job with the reason why there is no picture; False when it is no longer ours."""
    message = message.replace("\x00", "")
    return await _finish(
        database, claim, entry, limits, status="failed", error_code=code, error_message=message
    )


async def _finish(database: Database, claim: Claim, entry: Entry, limits: Limits, **values: Any) -> bool:
    async with database.begin() as connection:
        await workspaces.hold(connection, claim.workspace_id)
        row = await _end(connection, update(tables.Job).where(*_held(claim)), values)
        if row is None:
            return False
        if values.get("error_code") == UnsafePicture.code:
            await events.forget(connection, row.id)
        if row.status == "completed":
            await ledger.charge(connection, row.workspace_id, row.id, row.cost)
        await queue.remove(connection, entry)
        await backlog.promote(connection, claim.workspace_id, limits)
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
    """End a job before it is done; one that has ended already stays as it is. NotFound if there is none.

    Its queue entry stays: a worker that comes to it finds nothing to do, one at work stops at its next step.
    """
    mine = (tables.Job.workspace_id == workspace_id, tables.Job.id == job_id)
    async with database.begin() as connection:
        await workspaces.hold(connection, workspace_id)
        open_job = update(tables.Job).where(*mine, tables.Job.status.not_in(TERMINAL))
        row = await _end(connection, open_job, {"status": "cancelled"})
        await backlog.promote(connection, workspace_id, limits)
        return _job(row or await _row(connection, TOLD, workspace_id, job_id), base_url)


async def _end(connection: AsyncConnection, guarded: Update, values: dict[str, Any]) -> Any:
    """What all ends have in common: the state, the event and the webhook, in the caller's transaction."""
    statement = guarded.values(completed_at=func.clock_timestamp(), lease=None, **values).returning(*CLOSED)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    await events.append(connection, row.id, row.status, {})
    if row.webhook_url is not None:
        delivery = {
            "id": new_id(),
            "workspace_id": row.workspace_id,
            "job_id": row.id,
            "url": row.webhook_url,
            "body": _job(row, row.base_url).model_dump_json(),
        }
        await connection.execute(insert(tables.Delivery).values(delivery))
        await queue.add(connection, queue.DELIVER, delivery["id"])
    return row


async def prune(connection: AsyncConnection) -> None:
    """Forget idempotency keys after a day."""
    await connection.execute(
        text(
            "UPDATE jobs SET idempotency_key = NULL WHERE idempotency_key IS NOT NULL"
            " AND created_at < now() - interval '1 day'"
        )
    )


def _held(claim: Claim) -> tuple[Any, ...]:
    return (tables.Job.id == claim.id, tables.Job.lease == claim.lease, tables.Job.status == "processing")


async def _row(connection: AsyncConnection, columns: Any, workspace_id: UUID, job_id: UUID) -> Any:
    query = select(*columns).where(tables.Job.workspace_id == workspace_id, tables.Job.id == job_id)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no job {str(job_id)!r}: see GET /jobs")
    return row


def _job(row: Any, base_url: str) -> Job:
    return Job(
        job_id=row.id,
        status=row.status,
        created_at=row.created_at,
        completed_at=row.completed_at,
        result=Result(urls=[f"{base_url}/files/{row.file_key}"]) if row.file_key else None,
        error=Failure(code=row.error_code, message=row.error_message) if row.error_code else None,
    )
