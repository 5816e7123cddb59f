"""Style references at submit: pictures in the body are kept as files, and what cannot be used is refused."""

import asyncio

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
    urls = [reference.url for reference in request.image_style_references]
    settled = await asyncio.gather(
        *(_settled(url, index, house, caller, base) for index, url in enumerate(urls))
    )
    references = [
        reference.model_copy(update={"url": url})
        for reference, url in zip(request.image_style_references, settled, strict=True)
    ]
    return request.model_copy(update={"image_style_references": references})


async def _settled(url: str, index: int, house: House, caller: Caller, base: str) -> str:
    try:
        if url[:5].lower() == "data:":
            return await _kept(url, house, caller, base)
        if url.startswith(f"{base}/"):
            await house.blobs.size(file_key(url) or "none")
        else:
            await outbound.check(url, house.settings.allow_networks)
        return url
    except NotFound:
        text = f"{url!r} is no file of this server: upload the picture with POST /assets"
    except (PictureError, OutboundError) as error:
        text = error.message
    raise refused(Unprocessable, text, "image_style_references", index, "url")


async def _kept(data_uri: str, house: House, caller: Caller, base: str) -> str:
    data, seen = await look_inside(data_uri)
    key = same_file_key(data, caller.workspace_id, seen.suffix)
    await house.blobs.put(key, data)
    return f"{base}/files/{key}"
