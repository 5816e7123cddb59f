"""Webhooks, to a real receiver. Alone: python -m pytest tests/test_webhooks.py"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from at_work import painted, working
from conftest import opened
from sqlalchemy import text
from standardwebhooks import Webhook

from easel.engine.null import NullPainter
from easel.jobs import deliver
from easel.signing import new_webhook_secret, signed_headers
from easel.store import workspaces
from easel.store.blobs import Blobs
from easel.store.database import Database

LOCAL = {"allow_networks": ["127.0.0.0/8"]}


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent, and answers the statuses it was given, the last one from then on."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.statuses = list(statuses)
        self.messages: list[tuple[dict[str, str], str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class Answer(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.messages.append((dict(self.headers), body))
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.send_header("location", self.server.url)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    with Receiver(*statuses) as receiver:
        thread = Thread(target=receiver.serve_forever)
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


async def delivery(database: Database, attempts: int) -> Any:
    """The only delivery, once it was attempted so often."""
    while True:
        async with database.read() as connection:
            row = (await connection.execute(text("SELECT * FROM deliveries"))).one()
        if row.attempts >= attempts:
            return row
        await asyncio.sleep(0.02)


async def entries(database: Database) -> Any:
    async with database.read() as connection:
        return await connection.scalar(text("SELECT count(*) FROM pgqueuer"))


def test_a_webhook_tells_the_job_and_the_official_library_verifies_it(
    database_url: str, blobs: Blobs
) -> None:
    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter(), **LOCAL):
            job = await painted(database, receiver.url)
            await delivery(database, 1)
            (secret,) = await workspaces.webhook_secrets(database, await workspaces.default(database))
        ((headers, body),) = receiver.messages
        assert Webhook(secret).verify(body, headers) == json.loads(job.model_dump_json())
        assert job.result is not None

    with receiving(200) as receiver:
        asyncio.run(story())


def test_a_delivery_is_tried_again_with_the_same_id_until_it_is_received(
    database_url: str, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter(), **LOCAL):
            await painted(database, receiver.url)
            done = await delivery(database, 3)
            assert done.delivered
            assert await entries(database) == 0
        assert len({headers["webhook-id"] for headers, _ in receiver.messages}) == 1
        assert len(receiver.messages) == 3

    monkeypatch.setattr(deliver, "RETRY_AFTER", [timedelta(0), timedelta(0), timedelta(hours=1)])
    with receiving(500, 302, 204) as receiver:
        asyncio.run(story())


def test_a_receiver_that_is_gone_is_left_alone(database_url: str, blobs: Blobs) -> None:
    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter(), **LOCAL):
            await painted(database, receiver.url)
            done = await delivery(database, 1)
            assert (done.delivered, done.error) == (False, "The receiver answered 410")
            assert await entries(database) == 0

    with receiving(410) as receiver:
        asyncio.run(story())


def test_a_private_address_is_not_delivered_to_unless_the_setting_allows_it(
    database_url: str, blobs: Blobs
) -> None:
    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter()):
            await painted(database, receiver.url)
            done = await delivery(database, 1)
            assert not done.delivered
            assert "EASEL_ALLOW_NETWORKS" in done.error
        assert receiver.messages == []

    with receiving(200) as receiver:
        asyncio.run(story())


def test_retries_come_as_promised() -> None:
    assert [int(delay.total_seconds()) for delay in deliver.RETRY_AFTER] == [
        *(5, 5 * 60, 30 * 60),
        *(2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600),
    ]


def test_a_message_is_signed_with_each_secret_during_a_rotation() -> None:
    old, new = new_webhook_secret(), new_webhook_secret()
    headers = signed_headers([old, new], str(UUID(int=1)), "{}")
    assert Webhook(old).verify("{}", headers) == Webhook(new).verify("{}", headers) == {}
