"""One picture, from the claimed job to the file: the story on one page."""

import asyncio
from uuid import UUID

from PIL.Image import Image

from easel import pictures
from easel.catalog import MODELS
from easel.engine.images import png, preview
from easel.errors import NotFound, OutboundError, PictureError, ReferenceUnreadable, UnsafePicture
from easel.ids import file_key, new_file_key, same_file_key
from easel.jobs.moodboard import direction
from easel.jobs.workshop import Laps, Made, Pace, Report, Workshop
from easel.schema.jobs import Progress
from easel.schema.painting import Adapter, Materials, Painting, Reference, Step
from easel.schema.styles import StyleUse
from easel.store import styles
from easel.store.claims import Generation

TOLD_EVERY = 0.05  # seconds: steps that follow each other faster are not all told


async def generate(claim: Generation, workshop: Workshop, report: Report) -> Made:
    """Paint what `claim` asks for and keep it, telling `report` of each step."""
    laps = Laps()
    await workshop.guard.check_prompt(claim.request.prompt)
    board = await direction(claim, workshop, report)
    references, start = await gather(claim, workshop)
    materials = Materials(
        references=[*references, *board.references],
        mood=board.mood,
        adapters=await dress(claim, workshop),
        start=start,
    )
    laps.end("gather_seconds")
    painting = await paint(claim, materials, workshop, report)
    workshop.leave()
    laps.end("paint_seconds")
    await workshop.guard.check_picture(painting.image, "The finished picture")
    laps.end("check_seconds")
    key = await keep(claim, painting, workshop)
    laps.end("keep_seconds")
    painter = workshop.painter
    timings = {**painting.details.get("timings", {}), **laps.seconds}
    details = {**painting.details, **board.told, "filter": workshop.guard.name, "timings": timings}
    return Made(painter.engine, painter.checkpoint, details, key, painting.prompt)


async def gather(claim: Generation, workshop: Workshop) -> tuple[list[Reference], Image | None]:
    """The references in their order, and the picture to start from, opened."""
    request, references = claim.request, claim.request.image_style_references
    url = request.image_url
    start = await _opened(url, "start picture", claim, workshop) if url else None
    opened = (_opened(reference.url, "reference", claim, workshop) for reference in references)
    images = await asyncio.gather(*opened)
    return [Reference(image, one.strength) for image, one in zip(images, references, strict=True)], start


async def _opened(url: str, role: str, claim: Generation, workshop: Workshop) -> Image:
    try:
        data = await workshop.fetched(url)
        image = await asyncio.to_thread(pictures.open_picture, data)
    except (OutboundError, PictureError) as error:
        raise ReferenceUnreadable(f"The {role} {url[:200]!r} cannot be used: {error.message}") from error
    try:
        await workshop.guard.check_picture(image, f"The {role} {url[:200]!r}")
    except UnsafePicture:
        await _forget(url, data, claim, workshop)
        raise
    return image


async def dress(claim: Generation, workshop: Workshop) -> list[Adapter]:
    """The styles that are asked for, but for those of strength 0."""
    return [await _adapter(use, claim, workshop) for use in claim.request.styles if use.strength]


async def _adapter(use: StyleUse, claim: Generation, workshop: Workshop) -> Adapter:
    try:
        style = await styles.usable(workshop.database, claim.workspace_id, UUID(use.id))
        data = await workshop.blobs.get(style.key)
    except NotFound as error:  # since it was asked for
        raise ReferenceUnreadable(f"The style {use.id!r} was deleted, or is no longer shared") from error
    return Adapter(use.id, data, style.trigger_word, use.strength)


async def _forget(url: str, data: bytes, claim: Generation, workshop: Workshop) -> None:
    """Delete a picture that came in the body of a request; an asset is its owner's to delete."""
    key = file_key(url)
    if key and key == same_file_key(data, claim.workspace_id, key.rpartition(".")[2]):
        await workshop.blobs.delete(key)


async def paint(claim: Generation, materials: Materials, workshop: Workshop, report: Report) -> Painting:
    """Let the painter paint in its thread; what `report` raises ends it after the step."""
    loop = asyncio.get_running_loop()

    def on_prompt(prompt: str) -> None:
        if prompt != claim.request.prompt:
            asyncio.run_coroutine_threadsafe(workshop.guard.check_prompt(prompt), loop).result()

    pace = Pace(TOLD_EVERY)

    def on_step(step: Step) -> None:
        if not pace.due():
            return
        image = step.preview()
        shown = preview(image) if image and workshop.guard.may_show(image) else None
        progress = Progress(step=step.index, total=step.total, preview=shown)
        asyncio.run_coroutine_threadsafe(report(progress), loop).result()

    def brush() -> Painting:
        model = MODELS[claim.variant]
        return workshop.painter.paint(claim.request, materials, model, claim.seed, on_step, on_prompt)

    return await workshop.at_the_easel(brush)


async def keep(claim: Generation, painting: Painting, workshop: Workshop) -> str:
    """Store the picture as a PNG that carries its recipe; the answer is its key."""
    request = claim.request
    recipe = {
        "prompt": request.prompt,
        "expanded_prompt": painting.prompt,
        "model": claim.variant,
        "seed": claim.seed,
        "aspect_ratio": request.aspect_ratio,
        "creativity": request.creativity,
        "intensity": request.intensity,
        "complexity": request.complexity,
        "movement": request.movement,
        "start_strength": request.strength if request.image_url else None,
        "reference_strengths": [reference.strength for reference in request.image_style_references],
        "styles": {style.id: style.strength for style in request.styles},
        "moodboard_strengths": [board.strength for board in request.moodboards],
        "engine": workshop.painter.engine,
        "checkpoint": workshop.painter.checkpoint,
    }
    key = new_file_key("png")
    data = await asyncio.to_thread(png, painting.image, recipe)
    await workshop.blobs.put(key, data)
    return key
