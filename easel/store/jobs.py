"""Jobs as they are told: one by one, in pages, in numbers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text

from easel.errors import NotFound
from easel.pricing import usd
from easel.schema.jobs import TERMINAL, Failure, Job, JobDetails, Result, Status
from easel.schema.pages import Page
from easel.schema.times import written
from easel.store import tables, workers
from easel.store.database import Database
from easel.store.quick import Quick

SAID = (
    "id, status, created_at, completed_at, file_key, error_code, error_message,"
    " request->>'moodboard_id' AS moodboard_id, request->>'style_id' AS style_id"
)  # the columns that a Job is made of
SHOW = Quick(f"SELECT {SAID} FROM jobs WHERE workspace_id = :workspace_id AND id = :id")


async def get(database: Database, workspace_id: UUID, job_id: UUID, base_url: str) -> Job:
    """The job, or NotFound."""
    return told(found(await database.first(SHOW, workspace_id=workspace_id, id=job_id), job_id), base_url)


async def details(database: Database, workspace_id: UUID, job_id: UUID) -> JobDetails:
    """What the contract's Job has no room for, or NotFound."""
    query = select(tables.Job.__table__).where(
        tables.Job.workspace_id == workspace_id, tables.Job.id == job_id
    )
    async with database.read() as connection:
        row = found((await connection.execute(query)).one_or_none(), job_id)
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
    query = select(text(SAID)).where(tables.Job.workspace_id == workspace_id)
    if before is not None:
        query = query.where(tables.Job.created_at < before)
    if status is not None:
        query = query.where(tables.Job.status == status)
    if types is not None:
        query = query.where(func.coalesce(tables.Job.variant, tables.Job.kind).in_(types))
    async with database.read() as connection:
        rows = (await connection.execute(query.order_by(tables.Job.created_at.desc()).limit(limit + 1))).all()
    items = [told(row, base_url) for row in rows[:limit]]
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


def found(row: Any, job_id: UUID) -> Any:
    """The row of a job, or NotFound."""
    if row is None:
        raise NotFound(f"There is no job {str(job_id)!r}: see GET /jobs")
    return row


def told(row: Any, base_url: str) -> Job:
    """What is told of a job, by the columns `SAID` of its row."""
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
