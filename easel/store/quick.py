"""Statements that every request or every job makes: built once, and sent to asyncpg as they are.

SQLAlchemy takes some 200 microseconds of a process over a statement, asyncpg alone a quarter of that.
"""

from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.ext.asyncio import AsyncConnection


class Row(asyncpg.Record):  # type: ignore[misc]
    """A row whose columns are attributes, as SQLAlchemy's are; JSON in it is text."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Quick:
    """One statement, of which the first row is wanted."""

    def __init__(self, statement: str) -> None:
        compiled: Any = text(statement).compile(dialect=dialect())  # type: ignore[no-untyped-call]
        self._sql = str(compiled)
        self._names = compiled.positiontup

    async def alone(self, connection: asyncpg.Connection, **values: Any) -> Any:
        """Its row or None, as a transaction of its own."""
        return await connection.fetchrow(self._sql, *self._ordered(values), record_class=Row)

    async def within(self, connection: AsyncConnection, **values: Any) -> Any:
        """Its row or None, in the transaction of `connection`."""
        result = await connection.exec_driver_sql(self._sql, self._ordered(values))
        return result.first() if result.returns_rows else None

    def _ordered(self, values: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(values[name] for name in self._names)
