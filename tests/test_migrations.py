"""Databases of older versions. Alone: python -m pytest tests/test_migrations.py"""

import asyncio
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import alembic.command
import alembic.config
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from databases import opened
from sqlalchemy import Connection, text

from easel.errors import DatabaseFailed
from easel.store import claims, ends, ledger, members, queue, workspaces
from easel.store import database as store
from easel.store.database import Database
from easel.store.queue import Entry
from easel.store.tables import Base

WORKSPACE, DONE, QUEUED = UUID(int=1), UUID(int=2), UUID(int=3)
OLDER = f"""
INSERT INTO workspaces (id, name, webhook_secrets) VALUES ('{WORKSPACE}', 'default', '{{}}');
INSERT INTO jobs (id, workspace_id, status, variant, request, seed, cost, base_url, completed_at, file_key)
VALUES ('{DONE}', '{WORKSPACE}', 'completed', 'medium', '{{"prompt": "a fox"}}', 1, 0.03, '', now(), 'f.png'),
       ('{QUEUED}', '{WORKSPACE}', 'queued', 'medium', '{{"prompt": "a fox"}}', 1, 0.03, '', NULL, NULL);
INSERT INTO ledger (job_id, workspace_id, amount) VALUES ('{DONE}', '{WORKSPACE}', 0.03);
"""


def test_the_migrations_make_the_tables_that_the_code_names(database_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        ours = {"include_name": lambda name, kind, _: kind != "table" or name in Base.metadata.tables}
        return compare_metadata(MigrationContext.configure(connection, opts=ours), Base.metadata)

    async def story() -> None:
        async with opened(database_url) as database, database.begin() as connection:
            assert await connection.run_sync(differences) == []

    asyncio.run(story())


def test_an_older_database_keeps_its_jobs_and_what_was_charged(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(database: Database) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(store, "_upgrade", lambda connection: upgrade(connection, "0001"))
            await database.migrate()
        async with database.begin() as connection:
            for statement in filter(str.strip, OLDER.split(";")):
                await connection.exec_driver_sql(statement)
            await queue.add(connection, "generate", QUEUED)
        await database.migrate()

        [owner] = await members.listing(database, WORKSPACE)
        assert owner.role == "owner"
        assert await workspaces.default(database) == WORKSPACE
        assert await ledger.balance(database, WORKSPACE) == ledger.Balance(Decimal("-0.03"), Decimal("0.03"))
        [entry] = await queue.take(database, queue.PAINT, uuid4(), 1)
        claim = await claims.claim(database, entry.row)
        assert claim is not None
        assert claim.id == QUEUED
        assert await ends.fail(database, claim, Entry(entry.id, QUEUED), code="timeout", message="")

    async def in_an_empty_database() -> None:
        name = f"older_{uuid4().hex}"
        async with opened(postgres) as server, server.read() as connection:
            await connection.execute(text(f"CREATE DATABASE {name}"))
        async with opened(postgres.replace("/postgres?", f"/{name}?")) as database:
            await story(database)

    asyncio.run(in_an_empty_database())


def test_the_newest_revision_is_the_one_that_alembic_would_migrate_to() -> None:
    assert store.newest_revision() == ScriptDirectory.from_config(ours()).get_current_head()


def test_a_database_of_this_version_is_opened_without_alembic_and_pgqueuer(database_url: str) -> None:
    assert loaded_by_migrating(database_url) & {"alembic", "pgqueuer"} == set()


@pytest.mark.parametrize(
    "older", ["UPDATE alembic_version SET version_num = '0016'", "COMMENT ON TABLE pgqueuer IS '1.5.0'"]
)
def test_tables_of_an_older_revision_or_of_another_pgqueuer_are_migrated(
    database_url: str, older: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            async with database.begin() as connection:
                await connection.execute(text(older))
            monkeypatch.setattr(store, "_upgrade", done.append)
            await database.migrate()

    done: list[Connection] = []
    asyncio.run(story())
    assert len(done) == 1


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            async with database.begin() as connection:
                await connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))
            with pytest.raises(DatabaseFailed, match=r"newer .*'0999'.*: upgrade"):
                await database.migrate()

    asyncio.run(story())


def loaded_by_migrating(url: str) -> set[str]:
    """The modules that a fresh interpreter has loaded once it has seen to the tables."""
    program = (
        "import asyncio, sys; from databases import migrate;"
        f"asyncio.run(migrate({url!r})); print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    return set(ran.stdout.split())


def upgrade(connection: Connection, revision: str) -> None:
    config = ours()
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, revision)


def ours() -> alembic.config.Config:
    config = alembic.config.Config()
    config.set_main_option("script_location", "easel.store:migrations")
    return config
