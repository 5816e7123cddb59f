"""Makes what the decoder learns from: windows of full-size scenes, styled and plain, two scenes a style.

python -m easel.train.windows ARTWORK OUT --shards 40   (several processes with other --first share the work)
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from easel.engine.engine import TOKEN
from easel.model.decoder import StyleReader
from easel.model.latents import to_picture
from easel.model.text import TextEncoder
from easel.style.references import reference_sheet
from easel.style.scene import Library
from easel.train.data import STYLES, Artwork, render, sample_scene, shard_arguments, write_shards
from easel.train.nano import style_words
from easel.train.styles import sample_style

PAIRS = 16  # styles in a shard, each in two scenes
WINDOWS = 6  # kept of a scene
KEPT = 256  # pixels a side of a window
CROP = 128  # pixels a side of what is trained on: many small crops show many styles a step
EACH = 2  # crops of a scene in a batch


def render_shard(number: int, artwork: Artwork) -> dict[str, Any]:
    """Windows of full-size scenes, styled and plain, pixel for pixel, and the reference sheet of each."""
    rng = random.Random(f"decoder {number}")
    shown: dict[str, list[Any]] = {"styled": [], "plain": [], "sheet": [], "style": [], "words": []}
    for style_number in rng.sample(range(STYLES), PAIRS):
        for _ in range(2):
            scene, caption = sample_scene(rng, artwork)
            side = 2 * min(scene.width, scene.height)
            looks = [
                (render(scene, style, artwork, rng.randrange(1 << 30), side) * 255).round().byte()
                for style in (sample_style(style_number), None)
            ]
            for _ in range(WINDOWS):
                top, left = (TOKEN * rng.randrange((s - KEPT) // TOKEN + 1) for s in looks[0].shape[1:])
                for kept, look in zip(("styled", "plain"), looks, strict=True):
                    shown[kept].append(look[:, top : top + KEPT, left : left + KEPT].numpy())
            sheet = np.asarray(reference_sheet(to_picture(looks[0][None] / 255)))
            shown["sheet"].append(np.moveaxis(sheet, -1, 0))
            shown["style"].append(style_number)
            shown["words"].append(caption)
    shown["words"] = [json.dumps(shown["words"])]
    return {name: np.array(values) for name, values in shown.items()}


class Shard(NamedTuple):
    """What a shard's file holds, read; scenes 2 i and 2 i + 1 share a style."""

    styled: np.ndarray  # (scenes * WINDOWS, 3, KEPT, KEPT), uint8
    plain: np.ndarray
    sheets: Tensor  # (scenes, 2 STATISTICS), of the reference sheets
    styles: list[int]
    asked: Tensor  # (scenes, 384): the caption with words for the style
    captions: Tensor  # (scenes, 384): the caption alone


@torch.inference_mode()
def read(folder: Path, text: TextEncoder, reader: StyleReader) -> list[Shard]:
    shards = []
    for path in sorted(folder.glob("*.npz")):
        file, rng = np.load(path), random.Random(path.name)
        words, styles = json.loads(file["words"].item()), file["style"].tolist()
        asked = [", ".join([w, *style_words(s, rng)]) for w, s in zip(words, styles, strict=True)]
        sheets = reader.statistics(torch.from_numpy(file["sheet"]).float() / 255)
        shards.append(
            Shard(file["styled"], file["plain"], sheets, styles, text.embed(asked), text.embed(words))
        )
    return shards


class Batch(NamedTuple):
    styled: Tensor  # (B, 3, CROP, CROP)
    plain: Tensor
    sheets: Tensor  # (groups, 2 STATISTICS), of another scene in the style
    asked: Tensor  # (groups, 384)
    captions: Tensor
    styles: list[int]


def make_batch(shards: list[Shard], groups: int, rng: random.Random) -> Batch:
    rows = []
    for _ in range(groups):
        shard, scene = rng.choice(shards), rng.randrange(2 * PAIRS)
        picks = [scene * WINDOWS + i for i in rng.sample(range(WINDOWS), EACH)]
        top, left = (TOKEN * rng.randrange((KEPT - CROP) // TOKEN + 1) for _ in range(2))
        window = ..., slice(top, top + CROP), slice(left, left + CROP)
        rows.append(
            (
                torch.from_numpy(shard.styled[picks][window]),
                torch.from_numpy(shard.plain[picks][window]),
                shard.sheets[scene ^ 1],
                shard.asked[scene],
                shard.captions[scene],
                shard.styles[scene],
            )
        )
    styled, plain, sheets, asked, captions, styles = zip(*rows, strict=True)
    return Batch(
        torch.cat(styled).float() / 255,
        torch.cat(plain).float() / 255,
        torch.stack(sheets),
        torch.stack(asked),
        torch.stack(captions),
        list(styles),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artwork", type=Path)
    shard_arguments(parser)
    args = parser.parse_args()
    artwork = Artwork(args.artwork, Library(args.library))
    write_shards(args, lambda number: render_shard(number, artwork))


if __name__ == "__main__":
    main()
