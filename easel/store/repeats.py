"""Requests that are sent again: known by an idempotency key, they make nothing a second time, for a day."""

import hashlib
from dataclasses import replace
from typing import Any

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.errors import Unprocessable
from easel.store.askers import Asker
from easel.store.database import Database
from easel.store.jobs import SAID
from easel.store.quick import Quick

EARLIER = Quick(  # each route asks for jobs of a line of its own
    f"""
    SELECT {SAID}, asked_hash FROM jobs
    WHERE workspace_id = :workspace_id AND coalesce(variant, kind) = :line
        AND idempotency_key = :idempotency_key
    """
)


class Repeated(Exception):
    """The request was sent before; `job` is the row of the job that it made, as `jobs.told` reads it."""

    def __init__(self, job: Any) -> None:
        super().__init__(job.id)
        self.job = job


async def recognise(database: Database, asker: Asker, line: str, asked: BaseModel) -> Asker:
    """The asker of a request that is new, with what it is known by from now on if it has a key.

    Repeated if it was sent before, Unprocessable if its key came with another one.
    """
    if asker.idempotency_key is None:
        return asker
    asker = replace(asker, asked_hash=hashlib.sha256(asked.model_dump_json().encode()).digest())
    key = {"workspace_id": asker.workspace_id, "line": line, "idempotency_key": asker.idempotency_key}
    if row := await database.first(EARLIER, **key):
        raise repeated(row, asker)
    return asker


def repeated(job: Any, asker: Asker) -> Exception:
    """What is to be raised when a job has the asker's key already."""
    if job.asked_hash == asker.asked_hash:
        return Repeated(job)
    return Unprocessable(
        f"Idempotency-Key {asker.idempotency_key!r} was used for another request: use a new key"
    )


async def prune(connection: AsyncConnection) -> None:
    """Forget keys after a day."""
    await connection.execute(
        text(
            "UPDATE jobs SET idempotency_key = NULL WHERE idempotency_key IS NOT NULL"
            " AND created_at < now() - interval '1 day'"
        )
    )
