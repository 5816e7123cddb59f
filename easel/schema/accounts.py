"""Accounts: who is in a workspace, and what it spends."""

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["owner", "admin", "member"]
Amount = Annotated[str, Field(description="USD, exact")]


class Spending(BaseModel):
    """What was spent on one day, with one model and by one token."""

    day: date
    variant: str
    token_id: UUID | None
    token: str | None
    pictures: int
    amount: Amount


class Usage(BaseModel):
    """What was spent from one day to another, both included; days begin at midnight, UTC."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    first: Annotated[date, Field(alias="from")]
    last: Annotated[date, Field(alias="to")]
    currency: Literal["USD"] = "USD"
    pictures: int
    amount: Amount
    items: list[Spending]
