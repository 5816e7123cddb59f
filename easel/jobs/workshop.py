"""Where work is done: who paints, in which thread, where pictures come from, and what is handed over."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from obstore.exceptions import BaseError as BlobsError

from easel import outbound, pictures
from easel.errors import EngineError, EngineLost, JobError, NotFound
from easel.ids import file_key
from easel.safety.guard import Guard
from easel.schema.jobs import Progress
from easel.schema.painting import Painter
from easel.store.blobs import Blobs
from easel.store.database import AWAY, Database
from easel.store.styles import NewStyle

Report = Callable[[Progress], Coroutine[Any, Any, None]]
Thing = TypeVar("Thing")


@dataclass
class Workshop:
    """What every job works with."""

    painter: Painter
    guard: Guard
    thread: Executor
    database: Database
    blobs: Blobs
    allow_networks: Sequence[str]
    leave: Callable[[], None]  # says that this job needs the painter no longer
    _at_work: "Future[Any] | None" = field(default=None, init=False)

    async def fetched(self, url: str) -> bytes:
        """The bytes behind the URL of a picture, or OutboundError or PictureError."""
        if url.startswith("data:"):
            return pictures.from_data_uri(url)
        if key := file_key(url):
            try:
                return await self.blobs.get(key)
            except NotFound:
                pass  # another server's file, or one of ours that was deleted: its URL will tell
        return await outbound.fetch(url, self.allow_networks)

    async def at_the_easel(self, work: Callable[[], Thing]) -> Thing:
        """What the painter makes in its thread; what is no fault of the job's is an EngineError."""
        begun = self._at_work = self.thread.submit(work)
        try:
            return await asyncio.wrap_future(begun)
        except (JobError, EngineLost, BlobsError, *AWAY):
            raise
        except Exception as error:
            raise EngineError(f"The engine failed: {type(error).__name__}: {error}") from error

    async def is_left(self, seconds: float) -> bool:
        """Whether the thread is done with this job's work, within so many seconds."""
        begun = [asyncio.wrap_future(self._at_work)] if self._at_work else []
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*begun, return_exceptions=True)
                return True
        return False


@dataclass(frozen=True)
class Made:
    """What a job has made, and what is told of it."""

    engine: str
    checkpoint: str
    details: dict[str, Any]
    file_key: str | None = None
    expanded_prompt: str | None = None
    style: NewStyle | None = None


class Laps:
    """How long each part of the road took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begun = time.monotonic()

    def end(self, name: str) -> None:
        """Put the time since the last lap down under `name`."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._begun, 3)
        self._begun = now


class Pace:
    """Lets something happen once in so many seconds, the first time at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = time.monotonic()

    def due(self) -> bool:
        """Whether it may happen now; then it may not for a while."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
