"""From a claimed job to a kept picture. Alone: python -m pytest tests/test_generate.py"""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from at_work import BASE, painted, working
from databases import opened
from PIL.Image import Image
from structlog.testing import capture_logs

from easel.engine.null import NullPainter
from easel.errors import CheckpointError
from easel.jobs.worker import Worker
from easel.safety.guard import Guard, guard_of
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Painter, Step
from easel.settings import Settings
from easel.store import events, jobs, submits, workers, workspaces
from easel.store.askers import Asker
from easel.store.blobs import Blobs
from easel.store.database import Database


def test_a_worker_without_a_checkpoint_says_why_and_leaves_its_jobs_to_others(
    database_url: str, blobs: Blobs
) -> None:
    lacking = "The folder '/nowhere' holds no checkpoint"

    async def why_waiting(database: Database, job_id: UUID) -> str | None:
        workspace = await workspaces.default(database)
        return (await jobs.details(database, workspace, job_id)).waits_because

    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs):
            fox = GenerationRequest(prompt="a fox")
            workspace = await workspaces.default(database)
            waiting = (await submits.submit(database, Asker(workspace, BASE), "medium", fox)).job_id
            while (await why_waiting(database, waiting)) == "a worker is loading its checkpoint":
                await asyncio.sleep(0.05)
            assert await why_waiting(database, waiting) == lacking
            async with working(database, blobs, NullPainter()):
                assert (await painted(database)).status == "completed"
                assert (await jobs.get(database, workspace, waiting, BASE)).status == "completed"
                assert await why_waiting(database, waiting) is None

    asyncio.run(story())


def test_a_checkpoint_that_comes_later_is_loaded_then_and_what_waits_is_painted(
    database_url: str, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("easel.jobs.worker.RELOAD_SECONDS", 0.05)
    settings, tried = Settings(models="null"), []

    def load() -> tuple[Painter, Guard]:
        tried.append(1)
        if len(tried) < 3:
            raise CheckpointError("the hub cannot be reached")
        return NullPainter(), guard_of(settings)

    async def story() -> None:
        async with opened(database_url) as database:
            worker = Worker(database, blobs, settings, load)
            with capture_logs() as said:
                running = asyncio.create_task(worker.run())
                assert (await painted(database)).status == "completed"
            assert len([entry for entry in said if "hub" in entry.get("error", "")]) == 1, "told once"
            [present] = await workers.alive(database)
            assert (present.state, present.error) == ("ready", None)
            worker.stop()
            await running

    asyncio.run(story())
    assert len(tried) == 3


def test_the_same_seed_gives_the_same_bytes_with_the_recipe_inside(database_url: str, blobs: Blobs) -> None:
    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter()):
            pictures = []
            for _ in range(2):
                job = await painted(database, seed=7)
                assert job.result is not None
                pictures.append(await blobs.get(job.result.urls[0].rpartition("/")[2]))
            assert pictures[0] == pictures[1]
            assert b'"seed": 7' in pictures[0]

    asyncio.run(story())


def test_each_step_is_told_with_a_preview(database_url: str, blobs: Blobs) -> None:
    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter(0.06)):
            job = await painted(database)
            *steps, end = await events.since(database, job.job_id, 0)
            assert [step.data["step"] for step in steps] == [1, 2, 3, 4, 5, 6, 7, 8]
            assert all(step.data["preview"].startswith("data:image/jpeg;base64,") for step in steps)
            assert end.kind == "completed"

    asyncio.run(story())


def test_steps_that_follow_each_other_faster_than_anyone_can_look_are_not_all_told(
    database_url: str, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Showing(NullPainter):
        """It counts its previews."""

        made = 0

        def paint(
            self, request: Any, materials: Any, model: Any, seed: int, on_step: Any, *heard: Any
        ) -> Any:
            def counted(step: Step) -> None:
                on_step(replace(step, preview=lambda: self.show(step)))

            return super().paint(request, materials, model, seed, counted, *heard)

        def show(self, step: Step) -> Image | None:
            self.made += 1
            return step.preview()

    painter = Showing()

    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, painter):
            job = await painted(database)
            *steps, end = await events.since(database, job.job_id, 0)
            assert [step.data["step"] for step in steps] == [1]
            assert painter.made == 1
            assert end.kind == "completed"

    monkeypatch.setattr("easel.jobs.generate.TOLD_EVERY", 60)  # no machine is as slow
    asyncio.run(story())


def test_the_next_picture_is_painted_while_the_last_one_is_kept(
    database_url: str, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        kept, put = asyncio.Event(), Blobs.put

        async def put_slowly(self: Blobs, key: str, data: bytes) -> None:
            await kept.wait()
            await put(self, key, data)

        monkeypatch.setattr(Blobs, "put", put_slowly)
        async with opened(database_url) as database, working(database, blobs, NullPainter()):
            first, second = (asyncio.create_task(painted(database)) for _ in range(2))
            workspace = await workspaces.default(database)
            while True:
                under_way = await jobs.page(database, workspace, "", limit=9, status="processing")
                begun = [bool(await events.since(database, job.job_id, 0)) for job in under_way.items]
                if begun == [True, True]:
                    break
                await asyncio.sleep(0.02)
            kept.set()
            assert {(await first).status, (await second).status} == {"completed"}

    asyncio.run(story())


def test_a_start_picture_that_is_gone_fails_the_job_and_is_named(database_url: str, blobs: Blobs) -> None:
    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter()):
            failed = await painted(database, image_url="data:image/png;base64,Zm94")
            assert failed.error is not None
            assert failed.error.code == "reference_unreadable"
            assert failed.error.message.startswith(
                "The start picture 'data:image/png;base64,Zm94' cannot be used"
            )

    asyncio.run(story())


def test_a_reference_is_read_from_our_own_files_without_the_network(database_url: str, blobs: Blobs) -> None:
    async def story() -> None:
        async with opened(database_url) as database, working(database, blobs, NullPainter()):
            first = await painted(database)
            assert first.result is not None
            reference = {"url": first.result.urls[0], "strength": 0.6}
            second = await painted(database, image_style_references=[reference])
            assert second.status == "completed"

    asyncio.run(story())
