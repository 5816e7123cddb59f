"""A style: a hand that draws, and the look of what it draws, sampled at random."""

import random
from dataclasses import dataclass

from easel.model.look import PALETTES, Look, sample_look
from easel.model.operators import OPERATORS

HANDS = (
    "noto",
    "twemoji",
    "blob",
    "emojione2",
    "fxemoji",
    "fluent-flat",
    "fluent-color",
    "fluent-high-contrast",
    "fluent-3d",
)


@dataclass(frozen=True)
class Style:
    hand: str
    palette: str  # key of PALETTES, or "own"
    look: Look


def sample_style(seed: int) -> Style:
    rng = random.Random(seed)
    hand = "noto" if rng.random() < 0.45 else rng.choice(HANDS[1:])
    technique = "plain" if rng.random() < (0.05 if hand == "noto" else 0.25) else rng.choice(list(OPERATORS))
    palette = "own" if rng.random() < 0.2 else rng.choice(list(PALETTES))
    return Style(hand, palette, sample_look(rng, technique, palette))
