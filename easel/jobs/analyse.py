"""The analysis of a moodboard: its pictures are read one after the other, and what was found is kept."""

import asyncio
import hashlib
from asyncio import AbstractEventLoop
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from PIL.Image import Image

from easel import pictures
from easel.errors import NotFound, OutboundError, PictureError, ReferenceUnreadable
from easel.ids import new_file_key
from easel.jobs.workshop import Laps, Made, Report, Thing, Workshop
from easel.schema.jobs import Progress
from easel.schema.moodboards import unusable
from easel.schema.painting import Taste
from easel.store import moodboards
from easel.store.claims import Analysis
from easel.store.moodboards import Board, Found, Medoid

AT_ONCE = 8  # pictures in memory


class Opened(NamedTuple):
    image: Image
    digest: bytes  # of the file


async def analyse(claim: Analysis, workshop: Workshop, report: Report) -> Made:
    """Read the board that `claim` names, telling `report` of each picture."""
    laps = Laps()
    board = await found_board(claim.workspace_id, claim.moodboard_id, workshop)
    taste = await look_through(board, workshop, report)
    laps.end("analyse_seconds")
    details = {"pictures": len(board.urls), "words_by": taste.words_by, "timings": laps.seconds}
    return Made(workshop.painter.engine, workshop.painter.checkpoint, details)


async def found_board(workspace_id: UUID, moodboard_id: UUID, workshop: Workshop) -> Board:
    """The board, as it stands now."""
    try:
        return await moodboards.read(workshop.database, workspace_id, moodboard_id)
    except NotFound as error:
        raise ReferenceUnreadable(error.message) from error


async def look_through(board: Board, workshop: Workshop, report: Report) -> Taste:
    """Read the pictures of `board` and keep what was found, unless it has other pictures by then."""
    loop = asyncio.get_running_loop()
    all_read = Progress(step=len(board.urls), total=len(board.urls))

    def going_on() -> None:
        asyncio.run_coroutine_threadsafe(report(all_read), loop).result()

    taste = await workshop.at_the_easel(
        lambda: workshop.painter.analyse(each(board.urls, workshop, report, loop), going_on)
    )
    copies: list[str] = []
    unneeded = copies
    try:
        for cluster in taste.clusters:
            copies.append(await _copied(board.urls[cluster.medoid], workshop))
        found = Found(
            medoids=[
                Medoid(key=key, weight=cluster.weight, direction=cluster.direction)
                for key, cluster in zip(copies, taste.clusters, strict=True)
            ],
            palette=list(taste.palette),
            taste_profile=taste.profile,
            keywords=list(taste.keywords),
            avoids=list(taste.avoids),
        )
        unneeded = await moodboards.keep(workshop.database, board, found)
    finally:
        for key in unneeded:
            await workshop.blobs.delete(key)
    return taste


def each(urls: Sequence[str], workshop: Workshop, report: Report, loop: AbstractEventLoop) -> Iterator[Image]:
    """Each picture in turn, for a thread beside `loop`; at the end, ReferenceUnreadable names all that cannot
    be used, and none is handed out after the first of them."""

    def wait(work: Coroutine[Any, Any, Thing]) -> Thing:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    first_seen: dict[bytes, int] = {}
    problems: dict[str, str] = {}
    for start in range(0, len(urls), AT_ONCE):
        for place, opened in enumerate(wait(_opened(urls[start : start + AT_ONCE], workshop)), start):
            name = f"urls.{place}"
            if isinstance(opened, str):
                problems[name] = opened
            elif (twin := first_seen.setdefault(opened.digest, place)) != place:
                problems[name] = f"It is the same picture as urls.{twin}: leave one of them out"
            elif not problems:
                yield opened.image
            wait(report(Progress(step=place + 1, total=len(urls))))
    if problems:
        raise ReferenceUnreadable(unusable(problems, len(urls)))


async def _opened(urls: Sequence[str], workshop: Workshop) -> list[Opened | str]:
    """The pictures, or what is wrong with them."""

    async def one(url: str) -> Opened | str:
        try:
            data = await workshop.fetched(url)
            image = await asyncio.to_thread(pictures.open_picture, data)
        except (OutboundError, PictureError) as error:
            return error.message
        await workshop.guard.check_picture(image, f"The picture {url[:200]!r}")
        return Opened(image, hashlib.sha256(data).digest())

    return await asyncio.gather(*map(one, urls))


async def _copied(url: str, workshop: Workshop) -> str:
    """Keep a copy of the picture for the board, to outlive its asset or its host; the answer is its key."""
    try:
        data = await workshop.fetched(url)
        described = await asyncio.to_thread(pictures.describe, data)
    except (OutboundError, PictureError) as error:
        raise ReferenceUnreadable(f"The picture {url[:200]!r} cannot be used: {error.message}") from error
    key = new_file_key(described.suffix)
    await workshop.blobs.put(key, data)
    return key
