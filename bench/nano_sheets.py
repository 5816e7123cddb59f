"""Sheets of samples of the nano model, as they stand in its card.

python bench/nano_sheets.py ARTWORK [--out docs]
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from other_kinds import OTHER_KINDS
from PIL import Image

from easel.catalog import MODELS, SIZES
from easel.model.latents import to_picture
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Materials, Reference
from easel.style.painter import SHIPPED, NanoPainter
from easel.style.scene import Library
from easel.style.vocabulary import PALETTES
from easel.style.vocabulary import TECHNIQUES as MEDIA
from easel.train.data import STYLES, Artwork, render, sample_scene
from easel.train.styles import Style, sample_style

PROMPTS = (
    "a fox in the snow",
    "a polar bear",
    "a glass lamp on a marble table",
    "a castle on a hill",
    "two owls",
)
LOOKS = MEDIA | PALETTES
TECHNIQUES = ("halftone", "ink hatching", "watercolour", "stained glass", "linocut", "chalk", "pixel")


HANDS = ("twemoji", "blob", "fluent-flat", "fluent-color", "fluent-high-contrast")


def unseen(start: int, technique: str, hand: str | None = None) -> Style:
    """A style of the technique and the hand, of parameters that no training picture had."""
    styles = map(sample_style, range(start, start + 10_000))
    return next(s for s in styles if s.look.technique == technique and hand in (None, s.look.hand))


def reference(artwork: Artwork, number: int, technique: str, hand: str | None = None) -> Image.Image:
    """A picture in an unseen style, of something else than what is asked for; none that is all but blank."""
    rng, style = random.Random(f"sheet {number}"), unseen(STYLES + 1000 * number, technique, hand)
    scenes = (sample_scene(rng, artwork)[0] for _ in range(20))
    pictures = (render(scene, style, artwork, number, 768) for scene in scenes)
    return to_picture(next(x for x in pictures if x.std() > 0.08)[None])


def paint(
    painter: NanoPainter,
    prompt: str,
    references: Sequence[tuple[Image.Image, float]] = (),
    seed: int = 1,
    variant: str = "medium",
    **request,
) -> Image.Image:
    asked = GenerationRequest(prompt=prompt, **{"creativity": "raw", **request})
    shown = [Reference(picture, strength) for picture, strength in references]
    return painter.paint(asked, Materials(shown), MODELS[variant], seed, lambda step: None).image


def sheet(rows: Sequence[Sequence[Image.Image]], side: int, path: Path) -> None:
    """Rows of pictures, each within a square of `side` pixels, as one JPEG."""
    gap = 6
    page = Image.new(
        "RGB", (max(map(len, rows)) * (side + gap) + gap, len(rows) * (side + gap) + gap), "white"
    )
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            small = picture.copy()
            small.thumbnail((side, side), Image.Resampling.LANCZOS)
            left = gap + x * (side + gap) + (side - small.width) // 2
            page.paste(small, (left, gap + y * (side + gap) + (side - small.height) // 2))
    page.save(path, quality=85)
    print(path, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artwork", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    torch.manual_seed(0)
    artwork, painter = Artwork(args.artwork, Library(SHIPPED / "drawings.zip")), NanoPainter.load()
    shown = [reference(artwork, i, technique) for i, technique in enumerate(TECHNIQUES)]
    blank = Image.new("RGB", (1024, 1024), "white")
    rows = [[blank, *shown]]
    rows += [
        [paint(painter, prompt), *(paint(painter, prompt, [(r, 1)]) for r in shown)] for prompt in PROMPTS
    ]
    sheet(rows, 240, args.out / "nano-references.jpg")
    drawn = [reference(artwork, 50 + i, "plain", hand) for i, hand in enumerate(HANDS)]
    rows = [[blank, blank, *drawn]]
    for prompt in PROMPTS:
        alone = [paint(painter, prompt, variant=variant) for variant in ("medium", "large")]
        rows.append([*alone, *(paint(painter, prompt, [(r, 1)]) for r in drawn)])
    sheet(rows, 240, args.out / "nano-hands.jpg")
    others = [kind() for kind in OTHER_KINDS]
    rows = [[blank, *others]]
    for prompt in PROMPTS[:3]:
        rows.append([paint(painter, prompt), *(paint(painter, prompt, [(r, 1)]) for r in others)])
    sheet(rows, 240, args.out / "nano-other-kinds.jpg")
    asked = [paint(painter, f"a sailboat by the sea, {phrases[0]}") for phrases in LOOKS.values()]
    sheet([asked[i : i + 8] for i in range(0, len(asked), 8)], 240, args.out / "nano-words.jpg")
    strengths = (-0.5, 0, 0.25, 0.5, 0.75, 1, 1.5)
    ladder = [
        [shown[i], *(paint(painter, "a sailboat", [(shown[i], s)]) for s in strengths)] for i in (0, 1, 2)
    ]
    sheet(ladder, 240, args.out / "nano-strengths.jpg")
    prompts = (
        "a cowboy",
        "a cat jumping sideways",
        "a tree and a house by the sea",
        "a blue elephant in the city",
    )
    seeds = [[paint(painter, p, seed=seed, creativity="medium") for seed in range(6)] for p in prompts]
    sheet(seeds, 240, args.out / "nano-seeds.jpg")
    ratios = [paint(painter, "a lighthouse by the sea at night", aspect_ratio=ratio) for ratio in SIZES]
    sheet([ratios], 240, args.out / "nano-ratios.jpg")


if __name__ == "__main__":
    main()
