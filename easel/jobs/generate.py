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
from easel.errors import (
    EngineError,
    JobError,
    NotFound,
    OutboundError,
    PictureError,
    ReferenceUnreadable,
    UnsafePicture,
)
from easel.ids import file_key, new_file_key, same_file_key
from easel.safety.guard import Guard
from easel.schema.generation import StyleReference
from easel.schema.jobs import Progress
from easel.schema.painting import Painter, Painting, Reference, Step
from easel.store.blobs import Blobs
from easel.store.database import AWAY
from easel.store.jobs import Claim

Report = Callable[[Progress], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Workshop:
    """Where pictures are painted: who paints and who judges, and where files come from and go to."""

    painter: Painter
    guard: Guard
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


async def generate(claim: Claim, workshop: Workshop, report: Report) -> Picture:
    """Paint what `claim` asks for and keep it, telling `report` of each step."""
    laps = Laps()
    await workshop.guard.check_prompt(claim.request.prompt)
    references = await gather(claim, workshop)
    laps.end("gather_seconds")
    painting = await paint(claim, references, workshop, report)
    laps.end("paint_seconds")
    await workshop.guard.check_picture(painting.image, "The finished picture")
    laps.end("check_seconds")
    key = await keep(claim, painting, workshop)
    laps.end("keep_seconds")
    painter = workshop.painter
    details = {**painting.details, "timings": {**painting.details.get("timings", {}), **laps.seconds}}
    return Picture(key, painting.prompt, painter.engine, painter.checkpoint, details)


class Laps:
    """How long each part of the road took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begun = time.monotonic()

    def end(self, name: str) -> None:
        """Put the time since the last lap down under `name`."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._begun, 3)
        self._begun = now


async def gather(claim: Claim, workshop: Workshop) -> list[Reference]:
    """The references as opened pictures, in their order."""
    references = claim.request.image_style_references
    return await asyncio.gather(*(_opened(reference, claim, workshop) for reference in references))


async def _opened(reference: StyleReference, claim: Claim, workshop: Workshop) -> Reference:
    try:
        data = await _fetched(reference.url, workshop)
        image = await asyncio.to_thread(pictures.open_picture, data)
    except (OutboundError, PictureError) as error:
        raise ReferenceUnreadable(
            f"The reference {reference.url[:200]!r} cannot be used: {error.message}"
        ) from error
    try:
        await workshop.guard.check_picture(image, f"The reference {reference.url[:200]!r}")
    except UnsafePicture:
        await _forget(reference.url, data, claim, workshop)
        raise
    return Reference(image, reference.strength)


async def _forget(url: str, data: bytes, claim: Claim, workshop: Workshop) -> None:
    """Delete a reference that came in the body of a request; an asset is its owner's to delete."""
    key = file_key(url)
    if key and key == same_file_key(data, claim.workspace_id, key.rpartition(".")[2]):
        await workshop.blobs.delete(key)


async def _fetched(url: str, workshop: Workshop) -> bytes:
    if url.startswith("data:"):
        return pictures.from_data_uri(url)
    if key := file_key(url):
        try:
            return await workshop.blobs.get(key)
        except NotFound:
            pass  # another server's file, or one of ours that was deleted: its URL will tell
    return await outbound.fetch(url, workshop.allow_networks)


async def paint(
    claim: Claim, references: Sequence[Reference], workshop: Workshop, report: Report
) -> Painting:
    """Let the painter paint in its thread; what `report` raises ends it after the step."""
    loop = asyncio.get_running_loop()

    def on_prompt(prompt: str) -> None:
        if prompt != claim.request.prompt:
            asyncio.run_coroutine_threadsafe(workshop.guard.check_prompt(prompt), loop).result()

    def on_step(step: Step) -> None:
        shown = step.preview if step.preview and workshop.guard.may_show(step.preview) else None
        small = preview(shown) if shown else None
        progress = Progress(step=step.index, total=step.total, preview=small)
        asyncio.run_coroutine_threadsafe(report(progress), loop).result()

    def brush() -> Painting:
        model = MODELS[claim.variant]
        return workshop.painter.paint(claim.request, references, model, claim.seed, on_step, on_prompt)

    try:
        return await loop.run_in_executor(workshop.thread, brush)
    except (JobError, *AWAY):
        raise
    except Exception as error:
        raise EngineError(f"The engine failed: {type(error).__name__}: {error}") from error


async def keep(claim: Claim, painting: Painting, workshop: Workshop) -> str:
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
        "engine": workshop.painter.engine,
        "checkpoint": workshop.painter.checkpoint,
    }
    key = new_file_key("png")
    data = await asyncio.to_thread(png, painting.image, recipe)
    await workshop.blobs.put(key, data)
    return key
