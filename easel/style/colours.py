"""Grounds in the colours of a place, a palette, a light, from which the subject stands out."""

import random

import numpy as np

from easel.style.scene import rgb
from easel.style.vocabulary import FREE_COLOURS, PALETTE_COLOURS, Colours

APART = 0.2  # least distance between a subject and its ground
LIGHT = "#fbf7ee"
DARK = "#232838"
# light: sky and ground are mixed with these by so much
LIT: dict[str, tuple[tuple[str, float], tuple[str, float]]] = {
    "dawn": (("#f9cdb8", 0.5), ("#e8b8a8", 0.2)),
    "dusk": (("#ee9a6b", 0.6), ("#6b4668", 0.35)),
    "night": (("#1a2148", 0.85), ("#1f2440", 0.62)),
    "studio": (("#dcdad6", 0.25), ("#bdbab4", 0.15)),
}


def mix(one: str, other: str, amount: float) -> str:
    """`one` moved towards `other`."""
    mixed = (1 - amount) * rgb(one) + amount * rgb(other)
    return "#" + "".join(f"{round(255 * float(channel)):02x}" for channel in mixed)


def distance(one: str, other: str) -> float:
    """How different two colours look, 0..1."""
    return float(np.sqrt(np.dot((0.3, 0.59, 0.11), (rgb(one) - rgb(other)) ** 2)))


def apart(colour: str, subject: str | None) -> str:
    """The colour, lightened or darkened until the subject stands out from it."""
    if subject is None:
        return colour
    steps = [mix(colour, end, amount) for amount in (0.0, 0.2, 0.35, 0.5, 0.65) for end in (LIGHT, DARK)]
    return next((step for step in steps if distance(step, subject) >= APART), steps[-1])


def colours(
    place: Colours | None, palette: str | None, light: str | None, subject: str | None, rng: random.Random
) -> Colours:
    """Sky or wall, ground or table, accent."""
    if place:
        chosen = tuple(
            mix(colour, rng.choice((LIGHT, "#f2c9a0", "#a0c4f2", DARK)), rng.uniform(0, 0.18))
            for colour in place
        )
        if palette:
            chosen = tuple(mix(*pair, 0.5) for pair in zip(chosen, PALETTE_COLOURS[palette], strict=True))
    elif palette:
        chosen = PALETTE_COLOURS[palette]
        if rng.random() < 0.4:
            chosen = (chosen[1], chosen[0], chosen[2])
    else:
        sets = FREE_COLOURS
        clear = [
            colours for colours in sets if subject is None or distance(colours[0], subject) > 1.4 * APART
        ]
        chosen = rng.choice(clear or sets)
    if light in LIT:
        (sky, above), (ground, below) = LIT[light]
        chosen = (mix(chosen[0], sky, above), mix(chosen[1], ground, below), chosen[2])
    return (apart(chosen[0], subject), apart(chosen[1], subject), chosen[2])


def tint(ground: Colours, rng: random.Random) -> str:
    """A colour for a silhouette that stands out from sky and ground: the accent if it does."""
    others = ["#b8432f", "#2c5680", "#2f6b52", "#7a3f6b", "#d99a2b", DARK, LIGHT]
    rng.shuffle(others)
    choices = [ground[2], *others]
    gaps = [min(distance(choice, part) for part in ground[:2]) for choice in choices]
    return next(
        (choice for choice, gap in zip(choices, gaps, strict=True) if gap >= 1.3 * APART),
        choices[gaps.index(max(gaps))],
    )
