"""A job that a command waits for: why it waits, and what becomes of it when the command is interrupted."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from easel.cli.output import say
from easel.sdk.client import Client

INTERRUPTED = 130


def say_waiting(because: str) -> None:
    """Why nobody begins what was asked for."""
    say(f"It waits: {because}.")


@contextmanager
def cancelling(client: Client, job_id: UUID) -> Iterator[None]:
    """Cancel the job, and end the command, where it is interrupted meanwhile."""
    try:
        yield
    except KeyboardInterrupt:
        client.jobs.cancel(job_id)
        say("Cancelled.")
        sys.exit(INTERRUPTED)
