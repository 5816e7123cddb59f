"""Asking for a picture."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Header, Request

from easel.api import references
from easel.api.bodies import parsed, read_json
from easel.api.given import House, TheAsker, TheHouse, row_id
from easel.api.refusals import refused
from easel.catalog import MODELS, Model
from easel.errors import NotFound, Unprocessable
from easel.schema.generation import GenerationRequest
from easel.schema.jobs import Job
from easel.schema.styles import WEIGHTS
from easel.store import asking, moodboards, styles
from easel.store.asking import Asker

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
        asker: TheAsker,
        house: TheHouse,
        key: IdempotencyKey = None,
        older_key: OlderIdempotencyKey = None,
    ) -> Job:
        """Ask for a picture; the job tells how it goes."""
        asked = parsed(GenerationRequest, await read_json(request))
        key = key or older_key or None
        if key and (job := await asking.earlier(house.database, asker, model.variant, asked, key)):
            return job
        await _check_moodboards(asked, house, asker)
        await _check_styles(asked, model, house, asker)
        settled = await references.settled(asked, house, asker)
        return await asking.submit(
            house.database, asker, model.variant, settled, idempotency_key=key, asked=asked
        )

    return submit


async def _check_moodboards(asked: GenerationRequest, house: House, asker: Asker) -> None:
    for place, board in enumerate(asked.moodboards):
        try:
            await moodboards.read(house.database, asker.workspace_id, board.id)
        except NotFound as error:
            raise refused(Unprocessable, error.message, "moodboards", place, "id") from error


async def _check_styles(asked: GenerationRequest, model: Model, house: House, asker: Asker) -> None:
    for place, use in enumerate(asked.styles):
        try:
            style = await styles.usable(house.database, asker.workspace_id, await row_id(use.id))
        except NotFound as error:
            unknown = f"There is no style {use.id!r}: see GET /styles"
            raise refused(Unprocessable, unknown, "styles", place, "id") from error
        if WEIGHTS[style.model] != model.weights:
            routes = " and ".join(
                other.variant for other in MODELS.values() if other.weights == WEIGHTS[style.model]
            )
            text = f"The style {use.id!r} is for {style.model}: paint with {routes}"
            raise refused(Unprocessable, text, "styles", place, "id")
