"""How the server is: alive, ready, and in numbers."""

from fastapi import Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from easel.api.given import TheHouse
from easel.errors import Unavailable
from easel.store import jobs, queue, workers


class Health(BaseModel):
    """That all is well, or how far."""

    status: str
    waits: dict[str, str] = Field(
        {}, description="Models, or `training`, whose jobs wait, and why.", exclude_if=lambda waits: not waits
    )


async def healthz() -> Health:
    """Whether the server is alive."""
    return Health(status="ok")


async def readyz(house: TheHouse) -> Health:
    """Whether jobs are being worked on; if not, why."""
    found = await workers.alive(house.database)
    if any(worker.state == "ready" for worker in found):
        waits = {line: why for line in queue.JOBS if (why := workers.why_waiting(found, line))}
        return Health(status="ready", waits=waits)
    raise Unavailable(
        f"No worker is ready: {workers.why_idle(found) or 'none is running, start one with `easel work`'}"
    )


async def metrics(request: Request, house: TheHouse) -> Response:
    """Numbers for Prometheus."""
    meters = request.app.state.meters
    meters.set_workers(await workers.alive(house.database))
    meters.set_jobs(await jobs.unfinished(house.database))
    meters.set_queue(await queue.depth(house.database))
    return Response(generate_latest(meters.registry), media_type=CONTENT_TYPE_LATEST)
