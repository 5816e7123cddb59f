"""Things to boxes: each drawn to its size, and joined to the others as the prompt joins them."""

import random
from collections.abc import Sequence
from dataclasses import replace

from easel.style import layout
from easel.style.colours import tint
from easel.style.layout import Box
from easel.style.nouns import ALIVE
from easel.style.parse import Thing
from easel.style.scene import Ground, Library
from easel.style.words import LEXICON, lexicon, word_list

WORN: dict[str, tuple[float, float]] = LEXICON["worn"]
SIZES = {name: float(size) for size, names in lexicon("sizes").items() for name in names}
SEATS = word_list("seats")
SHELTERS = word_list("shelters")
SKY = word_list("sky")
WITH = ("with", "wearing", "made")  # relations of what belongs to the thing before
LARGE = 1.3  # from this size on, "in" means before: nobody sees into a house
# Where things stand on a ground that has a horizon, as fractions of the height.
FEET = {
    "hills": (0.78, 0.92),
    "table": (0.8, 0.92),
    "night": (0.84, 0.93),
    "water": (0.7, 0.84),
    "city": (0.86, 0.95),
}


def group_of(key: str, library: Library) -> str:
    """The group of a drawing: small things among "travel and places" are objects."""
    group = library.groups[key]
    small = group == "travel and places" and SIZES.get(library.names[key], 1.0) < 1
    return "objects" if small else group


class Drawn:
    """Turns things into boxes, with the variations of one picture."""

    def __init__(self, library: Library, ground: Ground, rng: random.Random):
        self.library, self.ground, self.rng = library, ground, rng
        self.keys = {name: key for key, name in library.names.items() if library.kind(key) == "emoji"}
        self.turn = rng.choice((-1, 1))

    def copies(self, thing: Thing) -> list[Box]:
        """A box for each of the thing, alike but not the same."""
        return [self.one(thing) for _ in range(max(1, thing.count))]

    def one(self, thing: Thing) -> Box:
        key = self.rng.choice(thing.drawings)
        name = self.library.names[key]
        shape = self.library.raster(key, 64)
        crowd = thing.count > 1
        size = SIZES.get(name, 1.0) ** 0.8 * (self.rng.uniform(0.85, 1.05) if crowd else 1.0)
        flip = self.library.groups[key] in (*ALIVE, "food and drink") and self.rng.random() < 0.5
        free = self.ground.kind not in FEET and self.library.groups[key] != "travel and places"
        angle = self.turn * thing.tilt + (
            self.rng.uniform(-9, 9) if free and self.rng.random() < 0.5 else 0.0
        )
        colour = thing.colour
        if colour is None and self.library.kind(key) == "silhouette":
            colour = tint(self.ground.colours, self.rng)
        return layout.drawn(key, size, shape.shape[1] / shape.shape[0], flip, angle, colour)

    def joined(self, things: Sequence[Thing]) -> list[Box]:
        """The things as the prompt joins them; what only stands beside the others is a box of its own."""
        boxes: list[Box] = []
        dressing = False  # "a scarf and a hat": what follows worn things is worn too
        for thing, following in zip(things, [*things[1:], None], strict=True):
            if following and self.wears(thing, following):
                thing = self.portrayed(thing)
            place = WORN.get(self.library.names[thing.drawings[0]])
            dressing = place is not None and (
                thing.relation in WITH or (dressing and thing.relation == "and")
            )
            new = self.copies(thing)
            if boxes and place and dressing:
                boxes[-1] = layout.worn(boxes[-1], new[0], place)
            elif not boxes or thing.relation in ("and", "near"):
                boxes += new
            elif thing.relation in WITH:
                boxes += [box.scaled(0.75) for box in new]
            else:
                boxes = [self.related(thing, layout.beside(boxes), layout.beside(new))]
        return boxes

    def related(self, thing: Thing, one: Box, other: Box) -> Box:
        """`one` on, in, under… `other`, which is the thing."""
        name = self.library.names[thing.drawings[0]]
        large = SIZES.get(name, 1.0) >= LARGE
        match thing.relation:
            case "on":
                return layout.on(one, other, 0.5 if name in SEATS else 0.0, self.rng)
            case "in" if not large:
                return layout.inside(one, other)
            case "under" if name in SHELTERS and thing.count <= 1:
                return layout.under(one, other, self.turn)
            case "under":
                return layout.above(other, one)
            case "above":
                return layout.above(one, other)
            case "behind":
                return layout.in_front(other, one, self.turn)
            case _:
                return layout.in_front(one, other, self.turn)

    def wears(self, thing: Thing, following: Thing) -> bool:
        return (
            following.relation in WITH
            and self.library.names[following.drawings[0]] in WORN
            and self.library.groups[thing.drawings[0]] in ALIVE
        )

    def portrayed(self, thing: Thing) -> Thing:
        """The thing by its face, where there is a drawing of it: a hat sits better there."""
        face = self.keys.get(f"{self.library.names[thing.drawings[0]]} face")
        return replace(thing, drawings=(face,)) if face else thing
