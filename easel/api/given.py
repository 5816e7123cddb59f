"""What handlers are given: the house they serve, who calls, and the base of the file URLs in answers."""

from dataclasses import dataclass, replace
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Request, Response

from easel import outbound
from easel.api.rates import Rates
from easel.api.refusals import refused
from easel.errors import NotFound, OutboundError, Unauthorized, Unprocessable
from easel.settings import Settings
from easel.store import tokens
from easel.store.askers import Asker
from easel.store.blobs import Blobs
from easel.store.database import Database


@dataclass(frozen=True)
class House:
    """What was built at the entry point."""

    settings: Settings
    database: Database
    blobs: Blobs
    rates: Rates


async def house(request: Request) -> House:
    """The house that this app serves."""
    found: House = request.app.state.house
    return found


TheHouse = Annotated[House, Depends(house)]


async def caller(request: Request, response: Response, house: TheHouse) -> tokens.Caller:
    """Whose token the request carries, unless it asks too often; asked before the body is looked at."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "key"):
        found = await tokens.caller(house.database, token.strip())
        if found is not None:
            response.headers.update(house.rates.take(found.token_id))
            return found
    raise Unauthorized


TheCaller = Annotated[tokens.Caller, Depends(caller)]


async def base_url(request: Request, house: TheHouse) -> str:
    """Where file URLs begin: as set up, or else where the client has found us."""
    return (house.settings.public_url or str(request.base_url)).rstrip("/")


BaseURL = Annotated[str, Depends(base_url)]


async def row_id(id: Annotated[str, Path(description="Its id, a UUID.")]) -> UUID:
    """The id in the path; what is no UUID is the id of nothing."""
    try:
        return UUID(id)
    except ValueError:
        raise NotFound(f"There is nothing with the id {id[:80]!r}: ids are UUIDs") from None


WebhookURL = Annotated[
    str | None, Header(alias="X-Webhook-URL", description="Where to POST the job when it ends.")
]


async def asker(caller: TheCaller, house: TheHouse, base: BaseURL, webhook_url: WebhookURL = None) -> Asker:
    """Who asks for a job, if their webhook may be reached."""
    try:
        if webhook_url is not None:
            await outbound.check(webhook_url, house.settings.allow_networks)
    except OutboundError as error:
        raise refused(Unprocessable, f"X-Webhook-URL: {error.message}", "X-Webhook-URL") from error
    return Asker(caller.workspace_id, base, caller.token_id, webhook_url, house.settings.limits)


TheAsker = Annotated[Asker, Depends(asker)]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="The same key with the same body gives the same job or moodboard for a day.",
    ),
]
OlderIdempotencyKey = Annotated[
    str | None, Header(alias="X-Idempotency-Key", max_length=255, description="As Idempotency-Key.")
]


async def keyed_asker(
    asker: TheAsker, key: IdempotencyKey = None, older_key: OlderIdempotencyKey = None
) -> Asker:
    """Who asks for a job by a request that may be sent again."""
    return replace(asker, idempotency_key=key or older_key or None)


TheKeyedAsker = Annotated[Asker, Depends(keyed_asker)]
Key = Annotated[str, Path(description="What the address was made with; nobody can guess it.")]
RowId = Annotated[UUID, Depends(row_id)]
