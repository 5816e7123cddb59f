"""Workspaces: there is one, made with the tables' first use."""

from uuid import UUID

from sqlalchemy import insert, select, text

from easel.ids import new_id
from easel.signing import new_webhook_secret
from easel.store.database import Database
from easel.store.tables import Workspace


async def default(database: Database) -> UUID:
    """The workspace's id; it is made when there is none yet."""
    async with database.begin() as connection:
        await connection.execute(text("LOCK TABLE workspaces IN SHARE ROW EXCLUSIVE MODE"))
        found: UUID | None = await connection.scalar(select(Workspace.id).order_by(Workspace.created_at))
        if found is not None:
            return found
        made = new_id()
        await connection.execute(
            insert(Workspace).values(id=made, name="default", webhook_secrets=[new_webhook_secret()])
        )
        return made


async def webhook_secrets(database: Database, workspace_id: UUID) -> list[str]:
    """The secrets that sign the workspace's webhooks."""
    async with database.read() as connection:
        query = select(Workspace.webhook_secrets).where(Workspace.id == workspace_id)
        return (await connection.execute(query)).scalar_one()
