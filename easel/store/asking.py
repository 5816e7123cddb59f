"""Jobs are asked for: the row and its queue entry commit together, or not at all."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.catalog import MODELS
from easel.errors import Unprocessable
from easel.ids import new_id
from easel.pricing import price
from easel.schema.generation import GenerationRequest
from easel.schema.jobs import Job
from easel.schema.styles import TrainingRequest
from easel.settings import UNLIMITED, Limits
from easel.store import backlog, ledger, queue, tables, workspaces
from easel.store.bell import ring
from easel.store.database import Database
from easel.store.jobs import SAID, SHOW, told
from easel.store.quick import Quick

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


@dataclass(frozen=True)
class Asker:
    """Who asks for a job, who is told of it, and how much their workspace may have going."""

    workspace_id: UUID
    base_url: str  # of the file URLs in what is told
    token_id: UUID | None = None
    webhook_url: str | None = None
    limits: Limits = UNLIMITED


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
        if added := await database.first(ADD, **row):
            database.bell.soon(row["variant"] or row["kind"])
        return added and told(added, asker.base_url)
    async with database.begin() as connection:
        return await _add_within(connection, asker, work)


async def _add_within(connection: AsyncConnection, asker: Asker, work: dict[str, Any]) -> Job | None:
    row, workspace_id, limits = _row(asker, work), asker.workspace_id, asker.limits
    if limits != UNLIMITED:
        await workspaces.hold(connection, workspace_id)
    if (added := await ADD.within(connection, **row)) is None:
        return None
    if limits.prepaid and row["cost"]:
        await ledger.check_cover(connection, workspace_id)
    if added.status == "queued":
        await ring(connection, row["variant"] or row["kind"])
        return told(added, asker.base_url)
    await backlog.promote(connection, workspace_id, limits)
    await backlog.check_size(connection, workspace_id, limits)
    return told(await SHOW.within(connection, workspace_id=workspace_id, id=row["id"]), asker.base_url)


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
    query = select(text(SAID), tables.Job.asked_hash).where(
        tables.Job.workspace_id == asker.workspace_id, tables.Job.idempotency_key == idempotency_key
    )
    async with database.read() as connection:
        made = (await connection.execute(query)).one_or_none()
    if made is None:
        return None
    if made.asked_hash != _hash(variant, asked):
        raise Unprocessable(
            f"Idempotency-Key {idempotency_key!r} was used for another request: use a new key"
        )
    return told(made, asker.base_url)


def _hash(variant: str, asked: GenerationRequest) -> bytes:
    return hashlib.sha256(f"{variant} {asked.model_dump_json()}".encode()).digest()


async def prune(connection: AsyncConnection) -> None:
    """Forget idempotency keys after a day."""
    await connection.execute(
        text(
            "UPDATE jobs SET idempotency_key = NULL WHERE idempotency_key IS NOT NULL"
            " AND created_at < now() - interval '1 day'"
        )
    )
