"""Jobs are asked for: row and queue entry commit together, or not at all."""

import json
import secrets
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from easel.catalog import MODELS
from easel.ids import new_id
from easel.pricing import price
from easel.schema.generation import GenerationRequest
from easel.schema.jobs import Job
from easel.schema.styles import TrainingRequest
from easel.settings import UNLIMITED
from easel.store import backlog, ledger, queue, workspaces
from easel.store.askers import Asker
from easel.store.bell import ring
from easel.store.database import Database
from easel.store.jobs import SAID, SHOW, told
from easel.store.quick import Quick
from easel.store.repeats import EARLIER, repeated

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


async def submit(database: Database, asker: Asker, variant: str, request: GenerationRequest) -> Job:
    """Ask for a picture.

    Repeated if the request was sent before, Unprocessable if its key came with another, PaymentRequired when
    the balance does not cover it, TooManyRequests when the backlog is full.
    """
    picture = {
        "kind": "generation",
        "variant": variant,
        "request": request.model_dump_json(),
        "seed": request.seed if request.seed is not None else secrets.randbelow(2**32),
        "cost": price(MODELS[variant], request),
    }
    return await _add(database, asker, picture)


async def submit_analysis(connection: AsyncConnection, asker: Asker, moodboard_id: UUID) -> Job:
    """Ask for the analysis of a moodboard, in the transaction that changes its pictures; refused as above."""
    analysis = {"kind": "analysis", "request": json.dumps({"moodboard_id": str(moodboard_id)}), "cost": 0}
    return await _add_within(connection, asker, analysis)


async def submit_training(
    database: Database, asker: Asker, request: TrainingRequest, files: Sequence[str]
) -> Job:
    """Ask for a style; `files` are the keys of those pictures that were just kept for it alone."""
    asked = {"style_id": str(new_id()), "training": request.model_dump(), "files": list(files)}
    training = {"kind": "training", "request": json.dumps(asked), "cost": 0}
    return await _add(database, asker, training)


async def _add(database: Database, asker: Asker, work: dict[str, Any]) -> Job:
    """Accept a job; it waits in the backlog if the workspace has as many under way as it may."""
    if asker.limits != UNLIMITED:
        async with database.begin() as connection:
            return await _add_within(connection, asker, work)
    row = _row(asker, work)
    if (added := await database.first(ADD, **row)) is None:
        raise repeated(await database.first(EARLIER, **row), asker)
    database.bell.soon(row["line"])
    return told(added, asker.base_url)


async def _add_within(connection: AsyncConnection, asker: Asker, work: dict[str, Any]) -> Job:
    row, workspace_id, limits = _row(asker, work), asker.workspace_id, asker.limits
    if limits != UNLIMITED:
        await workspaces.hold(connection, workspace_id)
    if (added := await ADD.within(connection, **row)) is None:
        raise repeated(await EARLIER.within(connection, **row), asker)
    if limits.prepaid and row["cost"]:
        await ledger.check_cover(connection, workspace_id)
    if added.status == "queued":
        await ring(connection, row["line"])
        return told(added, asker.base_url)
    await backlog.promote(connection, workspace_id, limits)
    await backlog.check_size(connection, workspace_id, limits)
    return told(await SHOW.within(connection, workspace_id=workspace_id, id=row["id"]), asker.base_url)


def _row(asker: Asker, work: dict[str, Any]) -> dict[str, Any]:
    """What `ADD` and `EARLIER` are given."""
    return {
        **dict.fromkeys(("variant", "seed")),
        "id": new_id(),
        "workspace_id": asker.workspace_id,
        "token_id": asker.token_id,
        "status": "queued" if asker.limits.concurrency is None else "backlogged",
        "line": work.get("variant") or work["kind"],
        "base_url": asker.base_url,
        "webhook_url": asker.webhook_url,
        "idempotency_key": asker.idempotency_key,
        "asked_hash": asker.asked_hash,
        **work,
    }
