"""Webhooks, to a real receiver. Alone: python -m pytest tests/test_webhooks.py"""

import asyncio
import json
import socket
import time
from datetime import timedelta
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from at_work import BASE, painted, working
from databases import opened
from receiving import receiving
from sqlalchemy import text
from standardwebhooks import Webhook, WebhookVerificationError

from easel import outbound
from easel.engine.null import NullPainter
from easel.errors import Unprocessable
from easel.jobs import deliver, line
from easel.jobs.deliver import TO_ONE_AT_ONCE
from easel.jobs.worker import DELIVERIES_AT_ONCE
from easel.schema.generation import GenerationRequest
from easel.signing import new_webhook_secret, signed_headers
from easel.store import ends, submits, webhooks, workspaces
from easel.store.askers import Asker
from easel.store.blobs import Blobs
from easel.store.database import Database

LOCAL = {"allow_networks": ["127.0.0.0/8"]}
FOX = GenerationRequest(prompt="a fox")
PICKED = "SELECT count(*) FROM pgqueuer WHERE status = 'picked'"


async def delivery(database: Database, attempts: int) -> Any:
    """The only delivery, once it was attempted so often."""
    while True:
        async with database.read() as connection:
            row = (await connection.execute(text("SELECT * FROM deliveries"))).one()
        if row.attempts >= attempts:
            return row
        await asyncio.sleep(0.02)


async def entries(database: Database) -> Any:
    return await counted(database, "SELECT count(*) FROM pgqueuer")


async def counted(database: Database, query: str) -> Any:
    async with database.read() as connection:
        return await connection.scalar(text(query))


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
            assert done.state == "delivered"
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
            assert (done.state, done.error) == ("failed", "The receiver answered 410")
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
            assert done.state == "pending"
            assert "EASEL_ALLOW_NETWORKS" in done.error
        assert receiver.messages == []

    with receiving(200) as receiver:
        asyncio.run(story())


def test_a_receiver_that_takes_too_long_has_failed_and_after_the_last_attempt_it_is_given_up(
    database_url: str, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(url: str) -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter(), **LOCAL):
            await painted(database, url)
            done = await delivery(database, 2)
            assert (done.state, done.attempts) == ("failed", 2)
            assert "took more than 0.3 seconds" in done.error
            assert await entries(database) == 0

    monkeypatch.setattr(outbound, "POST_SECONDS", 0.3)
    monkeypatch.setattr(deliver, "RETRY_AFTER", [timedelta(0)])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(story(f"http://127.0.0.1:{silent.getsockname()[1]}/hook"))


def test_retries_come_as_promised() -> None:
    assert outbound.POST_SECONDS == 15
    assert [int(delay.total_seconds()) for delay in deliver.RETRY_AFTER] == [
        *(5, 5 * 60, 30 * 60),
        *(2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600),
    ]


def test_a_message_is_signed_with_each_secret_during_a_rotation() -> None:
    old, new = new_webhook_secret(), new_webhook_secret()
    headers = signed_headers([old, new], str(UUID(int=1)), "{}")
    assert Webhook(old).verify("{}", headers) == Webhook(new).verify("{}", headers) == {}


@pytest.mark.parametrize("silent", ["receiver", "name server"])
def test_a_receiver_that_never_answers_holds_up_no_job_and_no_cancel(
    database_url: str, blobs: Blobs, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    over = Event()
    look_up = socket.getaddrinfo

    def hang(host: str, *args: Any, **options: Any) -> Any:
        return over.wait() if host == "dead.example" else look_up(host, *args, **options)

    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter(), **LOCAL):
            workspace = await workspaces.default(database)
            asker = Asker(workspace, BASE, webhook_url=urls[silent])
            for _ in range(2 * TO_ONE_AT_ONCE):
                job = await submits.submit(database, asker, "medium", FOX)
                await ends.cancel(database, workspace, job.job_id, BASE)
            while await counted(database, PICKED) < TO_ONE_AT_ONCE:
                await asyncio.sleep(0.02)
            begun = time.monotonic()
            assert (await asyncio.wait_for(painted(database), 10)).status == "completed"
            job = await submits.submit(database, Asker(workspace, BASE), "medium", FOX)
            cancelled = await asyncio.wait_for(ends.cancel(database, workspace, job.job_id, BASE), 1)
            assert cancelled.status == "cancelled"
            assert time.monotonic() - begun < 10
            assert await counted(database, "SELECT sum(attempts) FROM deliveries") == 0

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(outbound, "LOOKUP_SECONDS", 60)
    monkeypatch.setattr(line, "GRACE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        urls = {
            "receiver": f"http://127.0.0.1:{listener.getsockname()[1]}/hook",
            "name server": "http://dead.example/hook",
        }
        try:
            asyncio.run(story())
        finally:
            over.set()


def test_a_receiver_that_never_answers_does_not_keep_the_others_waiting(
    database_url: str, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter(), **LOCAL):
            workspace = await workspaces.default(database)
            asker = Asker(workspace, BASE, webhook_url=silent)
            for _ in range(DELIVERIES_AT_ONCE + 10):
                job = await submits.submit(database, asker, "medium", FOX)
                await ends.cancel(database, workspace, job.job_id, BASE)
            await painted(database, receiver.url)
            begun = time.monotonic()
            while not receiver.messages:
                assert time.monotonic() - begun < 5
                await asyncio.sleep(0.02)

    monkeypatch.setattr(line, "GRACE_SECONDS", 0.1)
    with receiving(200) as receiver, socket.create_server(("127.0.0.1", 0)) as listener:
        silent = f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
        asyncio.run(story())


def test_a_delivery_that_was_given_up_is_sent_again_with_the_same_id_and_body(
    database_url: str, blobs: Blobs
) -> None:
    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter(), **LOCAL):
            workspace = await workspaces.default(database)
            await painted(database, receiver.url)
            gone = await delivery(database, 1)
            resent = await webhooks.resend(database, workspace, gone.id)
            assert (resent.state, resent.attempts, resent.error) == ("pending", 0, None)
            assert resent.next_attempt_at is not None
            done = await delivery(database, 1)
            assert (done.state, done.next_attempt_at, done.error) == ("delivered", None, None)
            assert await entries(database) == 0
        (first, second) = receiver.messages
        assert first[1] == second[1]
        assert first[0]["webhook-id"] == second[0]["webhook-id"] == str(gone.id)

    with receiving(410, 200) as receiver:
        asyncio.run(story())


def test_a_delivery_that_waits_for_its_next_attempt_is_resent_at_once_and_once(
    database_url: str, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter(), **LOCAL):
            workspace = await workspaces.default(database)
            await painted(database, receiver.url)
            waiting = await delivery(database, 1)
            assert waiting.state == "pending"
            assert waiting.next_attempt_at - waiting.created_at > timedelta(minutes=59)
            await webhooks.resend(database, workspace, waiting.id)
            assert (await delivery(database, 1)).state == "delivered"
            assert await entries(database) == 0
        assert len(receiver.messages) == 2

    monkeypatch.setattr(deliver, "RETRY_AFTER", [timedelta(hours=1)])
    with receiving(500, 200) as receiver:
        asyncio.run(story())


def test_during_a_rotation_both_secrets_verify_and_after_it_the_new_one(
    database_url: str, blobs: Blobs
) -> None:
    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter(), **LOCAL):
            workspace = await workspaces.default(database)
            (old,) = await workspaces.webhook_secrets(database, workspace)
            new = await webhooks.rotate_secret(database, workspace)
            assert await workspaces.webhook_secrets(database, workspace) == [new, old]
            with pytest.raises(Unprocessable, match="drop-old-secret"):
                await webhooks.rotate_secret(database, workspace)
            await painted(database, receiver.url)
            both = await delivery(database, 1)
            await webhooks.drop_old_secret(database, workspace)
            with pytest.raises(Unprocessable, match="rotate-secret"):
                await webhooks.drop_old_secret(database, workspace)
            await webhooks.resend(database, workspace, both.id)
            await delivery(database, 1)
        (during, after) = receiver.messages
        for secret in (old, new):
            Webhook(secret).verify(during[1], during[0])
        Webhook(new).verify(after[1], after[0])
        with pytest.raises(WebhookVerificationError):
            Webhook(old).verify(after[1], after[0])

    with receiving(200) as receiver:
        asyncio.run(story())
