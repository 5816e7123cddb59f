"""Moodboards: rows whose pictures are read by a job, and what was found in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.errors import NotFound
from easel.ids import file_key, new_id, new_secret
from easel.schema.moodboards import Cluster, Moodboard, SharedMoodboard, Swatch
from easel.schema.pages import Page
from easel.schema.times import written
from easel.settings import UNLIMITED, Limits
from easel.store import ends, submits, tables, workspaces
from easel.store.askers import Asker
from easel.store.database import Database


class Pictures(NamedTuple):
    """The pictures of a board."""

    urls: list[str]
    files: list[str]  # keys of those that were just kept for this board alone


class Medoid(BaseModel):
    """The picture in the middle of a cluster."""

    key: str  # of the board's own copy
    weight: float
    direction: int


class Found(BaseModel):
    """What an analysis found."""

    medoids: list[Medoid]
    palette: list[Swatch]
    taste_profile: str
    keywords: list[str]
    avoids: list[str]


@dataclass(frozen=True)
class Board:
    """A board as a worker needs it."""

    id: UUID
    urls: list[str]
    found: Found | None
    edits: dict[str, Any]

    @property
    def words(self) -> Mapping[str, Any]:
        """Its taste_profile, keywords and avoids: the user's, or else those that were found."""
        return _words(self.found.model_dump() if self.found else {}, self.edits)


async def add(database: Database, asker: Asker, name: str, pictures: Pictures) -> Moodboard:
    """Record a board and ask for its analysis, together or not at all."""
    moodboard_id = new_id()
    async with database.begin() as connection:
        job = await submits.submit_analysis(connection, asker, moodboard_id)
        row = {"id": moodboard_id, "workspace_id": asker.workspace_id, "name": name, "job_id": job.job_id}
        added = insert(tables.Moodboard).values({**row, **pictures._asdict()})
        told = await connection.execute(added.returning(tables.Moodboard.__table__))
        return _moodboard(told.one(), asker.base_url)


async def get(database: Database, workspace_id: UUID, moodboard_id: UUID, base_url: str) -> Moodboard:
    """The board, or NotFound."""
    async with database.read() as connection:
        return _moodboard(await _row(connection, workspace_id, moodboard_id), base_url)


async def page(
    database: Database, workspace_id: UUID, base_url: str, *, limit: int, before: datetime | None
) -> Page[Moodboard]:
    """The newest boards made before `before`."""
    query = select(tables.Moodboard.__table__).where(tables.Moodboard.workspace_id == workspace_id)
    if before is not None:
        query = query.where(tables.Moodboard.created_at < before)
    newest = query.order_by(tables.Moodboard.created_at.desc()).limit(limit + 1)
    async with database.read() as connection:
        rows = (await connection.execute(newest)).all()
    items = [_moodboard(row, base_url) for row in rows[:limit]]
    return Page(items=items, next_cursor=written(items[-1].created_at) if len(rows) > limit else None)


async def change(
    database: Database,
    asker: Asker,
    moodboard_id: UUID,
    *,
    name: str | None,
    edits: Mapping[str, Any],
    pictures: Pictures | None,
) -> tuple[Moodboard, list[str]]:
    """The board with another name, words of the user's (None: none), other pictures; and the keys of files
    that it needs no more.

    For other pictures, and for the same ones if they were not analysed, another analysis is asked for.
    """
    async with database.begin() as connection:
        await workspaces.hold(connection, asker.workspace_id)
        row = await _row(connection, asker.workspace_id, moodboard_id, held=True)
        edited = {field: said for field, said in {**row.edits, **edits}.items() if said is not None}
        values = {"name": name or row.name, "edits": edited}
        dropped: list[str] = []
        if pictures and (pictures.urls != row.urls or not row.found):
            await ends.stop(connection, asker.workspace_id, row.job_id, asker.limits)
            job = await submits.submit_analysis(connection, asker, moodboard_id)
            named = {file_key(url) for url in pictures.urls}
            files = [*(key for key in row.files if key in named), *pictures.files]
            values |= {"urls": pictures.urls, "files": files, "found": None, "job_id": job.job_id}
            dropped = [key for key in _files(row) if key not in files]
        changed = update(tables.Moodboard).where(tables.Moodboard.id == moodboard_id).values(values)
        told = await connection.execute(changed.returning(tables.Moodboard.__table__))
        return _moodboard(told.one(), asker.base_url), dropped


async def remove(
    database: Database, workspace_id: UUID, moodboard_id: UUID, *, limits: Limits = UNLIMITED
) -> list[str]:
    """Forget the board and stop its analysis; the answer is the keys of the files to delete."""
    async with database.begin() as connection:
        await workspaces.hold(connection, workspace_id)
        row = await _row(connection, workspace_id, moodboard_id, held=True)
        await connection.execute(delete(tables.Moodboard).where(tables.Moodboard.id == moodboard_id))
        await ends.stop(connection, workspace_id, row.job_id, limits)
        return _files(row)


async def share(database: Database, workspace_id: UUID, moodboard_id: UUID) -> tuple[str, bool]:
    """The secret by which anybody may see the board, and whether it is new."""
    async with database.begin() as connection:
        row = await _row(connection, workspace_id, moodboard_id, held=True)
        key: str = row.share_key or new_secret()
        shared = update(tables.Moodboard).where(tables.Moodboard.id == moodboard_id)
        await connection.execute(shared.values(share_key=key))
        return key, row.share_key is None


async def shared(database: Database, key: str, base_url: str) -> SharedMoodboard:
    """The board behind a shared secret, or NotFound."""
    query = select(tables.Moodboard.__table__).where(tables.Moodboard.share_key == key)
    async with database.read() as connection:
        row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound("There is no moodboard behind this link: ask for a new one")
    return SharedMoodboard(**_told(row, base_url))


async def read(database: Database, workspace_id: UUID, moodboard_id: UUID) -> Board:
    """The board, or NotFound."""
    async with database.read() as connection:
        row = await _row(connection, workspace_id, moodboard_id)
    found = Found.model_validate(row.found) if row.found else None
    return Board(row.id, row.urls, found, row.edits)


async def keep(database: Database, board: Board, found: Found) -> list[str]:
    """Record what was found in the pictures of `board`, unless it has others by now or is gone; the answer is
    the keys of medoids that nothing names."""
    same = (tables.Moodboard.id == board.id, tables.Moodboard.urls == board.urls)
    async with database.begin() as connection:
        before = await connection.execute(select(tables.Moodboard.found).where(*same).with_for_update())
        if (row := before.one_or_none()) is None:
            return [medoid.key for medoid in found.medoids]
        await connection.execute(update(tables.Moodboard).where(*same).values(found=found.model_dump()))
        return _medoid_keys(row)


async def _row(
    connection: AsyncConnection, workspace_id: UUID, moodboard_id: UUID, *, held: bool = False
) -> Any:
    query = select(tables.Moodboard.__table__).where(
        tables.Moodboard.workspace_id == workspace_id, tables.Moodboard.id == moodboard_id
    )
    row = (await connection.execute(query.with_for_update() if held else query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no moodboard {str(moodboard_id)!r}: see GET /moodboards")
    return row


def _files(row: Any) -> list[str]:
    """The keys of all files that belong to the board."""
    return [*row.files, *_medoid_keys(row)]


def _medoid_keys(row: Any) -> list[str]:
    return [medoid["key"] for medoid in (row.found or {"medoids": []})["medoids"]]


def _moodboard(row: Any, base_url: str) -> Moodboard:
    return Moodboard(id=row.id, job_id=row.job_id, **_told(row, base_url))


def _told(row: Any, base_url: str) -> dict[str, Any]:
    """What there is to tell of the board to anybody."""
    found = row.found or {"palette": [], "medoids": []}
    return {
        "name": row.name,
        "created_at": row.created_at,
        "urls": row.urls,
        "analysed": row.found is not None,
        **_words(found, row.edits),
        "palette": found["palette"],
        "clusters": [
            Cluster(
                url=f"{base_url}/files/{medoid['key']}",
                weight=medoid["weight"],
                direction=medoid["direction"],
            )
            for medoid in found["medoids"]
        ],
    }


def _words(found: Mapping[str, Any], edits: Mapping[str, Any]) -> dict[str, Any]:
    said = {"taste_profile": "", "keywords": [], "avoids": [], **found, **edits}
    return {field: said[field] for field in ("taste_profile", "keywords", "avoids")}
