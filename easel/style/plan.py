"""Prompt to scene: which drawings, on which ground, laid out for the frame and varied by the seed."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from easel.style.arrange import FEET, SIZES, SKY, arrange
from easel.style.colours import DARK, colours, mix
from easel.style.nouns import drawable, phrasebook
from easel.style.parse import CERTAIN, Reading, Thing, parse
from easel.style.scene import Ground, Library, Scene
from easel.style.vocabulary import PLACES, SLOTS
from easel.style.words import Phrasebook, inverted, lexicon, singular, split, word_list

Nearest = Callable[
    [list[str]], list[list[tuple[str, float]]]
]  # for each phrase (drawing, cosine), best first

MOST_THINGS = 5
MOST_COPIES = 6
SURE = 0.6  # cosine from which an unknown word is drawn beside known ones
PARTS = word_list("parts")
NOCTURNAL = word_list("nocturnal")
WATERY = word_list("watery")
ALWAYS_MANY = word_list("always_many")
ALWAYS_ONE = word_list("always_one")
ANYTHING = word_list("anything")
IDEAS = Phrasebook((word, (word, name)) for word, name in inverted(lexicon("ideas")))
# Grounds that suit a subject of a group when the prompt names none.
FREE_GROUNDS = {
    "animals and nature": ("hills", "hills", "flat", "gradient", "stripes", "bokeh"),
    "travel and places": ("hills", "hills", "gradient", "flat", "city"),
    "food and drink": ("table", "table", "flat", "gradient", "stripes"),
    "objects": ("table", "table", "flat", "gradient", "stripes", "bokeh"),
    "activities": ("flat", "gradient", "stripes", "bokeh"),
}
ANY_GROUND = ("flat", "gradient", "gradient", "bokeh", "table")


class Choice(NamedTuple):
    """A drawing that stands for a phrase of the prompt."""

    phrase: str
    drawing: str
    name: str
    score: float


@dataclass(frozen=True)
class Plan:
    scene: Scene
    chosen: tuple[Choice, ...]
    palette: str | None
    technique: str | None
    light: str | None

    def summary(self) -> dict[str, Any]:
        """What was planned, as JSON."""
        return {
            "drawings": [choice._asdict() for choice in self.chosen],
            "ground": self.scene.ground.kind,
            "palette": self.palette,
            "technique": self.technique,
            "light": self.light,
        }


def plan(prompt: str, width: int, height: int, seed: int, library: Library, nearest: Nearest) -> Plan:
    """Read the prompt, choose drawings and ground, and lay them out."""
    rng = random.Random(f"{seed} {prompt}")
    reading = parse(prompt, phrasebook(library))
    things = wanted(prompt, reading, library, nearest, rng)
    ground = chosen_ground(reading, things, library, width / height, rng)
    items = arrange(reading, things, ground, library, width / height, rng)
    return Plan(
        scene=Scene(width, height, ground, items),
        chosen=tuple(
            Choice(t.phrase, key, library.names[key], t.score) for t in things for key in t.drawings
        ),
        palette=look(reading, "palette"),
        technique=look(reading, "medium"),
        light=look(reading, "light"),
    )


def look(reading: Reading, slot: str) -> str | None:
    """The key the prompt names for a slot, if it is one that can be drawn."""
    key = reading.looks.get(slot)
    return key if key in SLOTS[slot] else None


def wanted(
    prompt: str, reading: Reading, library: Library, nearest: Nearest, rng: random.Random
) -> list[Thing]:
    """What is drawn: each thing with its drawings and how many of it."""
    things = [
        thing
        for thing in reading.things
        if thing.relation == "and" or singular(thing.phrase.split()[-1]) not in PARTS
    ]
    unknown = [thing.phrase for thing in things if not thing.drawings]
    found = dict(zip(unknown, nearest(unknown), strict=True)) if unknown else {}
    least = SURE if reading.place or len(unknown) < len(things) else 0.0
    things = [
        thing if thing.drawings else likened(thing, found[thing.phrase], library, least) for thing in things
    ]
    things = distinct([thing for thing in things if thing.drawings])[:MOST_THINGS]
    things = things or stand_ins(prompt, reading, library, nearest, rng)
    return [counted(thing, library, rng) for thing in things]


def distinct(things: list[Thing]) -> list[Thing]:
    """Without guesses at what is drawn already: the spell of a wizard is no second wizard."""
    return [
        thing
        for place, thing in enumerate(things)
        if thing.score >= CERTAIN
        or not any(set(thing.drawings) & set(other.drawings) for other in things[:place])
    ]


def likened(thing: Thing, ranked: list[tuple[str, float]], library: Library, least: float) -> Thing:
    """The thing with the drawing that is most like it, emoji first, if it is like it at all."""
    likely = [
        (cosine + 0.05 * (library.kind(key) == "emoji"), key)
        for key, cosine in ranked
        if drawable(library, key)
    ]
    score, key = max(likely, default=(0.0, ""))
    return replace(thing, drawings=(key,), score=round(score, 2)) if key and score >= least else thing


def stand_ins(
    prompt: str, reading: Reading, library: Library, nearest: Nearest, rng: random.Random
) -> list[Thing]:
    """For a prompt that names nothing: what belongs to its place, else what is most like its words."""
    keys = {name: key for key, name in reversed(library.names.items())}  # emoji come first
    if reading.place and reading.place.props:
        return [Thing(reading.place.words[0], (keys[reading.place.props[0]],), 0.5, count=rng.randint(1, 3))]
    words = split(prompt)
    ideas = IDEAS.found(words)
    if ideas:
        return [Thing(ideas[0][0], (keys[ideas[0][1]],), 0.5)]
    book = phrasebook(library)
    strange = " ".join(word for word in words if word.isalpha() and book.at([word], 0) is None)
    if strange:
        thing = likened(Thing(strange), nearest([strange])[0], library, 0.0)
        if thing.drawings:
            return [thing]
    return [Thing("", (keys[rng.choice(sorted(ANYTHING))],))]


def counted(thing: Thing, library: Library, rng: random.Random) -> Thing:
    """The number said, else two or three for a plural, unless the drawing itself shows several."""
    name = split(library.names[thing.drawings[0]])[-1]
    several = (
        (thing.plural or thing.phrase in ALWAYS_MANY)
        and name == singular(name)
        and thing.phrase not in ALWAYS_ONE
    )
    count = max(thing.count, rng.randint(2, 3) if several and thing.count < 2 else 1)
    drawings = thing.drawings if count > 1 else (rng.choice(thing.drawings),)
    return replace(thing, count=min(count, MOST_COPIES), drawings=drawings)


def chosen_ground(
    reading: Reading, things: list[Thing], library: Library, aspect: float, rng: random.Random
) -> Ground:
    """The ground the prompt calls for, or one that suits the subject, in colours that set it off."""
    light, palette = look(reading, "light"), look(reading, "palette")
    if (
        light is None
        and any("moon" in library.names[thing.drawings[0]] for thing in things)
        and rng.random() < 0.8
    ):
        light = "night"
    kind = ground_kind(reading, things[0], library, light, rng)
    if not reading.place and aspect < 0.9 and sum(thing.count for thing in things) > 2 and kind in FEET:
        kind = rng.choice(("flat", "gradient"))  # several things in a tall frame float in rows
    base = reading.place.colours if reading.place else None
    if reading.season and kind in ("hills", "night"):
        base = reading.season.colours
    if base is None and kind in FEET and (kind == "night" or rng.random() < 0.75):
        base = rng.choice([place.colours for place in PLACES if place.ground == kind])
    if reading.place_colour and base:
        base = (
            (reading.place_colour, *base[1:])
            if kind == "gradient"
            else (base[0], reading.place_colour, base[2])
        )
    subject = looks_like(things[0], library)
    chosen = colours(base, palette, light, subject, rng)
    if reading.backdrop:
        chosen = (reading.backdrop, mix(reading.backdrop, DARK, 0.2), chosen[2])
    return Ground(kind, chosen, seed=rng.randrange(2**31))


def ground_kind(
    reading: Reading, subject: Thing, library: Library, light: str | None, rng: random.Random
) -> str:
    name, group = library.names[subject.drawings[0]], library.groups[subject.drawings[0]]
    if reading.backdrop or reading.looks.get("composition") == "pattern":
        return "flat"
    if reading.place:
        outdoors = reading.place.ground == "hills"
        return "night" if outdoors and light == "night" and rng.random() < 0.7 else reading.place.ground
    if light == "night":
        return rng.choice(("night", "night", "gradient", "bokeh"))
    if light == "studio":
        return rng.choice(("gradient", "table", "flat"))
    if name in NOCTURNAL:
        return rng.choice(("night", "night", "gradient"))
    if name in WATERY:
        return rng.choice(("water", "water", "gradient", "flat"))
    if name in SKY or subject.airborne:
        return rng.choice(("gradient", "gradient", "hills"))
    if SIZES.get(name, 1.0) < 1 and group == "travel and places":
        group = "objects"
    return rng.choice(FREE_GROUNDS.get(group, ANY_GROUND))


def looks_like(thing: Thing, library: Library) -> str | None:
    """The mean colour of the thing; none for a silhouette, which takes the colour it needs."""
    if thing.colour or library.kind(thing.drawings[0]) == "silhouette":
        return thing.colour
    shape = library.raster(thing.drawings[0], 64)
    mean = (shape[..., :3] * shape[..., 3:]).sum((0, 1)) / shape[..., 3].sum()
    return "#" + "".join(f"{round(255 * float(channel)):02x}" for channel in np.clip(mean, 0, 1))
