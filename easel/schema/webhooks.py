"""Deliveries of webhooks as the API tells of them."""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from easel.schema.times import Time

State = Literal["pending", "delivered", "failed"]


class Delivery(BaseModel):
    """A webhook: where it goes, and how far it has come."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: UUID
    """The receiver's `webhook-id`, the same at each attempt."""
    job_id: UUID
    url: str
    state: State
    attempts: int
    """How often it was sent; a resend counts anew."""
    error: str | None
    """What went wrong at the last attempt."""
    created_at: Time
    next_attempt_at: Time | None
    """When it is sent next, if it is pending."""
