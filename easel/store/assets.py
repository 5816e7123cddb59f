"""Assets: rows of uploaded pictures; their bytes are in the blobs under `key`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, select

from easel.errors import NotFound
from easel.ids import new_id
from easel.schema.assets import Asset
from easel.schema.pages import Page
from easel.schema.times import written
from easel.store import tables
from easel.store.database import Database


async def add(
    database: Database,
    workspace_id: UUID,
    base_url: str,
    *,
    key: str,
    mime_type: str,
    width: int,
    height: int,
    size_bytes: int,
    description: str | None,
) -> Asset:
    """Record a picture whose bytes are in the blobs already."""
    row = {
        "id": new_id(),
        "workspace_id": workspace_id,
        "key": key,
        "mime_type": mime_type,
        "width": width,
        "height": height,
        "size_bytes": size_bytes,
        "description": description,
    }
    async with database.begin() as connection:
        added = await connection.execute(insert(tables.Asset).values(row).returning(tables.Asset.__table__))
        return _asset(added.one(), base_url)


async def get(database: Database, workspace_id: UUID, asset_id: UUID, base_url: str) -> Asset:
    """The asset, or NotFound."""
    query = select(tables.Asset.__table__).where(
        tables.Asset.workspace_id == workspace_id, tables.Asset.id == asset_id
    )
    async with database.read() as connection:
        row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no asset {str(asset_id)!r}: see GET /assets")
    return _asset(row, base_url)


async def descriptions(database: Database, workspace_id: UUID, keys: Sequence[str]) -> dict[str, str]:
    """What is said of the assets among the files with these keys."""
    query = select(tables.Asset.key, tables.Asset.description).where(
        tables.Asset.workspace_id == workspace_id,
        tables.Asset.key.in_(keys),
        tables.Asset.description.is_not(None),
    )
    async with database.read() as connection:
        return {row.key: row.description for row in await connection.execute(query)}


async def page(
    database: Database, workspace_id: UUID, base_url: str, *, limit: int, before: datetime | None
) -> Page[Asset]:
    """The newest assets uploaded before `before`."""
    query = select(tables.Asset.__table__).where(tables.Asset.workspace_id == workspace_id)
    if before is not None:
        query = query.where(tables.Asset.uploaded_at < before)
    async with database.read() as connection:
        rows = (
            await connection.execute(query.order_by(tables.Asset.uploaded_at.desc()).limit(limit + 1))
        ).all()
    items = [_asset(row, base_url) for row in rows[:limit]]
    return Page(items=items, next_cursor=written(items[-1].uploaded_at) if len(rows) > limit else None)


async def remove(database: Database, workspace_id: UUID, asset_id: UUID) -> str:
    """Forget the asset; the answer is the key of the blob to delete."""
    async with database.begin() as connection:
        key: str | None = await connection.scalar(
            delete(tables.Asset)
            .where(tables.Asset.workspace_id == workspace_id, tables.Asset.id == asset_id)
            .returning(tables.Asset.key)
        )
    if key is None:
        raise NotFound(f"There is no asset {str(asset_id)!r}: see GET /assets")
    return key


def _asset(row: Any, base_url: str) -> Asset:
    return Asset.model_validate({**row._mapping, "image_url": f"{base_url}/files/{row.key}"})
