"""Jobs in the database. Alone: python -m pytest tests/test_jobs_store.py"""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from databases import opened
from sqlalchemy import text

from easel.errors import Cancelled, NotFound, Unprocessable
from easel.schema.generation import GenerationRequest
from easel.schema.jobs import Job, Progress
from easel.store import claims, ends, events, jobs, repeats, submits, tokens, workspaces
from easel.store.askers import Asker
from easel.store.database import Database
from easel.store.queue import Entry

BASE = "http://easel.test"
ENTRY = Entry(1, UUID(int=0))  # the first of a fresh queue
FINISHED: dict[str, Any] = {
    "file_key": "f.png", "expanded_prompt": "a fox", "engine": "null", "checkpoint": "null", "details": {},
}  # fmt: skip


async def submitted(
    database: Database, workspace: UUID, *, key: str | None = None, prompt: str = "a fox"
) -> Job:
    asker, request = Asker(workspace, BASE, idempotency_key=key), GenerationRequest(prompt=prompt)
    try:
        asker = await repeats.recognise(database, asker, "medium", request)
        return await submits.submit(database, asker, "medium", request)
    except repeats.Repeated as repeat:
        return jobs.told(repeat.job, BASE)


async def counted(database: Database, query: str) -> Any:
    async with database.read() as connection:
        return await connection.scalar(text(query))


def test_a_job_and_its_queue_entry_commit_together_or_not_at_all(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            await submitted(database, workspace)
            async with database.begin() as connection:
                await connection.execute(text("ALTER TABLE pgqueuer ADD CHECK (false) NOT VALID"))
            with pytest.raises(asyncpg.CheckViolationError):
                await submitted(database, workspace)
            assert await counted(database, "SELECT count(*) FROM jobs") == 1
            assert await counted(database, "SELECT count(*) FROM pgqueuer") == 1

    asyncio.run(story())


def test_a_finished_job_is_charged_once_and_its_webhook_is_queued_in_the_same_moment(
    database_url: str,
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            asker = Asker(workspace, BASE, webhook_url="https://example.com/hook")
            job = await submits.submit(database, asker, "medium", GenerationRequest(prompt="a fox"))
            claim = await claims.claim(database, job.job_id)
            assert claim is not None
            assert await ends.complete(database, claim, ENTRY, **FINISHED)
            assert not await ends.complete(database, claim, ENTRY, **FINISHED)
            assert await counted(database, "SELECT sum(amount) FROM ledger") == Decimal("0.030")
            assert await counted(database, "SELECT array_agg(entrypoint) FROM pgqueuer") == ["deliver"]
            done = await jobs.get(database, workspace, job.job_id, BASE)
            assert done.result is not None
            assert done.result.urls == [f"{BASE}/files/f.png"]
            assert await counted(database, "SELECT body FROM deliveries") == done.model_dump_json()

    asyncio.run(story())


def test_a_worker_that_lost_its_lease_can_neither_report_nor_finish_nor_charge(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            job = await submitted(database, workspace)
            late = await claims.claim(database, job.job_id)
            current = await claims.claim(database, job.job_id)
            assert late is not None
            assert current is not None
            with pytest.raises(Cancelled):
                await claims.report(database, late, Progress(step=1, total=8))
            assert not await ends.complete(database, late, ENTRY, **FINISHED)
            assert not await ends.fail(database, late, ENTRY, code="timeout", message="too late")
            assert await counted(database, "SELECT count(*) FROM ledger") == 0
            assert await ends.complete(database, current, ENTRY, **FINISHED)
            assert await counted(database, "SELECT count(*) FROM ledger") == 1

    asyncio.run(story())


def test_a_cancelled_job_is_not_charged_and_cannot_be_claimed(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            job = await submitted(database, workspace)
            cancelled = await ends.cancel(database, workspace, job.job_id, BASE)
            assert cancelled.status == "cancelled"
            assert await ends.cancel(database, workspace, job.job_id, BASE) == cancelled
            assert await claims.claim(database, job.job_id) is None
            assert await counted(database, "SELECT count(*) FROM ledger") == 0

    asyncio.run(story())


def test_a_cancelled_job_stops_at_its_next_step(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            job = await submitted(database, workspace)
            claim = await claims.claim(database, job.job_id)
            assert claim is not None
            await claims.report(database, claim, Progress(step=1, total=8))
            await ends.cancel(database, workspace, job.job_id, BASE)
            with pytest.raises(Cancelled):
                await claims.report(database, claim, Progress(step=2, total=8))
            assert not await ends.complete(database, claim, ENTRY, **FINISHED)

    asyncio.run(story())


def test_fifty_posts_with_one_idempotency_key_make_one_job(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            made = await asyncio.gather(*(submitted(database, workspace, key="k") for _ in range(50)))
            assert len({job.job_id for job in made}) == 1
            assert await counted(database, "SELECT count(*) FROM pgqueuer") == 1
            with pytest.raises(Unprocessable, match="'k'"):
                await submitted(database, workspace, key="k", prompt="a bear")

    asyncio.run(story())


def test_an_idempotency_key_is_kept_for_a_day(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            made = [await submitted(database, workspace, key="k")]
            for hours in (23, 2):
                async with database.begin() as connection:
                    earlier = "UPDATE jobs SET created_at = created_at - interval '1 hour' * :hours"
                    await connection.execute(text(earlier), {"hours": hours})
                    await repeats.prune(connection)
                made.append(await submitted(database, workspace, key="k"))
            first, within_the_day, after_it = (job.job_id for job in made)
            assert first == within_the_day != after_it

    asyncio.run(story())


def test_another_workspace_sees_nothing_of_a_job(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            job = await submitted(database, workspace)
            for attempt in (jobs.get, ends.cancel):
                with pytest.raises(NotFound):
                    await attempt(database, uuid4(), job.job_id, BASE)
            assert (await jobs.page(database, uuid4(), BASE, limit=10)).items == []

    asyncio.run(story())


def test_jobs_are_listed_newest_first_a_page_at_a_time(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            made = [(await submitted(database, workspace)) for _ in range(5)]
            first = await jobs.page(database, workspace, BASE, limit=3)
            assert [job.job_id for job in first.items] == [job.job_id for job in reversed(made[2:])]
            rest = await jobs.page(database, workspace, BASE, limit=3, before=first.items[-1].created_at)
            assert [job.job_id for job in rest.items] == [made[1].job_id, made[0].job_id]
            assert rest.next_cursor is None

    asyncio.run(story())


def test_a_job_is_followed_from_any_event_to_its_end(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            job = await submitted(database, workspace)
            claim = await claims.claim(database, job.job_id)
            assert claim is not None
            await claims.report(database, claim, Progress(step=1, total=2))
            follower = events.follow(database, job.job_id)
            first = await anext(follower)
            assert first is not None
            following = asyncio.create_task(anext(follower))  # type: ignore[arg-type]
            await claims.report(database, claim, Progress(step=2, total=2))
            second = await asyncio.wait_for(following, 5)
            assert second.data == {"step": 2, "total": 2, "preview": None}
            await ends.complete(database, claim, ENTRY, **FINISHED)
            last = [event async for event in follower]
            assert [event.kind for event in last if event] == ["completed"]
            again = [event async for event in events.follow(database, job.job_id, after=first.id)]
            assert again == [second, *last]
            assert last[0] is not None
            assert [event async for event in events.follow(database, job.job_id, after=last[0].id)] == []

    asyncio.run(story())


def test_a_token_is_stored_as_a_hash_and_revoked_at_once(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            raw = await tokens.create(database, await workspaces.default(database), "laptop")
            caller = await tokens.caller(database, raw)
            assert caller is not None
            assert caller.name == "laptop"
            secret = raw.partition(":")[2]
            assert secret not in str(await counted(database, "SELECT json_agg(tokens)::text FROM tokens"))
            for wrong in (
                raw + "x",
                f"{caller.token_id}:",
                "",
                secret,
                f"{uuid4()}:{secret}",
                raw + "\udcff",
            ):
                assert await tokens.caller(database, wrong) is None
            await tokens.revoke(database, caller.token_id)
            assert await tokens.caller(database, raw) is None

    asyncio.run(story())
