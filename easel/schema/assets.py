"""Assets: pictures that were uploaded."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel

from easel.schema.times import Time


class Asset(BaseModel):
    """An uploaded picture; its `image_url` can be used as a style reference."""

    id: UUID
    image_url: str
    uploaded_at: Time
    width: int
    height: int
    size_bytes: int
    mime_type: str
    description: str | None = None
    metadata: dict[str, Any] = {}
