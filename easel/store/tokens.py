"""Tokens: made, shown once, checked, revoked."""

import hmac
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, select, update

from easel.errors import NotFound
from easel.ids import new_id, new_secret, secret_hash
from easel.store.database import Database
from easel.store.quick import Quick
from easel.store.tables import Token, Workspace

STALE = "(last_used_at IS NULL OR last_used_at < now() - interval '1 minute')"
CALLER = Quick(
    f"SELECT workspace_id, name, secret_hash, {STALE} AS use_is_stale FROM tokens"
    " WHERE id = :id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
)
USE = Quick(f"UPDATE tokens SET last_used_at = now() WHERE id = :id AND {STALE}")


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
    workspace: str
    name: str
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


async def create(
    database: Database, workspace_id: UUID, name: str, expires_at: datetime | None = None
) -> str:
    """Make a token; the answer, `<id>:<secret>`, is the only time it can be read."""
    token_id, secret = new_id(), new_secret()
    row = {
        "id": token_id,
        "workspace_id": workspace_id,
        "name": name,
        "secret_hash": secret_hash(secret),
        "expires_at": expires_at,
    }
    async with database.begin() as connection:
        await connection.execute(insert(Token).values(row))
    return f"{token_id}:{secret}"


async def caller(database: Database, raw: str) -> Caller | None:
    """Whose token `raw` is, if it is one, not revoked and not expired; its use is noted once a minute."""
    identifier, _, secret = raw.partition(":")
    try:
        token_id = UUID(identifier)
    except ValueError:
        return None
    row = await database.first(CALLER, id=token_id)
    if row is None or not hmac.compare_digest(row.secret_hash, secret_hash(secret)):
        return None
    if row.use_is_stale:
        await database.first(USE, id=token_id)
    return Caller(row.workspace_id, token_id, row.name)


async def listing(database: Database) -> list[TokenInfo]:
    """All tokens of all workspaces, oldest first, revoked ones too."""
    query = (
        select(
            Token.id,
            Workspace.name,
            Token.name,
            Token.created_at,
            Token.last_used_at,
            Token.expires_at,
            Token.revoked_at,
        )
        .join(Workspace, Workspace.id == Token.workspace_id)
        .order_by(Token.created_at)
    )
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
