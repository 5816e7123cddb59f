"""What a moodboard lends to a picture: some of its pictures as references, and its words."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from easel import pictures
from easel.errors import NotFound, ReferenceUnreadable
from easel.jobs.analyse import found_board, look_through
from easel.jobs.workshop import Report, Workshop
from easel.schema.painting import UNMOVED, Alike, Mood, Reference
from easel.store.claims import Generation
from easel.style.moodboards import acting


@dataclass(frozen=True)
class Direction:
    """What the painter is given of a moodboard."""

    references: list[Reference] = field(default_factory=list)
    mood: Mood = UNMOVED
    told: dict[str, Any] = field(default_factory=dict)  # in the job's details


async def direction(claim: Generation, workshop: Workshop, report: Report) -> Direction:
    """The direction of the board that `claim` asks for, if any; without an analysis, it is analysed now."""
    asked = next((board for board in claim.request.moodboards if board.strength), None)
    if asked is None:
        return Direction()
    while (board := await found_board(claim.workspace_id, asked.id, workshop)).found is None:
        await look_through(board, workshop, report)
    medoids = board.found.medoids
    clusters = [Alike(place, medoid.weight, medoid.direction) for place, medoid in enumerate(medoids)]
    strengths = {medoids[place].key: s for place, s in acting(clusters, asked.strength, claim.seed)}
    references = [await _opened(key, strength, workshop) for key, strength in strengths.items()]
    words = board.words
    pulls = asked.strength > 0
    mood = Mood(words["keywords"], words["avoids"]) if pulls else Mood(avoids=words["keywords"])
    told = {"id": str(asked.id), "strength": asked.strength, "references": strengths}
    words_told = {"keywords": list(mood.keywords), "avoids": list(mood.avoids)}
    return Direction(references, mood, {"moodboard": told | words_told})


async def _opened(key: str, strength: float, workshop: Workshop) -> Reference:
    try:
        data = await workshop.blobs.get(key)
    except NotFound as error:  # in the moment since it was named: the board was changed
        raise ReferenceUnreadable("The moodboard was changed meanwhile: ask again") from error
    return Reference(await asyncio.to_thread(pictures.open_picture, data), strength)
