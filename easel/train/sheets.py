"""Makes what the reader of looks learns from: reference sheets of scenes, each in a look of its own.

python -m easel.train.sheets ARTWORK OUT   (several processes with other --first share it)
"""

import argparse
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from easel.model.latents import to_picture
from easel.model.look import lay
from easel.model.texture import of_sheets
from easel.style.references import reference_sheet
from easel.style.scene import Library, draw
from easel.train.data import Artwork, planes, sample_scene, shard_arguments, write_shards
from easel.train.styles import sample_style

SCENES = 64  # in a shard
LOOKS = 3  # of a scene, beside one that shows how its hand draws
STYLES = range(10**7, 2 * 10**7)  # none of them is among those that measures are taken with


def make_shard(shard: int, artwork: Artwork) -> dict[str, Any]:
    rng, sheets, styles = random.Random(f"sheets {shard}"), [], []
    for _ in range(SCENES):
        scene, _ = sample_scene(rng, artwork)
        scene = scene.at(2 * min(scene.width, scene.height))
        bare = next(filter(is_bare, iter(lambda: rng.choice(STYLES), None)))
        for number in (*rng.sample(STYLES, LOOKS), bare):
            look = sample_style(number).look
            picture, cover = map(planes, draw(scene, artwork.by(look.hand)))
            styled = lay(picture, cover, look, 2.0, rng.randrange(1 << 30))
            sheets.append(np.asarray(reference_sheet(to_picture(styled[None]))))
            styles.append(number)
    shown = torch.from_numpy(np.stack(sheets)).movedim(-1, 1)
    statistics = torch.cat([of_sheets(part.float() / 255) for part in shown.split(4)])
    return {"sheet": shown.numpy(), "statistics": statistics.numpy(), "style": np.array(styles)}


def is_bare(style: int) -> bool:
    """Whether no technique covers how the style's hand draws."""
    return sample_style(style).look.technique == "plain"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artwork", type=Path)
    shard_arguments(parser)
    args = parser.parse_args()
    artwork = Artwork(args.artwork, Library(args.library))
    write_shards(args, lambda number: make_shard(number, artwork))


if __name__ == "__main__":
    main()
