"""Jobs: submitted, claimed, ended; each change of state is one statement, guarded by the state it leaves."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, cast, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.catalog import MODELS
from easel.errors import Cancelled, NotFound, Unprocessable, UnsafePicture
from easel.ids import new_id
from easel.pricing import price, usd
from easel.schema.generation import GenerationRequest
from easel.schema.jobs import TERMINAL, Failure, Job, JobDetails, Progress, Result, Status
from easel.schema.pages import Page
from easel.schema.styles import TrainingRequest
from easel.schema.times import written
from easel.settings import Limits
from easel.store import backlog, events, ledger, queue, styles, tables, workers, workspaces
from easel.store.bell import CHANNEL, ring
from easel.store.blobs import Blobs
from easel.store.database import Database
from easel.store.queue import Entry
from easel.store.quick import Quick
from easel.store.styles import NewStyle

UNLIMITED = Limits()

STYLE = tables.Job.request["style_id"].astext.label("style_id")  # of a training
SAID = (
    "id, status, created_at, completed_at, file_key, error_code, error_message,"
    " request->>'moodboard_id' AS moodboard_id, request->>'style_id' AS style_id"
)  # the columns that a Job is made of
TOLD = text(SAID)
ADD = Quick(  # created not before the workspace was held, where it is
    f"""
    WITH job AS (
        INSERT INTO jobs (id, workspace_id, token_id, status, kind, variant, request, seed, cost, base_url,
            webhook_url, idempotency_key, asked_hash, created_at, turn)
        VALUES (:id, :workspace_id, :token_id, :status, :kind, :variant, :request, :seed, :cost, :base_url,
            :webhook_url, :idempotency_key, :asked_hash, clock_timestamp(),
            {backlog.next_turn("coalesce(:variant, :kind)")})
        ON CONFLICT DO NOTHING
        RETURNING *
    ), entry AS ({queue.ENTER_JOBS})
    SELECT {SAID} FROM job
    """
)
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
SHOW = Quick(f"SELECT {SAID} FROM jobs WHERE workspace_id = :workspace_id AND id = :id")
CLAIM = Quick(
    """
    UPDATE jobs SET status = 'processing', lease = :lease, claims = claims + 1,
        started_at = coalesce(started_at, now())
    WHERE id = :id AND status IN ('queued', 'processing')
    RETURNING id, workspace_id, kind, variant, request, seed, lease, claims
    """
)
REPORT = Quick(  # a step may be lost in a crash, and is not waited for until it lies on the disk
    f"""
    WITH held AS (
        SELECT id FROM jobs WHERE id = :job AND lease = :lease AND status = 'processing' FOR SHARE
    ), event AS (
        INSERT INTO events (job_id, kind, data) SELECT id, 'progress', CAST(:data AS jsonb) FROM held
        RETURNING job_id
    )
    SELECT pg_notify('{CHANNEL}', job_id::text), set_config('synchronous_commit', 'off', true) FROM event
    """
)


@dataclass(frozen=True)
class Asker:
    """Who asks for a job, who is told of it, and how much their workspace may have going."""

    workspace_id: UUID
    base_url: str  # of the file URLs in what is told
    token_id: UUID | None = None
    webhook_url: str | None = None
    limits: Limits = UNLIMITED


@dataclass(frozen=True)
class Claim:
    """A job in the hands of one worker, for as long as nobody else claims it or cancels it."""

    id: UUID
    workspace_id: UUID
    lease: UUID
    claims: int  # how often the job was begun, this time included


@dataclass(frozen=True)
class Generation(Claim):
    """A picture to be painted."""

    variant: str
    request: GenerationRequest
    seed: int


@dataclass(frozen=True)
class Analysis(Claim):
    """A moodboard to be read."""

    moodboard_id: UUID


@dataclass(frozen=True)
class Training(Claim):
    """A style to be trained."""

    style_id: UUID
    request: TrainingRequest
    files: list[str]  # keys of those pictures that came inside the request


async def submit(
    database: Database,
    asker: Asker,
    variant: str,
    request: GenerationRequest,
    *,
    idempotency_key: str | None = None,
    asked: GenerationRequest | None = None,
) -> Job:
    """Ask for a picture; `asked` is the request as it came, by which its idempotency key knows it.

    PaymentRequired when the balance does not cover it, TooManyRequests when the backlog is full.
    """
    asked = asked or request
    picture = {
        "kind": "generation",
        "variant": variant,
        "request": request.model_dump_json(),
        "seed": request.seed if request.seed is not None else secrets.randbelow(2**32),
        "cost": price(MODELS[variant], request),
        "idempotency_key": idempotency_key,
        "asked_hash": _hash(variant, asked) if idempotency_key else None,
    }
    job = await _add(database, asker, picture)
    if job is None:
        assert idempotency_key
        job = await earlier(database, asker, variant, asked, idempotency_key)
    assert job
    return job


async def submit_analysis(connection: AsyncConnection, asker: Asker, moodboard_id: UUID) -> Job:
    """Ask for the analysis of a moodboard, in the transaction that changes its pictures."""
    analysis = {"kind": "analysis", "request": json.dumps({"moodboard_id": str(moodboard_id)}), "cost": 0}
    job = await _add_within(connection, asker, analysis)
    assert job
    return job


async def submit_training(
    database: Database, asker: Asker, request: TrainingRequest, files: Sequence[str]
) -> Job:
    """Ask for a style; `files` are the keys of those pictures that were just kept for it alone."""
    asked = {"style_id": str(new_id()), "training": request.model_dump(), "files": list(files)}
    training = {"kind": "training", "request": json.dumps(asked), "cost": 0}
    job = await _add(database, asker, training)
    assert job
    return job


async def _add(database: Database, asker: Asker, work: dict[str, Any]) -> Job | None:
    """Accept a job: its row and its queue entry commit together, or not at all.

    It waits in the backlog if the workspace has as many under way as it may. None if its idempotency key is
    taken. PaymentRequired when the balance does not cover it, TooManyRequests when the backlog is full.
    """
    if asker.limits == UNLIMITED:
        row = _row(asker, work)
        if told := await database.first(ADD, **row):
            database.bell.soon(row["variant"] or row["kind"])
        return told and _job(told, asker.base_url)
    async with database.begin() as connection:
        return await _add_within(connection, asker, work)


async def _add_within(connection: AsyncConnection, asker: Asker, work: dict[str, Any]) -> Job | None:
    row, workspace_id, limits = _row(asker, work), asker.workspace_id, asker.limits
    if limits != UNLIMITED:
        await workspaces.hold(connection, workspace_id)
    if (told := await ADD.within(connection, **row)) is None:
        return None
    if limits.prepaid and row["cost"]:
        await ledger.check_cover(connection, workspace_id)
    if told.status == "queued":
        await ring(connection, row["variant"] or row["kind"])
        return _job(told, asker.base_url)
    await backlog.promote(connection, workspace_id, limits)
    await backlog.check_size(connection, workspace_id, limits)
    return _job(await SHOW.within(connection, workspace_id=workspace_id, id=row["id"]), asker.base_url)


def _row(asker: Asker, work: dict[str, Any]) -> dict[str, Any]:
    """What `ADD` is given."""
    return {
        **dict.fromkeys(("variant", "seed", "idempotency_key", "asked_hash")),
        "id": new_id(),
        "workspace_id": asker.workspace_id,
        "token_id": asker.token_id,
        "status": "queued" if asker.limits.concurrency is None else "backlogged",
        "base_url": asker.base_url,
        "webhook_url": asker.webhook_url,
        **work,
    }


async def earlier(
    database: Database, asker: Asker, variant: str, asked: GenerationRequest, idempotency_key: str
) -> Job | None:
    """The job that was made with this key before; Unprocessable if it was asked for otherwise."""
    query = select(TOLD, tables.Job.asked_hash).where(
        tables.Job.workspace_id == asker.workspace_id, tables.Job.idempotency_key == idempotency_key
    )
    async with database.read() as connection:
        found = (await connection.execute(query)).one_or_none()
    if found is None:
        return None
    if found.asked_hash != _hash(variant, asked):
        raise Unprocessable(
            f"Idempotency-Key {idempotency_key!r} was used for another request: use a new key"
        )
    return _job(found, asker.base_url)


def _hash(variant: str, asked: GenerationRequest) -> bytes:
    return hashlib.sha256(f"{variant} {asked.model_dump_json()}".encode()).digest()


async def get(database: Database, workspace_id: UUID, job_id: UUID, base_url: str) -> Job:
    """The job, or NotFound."""
    return _job(_found(await database.first(SHOW, workspace_id=workspace_id, id=job_id), job_id), base_url)


async def details(database: Database, workspace_id: UUID, job_id: UUID) -> JobDetails:
    """What the contract's Job has no room for, or NotFound."""
    query = select(tables.Job.__table__).where(
        tables.Job.workspace_id == workspace_id, tables.Job.id == job_id
    )
    async with database.read() as connection:
        row = _found((await connection.execute(query)).one_or_none(), job_id)
    why = None
    if row.status not in TERMINAL:
        why = workers.why_waiting(await workers.alive(database), row.variant or row.kind)
    return JobDetails(
        job_id=row.id,
        kind=row.kind,
        status=row.status,
        variant=row.variant,
        prompt=row.request.get("prompt"),
        expanded_prompt=row.expanded_prompt,
        seed=row.seed,
        cost=usd(row.cost),
        charged=row.status == "completed" and row.cost > 0,
        engine=row.engine,
        checkpoint=row.checkpoint,
        created_at=row.created_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        waits_because=why,
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
    types: Sequence[str] | None = None,
) -> Page[Job]:
    """The newest jobs created before `before`; a type is a variant, or the kind of a job that has none."""
    query = select(TOLD).where(tables.Job.workspace_id == workspace_id)
    if before is not None:
        query = query.where(tables.Job.created_at < before)
    if status is not None:
        query = query.where(tables.Job.status == status)
    if types is not None:
        query = query.where(func.coalesce(tables.Job.variant, tables.Job.kind).in_(types))
    async with database.read() as connection:
        rows = (await connection.execute(query.order_by(tables.Job.created_at.desc()).limit(limit + 1))).all()
    items = [_job(row, base_url) for row in rows[:limit]]
    return Page(items=items, next_cursor=written(items[-1].created_at) if len(rows) > limit else None)


async def unfinished(database: Database) -> dict[str, int]:
    """How many jobs have not ended, by status."""
    query = (
        select(tables.Job.status, func.count())
        .where(tables.Job.completed_at.is_(None))
        .group_by(tables.Job.status)
    )
    async with database.read() as connection:
        return {status: count for status, count in await connection.execute(query)}


async def claim(database: Database, job_id: UUID) -> Generation | Analysis | Training | None:
    """Begin a queued job, or begin again: whoever held it before can no longer finish it."""
    row = await database.first(CLAIM, id=job_id, lease=new_id())
    if row is None:
        return None
    held = (row.id, row.workspace_id, row.lease, row.claims)
    if row.kind == "generation":
        return Generation(*held, row.variant, GenerationRequest.model_validate_json(row.request), row.seed)
    asked = json.loads(row.request)
    if row.kind == "analysis":
        return Analysis(*held, UUID(asked["moodboard_id"]))
    training = TrainingRequest.model_validate(asked["training"])
    return Training(*held, UUID(asked["style_id"]), training, asked["files"])


async def report(database: Database, claim: Claim, progress: Progress) -> None:
    """Record a step; raises Cancelled when the job is no longer ours to work on."""
    step = {"job": claim.id, "lease": claim.lease, "data": progress.model_dump_json()}
    if await database.first(REPORT, **step) is None:
        raise Cancelled


async def get_on(database: Database, claim: Claim) -> None:
    """Count the job's beginnings anew: what it has done is kept, so that its worker's end costs little."""
    async with database.begin() as connection:
        await connection.execute(update(tables.Job).where(*_held(claim)).values(claims=1))


async def give_back(database: Database, claim: Claim, entry: Entry) -> None:
    """Queue a job again, in its turn, for another to begin; nothing if it is no longer ours."""
    again = update(tables.Job).where(*_held(claim)).values(status="queued", lease=None)
    async with database.begin() as connection:
        line = func.coalesce(tables.Job.variant, tables.Job.kind)
        if found := await connection.scalar(again.returning(line)):
            await queue.put_off(connection, entry, timedelta())
            await ring(connection, found)


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


async def sweep(database: Database, blobs: Blobs, job_id: UUID) -> None:
    """Delete what a training needs no more once it has ended, and all of it if it made no style."""
    query = select(
        tables.Job.status,
        tables.Job.request["files"].label("files"),
        STYLE,
        tables.Style.files.label("kept"),
    ).join(tables.Style, tables.Style.id == cast(STYLE, Uuid), isouter=True)
    async with database.read() as connection:
        row = (await connection.execute(query.where(tables.Job.id == job_id))).one_or_none()
    if row is None or row.style_id is None or row.status not in TERMINAL:
        return
    adapter = [] if row.status == "completed" else [styles.adapter_key(UUID(row.style_id))]
    for key in (training_key(job_id), *adapter, *(key for key in row.files if key not in (row.kept or []))):
        await blobs.delete(key)


def training_key(job_id: UUID) -> str:
    """Where a training keeps what it has done so far."""
    return f"training-{job_id}"


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
        return _job(_found(row, job_id), base_url)


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


def _found(row: Any, job_id: UUID) -> Any:
    if row is None:
        raise NotFound(f"There is no job {str(job_id)!r}: see GET /jobs")
    return row


def _job(row: Any, base_url: str) -> Job:
    return Job(
        job_id=row.id,
        status=row.status,
        created_at=row.created_at,
        completed_at=row.completed_at,
        result=_result(row, base_url) if row.status == "completed" else None,
        error=Failure(code=row.error_code, message=row.error_message) if row.error_code else None,
    )


def _result(row: Any, base_url: str) -> Result:
    if row.moodboard_id:
        return Result(moodboard_id=row.moodboard_id)
    if row.style_id:
        return Result(style_id=row.style_id)
    return Result(urls=[f"{base_url}/files/{row.file_key}"])
