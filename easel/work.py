"""The worker process: builds what a worker needs, and runs it until it is told to stop."""

import asyncio
import os
import signal
from functools import partial

import structlog
import uvloop

from easel.engine.null import NullPainter
from easel.errors import CheckpointError, EaselError
from easel.jobs.worker import Worker
from easel.licence import check_filtered
from easel.process import follow, log_to_stderr
from easel.safety.guard import Guard, guard_of
from easel.schema.painting import Painter
from easel.settings import Settings
from easel.store.opening import open_blobs, open_database

log = structlog.get_logger()


def work(settings: Settings) -> None:
    """Paint and deliver until SIGTERM; Unfiltered where the licence of the weights forbids that."""
    log_to_stderr()
    check_filtered(settings)
    if settings.is_unfiltered and settings.filtered_elsewhere:
        log.warning("Filtered elsewhere (EASEL_FILTERED_ELSEWHERE)", by=settings.filtered_elsewhere)
    elif settings.is_unfiltered:
        log.warning("SAFETY IS OFF (EASEL_SAFETY): pictures of anything are painted, kept and shown")
    try:
        uvloop.run(_work(settings))
    except EaselError as error:
        log.error("The worker ended", error=error.message)
        os._exit(1)
    except Exception:
        log.exception("The worker ended")
        os._exit(1)
    os._exit(0)  # a painter's thread that is still at work is not waited for


async def _work(settings: Settings) -> None:
    async with open_database(settings) as database:
        worker = Worker(database, open_blobs(settings), settings, partial(load_tools, settings))
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, worker.stop)
        following = loop.create_task(follow(settings.supervisor, worker.stop))
        await worker.run()
        following.cancel()


def load_tools(settings: Settings) -> tuple[Painter, Guard]:
    """The painter and the guard that the settings name, or CheckpointError."""
    return load_painter(settings), guard_of(settings)


def load_painter(settings: Settings) -> Painter:
    """The painter that the settings name, or CheckpointError."""
    if settings.models == "null":
        return NullPainter(settings.null_step_seconds)
    # A thread that spins while it waits takes the core from one it waits for, wherever others are at work.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        if settings.models == "krea":  # here: the null painter starts without torch
            from easel.style.krea import KreaPainter

            return KreaPainter.load(settings.krea, settings.device, chat=settings.expander)
        if settings.device.startswith("cuda"):
            raise CheckpointError(
                f"EASEL_DEVICE is {settings.device!r}, and nano paints on the processor: unset it, or paint "
                "with EASEL_MODELS=krea"
            )
        from easel.style.painter import SHIPPED, NanoPainter
    except ModuleNotFoundError as error:
        raise CheckpointError(f"{error.name!r} is not installed: pip install 'easel[worker]'") from error
    return NanoPainter.load(settings.checkpoint or SHIPPED)
