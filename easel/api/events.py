"""A job's progress as server-sent events, followed from wherever the client left off."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import Header
from fastapi.responses import StreamingResponse

from easel.api.given import BaseURL, House, RowId, TheCaller, TheHouse
from easel.schema.jobs import Progress, Waiting
from easel.store import events, jobs

LastEventId = Annotated[
    int, Header(alias="Last-Event-ID", ge=0, le=2**63 - 1, description="Go on after this event.")
]


async def follow(
    job_id: RowId, caller: TheCaller, house: TheHouse, base: BaseURL, last_event_id: LastEventId = 0
) -> StreamingResponse:
    """Follow a job as server-sent events: progress, then completed, failed or cancelled; before that
    waiting, while no worker begins it."""
    await jobs.get(house.database, caller.workspace_id, job_id, base)
    told = _told(house, caller.workspace_id, job_id, base, last_event_id)
    return StreamingResponse(told, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _told(house: House, workspace_id: UUID, job_id: UUID, base: str, after: int) -> AsyncIterator[str]:
    because = None
    async for event in events.follow(house.database, job_id, after):
        if event is None:
            told, because = because, (await jobs.details(house.database, workspace_id, job_id)).waits_because
            yield ": nothing new\n\n" if because in (None, told) else _waiting(because)
            continue
        if event.kind == "progress":
            data = Progress.model_validate(event.data).model_dump_json()
        else:
            data = (await jobs.get(house.database, workspace_id, job_id, base)).model_dump_json()
        yield f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n"


def _waiting(because: str) -> str:
    """It has no id: who comes back is told how it is then."""
    return f"event: waiting\ndata: {Waiting(because=because).model_dump_json()}\n\n"
