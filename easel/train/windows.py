"""Makes what the decoder learns from: windows of full-size scenes, two scenes a style. Of each it keeps how
it looks styled and plain, the marks laid in the look that was read, and the latents that a transformer
painted.

python -m easel.train.windows ARTWORK TRANSFORMER VAE READER OUT

Several processes with other --first share the work.
"""

import argparse
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import Krea2Transformer2DModel
from PIL import Image
from torch import Tensor

from easel.engine.engine import TOKEN, Conditioning, Engine
from easel.model.krea2 import Networks, quick
from easel.model.latents import to_picture
from easel.model.reader import LookReader
from easel.model.text import TextEncoder
from easel.model.texture import of_sheets
from easel.model.vae import AutoencoderNano
from easel.style.references import reference_sheet, seen
from easel.style.scene import PLAIN, Library, draw
from easel.train.data import (
    STYLES,
    Artwork,
    minilm_argument,
    planes,
    render,
    sample_scene,
    shard_arguments,
    write_shards,
)
from easel.train.styles import Style, sample_style

PAIRS = 16  # styles in a shard, each in two scenes
WINDOWS = 6  # kept of a scene
KEPT = 256  # pixels a side of a window
CROP = 128  # pixels a side of what is trained on: many small crops show many styles a step
STEPS = 4  # of painting: its latents are as near to the style as those of 8
EACH = 2  # crops of a scene in a batch


class Shown(NamedTuple):
    """A scene in one style and plainly, (3, H, W) in 0..1, and what a user would have written."""

    styled: Tensor
    plain: Tensor
    cover: Tensor  # (H, W), of its objects
    seed: int  # of the marks in `styled`
    places: list[tuple[int, int]]  # of the windows: top, left, in tokens
    sheet: Image.Image
    words: str


def show(style: Style, artwork: Artwork, rng: random.Random) -> Shown:
    scene, words = sample_scene(rng, artwork)
    side, seed = 2 * min(scene.width, scene.height), rng.randrange(1 << 30)
    styled = render(scene, style, artwork, seed, side)
    plain, cover = map(planes, draw(scene.at(side), artwork.by(PLAIN)))
    tops, lefts = ((size - KEPT) // TOKEN + 1 for size in cover.shape)
    places = [(rng.randrange(tops), rng.randrange(lefts)) for _ in range(WINDOWS)]
    return Shown(styled, plain, cover, seed, places, reference_sheet(to_picture(styled[None])), words)


def render_shard(number: int, artwork: Artwork, engine: Engine, reader: LookReader) -> dict[str, Any]:
    """PAIRS styles, each in two scenes; a scene is painted in the style that the other's sheet shows."""
    rng = random.Random(f"decoder {number}")
    kept: dict[str, list[Any]] = {
        kind: [] for kind in ("styled", "plain", "laid", "painted", "sheet", "style")
    }
    for style_number in rng.sample(range(STYLES), PAIRS):
        one, other = (show(sample_style(style_number), artwork, rng) for _ in range(2))
        for shown, sheet in ((one, other.sheet), (other, one.sheet)):
            reference = seen(sheet, 1.0)
            conditioning = Conditioning(
                prompt=shown.words,
                width=shown.cover.shape[1],
                height=shown.cover.shape[0],
                seed=shown.seed,
                weights="raw",
                steps=STEPS,
                sketch=to_picture(shown.plain[None]),
                cover=to_picture(shown.cover[None, None].expand(1, 3, -1, -1)),
                looks=[(reader.read(reference.sheet, reference.statistics), 1.0)],
                references=[reference],
            )
            painted, laid = engine.unfinished(conditioning)
            for top, left in shown.places:
                for kind, picture in (("styled", shown.styled), ("plain", shown.plain), ("laid", laid[0])):
                    cut = window(picture, top, left, KEPT, TOKEN)
                    kept[kind].append((cut * 255).round().byte().numpy())
                kept["painted"].append(window(painted[0].half(), top, left, KEPT, 1).numpy())
            kept["sheet"].append(np.moveaxis(np.asarray(shown.sheet), -1, 0))
            kept["style"].append(style_number)
    return {kind: np.array(values) for kind, values in kept.items()}


def window(x: Any, top: int, left: int, side: int, token: int) -> Any:
    """A square window of (..., H, W), `side` pixels a side, `top` and `left` in tokens of `token` places a
    side."""
    rows, columns = (slice(token * start, token * (start + side // TOKEN)) for start in (top, left))
    return x[..., rows, columns]


class Shard(NamedTuple):
    """What a shard's file holds, read; scenes 2 i and 2 i + 1 share a style."""

    styled: np.ndarray  # (scenes * WINDOWS, 3, KEPT, KEPT), uint8
    plain: np.ndarray
    laid: np.ndarray
    painted: np.ndarray  # (scenes * WINDOWS, C, KEPT / TOKEN, KEPT / TOKEN)
    sheets: Tensor  # (scenes, 2 STATISTICS), of the reference sheets
    styles: list[int]


@torch.inference_mode()
def read(folder: Path) -> list[Shard]:
    shards = []
    for path in sorted(folder.glob("*.npz")):
        file = np.load(path)
        styled, plain, laid, painted = (file[kind] for kind in ("styled", "plain", "laid", "painted"))
        sheets = of_sheets(torch.from_numpy(file["sheet"]).float() / 255)
        shards.append(Shard(styled, plain, laid, painted, sheets, file["style"].tolist()))
    return shards


class Batch(NamedTuple):
    styled: Tensor  # (B, 3, CROP, CROP)
    plain: Tensor
    laid: Tensor  # in the look that was read of the sheets
    painted: Tensor  # (B, C, CROP / TOKEN, CROP / TOKEN), in the style of the sheets
    sheets: Tensor  # (groups, 2 STATISTICS), of another scene in the style
    styles: list[int]

    def to(self, device: torch.device) -> "Batch":
        tensors = (self.styled, self.plain, self.laid, self.painted, self.sheets)
        styled, plain, laid, painted, sheets = (x.to(device) for x in tensors)
        return Batch(styled, plain, laid, painted, sheets, self.styles)


def make_batch(shards: list[Shard], groups: int, rng: random.Random) -> Batch:
    rows = []
    for _ in range(groups):
        shard, scene = rng.choice(shards), rng.randrange(2 * PAIRS)
        picks = [scene * WINDOWS + i for i in rng.sample(range(WINDOWS), EACH)]
        top, left = (rng.randrange((KEPT - CROP) // TOKEN + 1) for _ in range(2))
        kinds = (shard.styled, TOKEN), (shard.plain, TOKEN), (shard.laid, TOKEN), (shard.painted, 1)
        crops = (torch.from_numpy(window(kind[picks], top, left, CROP, token)) for kind, token in kinds)
        rows.append((*crops, shard.sheets[scene ^ 1], shard.styles[scene]))
    styled, plain, laid, painted, sheets, styles = zip(*rows, strict=True)
    real, drawn, marked = (torch.cat(kind).float() / 255 for kind in (styled, plain, laid))
    return Batch(real, drawn, marked, torch.cat(painted).float(), torch.stack(sheets), list(styles))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artwork", type=Path)
    parser.add_argument("transformer", type=Path, help="the folder `easel.train.nano` wrote")
    parser.add_argument("vae", type=Path, help="the folder `easel.train.project` wrote")
    parser.add_argument("reader", type=Path, help="the folder `easel.train.reader` wrote")
    shard_arguments(parser)
    minilm_argument(parser)
    args = parser.parse_args()
    artwork = Artwork(args.artwork, Library(args.library))
    transformer = quick(Krea2Transformer2DModel.from_pretrained(args.transformer).eval())
    vae, reader = AutoencoderNano.from_pretrained(args.vae), LookReader.from_pretrained(args.reader).eval()
    engine = Engine(Networks({"raw": transformer}, vae, TextEncoder(args.minilm)))
    write_shards(args, lambda number: render_shard(number, artwork, engine, reader))


if __name__ == "__main__":
    main()
