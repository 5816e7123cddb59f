"""Ground: what every long-running process of easel does: logs to stderr, and ends with its supervisor."""

import asyncio
import os
import sys
from collections.abc import Callable

import structlog

WATCH_SECONDS = 0.5


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
