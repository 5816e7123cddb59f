"""Styles: trained by a job, shown to those who may see them, changed by their owner."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response

from easel.api.assets import Deleted
from easel.api.bodies import parsed, read_json
from easel.api.collected import forget, kept
from easel.api.given import BaseURL, Key, RowId, TheCaller, TheHouse, TheKeyedAsker
from easel.api.pages import Cursor, Limit, words
from easel.errors import BadRequest
from easel.schema.jobs import Job
from easel.schema.moodboards import ShareLink
from easel.schema.pages import Page
from easel.schema.styles import Filter, Shared, ShareTarget, Style, StyleChanges, TrainingRequest
from easel.store import jobs, styles, submits
from easel.store.queue import TRAIN
from easel.store.repeats import Repeated, recognise

Ids = Annotated[list[str] | None, Query(description="Ids of styles, comma separated.")]
Liked = Annotated[bool, Query(description="Only styles that you like. Likes are not served: there are none.")]
User = Annotated[str | None, Query(description="Only styles of this owner, by `owner.id`.")]
ForModel = Annotated[
    str | None, Query(alias="model", description="Only styles for this model: k2, k2-large.")
]
Kind = Annotated[
    Filter,
    Query(
        alias="filter",
        description="all that you see; of your own (user), shared with you (shared), or public (public,"
        " community, gallery). Of the other kinds there are none here.",
    ),
]


async def train(request: Request, asker: TheKeyedAsker, house: TheHouse) -> Job:
    """Train a style on pictures; the job tells how it goes, and at its end the style's id."""
    asked = parsed(TrainingRequest, await read_json(request))
    if house.settings.models == "krea":
        asked = asked.on_krea()
    given = [("urls", place, url) for place, url in enumerate(asked.urls)]
    try:
        asker = await recognise(house.database, asker, TRAIN, asked)
        async with kept(given, house, asker) as pictures:
            settled = asked.model_copy(update={"urls": pictures.urls})
            return await submits.submit_training(house.database, asker, settled, pictures.files)
    except Repeated as repeat:
        return jobs.told(repeat.job, asker.base_url)


async def index(
    caller: TheCaller,
    house: TheHouse,
    limit: Limit = 100,
    cursor: Cursor = None,
    ids: Ids = None,
    liked: Liked = False,
    user: User = None,
    model: ForModel = None,
    kind: Kind = "all",
) -> Page[Style]:
    """Search styles, newest first."""
    return await styles.page(
        house.database,
        caller.workspace_id,
        limit=limit,
        before=cursor,
        ids=words(",".join(ids)) if ids else None,
        liked=liked,
        owners=words(user) if user else None,
        models=words(model) if model else None,
        filter=kind,
    )


async def show(style_id: RowId, caller: TheCaller, house: TheHouse) -> Style:
    """One style."""
    return await styles.get(house.database, caller.workspace_id, style_id)


async def change(style_id: RowId, request: Request, caller: TheCaller, house: TheHouse) -> Style:
    """Change what is shown of a style, and whether it is public."""
    await styles.get(house.database, caller.workspace_id, style_id)
    asked = parsed(StyleChanges, await read_json(request))
    changes = asked.model_dump(exclude_none=True)
    if not changes:
        raise BadRequest(f"The body changes nothing: send one of {', '.join(StyleChanges.model_fields)}")
    changed, dropped = await styles.change(house.database, caller.workspace_id, style_id, changes)
    await forget(dropped, house)
    return changed


async def delete(style_id: RowId, caller: TheCaller, house: TheHouse) -> Deleted:
    """Delete a style and its adapter."""
    await forget(await styles.remove(house.database, caller.workspace_id, style_id), house)
    return Deleted(success=True, message=f"The style {str(style_id)!r} is deleted")


async def share(
    style_id: RowId, caller: TheCaller, house: TheHouse, base: BaseURL, response: Response
) -> ShareLink:
    """The link by which anybody can see a style; made when it is first asked for."""
    key, is_new = await styles.share_link(house.database, caller.workspace_id, style_id)
    response.status_code = 201 if is_new else 200
    return ShareLink(share_link=f"{base}/shared/styles/{key}", is_new=is_new)


async def shared(key: Key, house: TheHouse) -> Style:
    """A style that was shared by link."""
    return await styles.shared(house.database, key)


async def share_with(style_id: RowId, request: Request, caller: TheCaller, house: TheHouse) -> Shared:
    """Share a style with a workspace."""
    return await _share(style_id, request, caller, house, shares=True)


async def unshare(style_id: RowId, request: Request, caller: TheCaller, house: TheHouse) -> Shared:
    """Share a style with a workspace no longer, or with none."""
    return await _share(style_id, request, caller, house, shares=False)


async def _share(
    style_id: UUID, request: Request, caller: TheCaller, house: TheHouse, *, shares: bool
) -> Shared:
    body = await read_json(request)
    target = parsed(ShareTarget, body) if body.strip() else ShareTarget()
    return await styles.share(
        house.database, caller.workspace_id, style_id, target.workspace_id, shares=shares
    )
