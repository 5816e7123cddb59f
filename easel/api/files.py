"""Pictures, public under URLs that nobody can guess; they never change."""

import re
from typing import NamedTuple

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from easel.api.given import Key, TheHouse
from easel.errors import NotFound
from easel.ids import FILE_KEY
from easel.pictures import SUFFIXES

MIME_TYPES = {suffix: mime for mime, suffix in SUFFIXES.items()}
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Accept-Ranges": "bytes",
    "Cache-Control": "public, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}


class Part(NamedTuple):
    """The bytes from `start` up to, but not including, `end`."""

    start: int
    end: int


async def download(key: Key, request: Request, house: TheHouse) -> Response:
    """A picture, or a part of it."""
    if not FILE_KEY.fullmatch(key):
        raise NotFound(f"There is no file {key[:80]!r}")
    size = await house.blobs.size(key)
    part = _part(request.headers.get("Range", ""), size)
    if part and part.start >= part.end:
        return Response(status_code=416, headers={**HEADERS, "Content-Range": f"bytes */{size}"})
    start, end = part or (0, size)
    mime = MIME_TYPES[key.rpartition(".")[2]]
    headers = {**HEADERS, "Content-Type": mime, "Content-Length": str(end - start)}
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    status = 206 if part else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return StreamingResponse(house.blobs.stream(key, start, end), status, headers)


def _part(asked: str, size: int) -> Part | None:
    """The part that a Range header asks for; None for the whole, which may always be sent."""
    found = RANGE.fullmatch(asked)
    if found is None or asked == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        return Part(max(0, size - int(last)), size)
    return Part(int(first), min(size, int(last) + 1) if last else size)
