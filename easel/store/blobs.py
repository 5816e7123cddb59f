"""Pictures' bytes, by key: in a folder, or in S3, GCS or Azure by URL."""

from collections.abc import AsyncIterator
from contextlib import suppress

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import from_url

from easel.errors import NotFound


class Blobs:
    """One place where bytes are kept."""

    def __init__(self, url: str) -> None:
        self._store = from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)

    async def put(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`, unless it is there already; whole or not at all."""
        with suppress(AlreadyExistsError):
            await obstore.put_async(self._store, key, data, mode="create")

    async def replace(self, key: str, data: bytes) -> None:
        """Keep `data` under `key` in place of what is there; whole or not at all."""
        await obstore.put_async(self._store, key, data)

    async def get(self, key: str) -> bytes:
        """The bytes under `key`, or NotFound."""
        try:
            found = await obstore.get_async(self._store, key)
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            raise NotFound(f"There is no file {key!r}") from None

    async def size(self, key: str) -> int:
        """How many bytes are under `key`, or NotFound."""
        try:
            return (await obstore.head_async(self._store, key))["size"]
        except FileNotFoundError:
            raise NotFound(f"There is no file {key!r}") from None

    async def stream(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes under `key` from `start` up to, but not including, `end`."""
        found = await obstore.get_async(self._store, key, options={"range": (start, end)})
        async for chunk in found.stream():
            yield bytes(chunk)

    async def delete(self, key: str) -> None:
        """Forget `key`, if it is there."""
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return
