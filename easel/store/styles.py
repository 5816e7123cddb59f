"""Styles: rows of trained adapters; who sees them, who may change them, with whom they are shared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    cast,
    delete,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.errors import Forbidden, NotFound
from easel.ids import new_secret
from easel.schema.pages import Page
from easel.schema.styles import Filter, Owner, Shared, Style, TrainedModel, Workspace
from easel.schema.times import written
from easel.store import tables
from easel.store.database import Database

COLUMNS = (*tables.Style.__table__.columns, tables.Workspace.name.label("owner"))
EVERY = select(*COLUMNS).join(tables.Workspace, tables.Workspace.id == tables.Style.workspace_id)


@dataclass(frozen=True)
class NewStyle:
    """A style whose adapter is among the blobs already."""

    id: UUID
    title: str
    model: TrainedModel
    trigger_word: str
    urls: Sequence[str] = ()
    files: Sequence[str] = ()

    @property
    def key(self) -> str:
        """Of its adapter among the blobs; no file's URL leads there."""
        return adapter_key(self.id)


@dataclass(frozen=True)
class Usable:
    """A style as a picture needs it."""

    id: UUID
    model: TrainedModel
    trigger_word: str
    key: str


def adapter_key(style_id: UUID) -> str:
    """Where the adapter of a style is kept."""
    return f"style-{style_id}.safetensors"


async def insert_into(connection: AsyncConnection, workspace_id: UUID, style: NewStyle) -> None:
    """Record a style, in the caller's transaction."""
    row = {
        "id": style.id,
        "workspace_id": workspace_id,
        "title": style.title,
        "model": style.model,
        "trigger_word": style.trigger_word,
        "key": style.key,
        "urls": list(style.urls),
        "files": list(style.files),
        "cover_url": next(iter(style.urls), None),
    }
    await connection.execute(insert(tables.Style).values(row))


async def add(database: Database, workspace_id: UUID, style: NewStyle) -> None:
    """Record a style."""
    async with database.begin() as connection:
        await insert_into(connection, workspace_id, style)


async def get(database: Database, workspace_id: UUID, style_id: UUID) -> Style:
    """The style, if the workspace sees it, or NotFound."""
    async with database.read() as connection:
        return _style(await _row(connection, workspace_id, style_id))


async def usable(database: Database, workspace_id: UUID, style_id: UUID) -> Usable:
    """The style, if the workspace may paint with it, or NotFound."""
    async with database.read() as connection:
        row = await _row(connection, workspace_id, style_id)
    return Usable(row.id, row.model, row.trigger_word, row.key)


async def page(
    database: Database,
    workspace_id: UUID,
    *,
    limit: int,
    before: datetime | None,
    ids: Sequence[str] | None,
    liked: bool,
    owners: Sequence[str] | None,
    models: Sequence[str] | None,
    filter: Filter,
) -> Page[Style]:
    """The newest styles of those that the workspace sees, made before `before`, narrowed down by the rest."""
    query = EVERY.where(_seen_by(workspace_id), _among(workspace_id, filter))
    if liked:  # likes are not served: nobody has liked anything
        query = query.where(false())
    if before is not None:
        query = query.where(tables.Style.created_at < before)
    if ids is not None:
        query = query.where(cast(tables.Style.id, Text).in_(ids))
    if owners is not None:
        query = query.where(cast(tables.Style.workspace_id, Text).in_(owners))
    if models is not None:
        query = query.where(tables.Style.model.in_(models))
    async with database.read() as connection:
        newest = query.order_by(tables.Style.created_at.desc()).limit(limit + 1)
        rows = (await connection.execute(newest)).all()
    items = [_style(row) for row in rows[:limit]]
    return Page(items=items, next_cursor=written(items[-1].created_at) if len(rows) > limit else None)


async def change(
    database: Database, workspace_id: UUID, style_id: UUID, changes: Mapping[str, Any]
) -> tuple[Style, list[str]]:
    """The style with `public`, `urls`, `title` or `cover_url` changed, and the keys of files that it shows no
    more; only its owner may."""
    async with database.begin() as connection:
        row = await _own(connection, workspace_id, style_id)
        shown = [changes.get("cover_url", row.cover_url) or "", *changes.get("urls", row.urls)]
        files = [key for key in row.files if any(url.endswith(f"/files/{key}") for url in shown)]
        changed = update(tables.Style).where(tables.Style.id == style_id).values({**changes, "files": files})
        await connection.execute(changed)
        style = _style(await _row(connection, workspace_id, style_id))
        return style, [key for key in row.files if key not in files]


async def remove(database: Database, workspace_id: UUID, style_id: UUID) -> list[str]:
    """Forget the style; the answer is the keys of the blobs to delete. Only its owner may."""
    async with database.begin() as connection:
        row = await _own(connection, workspace_id, style_id)
        await connection.execute(delete(tables.Style).where(tables.Style.id == style_id))
        return [row.key, *row.files]


async def share(
    database: Database, workspace_id: UUID, style_id: UUID, with_id: UUID | None, *, shares: bool
) -> Shared:
    """Share the style with another workspace, or, where `shares` is False, no longer: then, without an id,
    with none. Only its owner may."""
    async with database.begin() as connection:
        row = await _own(connection, workspace_id, style_id)
        others = {one for one in row.shared_with if one != with_id} if with_id or shares else set()
        target = await _workspace(connection, with_id or workspace_id)
        if shares and target.id != workspace_id:  # one's own sees it anyway
            others.add(target.id)
        shared = update(tables.Style).where(tables.Style.id == style_id).values(shared_with=sorted(others))
        await connection.execute(shared)
    return Shared(success=True, style_id=str(style_id), workspace=target)


async def share_link(database: Database, workspace_id: UUID, style_id: UUID) -> tuple[str, bool]:
    """The secret by which anybody may see the style, and whether it is new; only its owner may ask."""
    async with database.begin() as connection:
        row = await _own(connection, workspace_id, style_id)
        key: str = row.share_key or new_secret()
        shared = update(tables.Style).where(tables.Style.id == style_id).values(share_key=key)
        await connection.execute(shared)
        return key, row.share_key is None


async def shared(database: Database, key: str) -> Style:
    """The style behind a shared secret, or NotFound."""
    async with database.read() as connection:
        row = (await connection.execute(EVERY.where(tables.Style.share_key == key))).one_or_none()
    if row is None:
        raise NotFound("There is no style behind this link: ask for a new one")
    return _style(row)


def _seen_by(workspace_id: UUID) -> ColumnElement[bool]:
    return or_(
        tables.Style.workspace_id == workspace_id,
        tables.Style.public,
        literal(workspace_id) == func.any(tables.Style.shared_with),
    )


def _among(workspace_id: UUID, filter: Filter) -> ColumnElement[bool]:
    """Whether a style is of the kind that `filter` names; of some kinds there are none here."""
    own = tables.Style.workspace_id == workspace_id
    match filter:
        case "all":
            return true()
        case "user":
            return own
        case "shared":
            return and_(~own, literal(workspace_id) == func.any(tables.Style.shared_with))
        case "public" | "community" | "gallery":
            return tables.Style.public.is_(True)
        case _:
            return false()


async def _row(connection: AsyncConnection, workspace_id: UUID, style_id: UUID) -> Any:
    query = EVERY.where(tables.Style.id == style_id, _seen_by(workspace_id))
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no style {str(style_id)!r}: see GET /styles")
    return row


async def _own(connection: AsyncConnection, workspace_id: UUID, style_id: UUID) -> Any:
    """The row, held until the transaction ends; Forbidden if it is another workspace's."""
    row = await _row(connection, workspace_id, style_id)
    if row.workspace_id != workspace_id:
        raise Forbidden(f"The style {str(style_id)!r} belongs to another workspace: only that one changes it")
    held = select(tables.Style.__table__).where(tables.Style.id == style_id).with_for_update()
    return (await connection.execute(held)).one()


async def _workspace(connection: AsyncConnection, workspace_id: UUID) -> Workspace:
    first = select(tables.Workspace.id).order_by(tables.Workspace.created_at).limit(1).scalar_subquery()
    named = select(tables.Workspace.name, (tables.Workspace.id == first).label("first"))
    row = (await connection.execute(named.where(tables.Workspace.id == workspace_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no workspace {str(workspace_id)!r}: see `easel account list`")
    return Workspace(id=workspace_id, name=row.name, is_default=row.first)


def _style(row: Any) -> Style:
    return Style(
        id=str(row.id),
        title=row.title,
        urls=row.urls,
        public=row.public,
        cover_url=row.cover_url,
        prompt=row.trigger_word,
        models=[row.model],
        owner=Owner(id=row.workspace_id, name=row.owner),
        created_at=row.created_at,
    )
