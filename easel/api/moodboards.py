"""Moodboards: made of pictures, read by a job, corrected by hand, shared by link."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

from fastapi import Request

from easel.api import references
from easel.api.assets import Deleted
from easel.api.bodies import parsed, read_json
from easel.api.given import BaseURL, House, RowId, TheCaller, TheHouse, WebhookURL
from easel.api.pages import Cursor, Limit
from easel.api.refusals import refused
from easel.api.uploads import look_inside
from easel.errors import BadRequest, NotFound, OutboundError, PictureError, Unprocessable
from easel.ids import file_key, new_file_key
from easel.schema.moodboards import (
    MOST_PICTURES,
    Moodboard,
    MoodboardChanges,
    NewMoodboard,
    SharedMoodboard,
    ShareLink,
    unusable,
)
from easel.schema.pages import Page
from easel.store import assets, moodboards
from easel.store.moodboards import Pictures
from easel.store.tokens import Caller

PICTURES = {"urls", "asset_ids"}
WORDS = {"taste_profile", "keywords", "avoids"}


async def create(
    request: Request, caller: TheCaller, house: TheHouse, base: BaseURL, webhook_url: WebhookURL
) -> Moodboard:
    """Make a moodboard of pictures; its job tells how their analysis goes."""
    asked = parsed(NewMoodboard, await read_json(request))
    async with _kept(asked, house, caller, base) as pictures:
        return await moodboards.add(
            house.database,
            caller.workspace_id,
            asked.name,
            pictures,
            base_url=base,
            token_id=caller.token_id,
            webhook_url=webhook_url,
            limits=house.settings.limits,
        )


async def index(
    caller: TheCaller, house: TheHouse, base: BaseURL, limit: Limit = 100, cursor: Cursor = None
) -> Page[Moodboard]:
    """List moodboards, newest first."""
    return await moodboards.page(house.database, caller.workspace_id, base, limit=limit, before=cursor)


async def show(moodboard_id: RowId, caller: TheCaller, house: TheHouse, base: BaseURL) -> Moodboard:
    """One moodboard."""
    return await moodboards.get(house.database, caller.workspace_id, moodboard_id, base)


async def change(
    moodboard_id: RowId,
    request: Request,
    caller: TheCaller,
    house: TheHouse,
    base: BaseURL,
    webhook_url: WebhookURL,
) -> Moodboard:
    """Change a moodboard; other pictures are analysed anew, and the words that were edited stay."""
    await moodboards.get(house.database, caller.workspace_id, moodboard_id, base)
    asked = parsed(MoodboardChanges, await read_json(request))
    if not asked.model_fields_set:
        raise BadRequest(f"The body changes nothing: send one of {', '.join(MoodboardChanges.model_fields)}")
    async with _kept(asked, house, caller, base) as pictures:
        changed, dropped = await moodboards.change(
            house.database,
            caller.workspace_id,
            moodboard_id,
            name=asked.name,
            edits=asked.model_dump(include=WORDS & asked.model_fields_set),
            pictures=pictures if asked.model_fields_set & PICTURES else None,
            base_url=base,
            token_id=caller.token_id,
            webhook_url=webhook_url,
            limits=house.settings.limits,
        )
    await _forget(dropped, house)
    return changed


async def delete(moodboard_id: RowId, caller: TheCaller, house: TheHouse) -> Deleted:
    """Delete a moodboard, the files that were kept for it, and its link; assets stay."""
    files = await moodboards.remove(
        house.database, caller.workspace_id, moodboard_id, limits=house.settings.limits
    )
    await _forget(files, house)
    return Deleted(success=True, message=f"The moodboard {str(moodboard_id)!r} is deleted")


async def share(moodboard_id: RowId, caller: TheCaller, house: TheHouse, base: BaseURL) -> ShareLink:
    """The link by which anybody can see a moodboard; made when it is first asked for."""
    key, is_new = await moodboards.share(house.database, caller.workspace_id, moodboard_id)
    return ShareLink(share_link=f"{base}/shared/moodboards/{key}", is_new=is_new)


async def shared(key: str, house: TheHouse, base: BaseURL) -> SharedMoodboard:
    """A moodboard that was shared by link."""
    return await moodboards.shared(house.database, key, base)


class Picture(NamedTuple):
    """A picture that can be used later, and its bytes if they came inside the request."""

    url: str
    identity: str | bytes  # equal for what is one picture
    data: bytes | None = None


@asynccontextmanager
async def _kept(
    asked: NewMoodboard | MoodboardChanges, house: House, caller: Caller, base: str
) -> AsyncIterator[Pictures]:
    """The pictures that the body names, with those inside it kept as files unless the block fails."""
    pictures = await _settled(asked, house, caller, base)
    files = {file_key(picture.url) or "": picture.data for picture in pictures if picture.data}
    try:
        for key, data in files.items():
            await house.blobs.put(key, data)
        yield Pictures([picture.url for picture in pictures], list(files))
    except BaseException:
        await _forget(list(files), house)
        raise


async def _settled(
    asked: NewMoodboard | MoodboardChanges, house: House, caller: Caller, base: str
) -> list[Picture]:
    """The pictures that the body names, or Unprocessable naming all that cannot be used."""
    given: list[tuple[str, int, str | UUID]] = [
        *(("urls", place, url) for place, url in enumerate(asked.urls)),
        *(("asset_ids", place, asset_id) for place, asset_id in enumerate(asked.asset_ids)),
    ]
    if isinstance(asked, NewMoodboard) or asked.model_fields_set & PICTURES:
        _check_count(len(given))
    judged = await asyncio.gather(*(_judged(picture, house, caller, base) for _, _, picture in given))
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


def _check_count(count: int) -> None:
    if not 1 <= count <= MOST_PICTURES:
        text = f"urls and asset_ids name {count} pictures: a moodboard has 1 to {MOST_PICTURES}"
        raise refused(BadRequest, text, "urls")


async def _judged(picture: str | UUID, house: House, caller: Caller, base: str) -> Picture | str:
    """The picture, or what is wrong with it."""
    try:
        if isinstance(picture, UUID):
            picture = (await assets.get(house.database, caller.workspace_id, picture, base)).image_url
        if picture[:5].lower() == "data:":
            data, seen = await look_inside(picture)
            url = f"{base}/files/{new_file_key(seen.suffix)}"
            return Picture(url, hashlib.sha256(data).digest(), data)
        await references.check(picture, house, base)
        return Picture(picture, file_key(picture) or picture)
    except (NotFound, OutboundError, PictureError) as error:
        return error.message


async def _forget(keys: list[str], house: House) -> None:
    for key in keys:
        await house.blobs.delete(key)
