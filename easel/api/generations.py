"""Asking for a picture."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Header, Request
from pydantic import ValidationError

from easel import outbound
from easel.api import references
from easel.api.bodies import read_json
from easel.api.given import BaseURL, House, TheCaller, TheHouse
from easel.api.refusals import invalid, refused
from easel.catalog import Model
from easel.errors import OutboundError, Unprocessable
from easel.schema.generation import GenerationRequest
from easel.schema.jobs import Job
from easel.store import jobs

WebhookURL = Annotated[
    str | None,
    Header(
        alias="X-Webhook-URL",
        description="Where to POST the job when it ends.",
        json_schema_extra={"format": "uri"},
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="The same key with the same body gives the same job for a day.",
    ),
]
OlderIdempotencyKey = Annotated[
    str | None, Header(alias="X-Idempotency-Key", max_length=255, description="As Idempotency-Key.")
]


def submit_to(model: Model) -> Callable[..., Awaitable[Job]]:
    """The handler that asks `model` for a picture."""

    async def submit(
        request: Request,
        caller: TheCaller,
        house: TheHouse,
        base: BaseURL,
        webhook_url: WebhookURL = None,
        key: IdempotencyKey = None,
        older_key: OlderIdempotencyKey = None,
    ) -> Job:
        """Ask for a picture; the job tells how it goes."""
        asked = _parsed(await read_json(request))
        key = key or older_key or None
        if key and (
            job := await jobs.earlier(house.database, caller.workspace_id, model.variant, asked, key, base)
        ):
            return job
        await _check_webhook(webhook_url, house)
        return await jobs.submit(
            house.database,
            caller.workspace_id,
            model.variant,
            await references.settled(asked, house, caller, base),
            base_url=base,
            token_id=caller.token_id,
            webhook_url=webhook_url,
            idempotency_key=key,
            asked=asked,
            limits=house.settings.limits,
        )

    return submit


def _parsed(body: bytearray) -> GenerationRequest:
    try:
        return GenerationRequest.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False)) from None


async def _check_webhook(url: str | None, house: House) -> None:
    try:
        if url is not None:
            await outbound.check(url, house.settings.allow_networks)
    except OutboundError as error:
        raise refused(Unprocessable, f"X-Webhook-URL: {error.message}", "X-Webhook-URL") from error
