"""The connection to PostgreSQL: transactions, reads, migrations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from easel.errors import DatabaseFailed
from easel.store.bell import Bell
from easel.store.quick import Quick

MIGRATIONS = 5_283_001  # the advisory lock that lets one process migrate at a time
FORM = text("SELECT version_num, obj_description('pgqueuer'::regclass, 'pg_class') FROM alembic_version")

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
        """Bring the tables, and PgQueuer's, to the form that this version needs, unless they have it."""
        form, needed = await self._form(), (newest_revision(), version("pgqueuer"))
        if form == needed:
            return
        if form and form[0] > needed[0]:
            raise DatabaseFailed(
                f"The database is a newer easel's (revision {form[0]!r}, this one knows {needed[0]!r}):"
                " upgrade this one"
            )
        async with self._engine.connect() as connection:
            await connection.execute(text(f"SELECT pg_advisory_lock({MIGRATIONS})"))
            # Alembic is still to be imported, which may take longer than transactions may idle.
            await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            await connection.run_sync(_upgrade)
            await connection.commit()
            await _install_queue(await driver_connection(connection))
            await connection.execute(text(f"SELECT pg_advisory_unlock({MIGRATIONS})"))

    async def _form(self) -> tuple[str, str | None] | None:
        """The revision of the tables, and the PgQueuer that last saw to its own; None if there are none."""
        try:
            async with self.read() as connection:
                found = (await connection.execute(FORM)).one_or_none()
                return found and (found[0], found[1])
        except ProgrammingError:
            return None
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


def newest_revision() -> str:
    """The revision of the tables that this version needs: its migrations are files that begin with theirs."""
    return max(path.name for path in (Path(__file__).parent / "migrations" / "versions").glob("*.py"))[:4]


def _upgrade(connection: Connection) -> None:
    import alembic.command  # here, so that only a process that migrates carries Alembic
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", "easel.store:migrations")
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")


async def _install_queue(connection: asyncpg.Connection) -> None:
    from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
    from pgqueuer.adapters.persistence.queries import Queries

    queries = Queries(AsyncpgDriver(connection))
    if await queries.schema_is_installed():
        await queries.upgrade()
    else:
        await queries.install()
    await connection.execute(f"COMMENT ON TABLE pgqueuer IS '{version('pgqueuer')}'")
