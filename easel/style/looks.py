"""The looks that a prompt and its references ask for, and the hand that draws in them."""

import random
from collections.abc import Sequence
from dataclasses import replace

from easel.catalog import Weights
from easel.model.look import PALETTES, TECHNIQUES, Look, sample_look
from easel.style.scene import PLAIN
from easel.style.words import looks, split

# What is no technique of the model's is made by the one that comes nearest.
NEAREST = {
    "photograph": "grain",
    "film": "grain",
    "render": "clay",
    "drawing": "outline",
    "painting": "brush",
    "illustration": "flat",
}

# Who draws, where words say no more than these.
DRAWN_BY = {
    "render": "fluent-color",
    "clay": "fluent-color",
    "photograph": "fluent-color",
    "illustration": "fluent-flat",
    "flat": "fluent-flat",
}
DEFAULT: dict[Weights, str] = {"turbo": PLAIN, "raw": "fluent-color"}
STANDS_IN = {"fluent-3d": "fluent-color"}  # for a hand whose drawings do not ship
LEADS = 0.5  # the least strength at which a look says who draws


def look_of(prompt: str, seed: int) -> Look | None:
    """The technique and the palette that are named first, or None; the seed varies their numbers and hues."""
    said: dict[str, str] = {}
    for slot, key in looks(split(prompt)):
        said.setdefault(slot, key)
    medium, palette = said.get("medium", ""), said.get("palette", "")
    technique = NEAREST.get(medium, medium)
    if technique not in TECHNIQUES and palette not in PALETTES:
        return None
    technique = technique if technique in TECHNIQUES else "plain"
    rng = random.Random(f"{seed} {technique} {palette}")
    look = sample_look(rng, DRAWN_BY.get(medium, ""), technique, palette)
    return replace(look, amount=1.0) if palette == "monochrome" else look


def joined(looks: Sequence[tuple[Look, float]]) -> list[tuple[Look, float]]:
    """Looks of one technique as one, in the numbers and inks of the first: its marks are laid once, not as
    several prints on one sheet."""
    alike: dict[str, list[tuple[Look, float]]] = {}
    for look, strength in looks:
        alike.setdefault(look.technique, []).append((look, strength))
    return [_one(same) if len(same) > 1 else same[0] for same in alike.values()]


def _one(looks: Sequence[tuple[Look, float]]) -> tuple[Look, float]:
    whole, coloured = sum(s for _, s in looks), sum(s * look.amount for look, s in looks)
    ramps = [look.ramp * s * look.amount / coloured for look, s in looks if look.amount]
    first = replace(
        looks[0][0],
        hand=next((look.hand for look, _ in looks if look.hand), ""),
        ramp=sum(ramps[1:], ramps[0]) if ramps else looks[0][0].ramp,
        amount=coloured / whole,
    )
    return first, whole


def leading_hand(looks: Sequence[tuple[Look, float]], weights: Weights) -> str:
    """Who draws the scene: the hand of the strongest look that tells, or the default of the weights."""
    told = [(strength, look.hand) for look, strength in looks if look.hand and strength >= LEADS]
    hand = max(told, default=(0, DEFAULT[weights]))[1]
    return STANDS_IN.get(hand, hand)
