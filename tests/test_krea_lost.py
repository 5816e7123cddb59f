"""python -m pytest tests/test_krea_lost.py — a GPU that is lost, and what becomes of the job."""

import asyncio
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from at_work import working
from databases import opened
from test_krea_training import RECIPE, Book
from test_lost import worker_of
from test_worker import counted, ended, job, submitted

from easel.errors import EngineLost
from easel.settings import KreaSources
from easel.store.blobs import Blobs
from easel.style.krea import KreaPainter

ILLEGAL = "CUDA error: an illegal memory access was encountered"
EXPLAINED = f"{ILLEGAL}\nCUDA kernel errors might be asynchronously reported at some other API call."

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture(scope="module")
def sources(tiny_turbo: Path, tiny_raw: Path) -> KreaSources:
    return KreaSources(str(tiny_turbo), str(tiny_raw), str(tiny_turbo))


@pytest.fixture(scope="module")
def painter(sources: KreaSources) -> KreaPainter:
    return KreaPainter.load(sources, "cpu")


def raising(*given: Any, **named: Any) -> Any:
    raise torch.AcceleratorError(EXPLAINED)


def on_a_gpu(painter: KreaPainter, monkeypatch: pytest.MonkeyPatch, breaks: str = "paint") -> None:
    """Let a painter fail as on a GPU that is asked, when it has failed, how it is."""
    monkeypatch.setattr(painter, "device", torch.device("cuda", 1))
    monkeypatch.setattr(painter._engine, breaks, raising)


def test_a_job_under_which_the_gpu_breaks_is_painted_by_another_worker(
    database_url: str, blobs: Blobs, painter: KreaPainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with opened(database_url) as database:
            job_id = await submitted(database)
            with monkeypatch.context() as broken:
                on_a_gpu(painter, broken)
                broken.setattr(torch.cuda, "synchronize", raising)
                with pytest.raises(EngineLost, match=f"^cuda:1 computes no more: {ILLEGAL}$"):
                    await worker_of(database, blobs, lambda: painter).run()
            assert (await job(database, job_id)).status == "queued"
            async with working(database, blobs, painter, safety="off"):
                assert (await ended(database, job_id)).status == "completed"
            assert await counted(database, "SELECT count(*) FROM ledger") == 1

    asyncio.run(story())


@pytest.mark.parametrize("error", [torch.AcceleratorError, torch.OutOfMemoryError])
def test_an_error_that_the_gpu_survives_fails_its_job_and_the_next_is_painted(
    database_url: str,
    blobs: Blobs,
    painter: KreaPainter,
    monkeypatch: pytest.MonkeyPatch,
    error: type[RuntimeError],
) -> None:
    asked: list[torch.device] = []

    def fail(*given: Any) -> Any:
        raise error("CUDA error: invalid configuration argument")

    async def story() -> None:
        async with opened(database_url) as database:
            async with working(database, blobs, painter, safety="off"):
                with monkeypatch.context() as troubled:
                    on_a_gpu(painter, troubled)
                    troubled.setattr(painter._engine, "paint", fail)
                    troubled.setattr(torch.cuda, "synchronize", asked.append)
                    failed = await ended(database, await submitted(database))
                assert failed.error is not None
                assert f"The engine failed: {error.__name__}: CUDA error: inv" in failed.error.message
                assert (await ended(database, await submitted(database))).status == "completed"
            assert asked == [torch.device("cuda", 1)]

    asyncio.run(story())


def test_a_gpu_may_break_in_a_training_and_while_a_moodboard_is_read(
    painter: KreaPainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_gpu(painter, monkeypatch, breaks="apart")
    monkeypatch.setattr("easel.style.krea.memory_of", lambda part, device: 0.0)
    monkeypatch.setattr("easel.style.krea.told_taste", raising)
    monkeypatch.setattr(torch.cuda, "synchronize", raising)
    for work in (lambda: painter.train([], RECIPE, Book()), lambda: painter.analyse([])):
        with pytest.raises(EngineLost, match=ILLEGAL):
            work()


def test_a_gpu_may_break_while_the_weights_are_loaded(
    sources: KreaSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("easel.model.open_weights.load_text", raising)
    with pytest.raises(torch.AcceleratorError):
        KreaPainter.load(sources, "cpu")
    monkeypatch.setattr("easel.engine.faults.fault_of", lambda device: ILLEGAL)
    with pytest.raises(EngineLost, match=ILLEGAL):
        KreaPainter.load(sources, "cpu")


def test_a_job_within_which_a_process_of_another_gpu_ends_is_painted_by_another_worker(
    database_url: str,
    blobs: Blobs,
    sources: KreaSources,
    painter: KreaPainter,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def story(together: KreaPainter) -> None:
        async with opened(database_url) as database:
            job_id = await submitted(database)
            for reason in ("a picture on several GPUs broke off: ", "a process of another GPU is gone"):
                with pytest.raises(EngineLost, match=reason):
                    await worker_of(database, blobs, lambda: together).run()
                assert (await job(database, job_id)).status == "queued"
            async with working(database, blobs, painter, safety="off"):
                assert (await ended(database, job_id)).status == "completed"
            assert await counted(database, "SELECT claims FROM jobs") == 3
            assert await counted(database, "SELECT count(*) FROM ledger") == 1

    together = KreaPainter.load(sources, "cpu,cpu")
    several = together._engine._several
    assert several is not None
    send, messages = several._send, iter([b"what is no order"])
    monkeypatch.setattr(several, "_send", lambda data: send(next(messages, data)))
    try:
        asyncio.run(story(together))
    finally:
        dist.destroy_process_group()
    for process in active_children():
        process.join(10)
    assert "The process of a further GPU ended" in capfd.readouterr().err
