"""Makes what the decoder learns from: windows of full-size scenes, two scenes a style. Of each it keeps how
it looks styled and plain, and the latents that a transformer painted of it.

python -m easel.train.windows ARTWORK TRANSFORMER VAE OUT   (several processes with other --first share it)
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import Krea2Transformer2DModel
from PIL import Image
from torch import Tensor

from easel.engine.engine import TOKEN, Conditioning, Engine
from easel.model.decoder import StyleReader
from easel.model.krea2 import Networks, quick
from easel.model.latents import to_picture
from easel.model.text import TextEncoder
from easel.model.vae import AutoencoderNano
from easel.style.references import reference_sheet
from easel.style.scene import Library
from easel.train.data import STYLES, Artwork, render, sample_scene, shard_arguments, write_shards
from easel.train.nano import style_words
from easel.train.styles import Style, sample_style

PAIRS = 16  # styles in a shard, each in two scenes
WINDOWS = 6  # kept of a scene
KEPT = 256  # pixels a side of a window
CROP = 128  # pixels a side of what is trained on: many small crops show many styles a step
STEPS = 4  # of painting: its latents are as near to the style as those of 8
EACH = 2  # crops of a scene in a batch


class Look(NamedTuple):
    """A scene in one style, (3, H, W) in bytes, the same plainly, and what a user would have written."""

    styled: Tensor
    plain: Tensor
    places: list[tuple[int, int]]  # of the windows: top, left, in tokens
    sheet: Image.Image
    words: str


def make_look(style: Style, artwork: Artwork, rng: random.Random) -> Look:
    scene, words = sample_scene(rng, artwork)
    side = 2 * min(scene.width, scene.height)
    styled, plain = (
        (render(scene, look, artwork, rng.randrange(1 << 30), side) * 255).round().byte()
        for look in (style, None)
    )
    tops, lefts = ((size - KEPT) // TOKEN + 1 for size in styled.shape[1:])
    places = [(rng.randrange(tops), rng.randrange(lefts)) for _ in range(WINDOWS)]
    return Look(styled, plain, places, reference_sheet(to_picture(styled[None] / 255)), words)


def render_shard(number: int, artwork: Artwork, engine: Engine) -> dict[str, Any]:
    """PAIRS styles, each in two scenes; a scene is painted in the style that the other's sheet shows."""
    rng = random.Random(f"decoder {number}")
    shown: dict[str, list[Any]] = {name: [] for name in ("styled", "plain", "painted", "sheet", "style")}
    words: list[str] = []
    for style_number in rng.sample(range(STYLES), PAIRS):
        one, other = (make_look(sample_style(style_number), artwork, rng) for _ in range(2))
        for look, sheet in ((one, other.sheet), (other, one.sheet)):
            conditioning = Conditioning(
                prompt=look.words,
                says_style=False,
                width=look.plain.shape[2],
                height=look.plain.shape[1],
                seed=len(words),
                steps=STEPS,
                sketch=to_picture(look.plain[None] / 255),
                references=[(sheet, 1.0)],
            )
            painted = engine.latents(conditioning)[0].half()
            for top, left in look.places:
                shown["styled"].append(window(look.styled, top, left, KEPT, TOKEN).numpy())
                shown["plain"].append(window(look.plain, top, left, KEPT, TOKEN).numpy())
                shown["painted"].append(window(painted, top, left, KEPT, 1).numpy())
            shown["sheet"].append(np.moveaxis(np.asarray(look.sheet), -1, 0))
            shown["style"].append(style_number)
            words.append(look.words)
    return {name: np.array(values) for name, values in shown.items()} | {"words": np.array(json.dumps(words))}


def window(x: Any, top: int, left: int, side: int, token: int) -> Any:
    """A square window of (..., H, W), `side` pixels a side, `top` and `left` in tokens of `token` places a
    side."""
    rows, columns = (slice(token * start, token * (start + side // TOKEN)) for start in (top, left))
    return x[..., rows, columns]


class Shard(NamedTuple):
    """What a shard's file holds, read; scenes 2 i and 2 i + 1 share a style."""

    styled: np.ndarray  # (scenes * WINDOWS, 3, KEPT, KEPT), uint8
    plain: np.ndarray
    painted: np.ndarray  # (scenes * WINDOWS, C, KEPT / TOKEN, KEPT / TOKEN)
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
        pictures = file["styled"], file["plain"], file["painted"], sheets
        shards.append(Shard(*pictures, styles, text.embed(asked), text.embed(words)))
    return shards


class Batch(NamedTuple):
    styled: Tensor  # (B, 3, CROP, CROP)
    plain: Tensor
    painted: Tensor  # (B, C, CROP / TOKEN, CROP / TOKEN), in the style of the sheets
    sheets: Tensor  # (groups, 2 STATISTICS), of another scene in the style
    asked: Tensor  # (groups, 384)
    captions: Tensor
    styles: list[int]


def make_batch(shards: list[Shard], groups: int, rng: random.Random) -> Batch:
    rows = []
    for _ in range(groups):
        shard, scene = rng.choice(shards), rng.randrange(2 * PAIRS)
        picks = [scene * WINDOWS + i for i in rng.sample(range(WINDOWS), EACH)]
        top, left = (rng.randrange((KEPT - CROP) // TOKEN + 1) for _ in range(2))
        kinds = (shard.styled, TOKEN), (shard.plain, TOKEN), (shard.painted, 1)
        rows.append(
            (
                *(torch.from_numpy(window(kind[picks], top, left, CROP, token)) for kind, token in kinds),
                shard.sheets[scene ^ 1],
                shard.asked[scene],
                shard.captions[scene],
                shard.styles[scene],
            )
        )
    styled, plain, painted, sheets, asked, captions, styles = zip(*rows, strict=True)
    return Batch(
        torch.cat(styled).float() / 255,
        torch.cat(plain).float() / 255,
        torch.cat(painted).float(),
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
    parser.add_argument("transformer", type=Path, help="the folder `easel.train.nano` wrote")
    parser.add_argument("vae", type=Path, help="the folder `easel.train.project` wrote")
    shard_arguments(parser)
    args = parser.parse_args()
    artwork = Artwork(args.artwork, Library(args.library))
    transformer = quick(Krea2Transformer2DModel.from_pretrained(args.transformer).eval())
    engine = Engine(Networks(transformer, AutoencoderNano.from_pretrained(args.vae), TextEncoder()))
    write_shards(args, lambda number: render_shard(number, artwork, engine))


if __name__ == "__main__":
    main()
