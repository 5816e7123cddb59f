"""Complexity and movement: how much stands in a scene, and how far it is from standing still.

Both go from -1 to 1; 0 changes nothing. They act on boxes that are arranged already, so that the subject
stays what it is; what they do to the ground stands in `easel.style.scene`.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from easel.style import layout
from easel.style.layout import Box
from easel.style.parse import Thing
from easel.style.scene import LEAN, Ground
from easel.style.things import FEET, SKY, Drawn
from easel.style.words import lexicon

COMPANY = lexicon("company")  # ground → what may stand around there
MOST_COMPANY, MOST_ALIKE = 12, 3
SMALLER = {True: 0.2, False: 0.45}  # the share of its size that a subject gives up: among many things, alone


def sized(box: Box, complexity: float, ground: Ground) -> Box:
    """The subject, smaller: to make room for company, or to leave its surroundings empty."""
    smaller = box.scaled(1 - SMALLER[complexity > 0] * abs(complexity))
    middle = (box.top + box.bottom) / 2
    return smaller.at(box.centre, box.bottom if ground.kind in FEET else middle + smaller.height / 2)


def company(
    names: Sequence[str], complexity: float, drawn: Drawn, taken: Sequence[Box], width: float, height: float
) -> list[Box]:
    """Up to MOST_COMPANY small drawings where there is room: of `names`, or of what suits the ground."""
    rng, kind = random.Random(drawn.ground.seed), drawn.ground.kind
    found: list[Box] = []
    there = {drawn.library.names[part.drawing] for box in taken for part in box.parts}
    names = [name for name in (*names, *COMPANY[kind]) if name in drawn.keys and name not in there]
    taken = [box.scaled(0.85).at(box.centre, box.bottom) for box in taken]  # some may stand half behind
    for name in [name for _ in range(MOST_ALIKE) for name in rng.sample(names, len(names))]:
        if len(found) >= round(complexity * MOST_COMPANY):
            break
        box = drawn.one(Thing("", (drawn.keys[name],)))
        box = box.scaled(rng.uniform(0.11, 0.19) / max(box.width, box.height))
        highest, lowest = FEET.get(kind, (0.1, 0.97)) if name not in SKY else (0.1, 0.45)
        highest -= 0.05  # farther away than the subject, but not beyond any horizon
        area = (0.03, width - 0.03, max(0.03, highest * height - box.height), lowest * height)
        found += layout.scattered(box, area, [*taken, *found], rng)
    return sorted(found, key=lambda box: box.bottom)


def stirred(box: Box, movement: float, ground: Ground, width: float, height: float, subject: bool) -> Box:
    """The box on a ground that tilts, the subject leaning further; below 0 upright, the subject centred."""
    if movement < 0:
        level = Box(tuple(replace(part, angle=(1 + movement) * part.angle) for part in box.parts))
        return level.moved(-movement * (width / 2 - box.centre), 0) if subject else level
    lean = LEAN * movement * ground.way if subject else 0.0
    turned = box.turned(ground.tilt, (width / 2, height / 2), lean)
    return turned.scaled(1 - 0.12 * movement).at(turned.centre, turned.bottom) if subject else turned
