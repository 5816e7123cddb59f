"""The pictures of a request at submit: all are kept as files of ours, and what cannot be used is refused."""

import asyncio

from easel import outbound
from easel.api.given import House
from easel.api.refusals import refused
from easel.api.uploads import look, look_inside
from easel.errors import NotFound, OutboundError, PictureError, Unprocessable
from easel.ids import file_key, same_file_key
from easel.pictures import Description
from easel.schema.generation import GenerationRequest
from easel.store.askers import Asker

FETCH_SECONDS = 20  # for all pictures of a request: clients wait for 30


async def settled(request: GenerationRequest, house: House, asker: Asker) -> GenerationRequest:
    """The same request, with the URL of a file of ours for each of its pictures."""

    async def kept(url: str, *path: str | int) -> str:
        try:
            return await _settled(url, house, asker)
        except (PictureError, OutboundError) as error:
            raise refused(Unprocessable, error.message, *path) from error

    waited_for = "image_url"
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            start = request.image_url and await kept(request.image_url, "image_url")
            waited_for = "image_style_references"
            references = [
                reference.model_copy(update={"url": await kept(reference.url, waited_for, index, "url")})
                for index, reference in enumerate(request.image_style_references)
            ]
    except TimeoutError:
        text = f"The pictures took more than {FETCH_SECONDS} seconds: upload them with POST /assets"
        raise refused(Unprocessable, text, waited_for) from None
    return request.model_copy(update={"image_url": start, "image_style_references": references})


async def _settled(url: str, house: House, asker: Asker) -> str:
    """The URL of a file of ours with the picture, or PictureError or OutboundError."""
    if url[:5].lower() == "data:":
        return await _kept(*await look_inside(url), house, asker)
    if await _is_ours(url, house):
        return url
    _check_not_ours(url, asker.base_url)
    data = await outbound.fetch(url, house.settings.allow_networks)
    return await _kept(data, await look(data), house, asker)


async def check(url: str, house: House, base: str) -> None:
    """Raise OutboundError unless `url` leads to a file of this server, or may be fetched."""
    if await _is_ours(url, house):
        return
    _check_not_ours(url, base)
    await outbound.check(url, house.settings.allow_networks)


def _check_not_ours(url: str, base: str) -> None:
    if url.startswith(f"{base}/"):
        raise OutboundError(f"{url[:200]!r} is no file of this server: upload it with POST /assets")


async def _is_ours(url: str, house: House) -> bool:
    """Whether `url` leads to a file of this server, by whichever of its names."""
    key = file_key(url)
    try:
        return key is not None and await house.blobs.size(key) > 0
    except NotFound:
        return False


async def _kept(data: bytes, seen: Description, house: House, asker: Asker) -> str:
    key = same_file_key(data, asker.workspace_id, seen.suffix)
    await house.blobs.put(key, data)
    return f"{asker.base_url}/files/{key}"
