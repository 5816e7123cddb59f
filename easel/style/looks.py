"""The look that a prompt asks for in words."""

import random

from easel.model.look import PALETTES, TECHNIQUES, Look, sample_look
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
    return sample_look(random.Random(f"{seed} {technique} {palette}"), technique, palette)
