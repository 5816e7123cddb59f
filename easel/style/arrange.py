"""Boxes to items: fitted into the frame, on the ground, with the sky above and the surroundings behind."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from easel.style import layout
from easel.style.instruments import company, sized, stirred
from easel.style.layout import Box
from easel.style.parse import Reading, Thing
from easel.style.scene import Ground, Item, Library
from easel.style.things import FEET, SKY, Drawn

# Where the ground ends there: rows of things stand between.
HORIZON = {"hills": 0.62, "table": 0.72, "night": 0.78, "water": 0.56, "city": 0.78}
# How much of the frame the subject takes, by what the prompt says of composition or camera.
DENSER = 1.6  # times as dense is a pattern of full complexity
FILL = {"close": 1.0, "macro": 1.0, "wide": 0.6, "far": 0.5, "small": 0.42}


def arrange(
    reading: Reading,
    things: Sequence[Thing],
    ground: Ground,
    library: Library,
    aspect: float,
    rng: random.Random,
    complexity: float = 0,
    movement: float = 0,
) -> tuple[Item, ...]:
    """The items of the scene; `aspect` is the frame's width by its height."""
    frame = Frame(max(1.0, aspect), max(1.0, 1 / aspect), ground, reading, rng)
    drawn = Drawn(library, ground, rng)
    if reading.looks.get("composition") == "pattern":
        boxes = [box for thing in things for box in drawn.copies(replace(thing, count=1))]
        repeated = layout.pattern(boxes, frame.width, frame.height, rng, DENSER**complexity)
        repeated = stirred(repeated, movement, ground, frame.width, frame.height, subject=False)
        return layout.items(repeated, frame.width, frame.height)
    skyward = [library.names[thing.drawings[0]] in SKY and thing.relation != "on" for thing in things]
    aloft = [thing for thing, high in zip(things[1:], skyward[1:], strict=True) if high]
    standing = [thing for thing in things if thing not in aloft]
    floating = standing[0].airborne or (skyward[0] and len(standing) == 1)
    scene = [frame.placed(drawn.joined(standing), floating, bool(aloft))]
    for box in [box for thing in aloft for box in drawn.copies(thing)]:
        scene += frame.hung(box, scene)
    behind = frame.surroundings(drawn, scene)
    if complexity:
        scene, behind = frame.filled(scene, behind, drawn, complexity)
    scene = frame.stirred(behind + scene, len(scene), movement)
    return tuple(item for box in scene for item in layout.items(box, frame.width, frame.height))


@dataclass
class Frame:
    """The picture's rectangle, its shorter side 1, and what decides where things go in it."""

    width: float
    height: float
    ground: Ground
    reading: Reading
    rng: random.Random

    def placed(self, boxes: list[Box], floating: bool, under_sky: bool) -> Box:
        """The boxes in rows, as large as the frame and the prompt allow, standing on the ground."""
        level = self.ground.kind in FEET
        feet = self.height * (self.rng.uniform(*FEET[self.ground.kind]) if level else 0.94)
        ceiling = 0.06 if not under_sky else 0.3 if self.width < 1.4 else 0.12
        room = 0.9 * self.width, feet - ceiling
        deepest = feet - HORIZON[self.ground.kind] * self.height if level else self.height
        if self.ground.kind == "hills" and self.height > 1.2:
            deepest += 0.15 * self.height  # a tall frame looks down on its hills
        box = layout.rows(boxes, *room, deepest, self.rng)
        box = box.scaled(self.fill(len(boxes)) * min(room[0] / box.width, room[1] / box.height))
        if floating or not level:
            middle = self.rng.uniform(0.36, 0.46) if floating else self.rng.uniform(0.48, 0.52)
            feet = max(ceiling + box.height, middle * self.height + box.height / 2)
        return layout.kept(box.at(self.centre(len(boxes)), feet), self.width, self.height)

    def fill(self, count: int) -> float:
        """How much of its room the subject takes."""
        for slot in ("composition", "camera"):
            if self.reading.looks.get(slot) in FILL:
                return FILL[self.reading.looks[slot]]
        fill = self.rng.uniform(0.8, 0.98) if count == 1 else self.rng.uniform(0.86, 1.0)
        if self.reading.place and self.reading.place.props and self.rng.random() < 0.7:
            fill *= self.rng.uniform(0.6, 0.85)  # room for what belongs to the place
        return fill

    def centre(self, count: int) -> float:
        """Where the middle of the subject is, from left to right."""
        match self.reading.looks.get("composition"):
            case "centred" | "close" | "portrait":
                return 0.5 * self.width
            case "thirds":
                return self.rng.choice((0.34, 0.66)) * self.width
        if count == 1 and self.width > 1.2:
            return (
                self.rng.choice((0.33, 0.36, 0.5, 0.64, 0.67)) + self.rng.uniform(-0.03, 0.03)
            ) * self.width
        return (0.5 + self.rng.uniform(-0.06, 0.06)) * self.width

    def hung(self, box: Box, taken: list[Box]) -> list[Box]:
        """The box in the sky beside or above what is there, smaller the less room there is."""
        for size in (0.24, 0.24, 0.18, 0.12, 0.08):
            box = box.scaled(self.rng.uniform(0.9, 1.1) * size / max(box.width, box.height))
            for lowest in (0.45 * self.height, taken[0].top - 0.03):
                found = layout.scattered(box, (0.03, self.width - 0.03, 0.03, lowest), taken, self.rng)
                if found and found[0].top >= 0.02:
                    return found
        return []

    def filled(
        self, scene: list[Box], behind: list[Box], drawn: Drawn, complexity: float
    ) -> tuple[list[Box], list[Box]]:
        """The subject smaller, and more behind it or, below 0, less."""
        scene = [sized(box, complexity, self.ground) for box in scene]
        if complexity < 0:
            return scene, behind[: round((1 + complexity) * len(behind))]
        names = self.reading.place.props if self.reading.place else ()
        taken = [*scene, *behind]
        return scene, company(names, complexity, drawn, taken, self.width, self.height) + behind

    def stirred(self, boxes: list[Box], subjects: int, movement: float) -> list[Box]:
        """All boxes as the movement has them; the last ones are the subjects."""
        if not movement:
            return boxes
        first = len(boxes) - subjects
        moved = [
            stirred(box, movement, self.ground, self.width, self.height, place >= first)
            for place, box in enumerate(boxes)
        ]
        return [layout.kept(box, self.width, self.height) for box in moved]

    def surroundings(self, drawn: Drawn, taken: list[Box]) -> list[Box]:
        """Some of what belongs to the place, at the back; only a forest reaches behind the subject."""
        place, names = self.reading.place, drawn.library.names
        props = [drawn.keys[name] for name in place.props if name in drawn.keys] if place else []
        if not place or not props:
            return []
        if place.dense:
            taken = [taken[0].scaled(0.55).at(taken[0].centre, taken[0].bottom), *taken[1:]]
        scene: list[Box] = []
        for key in self.rng.choices(
            props, k=self.rng.randint(3, 6) if place.dense else self.rng.randint(1, 2)
        ):
            aloft = self.ground.kind not in FEET or names[key] in SKY
            if aloft and any(part.drawing == key for box in scene for part in box.parts):
                continue  # one moon is enough
            highest, lowest = (0.1, 0.4) if aloft else FEET[self.ground.kind]
            box = drawn.one(Thing("", (key,))).scaled(self.rng.uniform(0.2, 0.3))
            top = max(0.03, highest * self.height - box.height)
            area = (0.03, self.width - 0.03, top, lowest * self.height)
            scene += layout.scattered(box, area, [*taken, *scene], self.rng)
        return sorted(scene, key=lambda box: box.bottom)
