"""Jobs in the hands of workers: each is claimed under a lease, and only who holds it can tell of it."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, update

from easel.errors import Cancelled
from easel.ids import new_id
from easel.schema.generation import GenerationRequest
from easel.schema.jobs import Progress
from easel.schema.styles import TrainingRequest
from easel.store import queue, tables
from easel.store.bell import CHANNEL, ring
from easel.store.database import Database
from easel.store.queue import Entry
from easel.store.quick import Quick

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


def _held(claim: Claim) -> tuple[Any, ...]:
    return (tables.Job.id == claim.id, tables.Job.lease == claim.lease, tables.Job.status == "processing")
