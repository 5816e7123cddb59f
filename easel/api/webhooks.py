"""Deliveries of webhooks: listed, read, sent again."""

from typing import Annotated
from uuid import UUID

from fastapi import Query

from easel.api.given import RowId, TheCaller, TheHouse
from easel.api.pages import Cursor, Limit
from easel.schema.pages import Page
from easel.schema.webhooks import Delivery, State
from easel.store import webhooks

OfJob = Annotated[UUID | None, Query(description="Only what tells of this job.")]
InState = Annotated[State | None, Query(description="Only deliveries in this state.")]


async def index(
    caller: TheCaller,
    house: TheHouse,
    limit: Limit = 100,
    cursor: Cursor = None,
    job_id: OfJob = None,
    state: InState = None,
) -> Page[Delivery]:
    """List deliveries of webhooks, newest first."""
    return await webhooks.page(
        house.database, caller.workspace_id, limit=limit, before=cursor, job_id=job_id, state=state
    )


async def show(delivery_id: RowId, caller: TheCaller, house: TheHouse) -> Delivery:
    """One delivery."""
    return await webhooks.get(house.database, caller.workspace_id, delivery_id)


async def resend(delivery_id: RowId, caller: TheCaller, house: TheHouse) -> Delivery:
    """Send a delivery again, now: the same id and body, with all attempts before it."""
    return await webhooks.resend(house.database, caller.workspace_id, delivery_id)
