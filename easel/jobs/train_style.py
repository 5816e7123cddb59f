"""The training of a style, beside the painting: pictures are read, steps taken, the adapter is kept."""

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Coroutine, Iterator
from typing import Any

from easel.errors import NotFound
from easel.ids import file_key
from easel.jobs.analyse import each
from easel.jobs.workshop import Laps, Made, Report, Thing, Workshop
from easel.schema.jobs import Progress
from easel.schema.painting import Lesson
from easel.store import assets, claims
from easel.store.claims import Training
from easel.store.styles import NewStyle
from easel.store.trainings import training_key

SHOWN = 4  # of the pictures it was trained on, beside the style


async def train_style(claim: Training, workshop: Workshop, report: Report) -> Made:
    """Train the style that `claim` asks for, from where an earlier worker was broken off; the steps told to
    `report` are pictures first, and then those of the training."""
    laps, asked = Laps(), claim.request
    await workshop.guard.check_prompt(f"{asked.name} {asked.trigger_word}")
    captions = await described(claim, workshop)
    total = len(asked.urls) + asked.max_train_steps
    loop = asyncio.get_running_loop()

    async def told(progress: Progress) -> None:
        await report(Progress(step=progress.step, total=total))

    def lessons() -> Iterator[Lesson]:
        for image, caption in zip(each(asked.urls, workshop, told, loop), captions, strict=True):
            yield Lesson(image, caption)

    notebook = Notebook(claim, workshop, report, loop, await kept(claim, workshop))
    trained = await workshop.at_the_easel(lambda: workshop.painter.train(lessons(), asked, notebook))
    style = style_of(claim)
    await workshop.blobs.put(style.key, trained.adapter)
    laps.end("train_seconds")
    details = {"pictures": len(asked.urls), **trained.details, "timings": laps.seconds}
    return Made(workshop.painter.engine, workshop.painter.checkpoint, details, style=style)


async def described(claim: Training, workshop: Workshop) -> list[str]:
    """The description of each picture that is an asset of the workspace, and "" for the others."""
    keys = [file_key(url) or "" for url in claim.request.urls]
    found = await assets.descriptions(workshop.database, claim.workspace_id, keys)
    return [found.get(key, "") for key in keys]


async def kept(claim: Training, workshop: Workshop) -> bytes | None:
    """How far an earlier worker came."""
    try:
        return await workshop.blobs.get(training_key(claim.id))
    except NotFound:
        return None


class Notebook:
    """Tells of steps and keeps states, from a thread beside `loop`."""

    def __init__(
        self,
        claim: Training,
        workshop: Workshop,
        report: Report,
        loop: AbstractEventLoop,
        state: bytes | None,
    ) -> None:
        self.state = state
        self._claim, self._workshop, self._report, self._loop = claim, workshop, report, loop

    def step(self, number: int) -> None:
        """Tell that a step is done; raises Cancelled when the job is no longer ours."""
        read, asked = len(self._claim.request.urls), self._claim.request
        self._wait(self._report(Progress(step=read + number, total=read + asked.max_train_steps)))

    def keep(self, state: bytes) -> None:
        """Keep `state`, so that another worker can go on from there."""
        self._wait(self._workshop.blobs.replace(training_key(self._claim.id), state))
        self._wait(claims.get_on(self._workshop.database, self._claim))

    def _wait(self, work: Coroutine[Any, Any, Thing]) -> Thing:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def style_of(claim: Training) -> NewStyle:
    """The style that `claim` makes, with some of its pictures beside it."""
    asked, shown = claim.request, claim.request.urls[:SHOWN]
    return NewStyle(
        id=claim.style_id,
        title=asked.name,
        model=asked.model,
        trigger_word=asked.trigger_word,
        urls=shown,
        files=[key for key in claim.files if key in map(file_key, shown)],
    )
