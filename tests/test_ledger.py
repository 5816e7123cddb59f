"""The ledger whatever kills, cancels and retries. Alone: python -m pytest tests/test_ledger.py"""

import asyncio
from decimal import Decimal
from typing import Any

from conftest import opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from easel.schema.generation import GenerationRequest
from easel.store import jobs, queue, workspaces
from easel.store.database import Database
from easel.store.jobs import Claim
from easel.store.queue import Entry

ACTIONS = st.sampled_from(["submit", "claim", "complete", "fail", "cancel"])
VARIANTS = {"medium": Decimal("0.030"), "medium-turbo": Decimal("0.015"), "large": Decimal("0.060")}


class Story:
    """Jobs, and all claims ever made to them: those that were lost are still tried."""

    def __init__(self, database: Database, workspace: Any) -> None:
        self.database = database
        self.workspace = workspace
        self.jobs: list[Any] = []
        self.claims: list[tuple[Claim, Entry]] = []

    async def act(self, action: str, number: int) -> None:
        if action == "submit":
            variant = list(VARIANTS)[number % 3]
            request = GenerationRequest(prompt="a fox")
            job = await jobs.submit(self.database, self.workspace, variant, request, base_url="http://e")
            self.jobs.append(job.job_id)
        elif action in ("claim", "cancel") and self.jobs:
            job_id = self.jobs[number % len(self.jobs)]
            if action == "cancel":
                await jobs.cancel(self.database, self.workspace, job_id, "http://e")
            elif claim := await jobs.claim(self.database, job_id):
                self.claims.append((claim, Entry(0, job_id)))
        elif action in ("complete", "fail") and self.claims:
            claim, entry = self.claims[number % len(self.claims)]
            if action == "fail":
                await jobs.fail(self.database, claim, entry, code="engine_error", message="no")
            else:
                made = {"file_key": "f.png", "expanded_prompt": "", "engine": "", "checkpoint": ""}
                await jobs.complete(self.database, claim, entry, details={}, **made)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(ACTIONS, st.integers(0, 5)), max_size=25))
def test_what_is_charged_is_what_completed_times_its_price(
    database_url: str, actions: list[tuple[str, int]]
) -> None:
    async def told() -> None:
        async with opened(database_url) as database:
            story = Story(database, await workspaces.default(database))
            for action, number in actions:
                await story.act(action, number)
            async with database.read() as connection:
                done = await connection.execute(text("SELECT variant FROM jobs WHERE status = 'completed'"))
                due = sum((VARIANTS[variant] for (variant,) in done), Decimal(0))
                charged = await connection.scalar(text("SELECT coalesce(sum(amount), 0) FROM ledger"))
            assert charged == due

    asyncio.run(told())


def test_an_entry_is_held_by_one_worker_at_a_time(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            request = GenerationRequest(prompt="a fox")
            made = [
                (await jobs.submit(database, workspace, "medium", request, base_url="http://e")).job_id
                for _ in range(20)
            ]
            taken = await asyncio.gather(
                *(queue.take(database, queue.GENERATE, worker, 5) for worker in made[:4])
            )
            rows = [entry.row for entries in taken for entry in entries]
            assert len(rows) == len(set(rows))
            assert set(rows) <= set(made)

    asyncio.run(story())
