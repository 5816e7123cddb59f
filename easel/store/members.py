"""Members: the people of a workspace, of whom one at least owns it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, exists, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import aliased

from easel.errors import NotFound, Unprocessable
from easel.schema.accounts import Role
from easel.store import tables, workspaces
from easel.store.database import Database


@dataclass(frozen=True)
class Member:
    """A person in a workspace."""

    name: str
    role: str
    added_at: datetime


async def add(database: Database, workspace_id: UUID, name: str, role: Role) -> None:
    """Let a person in; Unprocessable if the name is there already."""
    row = {"workspace_id": workspace_id, "name": name, "role": role}
    async with database.begin() as connection:
        added = await connection.execute(upsert(tables.Member).values(row).on_conflict_do_nothing())
    if not added.rowcount:
        raise Unprocessable(f"{name!r} is a member already: remove them first to give them another role")


async def listing(database: Database, workspace_id: UUID) -> list[Member]:
    """The members, in the order in which they came."""
    query = (
        select(tables.Member.name, tables.Member.role, tables.Member.added_at)
        .where(tables.Member.workspace_id == workspace_id)
        .order_by(tables.Member.added_at)
    )
    async with database.read() as connection:
        return [Member(*row) for row in await connection.execute(query)]


async def remove(database: Database, workspace_id: UUID, name: str) -> None:
    """Let a person go; NotFound if they are no member, or the last owner."""
    other = aliased(tables.Member)
    owned_by_another = exists().where(
        other.workspace_id == workspace_id, other.role == "owner", other.name != name
    )
    statement = delete(tables.Member).where(
        tables.Member.workspace_id == workspace_id,
        tables.Member.name == name,
        or_(tables.Member.role != "owner", owned_by_another),
    )
    async with database.begin() as connection:
        await workspaces.hold(connection, workspace_id)  # else two owners could remove each other at once
        removed = await connection.execute(statement)
    if not removed.rowcount:
        raise NotFound(f"{name!r} is no member, or the last owner: add another owner first")
