"""Bodies of requests, read with a limit on their size and on the time they take."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from easel.api.refusals import invalid
from easel.errors import BadRequest, HTTPError, PayloadTooLarge

Body = TypeVar("Body", bound=BaseModel)

LARGEST_JSON = 40_000_000
LARGEST_FORM = 75 * 2**20 + 2**16  # a file, and what surrounds it
MOST_COMMAS = 10_000  # a prompt has 5,000 at most, a data URI has one
JSON_SECONDS = 60
UPLOAD_SECONDS = 300


async def read_json(request: Request) -> bytearray:
    """The body, ready to be parsed: it cannot unfold to much more than its size."""
    too_large = PayloadTooLarge("The body is larger than 40 MB: upload pictures with POST /assets")
    body = bytearray()
    async with _in_time(JSON_SECONDS):
        async for chunk in _chunks(request, LARGEST_JSON, too_large):
            body += chunk
    if body.count(b",") > MOST_COMMAS:
        raise BadRequest("The body has more than 10,000 values: leave out what is no field of the request")
    return body


def parsed(kind: type[Body], body: bytearray) -> Body:
    """The body as what it should be; what is wrong with it is refused field by field."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False)) from None


@asynccontextmanager
async def read_form(request: Request) -> AsyncIterator[FormData]:
    """The fields and the one file of a multipart body, for the length of the block."""
    if not request.headers.get("Content-Type", "").startswith("multipart/form-data"):
        raise BadRequest("The body is no multipart/form-data: send the picture in its field 'file'")
    too_large = BadRequest("The file is larger than 75 MB: send a smaller one")
    parser = _WholeFormParser(request.headers, _chunks(request, LARGEST_FORM, too_large))
    try:
        async with _in_time(UPLOAD_SECONDS):
            form = await parser.parse()
    except MultiPartException as error:
        raise BadRequest(f"The multipart body cannot be read: {error.message}") from error
    try:
        yield form
    finally:
        await form.close()


class _WholeFormParser(MultiPartParser):
    """Starlette's parser, refusing a form that stops before its end."""

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes]) -> None:
        super().__init__(headers, self._whole(stream), max_files=1, max_fields=8)
        self.ended = False

    def on_end(self) -> None:
        self.ended = True

    async def _whole(self, stream: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        async for chunk in stream:
            yield chunk
        if not self.ended:
            raise MultiPartException("it stops before its last boundary")


async def _chunks(request: Request, limit: int, too_large: HTTPError) -> AsyncGenerator[bytes]:
    announced = request.headers.get("Content-Length", "0")
    received = int(announced) if announced.isdecimal() else 0
    if received > limit:
        raise too_large
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise too_large
        yield chunk


@asynccontextmanager
async def _in_time(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise BadRequest(f"The body did not arrive within {seconds} seconds: send it faster") from None
