"""Jobs as the API tells of them."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from easel.schema.times import Time

Status = Literal[
    "backlogged",
    "queued",
    "scheduled",
    "processing",
    "sampling",
    "intermediate-complete",
    "completed",
    "failed",
    "cancelled",
]
"""Every status of the contract; this server uses backlogged, queued, processing and the terminal ones."""
Kind = Literal["generation", "analysis", "training"]
TERMINAL: frozenset[Status] = frozenset({"completed", "failed", "cancelled"})


class Result(BaseModel):
    """What a finished job has made: pictures, the analysis of a moodboard, or a style."""

    urls: list[str] = Field([], exclude_if=lambda urls: not urls)
    moodboard_id: UUID | None = Field(None, exclude_if=lambda moodboard_id: moodboard_id is None)
    style_id: str | None = Field(None, exclude_if=lambda style_id: style_id is None)


class Failure(BaseModel):
    """Why a job failed."""

    code: str
    message: str


class Job(BaseModel):
    """A job, exactly as `GET /jobs/{id}` and the webhook tell it."""

    job_id: UUID
    status: Status
    created_at: Time
    completed_at: Time | None = None
    result: Result | None = None
    error: Failure | None = Field(None, exclude_if=lambda error: error is None)


class Progress(BaseModel):
    """How far a painting or a training has come, or an analysis: then the steps are pictures."""

    step: int
    total: int
    preview: str | None = None
    """A data URI of a small JPEG."""


class Waiting(BaseModel):
    """Why no worker begins a job."""

    because: str


class JobDetails(BaseModel):
    """What easel adds to the contract's Job, on a route of its own."""

    job_id: UUID
    kind: Kind
    status: Status
    variant: str | None
    prompt: str | None
    expanded_prompt: str | None
    seed: int | None
    cost: Annotated[str, Field(description="USD, exact; charged when the job completes")]
    charged: bool
    engine: str | None
    checkpoint: str | None
    created_at: Time
    started_at: Time | None
    completed_at: Time | None
    waits_because: Annotated[
        str | None, Field(description="Why no worker begins it; null where one will, or has.")
    ] = None
    details: dict[str, Any]
    """The plan of the picture, how many pictures were analysed, or what was learnt; and timings."""
