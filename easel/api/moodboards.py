"""Moodboards: made of pictures, read by a job, corrected by hand, shared by link."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from fastapi import Request

from easel.api.assets import Deleted
from easel.api.bodies import parsed, read_json
from easel.api.collected import Given, forget, kept
from easel.api.given import BaseURL, House, Key, RowId, TheAsker, TheCaller, TheHouse, TheKeyedAsker
from easel.api.pages import Cursor, Limit
from easel.api.refusals import refused
from easel.errors import BadRequest
from easel.schema.moodboards import (
    MOST_PICTURES,
    Moodboard,
    MoodboardChanges,
    NewMoodboard,
    SharedMoodboard,
    ShareLink,
)
from easel.schema.pages import Page
from easel.store import moodboards
from easel.store.askers import Asker
from easel.store.moodboards import Pictures
from easel.store.queue import ANALYSE
from easel.store.repeats import Repeated, recognise

PICTURES = {"urls", "asset_ids"}
WORDS = {"taste_profile", "keywords", "avoids"}


async def create(request: Request, asker: TheKeyedAsker, house: TheHouse) -> Moodboard:
    """Make a moodboard of pictures; its job tells how their analysis goes."""
    asked = parsed(NewMoodboard, await read_json(request))
    try:
        asker = await recognise(house.database, asker, ANALYSE, asked)
        async with _kept(asked, house, asker) as pictures:
            return await moodboards.add(house.database, asker, asked.name, pictures)
    except Repeated as repeat:
        made = UUID(repeat.job.moodboard_id)
        return await moodboards.get(house.database, asker.workspace_id, made, asker.base_url)


async def index(
    caller: TheCaller, house: TheHouse, base: BaseURL, limit: Limit = 100, cursor: Cursor = None
) -> Page[Moodboard]:
    """List moodboards, newest first."""
    return await moodboards.page(house.database, caller.workspace_id, base, limit=limit, before=cursor)


async def show(moodboard_id: RowId, caller: TheCaller, house: TheHouse, base: BaseURL) -> Moodboard:
    """One moodboard."""
    return await moodboards.get(house.database, caller.workspace_id, moodboard_id, base)


async def change(moodboard_id: RowId, request: Request, asker: TheAsker, house: TheHouse) -> Moodboard:
    """Change a moodboard; other pictures are analysed anew, and the words that were edited stay."""
    await moodboards.get(house.database, asker.workspace_id, moodboard_id, asker.base_url)
    asked = parsed(MoodboardChanges, await read_json(request))
    if not asked.model_fields_set:
        raise BadRequest(f"The body changes nothing: send one of {', '.join(MoodboardChanges.model_fields)}")
    async with _kept(asked, house, asker) as pictures:
        changed, dropped = await moodboards.change(
            house.database,
            asker,
            moodboard_id,
            name=asked.name,
            edits=asked.model_dump(include=WORDS & asked.model_fields_set),
            pictures=pictures if asked.model_fields_set & PICTURES else None,
        )
    await forget(dropped, house)
    return changed


async def delete(moodboard_id: RowId, caller: TheCaller, house: TheHouse) -> Deleted:
    """Delete a moodboard, the files that were kept for it, and its link; assets stay."""
    files = await moodboards.remove(
        house.database, caller.workspace_id, moodboard_id, limits=house.settings.limits
    )
    await forget(files, house)
    return Deleted(success=True, message=f"The moodboard {str(moodboard_id)!r} is deleted")


async def share(moodboard_id: RowId, caller: TheCaller, house: TheHouse, base: BaseURL) -> ShareLink:
    """The link by which anybody can see a moodboard; made when it is first asked for."""
    key, is_new = await moodboards.share(house.database, caller.workspace_id, moodboard_id)
    return ShareLink(share_link=f"{base}/shared/moodboards/{key}", is_new=is_new)


async def shared(key: Key, house: TheHouse, base: BaseURL) -> SharedMoodboard:
    """A moodboard that was shared by link."""
    return await moodboards.shared(house.database, key, base)


@asynccontextmanager
async def _kept(
    asked: NewMoodboard | MoodboardChanges, house: House, asker: Asker
) -> AsyncIterator[Pictures]:
    """The pictures that the body names, with those inside it kept as files unless the block fails."""
    given: list[Given] = [
        *(("urls", place, url) for place, url in enumerate(asked.urls)),
        *(("asset_ids", place, asset_id) for place, asset_id in enumerate(asked.asset_ids)),
    ]
    if isinstance(asked, NewMoodboard) or asked.model_fields_set & PICTURES:
        _check_count(len(given))
    async with kept(given, house, asker) as pictures:
        yield pictures


def _check_count(count: int) -> None:
    if not 1 <= count <= MOST_PICTURES:
        text = f"urls and asset_ids name {count} pictures: a moodboard has 1 to {MOST_PICTURES}"
        raise refused(BadRequest, text, "urls")
