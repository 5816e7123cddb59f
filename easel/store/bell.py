"""Rings when something was committed: PostgreSQL's NOTIFY on one channel, whose payload names the topic."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

CHANNEL = "easel"
RING = (
    "SELECT pg_notify($1, topic), set_config('synchronous_commit', 'off', true)"
    " FROM unnest($2::text[]) AS topic"
)


async def ring(connection: AsyncConnection, topic: str) -> None:
    """Wake, when the transaction commits, whoever listens for `topic` in whatever process."""
    await connection.execute(text("SELECT pg_notify(:channel, :topic)"), {"channel": CHANNEL, "topic": topic})


class Bell:
    """The listener of one process, on a connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._connection: asyncpg.Connection | None = None
        self._connecting = asyncio.Lock()
        self._due: set[str] = set()
        self._ringing: asyncio.Task[None] | None = None

    @contextmanager
    def listening(self, topics: Sequence[str], rung: asyncio.Event) -> Iterator[None]:
        """Set `rung` whenever one of `topics` is rung, and when the connection is lost."""
        for topic in topics:
            self._waiting[topic].add(rung)
        try:
            yield
        finally:
            for topic in topics:
                self._waiting[topic].discard(rung)
                if not self._waiting[topic]:
                    del self._waiting[topic]

    async def connect(self) -> None:
        """Listen, if that is not so already."""
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._url)
                self._connection.add_termination_listener(self._lost)
                await self._connection.add_listener(CHANNEL, self._heard)

    def soon(self, topic: str) -> None:
        """Wake whoever listens for `topic`, once for all that ask for it until then.

        Transactions that ring by themselves commit one after the other: PostgreSQL holds a lock for that
        until the commit lies on the disk. A ring that is lost costs the half second in which workers look
        again.
        """
        self._due.add(topic)
        if self._ringing is None or self._ringing.done():
            self._ringing = asyncio.create_task(self._ring())

    async def _ring(self) -> None:
        while self._due:
            topics, self._due = list(self._due), set()
            try:
                await self.connect()
                assert self._connection
                await self._connection.execute(RING, CHANNEL, topics)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                return  # the database is away

    async def close(self) -> None:
        """Listen no more."""
        if self._ringing is not None:
            await self._ringing
        if self._connection is not None:
            self._connection.remove_termination_listener(self._lost)
            await self._connection.close()
            self._connection = None

    def _heard(self, _connection: Any, _pid: int, _channel: str, topic: str) -> None:
        for rung in self._waiting.get(topic, ()):
            rung.set()

    def _lost(self, _connection: Any) -> None:
        for events in self._waiting.values():
            for rung in events:
                rung.set()
