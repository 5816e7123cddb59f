"""The ground a scene stands on, in colours that set its subject off."""

import random

import numpy as np

from easel.style.colours import DARK, colours, mix
from easel.style.parse import Reading, Thing
from easel.style.scene import Ground, Library
from easel.style.things import FEET, SKY, group_of
from easel.style.vocabulary import PLACES
from easel.style.words import word_list

NOCTURNAL = word_list("nocturnal")
WATERY = word_list("watery")
# Grounds that suit a subject of a group when the prompt names none.
FREE_GROUNDS = {
    "animals and nature": ("hills", "hills", "flat", "gradient", "stripes", "bokeh"),
    "travel and places": ("hills", "hills", "gradient", "flat", "city"),
    "food and drink": ("table", "table", "flat", "gradient", "stripes"),
    "objects": ("table", "table", "flat", "gradient", "stripes", "bokeh"),
    "activities": ("flat", "gradient", "stripes", "bokeh"),
}
ANY_GROUND = ("flat", "gradient", "gradient", "bokeh", "table")


def chosen_ground(
    reading: Reading, things: list[Thing], library: Library, aspect: float, rng: random.Random
) -> Ground:
    """The ground the prompt calls for, or one that suits the subject, in colours that set it off."""
    light, palette = reading.look("light"), reading.look("palette")
    moonlit = any("moon" in library.names[thing.drawings[0]] for thing in things)
    if light is None and moonlit and rng.random() < 0.8:
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
        wall, land, accent = base
        base = (
            (reading.place_colour, land, accent)
            if kind == "gradient"
            else (wall, reading.place_colour, accent)
        )
    subject = mean_colour(things[0], library)
    chosen = colours(base, palette, light, subject, rng)
    if reading.backdrop:
        chosen = (reading.backdrop, mix(reading.backdrop, DARK, 0.2), chosen[2])
    return Ground(kind, chosen, seed=rng.randrange(2**31))


def ground_kind(
    reading: Reading, subject: Thing, library: Library, light: str | None, rng: random.Random
) -> str:
    name = library.names[subject.drawings[0]]
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
    return rng.choice(FREE_GROUNDS.get(group_of(subject.drawings[0], library), ANY_GROUND))


def mean_colour(thing: Thing, library: Library) -> str | None:
    """The mean colour of the thing; none for a silhouette, which takes the colour it needs."""
    if thing.colour or library.kind(thing.drawings[0]) == "silhouette":
        return thing.colour
    shape = library.raster(thing.drawings[0], 64)
    mean = (shape[..., :3] * shape[..., 3:]).sum((0, 1)) / shape[..., 3].sum()
    return "#" + "".join(f"{round(255 * float(channel)):02x}" for channel in np.clip(mean, 0, 1))
