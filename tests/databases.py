"""A real PostgreSQL for the tests, with a fresh database for whoever asks."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg

from easel.store.database import Database
from easel.store.embedded import Embedded


@contextmanager
def running() -> Iterator[str]:
    """The URL of a server whose database `template` has all tables."""
    folder = Path(tempfile.mkdtemp(prefix="easel-"))
    embedded = Embedded(folder)
    url = embedded.start()
    asyncio.run(_execute(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"))
    asyncio.run(_execute(url, "CREATE DATABASE template"))
    asyncio.run(migrate(_named(url, "template")))
    yield url
    os.kill(postmaster(folder), signal.SIGQUIT)  # a clean stop would write all the databases to the disk
    while embedded.running():
        time.sleep(0.05)
    embedded.stop()
    shutil.rmtree(folder)


def fresh_database(server: str) -> str:
    """The URL of a new database with all tables."""
    name = f"test_{uuid4().hex}"
    asyncio.run(_execute(server, f"CREATE DATABASE {name} TEMPLATE template STRATEGY file_copy"))
    return _named(server, name)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """The database at `url`, for the length of a block."""
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


async def migrate(url: str) -> None:
    """Make all tables."""
    async with opened(url) as database:
        await database.migrate()


def postmaster(data_folder: Path) -> int:
    """The process id of the PostgreSQL that lives in a data folder."""
    return int((data_folder / "postgres" / "postmaster.pid").read_text().split()[0])


def _named(url: str, name: str) -> str:
    return url.replace("/postgres?", f"/{name}?")


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()
