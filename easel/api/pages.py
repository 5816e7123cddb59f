"""The parameters of lists: how many, and before when."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("must be a time that can be told in UTC") from None


Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[
    datetime | None, AfterValidator(_in_utc), Query(description="Return entries created before this time.")
]
