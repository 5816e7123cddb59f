"""Ground: what every long-running process of easel does: logs to stderr, and ends with its supervisor."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from multiprocessing import parent_process
from threading import Thread

import structlog

WATCH_SECONDS = 0.5
ENDING_SECONDS = 1.0  # to end in good order when the parent is gone

log = structlog.get_logger()


def log_to_stderr() -> None:
    """Leave stdout to what was asked for."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


async def follow(supervisor: int | None, stop: Callable[[], None]) -> None:
    """Stop when the supervisor that started this process, if one did, is gone, however it ended."""
    while supervisor in (None, os.getppid()):
        await asyncio.sleep(WATCH_SECONDS)
    stop()


def end_with_parent() -> None:
    """Let this process, started by `multiprocessing`, outlive its parent by a second at most, whatever it is
    waiting for: it may hold memory that the parent's successor needs."""
    parent = parent_process()
    assert parent

    def end() -> None:
        parent.join()
        time.sleep(ENDING_SECONDS)
        log.warning("Its parent is gone, and the process ends", pid=os.getpid())
        os._exit(1)

    Thread(target=end, daemon=True).start()
