"""What a workspace spends."""

from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import Query
from pydantic import BeforeValidator

from easel.api.given import TheCaller, TheHouse
from easel.api.refusals import refused
from easel.errors import BadRequest
from easel.schema.accounts import Usage
from easel.store import ledger


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise ValueError("write a day like 2026-02-13")
    return day


Day = Annotated[date, BeforeValidator(_day)]
From = Annotated[
    Day | None, Query(alias="from", description="The first day (UTC); without it, the first of the month.")
]
To = Annotated[Day | None, Query(alias="to", description="The last day (UTC); without it, today.")]


async def show(caller: TheCaller, house: TheHouse, first: From = None, last: To = None) -> Usage:
    """Spending by day, model and token."""
    last = last or datetime.now(UTC).date()
    first = first or last.replace(day=1)
    if first > last:
        raise refused(BadRequest, f"from: {first} is after {last}: name the earlier day first", "from")
    return await ledger.usage(house.database, caller.workspace_id, first, last)
