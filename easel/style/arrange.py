"""Things to items: each drawn to its size, joined as the prompt joins them, fitted into the frame."""

import random
from collections.abc import Sequence
from dataclasses import replace

from easel.style import layout
from easel.style.colours import tint
from easel.style.layout import Box
from easel.style.nouns import ALIVE
from easel.style.parse import Reading, Thing
from easel.style.scene import Ground, Item, Library
from easel.style.vocabulary import Place
from easel.style.words import LEXICON, lexicon, word_list

SKY = word_list("sky")
WORN: dict[str, tuple[float, float]] = LEXICON["worn"]
SIZES = {name: float(size) for size, names in lexicon("sizes").items() for name in names}
SEATS = word_list("seats")
SHELTERS = word_list("shelters")
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
# Where the ground ends there: rows of things stand between.
HORIZON = {"hills": 0.66, "table": 0.72, "night": 0.78, "water": 0.6, "city": 0.78}
# How much of the frame the subject takes, by what the prompt says of composition or camera.
FILL = {"close": 1.0, "macro": 1.0, "wide": 0.6, "far": 0.5, "small": 0.42}


def arrange(
    reading: Reading,
    things: Sequence[Thing],
    ground: Ground,
    library: Library,
    aspect: float,
    rng: random.Random,
) -> tuple[Item, ...]:
    """The items of the scene; `aspect` is the frame's width by its height."""
    width, height = max(1.0, aspect), max(1.0, 1 / aspect)
    drawn = Drawn(library, ground, rng)
    if reading.looks.get("composition") == "pattern":
        boxes = [box for thing in things for box in drawn.copies(replace(thing, count=1))]
        return layout.items(layout.pattern(boxes, width, height, rng), width, height)
    aloft = [thing for thing in things[1:] if library.names[thing.drawings[0]] in SKY]
    standing = [thing for thing in things if thing not in aloft]
    main = placed(drawn.joined(standing), standing[0], reading, ground, width, height, bool(aloft), rng)
    scene = [main]
    for thing in aloft:
        for box in drawn.copies(thing):
            scene += hung(box, width, height, scene, rng)
    if reading.place:
        scene = surroundings(reading.place, ground, drawn, width, height, scene) + scene
    return tuple(item for box in scene for item in layout.items(box, width, height))


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


def placed(
    boxes: list[Box],
    subject: Thing,
    reading: Reading,
    ground: Ground,
    width: float,
    height: float,
    under_sky: bool,
    rng: random.Random,
) -> Box:
    """The boxes in rows, as large as the frame and the prompt allow, standing on the ground."""
    feet = height * rng.uniform(*FEET[ground.kind]) if ground.kind in FEET else 0.94 * height
    ceiling = 0.06 if not under_sky else 0.3 if width < 1.4 else 0.12
    fill = rng.uniform(0.8, 0.98) if len(boxes) == 1 else rng.uniform(0.86, 1.0)
    if reading.place and reading.place.props and rng.random() < 0.7:
        fill *= rng.uniform(0.6, 0.85)  # room for what belongs to the place
    for slot in ("composition", "camera"):
        fill = FILL.get(reading.looks.get(slot, ""), fill)
    room = 0.9 * width, feet - ceiling
    deepest = feet - HORIZON[ground.kind] * height if ground.kind in FEET else height
    box = layout.rows(boxes, *room, deepest, rng)
    box = box.scaled(fill * min(room[0] / box.width, room[1] / box.height))
    centre = width * stand(reading, width, len(boxes), rng)
    if ground.kind not in FEET or subject.airborne:
        middle = rng.uniform(0.42, 0.48) if subject.airborne else rng.uniform(0.48, 0.52)
        feet = max(ceiling + box.height, middle * height + box.height / 2)
    return layout.kept(box.at(centre, feet), width, height)


def stand(reading: Reading, width: float, count: int, rng: random.Random) -> float:
    """Where the middle of the picture's main things is, from left to right."""
    match reading.looks.get("composition"):
        case "centred" | "close" | "portrait":
            return 0.5
        case "thirds":
            return rng.choice((0.34, 0.66))
    if count == 1 and width > 1.2:
        return rng.choice((0.33, 0.36, 0.5, 0.64, 0.67)) + rng.uniform(-0.03, 0.03)
    return 0.5 + rng.uniform(-0.06, 0.06)


def hung(box: Box, width: float, height: float, taken: list[Box], rng: random.Random) -> list[Box]:
    """The box in the sky beside or above what is there, smaller the less room there is."""
    for size in (0.24, 0.24, 0.18, 0.12, 0.08):
        box = box.scaled(rng.uniform(0.9, 1.1) * size / max(box.width, box.height))
        for lowest in (0.45 * height, taken[0].top - 0.03):
            found = layout.scattered(box, (0.03, width - 0.03, 0.03, lowest), taken, rng)
            if found and found[0].top >= 0.02:
                return found
    return []


def surroundings(
    place: Place, ground: Ground, drawn: Drawn, width: float, height: float, taken: list[Box]
) -> list[Box]:
    """Some of what belongs to the place, at the back; only a forest reaches behind the subject."""
    rng, names = drawn.rng, drawn.library.names
    props = [drawn.keys[name] for name in place.props if name in drawn.keys]
    count = rng.randint(3, 6) if place.dense else rng.randint(1, 2)
    if place.dense:
        taken = [taken[0].scaled(0.55).at(taken[0].centre, taken[0].bottom), *taken[1:]]
    scene: list[Box] = []
    for key in rng.choices(props, k=count) if props else ():
        aloft = ground.kind not in FEET or names[key] in SKY
        if aloft and any(part.drawing == key for box in scene for part in box.parts):
            continue  # one moon is enough
        highest, lowest = (0.1, 0.4) if aloft else FEET[ground.kind]
        box = drawn.one(Thing("", (key,))).scaled(rng.uniform(0.2, 0.3))
        area = (0.03, width - 0.03, max(0.03, highest * height - box.height), lowest * height)
        scene += layout.scattered(box, area, [*taken, *scene], rng)
    return sorted(scene, key=lambda box: box.bottom)
