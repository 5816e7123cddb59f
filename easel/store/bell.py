"""Hears PostgreSQL's NOTIFY on one connection and wakes whoever waits for the topic it names."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg


class Bell:
    """One channel of one database; the payload of a NOTIFY is the topic."""

    def __init__(self, url: str, channel: str) -> None:
        self._url = url
        self._channel = channel
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._connection: asyncpg.Connection | None = None
        self._connecting = asyncio.Lock()

    @asynccontextmanager
    async def listening(self, topic: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever `topic` is notified, and when the connection is lost."""
        rung = asyncio.Event()
        self._waiting[topic].add(rung)
        try:
            yield rung
        finally:
            self._waiting[topic].discard(rung)
            if not self._waiting[topic]:
                del self._waiting[topic]

    async def connect(self) -> None:
        """Listen, if that is not so already."""
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._url)
                self._connection.add_termination_listener(self._lost)
                await self._connection.add_listener(self._channel, self._heard)

    async def close(self) -> None:
        """Listen no more."""
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
