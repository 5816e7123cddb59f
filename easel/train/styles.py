"""A style: a look sampled at random, and the name of its palette."""

import random
from dataclasses import dataclass

from easel.model.look import HANDS, PALETTES, Look, sample_look
from easel.model.operators import OPERATORS


@dataclass(frozen=True)
class Style:
    palette: str  # key of PALETTES, or "own"
    look: Look


def sample_style(seed: int) -> Style:
    rng = random.Random(seed)
    hand = "noto" if rng.random() < 0.45 else rng.choice(HANDS[1:])
    technique = "plain" if rng.random() < (0.05 if hand == "noto" else 0.25) else rng.choice(list(OPERATORS))
    palette = "own" if rng.random() < 0.2 else rng.choice(list(PALETTES))
    return Style(palette, sample_look(rng, hand, technique, palette))
