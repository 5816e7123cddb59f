"""One picture, from the claimed job to the file: the story on one page."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from easel import outbound, pictures
from easel.catalog import MODELS
from easel.engine.images import png, preview
from easel.errors import EngineError, JobError, NotFound, OutboundError, PictureError, ReferenceUnreadable
from easel.ids import file_key, new_file_key
from easel.schema.generation import StyleReference
from easel.schema.jobs import Progress
from easel.schema.painting import Painter, Painting, Reference, Step
from easel.store.blobs import Blobs
from easel.store.database import AWAY
from easel.store.jobs import Claim

Report = Callable[[Progress], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Studio:
    """Where pictures are painted: who paints, in which thread, and where files come from and go to."""

    painter: Painter
    thread: Executor
    blobs: Blobs
    allow_networks: Sequence[str]


@dataclass(frozen=True)
class Picture:
    """A kept picture, and what is told of it."""

    file_key: str
    expanded_prompt: str
    engine: str
    checkpoint: str
    details: dict[str, Any]


async def generate(claim: Claim, studio: Studio, report: Report) -> Picture:
    """Paint what `claim` asks for and keep it, telling `report` of each step."""
    begun = time.monotonic()
    references = await gather(claim.request.image_style_references, studio)
    gathered = time.monotonic()
    painting = await paint(claim, references, studio, report)
    painted = time.monotonic()
    key = await keep(claim, painting, studio)
    timings = {
        "gather_seconds": round(gathered - begun, 3),
        "paint_seconds": round(painted - gathered, 3),
        "keep_seconds": round(time.monotonic() - painted, 3),
    }
    painter = studio.painter
    details = {**painting.details, "timings": {**painting.details.get("timings", {}), **timings}}
    return Picture(key, painting.prompt, painter.engine, painter.checkpoint, details)


async def gather(references: Sequence[StyleReference], studio: Studio) -> list[Reference]:
    """The references as opened pictures, in their order."""
    return await asyncio.gather(*(_opened(reference, studio) for reference in references))


async def _opened(reference: StyleReference, studio: Studio) -> Reference:
    try:
        data = await _fetched(reference.url, studio)
        image = await asyncio.to_thread(pictures.open_picture, data)
    except (OutboundError, PictureError) as error:
        raise ReferenceUnreadable(
            f"The reference {reference.url[:200]!r} cannot be used: {error.message}"
        ) from error
    return Reference(image, reference.strength)


async def _fetched(url: str, studio: Studio) -> bytes:
    if url.startswith("data:"):
        return pictures.from_data_uri(url)
    if key := file_key(url):
        try:
            return await studio.blobs.get(key)
        except NotFound:
            pass  # another server's file, or one of ours that was deleted: its URL will tell
    return await outbound.fetch(url, studio.allow_networks)


async def paint(claim: Claim, references: Sequence[Reference], studio: Studio, report: Report) -> Painting:
    """Let the painter paint in its thread; what `report` raises ends it after the step."""
    loop = asyncio.get_running_loop()

    def on_step(step: Step) -> None:
        small = preview(step.preview) if step.preview else None
        progress = Progress(step=step.index, total=step.total, preview=small)
        asyncio.run_coroutine_threadsafe(report(progress), loop).result()

    def brush() -> Painting:
        model = MODELS[claim.variant]
        return studio.painter.paint(claim.request, references, model, claim.seed, on_step)

    try:
        return await loop.run_in_executor(studio.thread, brush)
    except (JobError, *AWAY):
        raise
    except Exception as error:
        raise EngineError(f"The engine failed: {type(error).__name__}: {error}") from error


async def keep(claim: Claim, painting: Painting, studio: Studio) -> str:
    """Store the picture as a PNG that carries its recipe; the answer is its key."""
    request = claim.request
    recipe = {
        "prompt": request.prompt,
        "expanded_prompt": painting.prompt,
        "model": claim.variant,
        "seed": claim.seed,
        "aspect_ratio": request.aspect_ratio,
        "creativity": request.creativity,
        "reference_strengths": [reference.strength for reference in request.image_style_references],
        "engine": studio.painter.engine,
        "checkpoint": studio.painter.checkpoint,
    }
    key = new_file_key("png")
    data = await asyncio.to_thread(png, painting.image, recipe)
    await studio.blobs.put(key, data)
    return key
