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
BACK = 0.12  # the share of its size that a subject gives up to any movement, or to the want of it
SMALLER = {True: 0.2, False: 0.45}  # the share of its size that a subject gives up: among many things, alone


def sized(box: Box, complexity: float, ground: Ground) -> Box:
    """The subject, smaller: to make room for company, or to leave its surroundings empty."""
    return smaller(box, SMALLER[complexity > 0] * abs(complexity), ground)


def smaller(box: Box, share: float, ground: Ground) -> Box:
    """The box without a share of its size, where it stood or hung."""
    lost = share * box.height
    return box.scaled(1 - share).at(box.centre, box.bottom - (0 if ground.kind in FEET else lost / 2))


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
    """The box on a ground that tilts, the subject leaning further; below 0 upright, the subject farther away
    and in the middle."""
    if movement > 0:
        lean = LEAN * movement * ground.way if subject else 0.0
        box = box.turned(ground.tilt, (width / 2, height / 2), lean)
    else:
        box = Box(tuple(replace(part, angle=(1 + movement) * part.angle) for part in box.parts))
        box = box.moved(-movement * (width / 2 - box.centre), 0) if subject else box
    return smaller(box, BACK * abs(movement), ground) if subject else box
