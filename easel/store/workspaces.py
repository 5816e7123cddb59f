"""Workspaces: whom everything belongs to; the first is made with the tables' first use."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from easel.errors import NotFound, Unprocessable
from easel.ids import new_id
from easel.signing import new_webhook_secret
from easel.store.database import Database
from easel.store.quick import Quick
from easel.store.tables import Member, Workspace

HOLD = Quick("SELECT 1 FROM workspaces WHERE id = :workspace_id FOR NO KEY UPDATE")


@dataclass(frozen=True)
class WorkspaceInfo:
    """What is told of a workspace."""

    id: UUID
    name: str
    created_at: datetime


async def create(database: Database, name: str, owner: str) -> UUID:
    """Make a workspace with its first member; Unprocessable if the name is taken."""
    async with database.begin() as connection:
        return await _make(connection, name, owner)


async def default(database: Database) -> UUID:
    """The id of the first workspace; it is made when there is none yet."""
    async with database.begin() as connection:
        await connection.execute(text("LOCK TABLE workspaces IN SHARE ROW EXCLUSIVE MODE"))
        found: UUID | None = await connection.scalar(select(Workspace.id).order_by(Workspace.created_at))
        return found or await _make(connection, "default", "owner")


async def _make(connection: AsyncConnection, name: str, owner: str) -> UUID:
    row = {"id": new_id(), "name": name, "webhook_secrets": [new_webhook_secret()]}
    made: UUID | None = await connection.scalar(
        upsert(Workspace).values(row).on_conflict_do_nothing().returning(Workspace.id)
    )
    if made is None:
        raise Unprocessable(f"There is a workspace {name!r} already: choose another name")
    await connection.execute(insert(Member).values(workspace_id=made, name=owner, role="owner"))
    return made


async def named(database: Database, name: str) -> UUID:
    """The id of the workspace called `name`, or NotFound."""
    async with database.read() as connection:
        found: UUID | None = await connection.scalar(select(Workspace.id).where(Workspace.name == name))
    if found is None:
        raise NotFound(f"There is no workspace {name!r}: see `easel account list`")
    return found


async def listing(database: Database) -> list[WorkspaceInfo]:
    """All workspaces, oldest first."""
    query = select(Workspace.id, Workspace.name, Workspace.created_at).order_by(Workspace.created_at)
    async with database.read() as connection:
        return [WorkspaceInfo(*row) for row in await connection.execute(query)]


async def hold(connection: AsyncConnection, workspace_id: UUID) -> None:
    """Wait until no other transaction holds the workspace, and hold it until this one ends.

    Whoever also locks jobs holds the workspace before: in the other order two could wait for each other.
    """
    await HOLD.within(connection, workspace_id=workspace_id)


async def webhook_secrets(database: Database, workspace_id: UUID) -> list[str]:
    """The secrets that sign the workspace's webhooks."""
    async with database.read() as connection:
        query = select(Workspace.webhook_secrets).where(Workspace.id == workspace_id)
        return (await connection.execute(query)).scalar_one()
