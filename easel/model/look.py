"""A look: who draws a picture and what with. A hand, a technique with its numbers, its inks and papers, and a
palette.

`lay` makes a plainly drawn scene look so. Looks are sampled for training, read from references
(`easel.model.reader`) or named in words.
"""

import colorsys
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from easel.model.operators import OPERATORS, luma

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
MANNERS = (  # hands that draw alike: softly shaded, flat, modelled in light, in black lines
    ("noto",),
    ("twemoji", "blob", "emojione2", "fxemoji", "fluent-flat"),
    ("fluent-color", "fluent-3d"),
    ("fluent-high-contrast",),
)
TECHNIQUES = ("plain", *OPERATORS)
INKS = ("ink", "paper", "spot")

# name: (hues in degrees, saturation, lightness of shadow, middle and light, amount)
PALETTES: dict[str, tuple[tuple[float, ...], float, tuple[float, float, float], float]] = {
    "warm": ((10, 30, 45), 0.75, (0.18, 0.55, 0.92), 0.7),
    "cool": ((230, 205, 180), 0.55, (0.16, 0.52, 0.92), 0.7),
    "pastel": ((330, 210, 50), 0.5, (0.5, 0.78, 0.95), 0.75),
    "neon": ((280, 320, 175), 1.0, (0.1, 0.5, 0.75), 0.75),
    "earthy": ((20, 35, 45), 0.4, (0.16, 0.42, 0.85), 0.75),
    "monochrome": ((0, 0, 0), 0.0, (0.06, 0.5, 0.95), 0.97),
    "muted": ((250, 160, 40), 0.2, (0.28, 0.55, 0.85), 0.6),
    "vivid": ((240, 350, 50), 0.95, (0.25, 0.55, 0.8), 0.35),
    "sunset": ((270, 345, 35), 0.8, (0.22, 0.58, 0.85), 0.8),
    "forest": ((150, 120, 60), 0.45, (0.13, 0.38, 0.85), 0.75),
    "ocean": ((220, 195, 170), 0.7, (0.16, 0.48, 0.9), 0.8),
    "candy": ((320, 345, 190), 0.8, (0.45, 0.72, 0.93), 0.75),
    "noir": ((220, 220, 40), 0.12, (0.02, 0.22, 0.8), 0.92),
    "autumn": ((5, 25, 42), 0.75, (0.17, 0.47, 0.82), 0.8),
}


@dataclass(frozen=True)
class Look:
    """One look, applied alike to every scene."""

    hand: str  # of HANDS: who drew the things; "" where nothing tells
    technique: str  # of TECHNIQUES
    numbers: dict[str, float]  # what the technique's operator takes
    colours: dict[str, Tensor]  # INKS: (3,) each
    ramp: Tensor  # (3 stops from dark to light, 3)
    amount: float  # how far colours go to the ramp, 0..1


def hls(hue: float, light: float, saturation: float) -> Tensor:
    return torch.tensor(colorsys.hls_to_rgb(hue / 360 % 1, min(max(light, 0), 1), min(max(saturation, 0), 1)))


def sample_look(rng: random.Random, hand: str, technique: str, palette: str) -> Look:
    """A look at random with these; a palette that is not of PALETTES leaves colours be."""
    own = ((rng.uniform(0, 360),) * 3, 0.5, (0.1, 0.5, 0.95), 0.0)
    hues, saturation, lights, amount = PALETTES.get(palette, own)
    turn, saturation = rng.gauss(0, 10), saturation * rng.uniform(0.8, 1.15)
    if palette in ("pastel", "neon", "vivid", "candy", "muted") and rng.random() < 0.5:
        turn += rng.uniform(-60, 60)
    ramp = torch.stack(
        [hls(h + turn, v + rng.gauss(0, 0.03), saturation) for h, v in zip(hues, lights, strict=True)]
    )
    operator = OPERATORS.get(technique)
    numbers = {name: rng.uniform(*limits) for name, limits in operator.ranges.items()} if operator else {}
    colours = {
        "ink": hls(hues[0] + turn, rng.uniform(0.08, 0.3), saturation),
        "paper": hls(hues[2] + turn, rng.uniform(0.88, 0.97), saturation * 0.8),
        "spot": hls(
            hues[1] + turn + rng.gauss(0, 15),
            rng.uniform(0.45, 0.62),
            max(saturation, 0.35 if palette != "monochrome" else 0),
        ),
    }
    return Look(hand, technique, numbers, colours, ramp, min(0.97, amount * rng.uniform(0.85, 1.15)))


def recolour(x: Tensor, ramp: Tensor, amount: float | Tensor) -> Tensor:
    """Pull the colours of (3, H, W) by `amount` towards the `ramp` (3, 3) by lightness."""
    light = luma(x).clamp(0, 1)
    low, middle, high = ramp[:, :, None, None]
    wanted = torch.where(
        light < 0.5, low + 2 * light * (middle - low), middle + (2 * light - 1) * (high - middle)
    )
    return (x + amount * (wanted - x)).clamp(0, 1)


def lay(x: Tensor, cover: Tensor, look: Look, unit: float, seed: int) -> Tensor:
    """The plainly drawn scene (3, H, W), with the cover of its objects (H, W), in the look.

    `unit` is the pixels in 1/512 of the side of a square picture as large; `seed` decides where chance lets
    marks fall.
    """
    x = recolour(x, look.ramp, look.amount)
    if look.technique == "plain":
        return x
    g = torch.Generator().manual_seed(seed)
    p = {**look.numbers, **look.colours}
    return OPERATORS[look.technique].apply(x, cover, p, unit, g).clamp(0, 1)


def laid(x: Tensor, cover: Tensor, looks: Sequence[tuple[Look, float]], unit: float, seed: int) -> Tensor:
    """The scene (3, H, W) in several looks at once, each at its strength: what each changes is added up."""
    return sum((s * (lay(x, cover, look, unit, seed) - x) for look, s in looks), x).clamp(0, 1)
