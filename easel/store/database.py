"""The connection to PostgreSQL: transactions, reads, migrations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.queries import Queries
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from easel.errors import DatabaseFailed
from easel.store.bell import Bell
from easel.store.quick import Quick

MIGRATIONS = 5_283_001  # the advisory lock that lets one process migrate at a time

SESSION = {"idle_in_transaction_session_timeout": "5s"}  # of a process that was stopped amid a transaction

AWAY = (
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # of a connection whose server said farewell while it was idle
    OSError,
)
"""What is raised while the database cannot be reached."""


class Database:
    """One PostgreSQL, by URL."""

    def __init__(self, url: str) -> None:
        self.url = url.replace("postgres://", "postgresql://", 1)
        self._engine = create_async_engine(
            self.url.replace("postgresql://", "postgresql+asyncpg://", 1),
            pool_size=5,
            max_overflow=5,
            connect_args={"server_settings": SESSION},
        )
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self.bell = Bell(self.url)

    async def first(self, statement: Quick, **values: Any) -> Any:
        """The first row that a quick statement returns, or None; it is a transaction of its own."""
        async with (await self._connections()).acquire() as connection:
            try:
                return await statement.alone(connection, **values)
            except AWAY:
                connection.terminate()  # it may be in the middle of something, and nothing sets it back
                raise

    async def _connections(self) -> asyncpg.Pool:
        if self._pool is None:
            async with self._opening:
                self._pool = self._pool or await asyncpg.create_pool(
                    self.url, min_size=0, max_size=10, reset=_leave, server_settings=SESSION
                )
        return self._pool

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end of the block."""
        async with self._engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for single statements, each its own transaction."""
        async with self._reader.connect() as connection:
            yield connection

    async def close(self) -> None:
        """Give all connections back."""
        await self.bell.close()
        if self._pool is not None:
            await self._pool.close()
        await self._engine.dispose()

    async def migrate(self) -> None:
        """Bring the tables, and PgQueuer's, to the form that this version needs."""
        await self._reach()
        async with self._engine.connect() as connection:
            await connection.execute(text(f"SELECT pg_advisory_lock({MIGRATIONS})"))
            # Alembic is still to be imported, which may take longer than transactions may idle.
            await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            await connection.run_sync(_upgrade)
            await connection.commit()
            await _install_queue(await driver_connection(connection))
            await connection.execute(text(f"SELECT pg_advisory_unlock({MIGRATIONS})"))

    async def _reach(self) -> None:
        try:
            async with self.read():
                pass
        except AWAY as error:
            raise DatabaseFailed(
                f"PostgreSQL does not let us in ({error}): start it, or mend EASEL_DATABASE_URL"
            ) from error


async def driver_connection(connection: AsyncConnection) -> asyncpg.Connection:
    """The asyncpg connection under `connection`, in the same transaction."""
    driver = (await connection.get_raw_connection()).driver_connection
    if driver is None or driver.is_closed():  # SQLAlchemy sees that at its own statements only
        await connection.invalidate()
        driver = (await connection.get_raw_connection()).driver_connection
    return driver


async def _leave(connection: asyncpg.Connection) -> None:
    """Nothing to set back: single statements leave nothing behind in a session."""


def _upgrade(connection: Connection) -> None:
    import alembic.command  # here, so that only the process that migrates carries Alembic
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", "easel.store:migrations")
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")


async def _install_queue(connection: asyncpg.Connection) -> None:
    queries = Queries(AsyncpgDriver(connection))
    if await queries.schema_is_installed():
        await queries.upgrade()
    else:
        await queries.install()
