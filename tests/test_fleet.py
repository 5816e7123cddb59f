"""Several workers, each with its variants, on one database. Alone: python -m pytest tests/test_fleet.py"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from answering import colours, data_uri
from at_work import BASE
from at_work import working as working_here
from databases import opened
from serving import serving
from test_worker import counted, ended, steps, until, working
from typer import BadParameter

from easel.cli import doctor
from easel.cli.main import app
from easel.engine.null import NullPainter
from easel.errors import CheckpointError
from easel.schema.generation import GenerationRequest
from easel.schema.styles import TrainingRequest
from easel.sdk.client import Client
from easel.settings import Settings
from easel.store import claims, ends, jobs, queue, submits, workers, workspaces
from easel.store.askers import Asker
from easel.store.blobs import Blobs
from easel.store.database import Database
from easel.work import load_painter

TURBO, RAW = "medium,medium-turbo", "large"
MADE: dict[str, Any] = {
    "file_key": "f.png", "expanded_prompt": "a fox", "engine": "null", "checkpoint": "null", "details": {},
}  # fmt: skip


class Signing(NullPainter):
    """Writes down what it paints: seed and variant."""

    def __init__(self) -> None:
        super().__init__()
        self.painted: list[tuple[int, str]] = []

    def paint(self, request: GenerationRequest, materials: Any, model: Any, seed: int, *hear: Any) -> Any:
        self.painted.append((seed, model.variant))
        return super().paint(request, materials, model, seed, *hear)


@asynccontextmanager
async def painting(url: str, blobs: Blobs, variants: str) -> AsyncIterator[Signing]:
    """A worker for these variants, on connections of its own."""
    painter = Signing()
    async with (
        opened(url) as database,
        working_here(database, blobs, painter, variants=variants, safety="off"),
    ):
        yield painter


async def submitted(database: Database, workspace: UUID, variant: str, seed: int = 0) -> UUID:
    fox = GenerationRequest(prompt="a fox", seed=seed)
    return (await submits.submit(database, Asker(workspace, BASE), variant, fox)).job_id


async def present(database: Database, *fleet: str) -> list[Sequence[str]]:
    """Workers that are there, by their variants, and the lines that each takes from."""
    lines = [(*variants.split(","), queue.ANALYSE) for variants in fleet]
    for those in lines:
        await workers.say(database, workers.Worker(uuid4(), "here", 1, "ready", those))
    return lines


async def next_of(database: Database, lines: Sequence[str]) -> UUID:
    """The job that a worker on these lines does next, once it is done."""
    [entry] = await queue.take(database, lines, uuid4(), 1)
    claim = await claims.claim(database, entry.row)
    assert claim is not None
    await ends.complete(database, claim, entry, **MADE)
    return entry.row


def test_each_job_is_painted_once_and_by_a_worker_that_holds_its_variant(
    database_url: str, blobs: Blobs
) -> None:
    async def story() -> None:
        async with opened(database_url) as database, AsyncExitStack() as fleet:
            workspace = await workspaces.default(database)
            variants = list(itertools.islice(itertools.cycle(("medium", "large", "medium-turbo")), 48))
            asked = enumerate(variants)
            made = [await submitted(database, workspace, variant, seed) for seed, variant in asked]
            held = (TURBO, TURBO, RAW, "medium,large")
            painters = [await fleet.enter_async_context(painting(database_url, blobs, one)) for one in held]
            for job_id in made:
                assert (await ended(database, job_id)).status == "completed"
            for painter, variants_held in zip(painters, held, strict=True):
                assert {variant for _, variant in painter.painted} <= set(variants_held.split(","))
            assert sorted(seed for p in painters for seed, _ in p.painted) == list(range(len(made)))
            assert await counted(database, "SELECT count(*) FROM ledger") == len(made)
            assert await counted(database, "SELECT count(*) FROM pgqueuer") == 0

    asyncio.run(story())


def test_a_job_that_no_worker_can_paint_waits_says_why_and_is_painted_when_one_comes(
    database_url: str, blobs: Blobs
) -> None:
    async def story() -> None:
        async with opened(database_url) as database, painting(database_url, blobs, TURBO) as turbo:
            workspace = await workspaces.default(database)
            large = await submitted(database, workspace, "large")
            medium = await submitted(database, workspace, "medium")
            assert (await ended(database, medium)).status == "completed"
            waiting = await jobs.details(database, workspace, large)
            assert (waiting.status, waiting.started_at) == ("queued", None)
            assert waiting.waits_because
            assert "no running worker takes jobs for large" in waiting.waits_because
            assert (await jobs.details(database, workspace, medium)).waits_because is None
            async with painting(database_url, blobs, RAW):
                assert (await ended(database, large)).status == "completed"
                assert (await jobs.details(database, workspace, large)).waits_because is None
            assert turbo.painted == [(0, "medium")]

    asyncio.run(story())


def test_a_killed_workers_job_is_painted_by_another_that_holds_its_variant(
    database_url: str, blobs: Blobs, tmp_path: Path
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            job_id = await submitted(database, workspace, "medium", seed=7)
            slow = {"EASEL_VARIANTS": TURBO, "EASEL_NULL_STEP_SECONDS": "5"}
            async with painting(database_url, blobs, RAW) as raw:
                with working(database_url, tmp_path, **slow) as killed:
                    await until(lambda: steps(database, job_id), 20)
                    killed.kill()
                async with painting(database_url, blobs, TURBO) as turbo:
                    assert (await ended(database, job_id)).status == "completed"
            assert (turbo.painted, raw.painted) == ([(7, "medium")], [])
            assert await counted(database, "SELECT count(*) FROM ledger") == 1

    asyncio.run(story())


def test_a_training_with_kreas_weights_waits_for_a_worker_that_has_raw(
    database_url: str, blobs: Blobs
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            workspace = await workspaces.default(database)
            asked = TrainingRequest(name="prints", urls=list(map(data_uri, colours(3))), max_train_steps=1)
            job = await submits.submit_training(database, Asker(workspace, BASE), asked, [])
            krea: dict[str, Any] = {"models": "krea", "safety": "on"}
            async with working_here(database, blobs, NullPainter(), krea_raw="", **krea):
                medium = await submitted(database, workspace, "medium")
                assert (await ended(database, medium)).status == "completed"
                told = await jobs.details(database, workspace, job.job_id)
                assert (told.status, told.started_at) == ("queued", None)
                assert "takes jobs for training" in (told.waits_because or "")
                async with working_here(database, blobs, NullPainter(), variants=RAW, **krea):
                    assert (await ended(database, job.job_id)).status == "completed"

    asyncio.run(story())


def test_jobs_that_nobody_paints_keep_no_turns_for_others(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            [lines] = await present(database, TURBO)
            heavy = await workspaces.create(database, "heavy", "ada")
            light = await workspaces.create(database, "light", "bob")
            for _ in range(5):
                await submitted(database, heavy, "large")
            lots = [await submitted(database, heavy, "medium") for _ in range(30)]
            assert [await next_of(database, lines) for _ in range(20)] == lots[:20]
            few = [await submitted(database, light, "medium") for _ in range(5)]
            begun = [await next_of(database, lines) for _ in range(10)]
            assert begun[0::2] == lots[20:25]
            assert begun[1::2] == few

    asyncio.run(story())


def test_each_line_has_turns_of_its_own_where_no_worker_shares_it(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            _, raw = await present(database, TURBO, RAW)
            ada = await workspaces.create(database, "a", "ada")
            bob = await workspaces.create(database, "b", "bob")
            for _ in range(20):
                await submitted(database, ada, "medium")
            bobs = [await submitted(database, bob, "large") for _ in range(3)]
            adas = await submitted(database, ada, "large")
            assert [await next_of(database, raw) for _ in range(4)] == [bobs[0], adas, *bobs[1:]]

    asyncio.run(story())


def test_a_worker_that_paints_all_keeps_each_workspaces_order_and_their_turns(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            [lines] = await present(database, f"{TURBO},{RAW}")
            ada = await workspaces.create(database, "a", "ada")
            bob = await workspaces.create(database, "b", "bob")
            asked = ("medium", "large", "large", "medium-turbo", "medium", "large")
            adas = [await submitted(database, ada, variant) for variant in asked]
            bobs = [await submitted(database, bob, variant) for variant in reversed(asked)]
            begun = [await next_of(database, lines) for _ in range(12)]
            assert begun[0::2] == adas
            assert begun[1::2] == bobs

    asyncio.run(story())


def test_many_workers_take_each_entry_once(database_url: str) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            lines = await present(database, TURBO, RAW, "medium,large", "medium")
            workspace = await workspaces.default(database)
            variants = itertools.islice(itertools.cycle(("medium", "large", "medium-turbo")), 90)
            made = [await submitted(database, workspace, variant) for variant in variants]
            taken: Counter[UUID] = Counter()

            async def work(lines: Sequence[str]) -> None:
                idle = 0
                while idle < 5:  # what another looks at in that moment is passed over
                    entries = await queue.take(database, lines, uuid4(), 1)
                    taken.update(entry.row for entry in entries)
                    idle = 0 if entries else idle + 1

            await asyncio.gather(*map(work, lines))
            assert taken == Counter(made)

    asyncio.run(story())


def test_a_server_whose_worker_paints_no_large_tells_so_everywhere(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serving(data_folder, EASEL_VARIANTS=TURBO, EASEL_SAFETY="off") as served,
        Client(served.token, served.url) as client,
    ):
        assert client.generate("a fox").job.status == "completed"
        ready = httpx.get(f"{served.url}/readyz").json()
        assert ready["status"] == "ready"
        assert ready["waits"].keys() == {"large"}
        assert "takes no jobs for large: they wait" in (data_folder / "serve.log").read_text()
        monkeypatch.setenv("EASEL_DATA", str(served.data))
        settings = Settings()
        assert doctor.workers(settings).endswith(
            "ready with null (medium medium-turbo analysis training); nobody takes jobs for large"
        )
        large = client.submit("a fox", model="large")
        assert "jobs for large" in (client.jobs.details(large.job_id).waits_because or "")
        with pytest.raises(doctor.Trouble, match="jobs for large that wait: 1: no running worker"):
            doctor.workers(settings)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--variants", "medium,huge"], "'huge' is none of medium, medium-turbo, large"),
        (["--variants", "large", "--models", "krea"], "what EASEL_KREA_RAW names: it is empty"),
        (["--device", "gpu0"], "EASEL_DEVICE"),
    ],
)
def test_a_worker_for_what_is_not_there_does_not_start(
    options: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EASEL_KREA_RAW", "")
    with pytest.raises(BadParameter, match=says):
        app(["work", *options], standalone_mode=False)


def test_nano_is_not_told_to_paint_on_a_gpu() -> None:
    with pytest.raises(CheckpointError, match=r"EASEL_DEVICE is 'cuda:1', and nano paints on the processor"):
        load_painter(Settings(models="nano", device="cuda:1"))
