"""Opens the store that the settings name, for a command beside a running server or without one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from easel.settings import Settings
from easel.store.blobs import Blobs
from easel.store.database import Database
from easel.store.embedded import Embedded, running_url


def open_blobs(settings: Settings) -> Blobs:
    """The place for files; a folder of ours is closed to other users of the machine."""
    if settings.blobs_url:
        return Blobs(settings.blobs_url)
    folder = settings.data.resolve() / "blobs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Blobs(folder.as_uri())


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """The database; the embedded one is started for the length of the block if it does not run."""
    url = settings.database_url or running_url(settings.data)
    embedded = None if url else Embedded(settings.data)
    database = Database(url or embedded.start())  # type: ignore[union-attr]
    try:
        if settings.supervisor is None:  # else the supervisor has done so
            await database.migrate()
        yield database
    finally:
        await database.close()
        if embedded:
            embedded.stop()
