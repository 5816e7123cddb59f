"""Style references at submit: pictures in the body are kept as files, and what cannot be used is refused."""

from easel import outbound
from easel.api.given import House
from easel.api.refusals import refused
from easel.api.uploads import look_inside
from easel.errors import NotFound, OutboundError, PictureError, Unprocessable
from easel.ids import file_key, same_file_key
from easel.schema.generation import GenerationRequest
from easel.store.tokens import Caller


async def settled(request: GenerationRequest, house: House, caller: Caller, base: str) -> GenerationRequest:
    """The same request, with a URL that can be used later for each of its references."""
    references = [
        reference.model_copy(update={"url": await _settled(reference.url, index, house, caller, base)})
        for index, reference in enumerate(request.image_style_references)
    ]
    return request.model_copy(update={"image_style_references": references})


async def _settled(url: str, index: int, house: House, caller: Caller, base: str) -> str:
    try:
        if url[:5].lower() == "data:":
            return await _kept(url, house, caller, base)
        await check(url, house, base)
        return url
    except (PictureError, OutboundError) as error:
        raise refused(Unprocessable, error.message, "image_style_references", index, "url") from error


async def check(url: str, house: House, base: str) -> None:
    """Raise OutboundError unless `url` leads to a file of this server, or may be fetched."""
    if await _is_ours(url, house):
        return
    if url.startswith(f"{base}/"):
        raise OutboundError(f"{url[:200]!r} is no file of this server: upload it with POST /assets")
    await outbound.check(url, house.settings.allow_networks)


async def _is_ours(url: str, house: House) -> bool:
    """Whether `url` leads to a file of this server, by whichever of its names."""
    key = file_key(url)
    try:
        return key is not None and await house.blobs.size(key) > 0
    except NotFound:
        return False


async def _kept(data_uri: str, house: House, caller: Caller, base: str) -> str:
    data, seen = await look_inside(data_uri)
    key = same_file_key(data, caller.workspace_id, seen.suffix)
    await house.blobs.put(key, data)
    return f"{base}/files/{key}"
