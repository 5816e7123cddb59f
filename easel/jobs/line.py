"""A line of work: entries of some kinds, taken from the queue as they come, each held under a lease."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import structlog

from easel.store import queue
from easel.store.database import AWAY, Database
from easel.store.queue import Entry

RELEASED = 8  # entries that may be wound up beside those that count
LOOK_AGAIN_SECONDS = 0.5  # for leases that have lapsed and entries put off; new ones ring the bell
AWAY_SECONDS = 1.0
GRACE_SECONDS = 6.0  # for a picture that is being painted when the stop comes

log = structlog.get_logger()


class Line:
    """Works on at most `at_once` entries together, and winds up some more, until it is stopped."""

    def __init__(
        self,
        database: Database,
        entrypoints: Sequence[str],
        worker: UUID,
        at_once: int,
        perform: Callable[[Entry], Awaitable[None]],
    ) -> None:
        self._database = database
        self._entrypoints = entrypoints
        self._worker = worker
        self._at_once = at_once
        self._perform = perform
        self._working: dict[asyncio.Task[None], Entry] = {}
        self._released: set[Entry] = set()
        self._stopping = False
        self._wake = asyncio.Event()

    def stop(self) -> None:
        """Take nothing more."""
        self._stopping = True
        self._wake.set()

    def release(self, entry: Entry) -> None:
        """Count `entry` no longer: what it needs one after the other is done, and another may begin."""
        if len(self._released) < RELEASED:
            self._released.add(entry)
            self._wake.set()

    async def run(self) -> None:
        """Take and work until stopped; then wait for what was begun, but no longer than the grace."""
        holding = asyncio.create_task(self._hold())
        with self._database.bell.listening(self._entrypoints, self._wake):
            while not self._stopping:
                try:
                    await self._database.bell.connect()
                    await self._take_or_wait()
                except AWAY as error:
                    log.warning("The database is away", error=str(error))
                    await asyncio.sleep(AWAY_SECONDS)
        if self._working:
            _, left = await asyncio.wait(self._working, timeout=GRACE_SECONDS)
            log.info("Stopped", entrypoints=self._entrypoints, left_to_another_worker=len(left))
        holding.cancel()

    async def _take_or_wait(self) -> None:
        self._wake.clear()
        free = self._at_once - len(self._working) + len(self._released)
        taken = await queue.take(self._database, self._entrypoints, self._worker, free) if free else []
        for entry in taken:
            if entry not in self._working.values():  # else ours, renewed too late
                self._begin(entry)
        if not taken and not self._stopping:
            await _wait(self._wake, LOOK_AGAIN_SECONDS)

    def _begin(self, entry: Entry) -> None:
        task = asyncio.create_task(self._work(entry))
        self._working[task] = entry
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._released.discard(self._working.pop(task))
        self._wake.set()

    async def _work(self, entry: Entry) -> None:
        try:
            await self._perform(entry)
        except Exception:  # the lease lapses, and the entry is taken again
            log.exception("Work stopped", entrypoints=self._entrypoints, row=str(entry.row))

    async def _hold(self) -> None:
        while True:
            await asyncio.sleep(queue.LEASE.total_seconds() / 4)
            try:
                if self._working:
                    await queue.hold(self._database, list(self._working.values()))
            except AWAY as error:
                log.warning("Leases could not be renewed", error=str(error))


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
