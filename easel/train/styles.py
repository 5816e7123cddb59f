"""A style: hand × technique × palette, sampled at random and applied to a plainly drawn scene."""

import colorsys
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from easel.train.operators import OPERATORS, luma

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

TECHNIQUES = ("plain", *OPERATORS)

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
class Style:
    """One look, applied alike to every scene."""

    hand: str
    technique: str  # of TECHNIQUES
    palette: str  # key of PALETTES, or "own"
    numbers: dict[str, float]
    colours: dict[str, Tensor]  # ink, paper, spot: (3,)
    ramp: Tensor  # (3 stops, 3)
    amount: float


def hls(hue: float, light: float, saturation: float) -> Tensor:
    return torch.tensor(colorsys.hls_to_rgb(hue / 360 % 1, min(max(light, 0), 1), min(max(saturation, 0), 1)))


def sample_style(seed: int) -> Style:
    rng = random.Random(seed)
    hand = "noto" if rng.random() < 0.45 else rng.choice(HANDS[1:])
    technique = "plain" if rng.random() < (0.05 if hand == "noto" else 0.25) else rng.choice(list(OPERATORS))
    palette = "own" if rng.random() < 0.2 else rng.choice(list(PALETTES))
    hues, saturation, lights, amount = PALETTES.get(
        palette, ((rng.uniform(0, 360),) * 3, 0.5, (0.1, 0.5, 0.95), 0.0)
    )
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
    return Style(
        hand, technique, palette, numbers, colours, ramp, min(0.97, amount * rng.uniform(0.85, 1.15))
    )


def recolour(x: Tensor, style: Style) -> Tensor:
    """Pull the colours of (3, H, W) towards the ramp of the palette by lightness."""
    light = luma(x).clamp(0, 1)
    low, middle, high = style.ramp[:, :, None, None]
    ramp = torch.where(
        light < 0.5, low + 2 * light * (middle - low), middle + (2 * light - 1) * (high - middle)
    )
    return (x + style.amount * (ramp - x)).clamp(0, 1)


def stylise(x: Tensor, cover: Tensor, style: Style, unit: float, seed: int) -> Tensor:
    """The plainly drawn scene (3, H, W), with the cover of its objects (H, W), in the style."""
    x = recolour(x, style)
    if style.technique == "plain":
        return x
    g = torch.Generator().manual_seed(seed)
    p = {**style.numbers, **style.colours}
    return OPERATORS[style.technique].apply(x, cover, p, unit, g).clamp(0, 1)
