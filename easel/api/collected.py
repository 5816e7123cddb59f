"""Pictures that make up a moodboard or teach a style: judged together, and kept where they came inside."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

from easel.api import references
from easel.api.given import House
from easel.api.uploads import look_inside
from easel.errors import NotFound, OutboundError, PictureError, Unprocessable
from easel.ids import file_key, new_file_key
from easel.schema.moodboards import unusable
from easel.store import assets
from easel.store.askers import Asker
from easel.store.moodboards import Pictures

Given = tuple[str, int, str | UUID]  # the field and the place of a picture's URL or of an asset's id


class Picture(NamedTuple):
    """A picture that can be used later, and its bytes if they came inside the request."""

    url: str
    identity: str | bytes  # equal for what is one picture
    data: bytes | None = None


@asynccontextmanager
async def kept(given: Sequence[Given], house: House, asker: Asker) -> AsyncIterator[Pictures]:
    """The pictures that a body names, with those inside it kept as files unless the block fails."""
    pictures = await _settled(given, house, asker)
    files = {file_key(picture.url) or "": picture.data for picture in pictures if picture.data}
    try:
        for key, data in files.items():
            await house.blobs.put(key, data)
        yield Pictures([picture.url for picture in pictures], list(files))
    except BaseException:
        await forget(list(files), house)
        raise


async def _settled(given: Sequence[Given], house: House, asker: Asker) -> list[Picture]:
    """The pictures that a body names, or Unprocessable naming all that cannot be used."""
    judged = await asyncio.gather(*(_judged(picture, house, asker) for _, _, picture in given))
    usable: dict[str | bytes, Picture] = {}
    problems: dict[tuple[str, int], str] = {}
    for (field, place, _), picture in zip(given, judged, strict=True):
        if isinstance(picture, str):
            problems[field, place] = picture
        elif usable.setdefault(picture.identity, picture) is not picture:
            problems[field, place] = "It is there twice: leave one of them out"
    if problems:
        named = {f"{field}.{place}": problem for (field, place), problem in problems.items()}
        details = [{"path": list(path), "message": problem} for path, problem in problems.items()]
        raise Unprocessable(unusable(named, len(given)), details)
    return list(usable.values())


async def _judged(picture: str | UUID, house: House, asker: Asker) -> Picture | str:
    """The picture, or what is wrong with it."""
    try:
        if isinstance(picture, UUID):
            asset = await assets.get(house.database, asker.workspace_id, picture, asker.base_url)
            picture = asset.image_url
        if picture[:5].lower() == "data:":
            data, seen = await look_inside(picture)
            url = f"{asker.base_url}/files/{new_file_key(seen.suffix)}"
            return Picture(url, hashlib.sha256(data).digest(), data)
        await references.check(picture, house, asker.base_url)
        return Picture(picture, file_key(picture) or picture)
    except (NotFound, OutboundError, PictureError) as error:
        return error.message


async def forget(keys: Sequence[str], house: House) -> None:
    """Delete files."""
    for key in keys:
        await house.blobs.delete(key)
