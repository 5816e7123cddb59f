"""Measures of trained styles: does one come nearer to its pictures than the best of them as a reference?

python bench/styles.py ARTWORK [--json] [--scale 1.0]

Each style is trained on eight pictures, and paints things that none of them shows. The classifiers, and how
far palettes are apart, are those of bench/nano_quality.py.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nano_quality import STYLES, Bench, apart, as_picture, hero
from other_kinds import oil_painting
from PIL import Image

from easel.catalog import MODELS
from easel.model.look import TECHNIQUES
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Adapter, Lesson, Materials, Reference
from easel.schema.styles import STEPS, Recipe
from easel.style.painter import SHIPPED, NanoPainter
from easel.style.references import reference_sheet, seen
from easel.style.scene import Library
from easel.train.data import Artwork
from easel.train.styles import sample_style

PICTURES = 8
PAINTED = 8  # things in each look
KINDS = ("linocut", "oil painting", "watercolour", "halftone", "chalk", "stained glass")


class Book:
    """Keeps nothing of a training."""

    state = None

    def step(self, number: int) -> None: ...

    def keep(self, state: bytes) -> None: ...


def pictures_of(kind: str, bench: Bench) -> list[Image.Image]:
    """Eight pictures: of things in one unseen style of a technique, or parts of a painting by code that is
    none of nano's techniques."""
    rng = random.Random(f"style {kind}")
    if kind == "oil painting":
        whole = oil_painting()
        width, height = (round(0.65 * side) for side in whole.size)
        places = [
            (rng.randrange(whole.width - width), rng.randrange(whole.height - height)) for _ in range(8)
        ]
        return [whole.crop((x, y, x + width, y + height)) for x, y in places]
    styles = (sample_style(STYLES + 9000 + rng.randrange(10**6)) for _ in range(5000))
    style = next(style for style in styles if style.look.technique == kind)
    shown = rng.sample(bench.keys[100:], PICTURES)
    return [as_picture(hero(key, style, bench.artwork, rng), 1024) for key in shown]


class Measured:
    """One style, trained, and its measures."""

    def __init__(self, kind: str, bench: Bench, steps: int):
        self.kind, self.bench = kind, bench
        self.pictures = pictures_of(kind, bench)
        self.keys = bench.keys[: bench.count(PAINTED)]
        lessons, begun = [Lesson(picture, "") for picture in self.pictures], time.monotonic()
        trained = bench.painter.train(lessons, Recipe(name=kind, max_train_steps=steps), Book())
        self.minutes, self.told = (time.monotonic() - begun) / 60, trained.details
        self.adapter = trained.adapter
        self.middle = torch.stack([self._statistics(picture) for picture in self.pictures]).mean(0)

    def painted(self, strength: float) -> list[Image.Image]:
        adapters = [Adapter(self.kind, self.adapter, "", strength)] if strength else []
        return self._painted(Materials(adapters=adapters))

    def by_one(self, picture: Image.Image) -> list[Image.Image]:
        return self._painted(Materials([Reference(picture, 1.0)]))

    def _painted(self, materials: Materials) -> list[Image.Image]:
        painter, names = self.bench.painter, self.bench.artwork.library.names
        requests = [GenerationRequest(prompt=f"a {names[key]}", creativity="raw") for key in self.keys]
        return [
            painter.paint(request, materials, MODELS["medium"], seed, lambda step: None).image
            for seed, request in enumerate(requests)
        ]

    def measures(self, painted: Sequence[Image.Image]) -> dict[str, float]:
        """How near pictures are to those it was trained on, and how many show what was asked for."""
        pairs = [(one, other) for one in painted for other in self.pictures]
        found = {
            "palette": float(np.mean([apart(*pair) for pair in pairs])),
            "texture": float(np.mean([self._from_middle(picture) for picture in painted])),
            "content": self.bench.first_right(list(painted)),
        }
        if self.kind in TECHNIQUES:
            technique, _ = self.bench.looks(list(painted))
            found["technique"] = technique.log_softmax(1)[:, TECHNIQUES.index(self.kind)].mean().item()
        return found

    def _from_middle(self, picture: Image.Image) -> float:
        """How far the statistics of a picture are from the mean of those that it was trained on."""
        return (self._statistics(picture) - self.middle).abs().mean().item()

    def _statistics(self, picture: Image.Image) -> torch.Tensor:
        statistics = seen(reference_sheet(picture), 1.0).statistics
        return self.bench.vae.style.standard(statistics)[0]


def measure(kind: str, bench: Bench, steps: int) -> list[dict[str, Any]]:
    """A row for each way of painting."""
    style = Measured(kind, bench, steps)
    print(f"{kind}: {style.minutes:.1f} minutes, {style.told}", flush=True)
    singles = [style.measures(style.by_one(picture)) for picture in style.pictures]
    best = min(singles, key=lambda found: found["palette"] + found["texture"] - found.get("technique", 0))
    rows = {"none": style.measures(style.painted(0)), "best of its pictures": best}
    rows |= {f"strength {s:g}": style.measures(style.painted(s)) for s in (-0.5, 0.5, 1)}
    for name, found in rows.items():
        told = "  ".join(f"{measure} {value:6.3f}" for measure, value in found.items())
        print(f"  {name:22} {told}", flush=True)
    return [
        {"style": kind, "minutes": style.minutes, "painted": name, **found} for name, found in rows.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artwork", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of styles and pictures")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each training")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    artwork = Artwork(args.artwork, Library(SHIPPED / "drawings.zip"))
    bench = Bench(artwork, NanoPainter.load(), args.scale)
    rows = [row for kind in KINDS[: bench.count(len(KINDS))] for row in measure(kind, bench, args.steps)]
    if args.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
