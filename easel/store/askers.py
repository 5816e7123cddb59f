"""Who asks for a job."""

from dataclasses import dataclass
from uuid import UUID

from easel.settings import UNLIMITED, Limits


@dataclass(frozen=True)
class Asker:
    """Who asks for a job, who is told of it, how much their workspace may have going, and by what their
    request is known when it is sent again."""

    workspace_id: UUID
    base_url: str  # of the file URLs in what is told
    token_id: UUID | None = None
    webhook_url: str | None = None
    limits: Limits = UNLIMITED
    idempotency_key: str | None = None
    asked_hash: bytes | None = None  # of the request that comes with the key
