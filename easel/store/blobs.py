"""Pictures' bytes, by key: in a folder, or in S3, GCS or Azure by URL."""

import obstore
from obstore.store import from_url

from easel.errors import NotFound


class Blobs:
    """One place where bytes are kept; a key is written once."""

    def __init__(self, url: str) -> None:
        self._store = from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)

    async def put(self, key: str, data: bytes) -> None:
        """Keep `data` under a new `key`; whole or not at all."""
        await obstore.put_async(self._store, key, data, mode="create")

    async def get(self, key: str) -> bytes:
        """The bytes under `key`, or NotFound."""
        try:
            found = await obstore.get_async(self._store, key)
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            raise NotFound(f"There is no file {key!r}") from None

    async def delete(self, key: str) -> None:
        """Forget `key`, if it is there."""
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return
