"""The parameters of lists: how many, before when, and which."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query
from pydantic import BeforeValidator


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("write a time like 2026-02-13T02:20:58Z") from None
    try:
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except OverflowError:  # so near the first or the last year that the hours do not matter
        return time.replace(tzinfo=UTC)


def words(text: str) -> list[str]:
    """What a comma separated parameter names; PostgreSQL cannot be asked for U+0000, which no row holds."""
    return [word for word in text.split(",") if "\x00" not in word]


Limit = Annotated[int, Query(ge=1, le=1000, description="How many entries at most.")]
Cursor = Annotated[
    datetime | None, BeforeValidator(_time), Query(description="Return entries created before this time.")
]
