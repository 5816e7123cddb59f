"""The parameters of lists: how many, and before when."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query
from pydantic import BeforeValidator


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError("write a time like 2026-02-13T02:20:58Z") from None


Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[
    datetime | None, BeforeValidator(_time), Query(description="Return entries created before this time.")
]
