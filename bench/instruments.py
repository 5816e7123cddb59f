"""Measures of what start picture and instruments do with nano: whether more is more, and what stays.

python bench/instruments.py ARTWORK [--sheet docs/nano-instruments.jpg]

A ladder is one prompt at rising levels; its figure is the rank correlation of the level with a measure that
knows nothing of how the instrument works.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from nano_quality import content_classifier, nouns, small
from nano_sheets import sheet
from other_kinds import OTHER_KINDS
from PIL import Image, ImageOps

from easel.catalog import MODELS
from easel.model.latents import to_tensor
from easel.model.operators import luma
from easel.model.palette import oklab
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Materials
from easel.style.painter import SHIPPED, NanoPainter
from easel.style.scene import Library
from easel.train.data import Artwork

LEVELS = (-100, -50, 0, 50, 100)
STRENGTHS = tuple(step / 10 for step in range(11))
THINGS = 12
STARTS = ("a house on a hill", "a cat on a table", "three red balloons, watercolour", "a pineapple")
OVER = (
    "a red fox in the snow",
    "a teapot",
    "an owl at night",
    "a lion, linocut print",
    "a castle",
    "a sailboat by the sea",
    "two rabbits in a forest",
    "a blue car in the city",
    "a cup of coffee on a table",
    "a butterfly",
)


def strong_colours(picture: Image.Image) -> float:
    """Saturation times contrast."""
    lab = oklab(to_tensor(picture)[0].flatten(1).T)
    return float(lab[:, 1:].norm(dim=1).mean() * lab[:, 0].std())


def edges(picture: Image.Image) -> float:
    """The share of pixels in 256 × 256 where light changes abruptly."""
    down, across = gradients(picture)
    return float(((down**2 + across**2).sqrt() > 0.05).float().mean())


def askew(picture: Image.Image) -> float:
    """The share of pixels in 256 × 256 where light changes, and neither level nor upright."""
    down, across = gradients(picture)
    energy = down**2 + across**2
    oblique = (2 * down * across).abs() > 0.3 * energy
    return float((oblique & (energy > 0.03**2)).float().mean())


def gradients(picture: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
    light = luma(to_tensor(picture.resize((256, 256), Image.Resampling.BOX))[0])
    return light[2:, 1:-1] - light[:-2, 1:-1], light[1:-1, 2:] - light[1:-1, :-2]


def distance(one: Image.Image, other: Image.Image) -> float:
    """The mean distance in Oklab of what stands at the same place, at 128 × 128."""
    labs = [
        oklab(to_tensor(picture.resize((128, 128), Image.Resampling.BOX))[0].flatten(1).T)
        for picture in (one, other)
    ]
    return float((labs[0] - labs[1]).norm(dim=1).mean())


def spearman(values: Sequence[float]) -> float:
    """Rank correlation with the order they stand in."""
    rounded = np.round(values, 4)
    ranks = [np.sum(rounded < value) + np.sum(rounded <= value) for value in rounded]
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])


INSTRUMENTS: dict[str, Callable[[Image.Image], float]] = {
    "intensity": strong_colours,
    "complexity": edges,
    "movement": askew,
}


class Painted:
    """Paints with nano, in four steps."""

    def __init__(self) -> None:
        self.painter = NanoPainter.load()

    def __call__(self, prompt: str, seed: int, start: Image.Image | None = None, **request) -> Image.Image:
        asked = GenerationRequest(prompt=prompt, creativity="raw", **request)
        turbo = MODELS["medium-turbo"]
        return self.painter.paint(asked, Materials(start=start), turbo, seed, lambda step: None).image


def told(name: str, found: Sequence[float]) -> None:
    print(f"{name:64} mean {np.mean(found):6.3f}  least {min(found):6.3f}  of {len(found)}", flush=True)


def measure_instruments(paint: Painted, artwork: Artwork) -> list[list[Image.Image]]:
    """Prints a line an instrument; gives the ladders of two prompts each."""
    keys = nouns(artwork)
    net, _, _ = content_classifier(artwork, keys)
    shown = []
    for name, measure in INSTRUMENTS.items():
        ladders = [
            [paint(f"a {artwork.library.names[key]}", seed, **{name: level}) for level in LEVELS]
            for seed, key in enumerate(keys[:THINGS])
        ]
        told(f"{name}: Spearman with {measure.__name__}", [spearman([*map(measure, one)]) for one in ladders])
        for place, level in enumerate(LEVELS):
            with torch.inference_mode():
                said = net(torch.stack([small(to_tensor(one[place])[0]) for one in ladders]))[0].argmax(1)
            told(f"{name} {level}: the thing is named right", (said == torch.arange(THINGS)).float().tolist())
        shown += ladders[:2]
    return shown


def measure_start(paint: Painted) -> list[list[Image.Image]]:
    """Prints how far pictures are from those they start from; gives three ladders."""
    starts = [paint(prompt, seed) for seed, prompt in enumerate(STARTS)] + [kind() for kind in OTHER_KINDS]
    ladders, away, kept, default = [], [], [], []
    for seed, (start, prompt) in enumerate(zip(starts, OVER, strict=True)):
        fitted = ImageOps.fit(start, (1024, 1024), Image.Resampling.LANCZOS)
        ladder = [paint(prompt, seed, start, strength=strength) for strength in STRENGTHS]
        ladders.append(ladder)
        away.append([distance(step, fitted) for step in ladder])
        kept.append(float((to_tensor(ladder[0]) - to_tensor(fitted)).square().mean().sqrt()))
        default.append(distance(paint(prompt, seed, start), fitted) / away[-1][-1])
    told("start: Spearman of strength with distance to the picture", [spearman(one) for one in away])
    for strength, row in zip(STRENGTHS, np.transpose(away), strict=True):
        told(f"start, strength {strength}: distance to the picture", row.tolist())
    told("start, strength 0: root mean square of what changes, of 1", kept)
    told("start, strength .99: distance ÷ that at strength 1", default)
    return [ladder[1::2] for ladder in ladders[:3]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artwork", type=Path)
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    paint = Painted()
    rows = measure_start(paint)
    rows += measure_instruments(paint, Artwork(args.artwork, Library(SHIPPED / "drawings.zip")))
    if args.sheet:
        sheet(rows, 180, args.sheet)


if __name__ == "__main__":
    main()
