"""Pictures that come with a request: looked at before they are kept."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from easel.pictures import Description, describe, from_data_uri

Seen = TypeVar("Seen")

LOOKERS = ThreadPoolExecutor(2, "look")  # decoding takes memory: two pictures at a time


async def look(data: bytes) -> Description:
    """What picture `data` is, or PictureError."""
    return await _in_thread(lambda: describe(data))


async def look_inside(data_uri: str) -> tuple[bytes, Description]:
    """The picture in a data URI, and what it is, or PictureError."""

    def opened() -> tuple[bytes, Description]:
        data = from_data_uri(data_uri)
        return data, describe(data)

    return await _in_thread(opened)


async def _in_thread(work: Callable[[], Seen]) -> Seen:
    return await asyncio.get_running_loop().run_in_executor(LOOKERS, work)
