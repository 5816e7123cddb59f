"""The ledger whatever kills, cancels and retries. Alone: python -m pytest tests/test_ledger.py"""

import asyncio
from contextlib import suppress
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from databases import opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from easel.errors import PaymentRequired, TooManyRequests
from easel.schema.generation import GenerationRequest
from easel.settings import Limits
from easel.store import claims, ends, ledger, queue, submits, workspaces
from easel.store.askers import Asker
from easel.store.claims import Claim
from easel.store.database import Database
from easel.store.queue import Entry

PREPAID = Limits(prepaid=True)
LIMITED = Limits(concurrency=2, backlog=3)
REQUEST = GenerationRequest(prompt="a fox")
ACTIONS = st.sampled_from(["top up", "submit", "claim", "complete", "fail", "cancel"])
MOMENTS = st.lists(st.tuples(ACTIONS, st.integers(0, 5)), min_size=1, max_size=3)  # all at once
VARIANTS = {"medium": Decimal("0.030"), "medium-turbo": Decimal("0.015"), "large": Decimal("0.060")}


class Story:
    """Jobs, and all claims ever made to them: those that were lost are still tried."""

    def __init__(self, database: Database, workspace: Any, limits: Limits) -> None:
        self.database = database
        self.workspace = workspace
        self.limits = limits
        self.paid = Decimal(0)
        self.jobs: list[Any] = []
        self.claims: list[tuple[Claim, Entry]] = []

    async def act(self, action: str, number: int) -> None:
        if action == "top up":
            amount = Decimal("0.0175") * (number + 1)
            await ledger.top_up(self.database, self.workspace, amount)
            self.paid += amount
        elif action == "submit":
            variant = list(VARIANTS)[number % 3]
            with suppress(PaymentRequired, TooManyRequests):
                asker = Asker(self.workspace, "http://e", limits=self.limits)
                job = await submits.submit(self.database, asker, variant, REQUEST)
                self.jobs.append(job.job_id)
        elif action in ("claim", "cancel") and self.jobs:
            job_id = self.jobs[number % len(self.jobs)]
            if action == "cancel":
                await ends.cancel(self.database, self.workspace, job_id, "http://e", limits=self.limits)
            elif claim := await claims.claim(self.database, job_id):
                self.claims.append((claim, Entry(0, job_id)))
        elif action in ("complete", "fail") and self.claims:
            claim, entry = self.claims[number % len(self.claims)]
            if action == "fail":
                failure = {"code": "engine_error", "message": "no"}
                await ends.fail(self.database, claim, entry, **failure, limits=self.limits)
            else:
                made = {"file_key": "f.png", "expanded_prompt": "", "engine": "", "checkpoint": ""}
                await ends.complete(self.database, claim, entry, details={}, **made, limits=self.limits)

    async def due(self, condition: str) -> Decimal:
        """What the jobs cost for which `condition` holds, by the prices of the catalogue."""
        query = text(f"SELECT variant FROM jobs WHERE workspace_id = :its AND {condition}")
        async with self.database.read() as connection:
            found = await connection.execute(query, {"its": self.workspace})
            return sum((VARIANTS[variant] for (variant,) in found), Decimal(0))

    async def told(self, query: str) -> Any:
        async with self.database.read() as connection:
            return (await connection.execute(text(query), {"its": self.workspace})).one()


async def check_money(story: Story) -> None:
    has = await ledger.balance(story.database, story.workspace)
    spent = await story.due("status = 'completed'")
    [charged] = await story.told("SELECT coalesce(sum(amount), 0) FROM ledger WHERE workspace_id = :its")
    assert charged == spent
    assert has.amount == story.paid - spent
    assert has.promised == await story.due("status NOT IN ('completed', 'failed', 'cancelled')")
    assert not story.limits.prepaid or has.promised <= has.amount


async def check_backlog(story: Story) -> None:
    """The limits are kept and used up, and nothing that came later has left the backlog before."""
    row = await story.told(
        "SELECT count(*) FILTER (WHERE status IN ('queued', 'processing')) AS under_way,"
        " count(*) FILTER (WHERE status = 'backlogged') AS waiting,"
        " max(created_at) FILTER (WHERE status NOT IN ('backlogged', 'cancelled')) AS last_out,"
        " min(created_at) FILTER (WHERE status = 'backlogged') AS first_in,"
        " bool_and(queued = (status <> 'backlogged')) FILTER (WHERE status <> 'cancelled') AS entered"
        " FROM (SELECT jobs.*, pgqueuer.id IS NOT NULL AS queued FROM jobs"
        " LEFT JOIN pgqueuer ON payload = uuid_send(jobs.id) WHERE workspace_id = :its) AS mine"
    )
    limits = story.limits
    if limits.concurrency is None:
        assert row.waiting == 0
        return
    assert row.under_way <= limits.concurrency
    assert row.waiting <= limits.backlog
    if row.waiting:
        assert row.under_way == limits.concurrency
        assert row.first_in > row.last_out
    assert row.entered is not False


@pytest.mark.parametrize("limits", [Limits(), PREPAID, LIMITED], ids=["off", "prepaid", "limited"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MOMENTS, max_size=20))
def test_money_is_exact_and_the_backlog_in_order_whatever_happens_at_once(
    database_url: str, limits: Limits, moments: list[list[tuple[str, int]]]
) -> None:
    async def told() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.create(database, str(uuid4()), "owner")
            story = Story(database, workspace, limits)
            for moment in moments:
                await asyncio.gather(*(story.act(action, number) for action, number in moment))
                await check_money(story)
                await check_backlog(story)

    asyncio.run(told())


def test_of_many_submitted_at_once_only_those_are_accepted_that_the_balance_covers(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            await ledger.top_up(database, workspace, Decimal("0.215"))
            asking = (
                submits.submit(database, Asker(workspace, "http://e", limits=PREPAID), "medium", REQUEST)
                for _ in range(20)
            )
            answers = await asyncio.gather(*asking, return_exceptions=True)
            refused = [answer for answer in answers if isinstance(answer, PaymentRequired)]
            assert len(refused) == 13
            assert await ledger.balance(database, workspace) == ledger.Balance(
                Decimal("0.215"), Decimal("0.210")
            )
            async with database.read() as connection:
                assert await connection.scalar(text("SELECT count(*) FROM pgqueuer")) == 7

    asyncio.run(story())


def test_an_entry_is_held_by_one_worker_at_a_time(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            made = [
                (await submits.submit(database, Asker(workspace, "http://e"), "medium", REQUEST)).job_id
                for _ in range(20)
            ]
            taken = await asyncio.gather(
                *(queue.take(database, queue.PAINT, worker, 5) for worker in made[:4])
            )
            rows = [entry.row for entries in taken for entry in entries]
            assert len(rows) == len(set(rows))
            assert set(rows) <= set(made)

    asyncio.run(story())
