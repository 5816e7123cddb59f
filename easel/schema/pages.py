"""Lists, a page at a time."""

from typing import Generic, TypeVar

from pydantic import BaseModel

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """One page of a list, newest first; `next_cursor` asks for the one after it."""

    items: list[Item]
    next_cursor: str | None
