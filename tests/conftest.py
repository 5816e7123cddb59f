"""What tests share: a real PostgreSQL, started once, with a fresh database for each test that asks."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from serving import Served, serving

from easel.store.blobs import Blobs
from easel.store.database import Database
from easel.store.embedded import Embedded


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server whose database `template` has all tables."""
    folder = Path(tempfile.mkdtemp(prefix="easel-"))
    embedded = Embedded(folder)
    url = embedded.start()
    asyncio.run(_execute(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"))
    asyncio.run(_execute(url, "CREATE DATABASE template"))
    asyncio.run(_migrate(_named(url, "template")))
    yield url
    os.kill(_postmaster(url), signal.SIGQUIT)  # a clean stop would write all the databases to the disk
    while embedded.running():
        time.sleep(0.05)
    embedded.stop()
    shutil.rmtree(folder)


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """An empty data folder; not below pytest's, which each run closes to the user that PostgreSQL runs as."""
    with tempfile.TemporaryDirectory(prefix="easel-") as folder:
        yield Path(folder)


@pytest.fixture
def database_url(postgres: str) -> str:
    """The URL of a fresh database with all tables."""
    return fresh_database(postgres)


def fresh_database(postgres: str) -> str:
    """The URL of a new database with all tables, for fixtures of any scope."""
    name = f"test_{uuid4().hex}"
    asyncio.run(_execute(postgres, f"CREATE DATABASE {name} TEMPLATE template STRATEGY file_copy"))
    return _named(postgres, name)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    """An empty place for files."""
    return Blobs((tmp_path / "blobs").as_uri())


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A whole server, with the null engine; it may reach this machine's own addresses."""
    with serving(tmp_path_factory.mktemp("served"), EASEL_ALLOW_NETWORKS='["127.0.0.0/8"]') as served:
        yield served


@pytest.fixture(scope="session")
def tiny_turbo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Krea-2-Turbo in miniature."""
    import tiny_krea  # here: most tests do without torch

    return tiny_krea.save(tmp_path_factory.mktemp("krea") / "turbo", distilled=True)


@pytest.fixture(scope="session")
def tiny_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Krea-2-Raw in miniature."""
    import tiny_krea

    return tiny_krea.save(tmp_path_factory.mktemp("krea") / "raw", distilled=False, seed=1)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """The database at `url`, for the length of a block."""
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


def _postmaster(url: str) -> int:
    folder = Path(url.partition("host=")[2])
    return int((folder / "postmaster.pid").read_text().split()[0])


def _named(url: str, name: str) -> str:
    return url.replace("/postgres?", f"/{name}?")


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def _migrate(url: str) -> None:
    async with opened(url) as database:
        await database.migrate()
