"""Asking for a picture."""

from collections.abc import Awaitable, Callable

from fastapi import Request

from easel.api import references
from easel.api.bodies import parsed, read_json
from easel.api.given import House, TheHouse, TheKeyedAsker, row_id
from easel.api.refusals import refused
from easel.catalog import MODELS, Model
from easel.errors import NotFound, Unprocessable
from easel.schema.generation import GenerationRequest
from easel.schema.jobs import Job
from easel.schema.styles import WEIGHTS
from easel.store import jobs, moodboards, styles, submits
from easel.store.askers import Asker
from easel.store.repeats import Repeated, recognise


def submit_to(model: Model) -> Callable[..., Awaitable[Job]]:
    """The handler that asks `model` for a picture."""

    async def submit(request: Request, asker: TheKeyedAsker, house: TheHouse) -> Job:
        """Ask for a picture; the job tells how it goes."""
        asked = parsed(GenerationRequest, await read_json(request))
        try:
            asker = await recognise(house.database, asker, model.variant, asked)
            await _check_moodboards(asked, house, asker)
            await _check_styles(asked, model, house, asker)
            settled = await references.settled(asked, house, asker)
            return await submits.submit(house.database, asker, model.variant, settled)
        except Repeated as repeat:
            return jobs.told(repeat.job, asker.base_url)

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
