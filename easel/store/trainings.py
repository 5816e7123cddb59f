"""What a training keeps among the blobs, and leaves there."""

from uuid import UUID

from sqlalchemy import Uuid, cast, select

from easel.schema.jobs import TERMINAL
from easel.store import styles, tables
from easel.store.blobs import Blobs
from easel.store.database import Database


def training_key(job_id: UUID) -> str:
    """Where a training keeps what it has done so far."""
    return f"training-{job_id}"


async def sweep(database: Database, blobs: Blobs, job_id: UUID) -> None:
    """Delete what a training needs no more once it has ended, and all of it if it made no style."""
    style_id = tables.Job.request["style_id"].astext
    query = select(
        tables.Job.status,
        tables.Job.request["files"].label("files"),
        style_id.label("style_id"),
        tables.Style.files.label("kept"),
    ).join(tables.Style, tables.Style.id == cast(style_id, Uuid), isouter=True)
    async with database.read() as connection:
        row = (await connection.execute(query.where(tables.Job.id == job_id))).one_or_none()
    if row is None or row.style_id is None or row.status not in TERMINAL:
        return
    adapter = [] if row.status == "completed" else [styles.adapter_key(UUID(row.style_id))]
    for key in (training_key(job_id), *adapter, *(key for key in row.files if key not in (row.kept or []))):
        await blobs.delete(key)
