"""The way of a command into the store: the database, for the length of one use."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from easel.cli.settings import settings_with

if TYPE_CHECKING:
    from easel.store.database import Database

Answer = TypeVar("Answer")


def with_database(use: "Callable[[Database], Awaitable[Answer]]") -> Answer:
    """What `use` finds in the database that the settings name."""
    from easel.store.opening import open_database

    async def run() -> Answer:
        async with open_database(settings_with()) as database:
            return await use(database)

    return asyncio.run(run())


def with_workspace(name: str | None, use: "Callable[[Database, UUID], Awaitable[Answer]]") -> Answer:
    """What `use` finds in the workspace called `name`, or in the first one."""
    from easel.store import workspaces

    async def found(database: "Database") -> Answer:
        where = workspaces.default(database) if name is None else workspaces.named(database, name)
        return await use(database, await where)

    return with_database(found)
