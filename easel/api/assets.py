"""Assets: pictures uploaded to be used as references."""

from fastapi import Request
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile

from easel.api.bodies import read_form
from easel.api.given import BaseURL, RowId, TheCaller, TheHouse
from easel.api.pages import Cursor, Limit
from easel.api.refusals import refused
from easel.api.uploads import look
from easel.errors import BadRequest, PictureError
from easel.ids import new_file_key
from easel.pictures import Description
from easel.schema.assets import Asset
from easel.schema.pages import Page
from easel.store import assets

LONGEST_DESCRIPTION = 5000


class Deleted(BaseModel):
    """That something was deleted."""

    success: bool
    message: str


async def upload(request: Request, caller: TheCaller, house: TheHouse, base: BaseURL) -> Asset:
    """Upload a picture."""
    async with read_form(request) as form:
        description = _description(form)
        file = _file(form)
        data = await file.read()
    seen = await _seen(data, file.filename or "")
    key = new_file_key(seen.suffix)
    await house.blobs.put(key, data)
    return await assets.add(
        house.database,
        caller.workspace_id,
        base,
        key=key,
        mime_type=seen.mime,
        width=seen.width,
        height=seen.height,
        size_bytes=len(data),
        description=description,
    )


async def index(
    caller: TheCaller, house: TheHouse, base: BaseURL, limit: Limit = 100, cursor: Cursor = None
) -> Page[Asset]:
    """List assets, newest first."""
    return await assets.page(house.database, caller.workspace_id, base, limit=limit, before=cursor)


async def show(asset_id: RowId, caller: TheCaller, house: TheHouse, base: BaseURL) -> Asset:
    """One asset."""
    return await assets.get(house.database, caller.workspace_id, asset_id, base)


async def delete(asset_id: RowId, caller: TheCaller, house: TheHouse) -> Deleted:
    """Delete an asset, and the file behind its URL."""
    key = await assets.remove(house.database, caller.workspace_id, asset_id)
    await house.blobs.delete(key)
    return Deleted(success=True, message=f"The asset {str(asset_id)!r} is deleted")


def _description(form: FormData) -> str | None:
    text = form.get("description")
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > LONGEST_DESCRIPTION or "\x00" in text:
        raise refused(
            BadRequest, f"description: send text of at most {LONGEST_DESCRIPTION:,} characters", "description"
        )
    return text


def _file(form: FormData) -> UploadFile:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise refused(BadRequest, "file is missing: send the picture as a file in this field", "file")
    return file


async def _seen(data: bytes, name: str) -> Description:
    try:
        return await look(data)
    except PictureError as error:
        raise refused(BadRequest, f"file {name[:200]!r}: {error.message}", "file") from error
