"""Tokens: made, shown once, checked, revoked."""

import hmac
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, select, update

from easel.errors import NotFound
from easel.ids import new_id, new_secret, secret_hash
from easel.store import workspaces
from easel.store.database import Database
from easel.store.tables import Token


@dataclass(frozen=True)
class Caller:
    """Who holds a token."""

    workspace_id: UUID
    token_id: UUID
    name: str


@dataclass(frozen=True)
class TokenInfo:
    """What may be shown of a token after it was made."""

    id: UUID
    name: str
    created_at: datetime
    revoked_at: datetime | None


async def create(database: Database, name: str) -> str:
    """Make a token; the answer, `<id>:<secret>`, is the only time it can be read."""
    token_id, secret = new_id(), new_secret()
    workspace_id = await workspaces.default(database)
    async with database.begin() as connection:
        await connection.execute(
            insert(Token).values(
                id=token_id, workspace_id=workspace_id, name=name, secret_hash=secret_hash(secret)
            )
        )
    return f"{token_id}:{secret}"


async def caller(database: Database, raw: str) -> Caller | None:
    """Whose token `raw` is, if it is one and not revoked."""
    identifier, _, secret = raw.partition(":")
    try:
        token_id = UUID(identifier)
    except ValueError:
        return None
    query = select(Token.workspace_id, Token.name, Token.secret_hash).where(
        Token.id == token_id, Token.revoked_at.is_(None)
    )
    async with database.read() as connection:
        row = (await connection.execute(query)).one_or_none()
    if row is None or not hmac.compare_digest(row.secret_hash, secret_hash(secret)):
        return None
    return Caller(row.workspace_id, token_id, row.name)


async def listing(database: Database) -> list[TokenInfo]:
    """All tokens, oldest first, revoked ones too."""
    query = select(Token.id, Token.name, Token.created_at, Token.revoked_at).order_by(Token.created_at)
    async with database.read() as connection:
        return [TokenInfo(*row) for row in await connection.execute(query)]


async def revoke(database: Database, token_id: UUID) -> None:
    """End a token, at once."""
    async with database.begin() as connection:
        done = await connection.execute(
            update(Token)
            .where(Token.id == token_id, Token.revoked_at.is_(None))
            .values(revoked_at=func.now())
        )
    if not done.rowcount:
        raise NotFound(f"There is no token {str(token_id)!r} in use: see `easel token list`")
