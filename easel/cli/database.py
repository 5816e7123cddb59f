"""The database of the settings, for commands that need no server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from easel.cli.settings import settings_with

if TYPE_CHECKING:
    from easel.store.database import Database

Answer = TypeVar("Answer")


def with_database(use: "Callable[[Database], Awaitable[Answer]]") -> Answer:
    """What `use` answers, given the database."""
    from easel.store.opening import open_database

    async def run() -> Answer:
        async with open_database(settings_with()) as database:
            return await use(database)

    return asyncio.run(run())
