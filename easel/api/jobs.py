"""Jobs: listed, read, cancelled, and what easel tells of them beyond the contract."""

from typing import Annotated

from fastapi import Query

from easel.api.given import BaseURL, RowId, TheCaller, TheHouse
from easel.api.pages import Cursor, Limit, words
from easel.catalog import MODELS
from easel.schema.jobs import Job, JobDetails, Status
from easel.schema.pages import Page
from easel.store import ends, jobs, trainings

TYPES = [*MODELS, "analysis", "training"]
Types = Annotated[str | None, Query(description=f"Comma separated job types: {', '.join(TYPES)}.")]


async def index(
    caller: TheCaller,
    house: TheHouse,
    base: BaseURL,
    limit: Limit = 100,
    cursor: Cursor = None,
    types: Types = None,
    status: Annotated[Status | None, Query(description="Only jobs in this state.")] = None,
) -> Page[Job]:
    """List jobs, newest first."""
    return await jobs.page(
        house.database,
        caller.workspace_id,
        base,
        limit=limit,
        before=cursor,
        status=status,
        types=[one for one in TYPES if one in words(types)] if types else None,
    )


async def show(job_id: RowId, caller: TheCaller, house: TheHouse, base: BaseURL) -> Job:
    """One job."""
    return await jobs.get(house.database, caller.workspace_id, job_id, base)


async def cancel(job_id: RowId, caller: TheCaller, house: TheHouse, base: BaseURL) -> Job:
    """Cancel a job; one that has ended stays as it is."""
    cancelled = await ends.cancel(
        house.database, caller.workspace_id, job_id, base, limits=house.settings.limits
    )
    await trainings.sweep(house.database, house.blobs, job_id)
    return cancelled


async def details(job_id: RowId, caller: TheCaller, house: TheHouse) -> JobDetails:
    """How a job went: seed, expanded prompt, cost, timings."""
    return await jobs.details(house.database, caller.workspace_id, job_id)
