"""Makes what the nano model learns from: scenes drawn plainly, the same scenes in many styles, and captions.

python -m easel.train.data ARTWORK VAE OUT --shards 40   (several processes with other --first share the work)

A shard holds SCENES scenes. Of each it keeps the plain drawing (the sketch) and three styled pictures as
latents, the reference sheet of each styled picture, its style's number and the words for a caption.
"""

import argparse
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from easel.catalog import SIZES
from easel.model.look import hls, lay
from easel.model.vae import AutoencoderNano
from easel.style.references import DETAIL, most_textured
from easel.style.scene import GROUNDS, PLAIN, Ground, Item, Library, Scene, draw, trim
from easel.train.library import LIBRARY, unpacked
from easel.train.styles import Style, sample_style

SCENES = 64  # in a shard
STYLES = 2400  # known in training; larger seeds are styles that no training picture had
LOOKS = 3  # styled pictures of a scene


class Artwork:
    """Every drawing by every hand, rasterised on demand."""

    def __init__(self, folder: Path, library: Library):
        self.library = library
        self.clay = {Path(name).stem: data for name, data in unpacked(folder / "fluent-3d.tar")}
        self.emoji = [
            k for k in library.names if library.kind(k) == "emoji" and library.groups[k] != "symbols"
        ]
        self.silhouettes = [k for k in library.names if library.kind(k) == "silhouette"]

    def by(self, hand: str) -> Callable[[str, int], np.ndarray]:
        """How `hand` draws things, for `draw`."""
        if hand != "fluent-3d":
            return self.library.by(hand)

        def find(key: str, size: int) -> np.ndarray:
            if key in self.clay:
                return trim(Image.open(io.BytesIO(self.clay[key])).convert("RGBA"), size)
            return self.library.raster(key, size)

        return find


def hexed(colour: Tensor) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in colour.tolist())


COLOURS = {
    "red": 0, "orange": 28, "yellow": 52, "green": 125, "turquoise": 175, "blue": 220, "purple": 275, "pink":
    330
}  # fmt: skip


WHERE = {
    "flat": "on a plain background",
    "gradient": "",
    "hills": "on a hill",
    "table": "on a table",
    "stripes": "on stripes",
    "bokeh": "with soft lights",
    "night": "at night",
    "water": "by the sea",
    "city": "in the city",
}


def sample_scene(rng: random.Random, artwork: Artwork) -> tuple[Scene, str]:
    """A random arrangement, and what a user would have written to get it."""
    aspect = "1:1" if rng.random() < 0.3 else rng.choice(list(SIZES))
    width, height = (side // 2 for side in SIZES[aspect])
    wide = width / height
    kind = rng.choices(("hero", "pair", "several", "scene", "pattern"), (45, 22, 12, 17, 4))[0]
    pick = lambda: rng.choice(artwork.emoji if rng.random() < 0.85 else artwork.silhouettes)  # noqa: E731
    name, flip = artwork.library.names, lambda: rng.random() < 0.5

    def item(key: str, x: float, y: float, size: float) -> tuple[Item, str]:
        tint, word = None, name[key]
        if rng.random() < 0.15 or ("/" in key and rng.random() < 0.6):
            colour, hue = rng.choice(list(COLOURS.items()))
            tint, word = hexed(hls(hue, rng.uniform(0.35, 0.6), rng.uniform(0.6, 0.9))), f"{colour} {word}"
        angle = rng.gauss(0, 12) if rng.random() < 0.25 else 0
        return Item(key, x, y, size, flip(), angle, tint), word

    if kind == "hero":
        found = [item(pick(), rng.uniform(0.35, 0.65), rng.uniform(0.42, 0.62), rng.uniform(0.45, 0.85))]
        words = f"a {found[0][1]}"
    elif kind == "pair":
        size = rng.uniform(0.35, 0.5) * min(1.25, max(1, wide**0.5))
        spots = ((0.29, 0.58), (0.71, 0.58)) if wide > 0.8 else ((0.5, 0.3), (0.5, 0.7))
        found = [
            item(pick(), x + rng.gauss(0, 0.03), y + rng.gauss(0, 0.05), size * rng.uniform(0.85, 1.15))
            for x, y in spots
        ]
        words = f"a {found[0][1]} and a {found[1][1]}"
    elif kind == "several":
        key, count = pick(), rng.choice((2, 3))
        first, word = item(key, 0.5, 0.5, rng.uniform(0.3, 0.42))
        places = [((i + 0.5) / count, rng.uniform(0.45, 0.65)) for i in range(count)]
        found = [
            (Item(key, *(p if wide > 0.8 else p[::-1]), first.size, flip(), 0, first.tint), word)
            for p in places
        ]
        words = f"{('two', 'three')[count - 2]} {word}s"
    elif kind == "scene":
        found = [
            item(pick(), rng.uniform(0.1, 0.9), rng.uniform(0.15, 0.75), rng.uniform(0.18, 0.34))
            for _ in range(rng.randint(2, 4))
        ]
        found.append(item(pick(), rng.uniform(0.3, 0.7), rng.uniform(0.55, 0.68), rng.uniform(0.4, 0.6)))
        words = f"a {found[-1][1]} with " + ", ".join(f"a {word}" for _, word in found[:-1])
    else:
        first, word = item(pick(), 0, 0, rng.uniform(0.16, 0.24))
        found, columns = [], max(2, round(3.2 * wide**0.5))
        rows = max(2, round(3.2 / wide**0.5))
        for i in range(columns * rows):
            x, y = (i % columns + 0.5) / columns, (i // columns + 0.5) / rows
            found.append((Item(first.drawing, x, y, first.size, first.flip, first.angle, first.tint), word))
        words = f"a pattern of {word}s"
    ground = sample_ground(rng)
    return Scene(width, height, ground, tuple(i for i, _ in found)), f"{words} {WHERE[ground.kind]}".strip()


def sample_ground(rng: random.Random) -> Ground:
    kind = rng.choices(GROUNDS, (20, 14, 20, 12, 6, 7, 9, 6, 6))[0]
    dark = kind == "night" or rng.random() < 0.15
    sky = hls(
        rng.gauss(215, 40) if rng.random() < 0.5 else rng.uniform(0, 360),
        rng.uniform(0.1, 0.3) if dark else rng.uniform(0.6, 0.93),
        rng.uniform(0.2, 0.8),
    )
    land = hls(
        rng.uniform(60, 150) if kind == "hills" and rng.random() < 0.6 else rng.uniform(0, 360),
        rng.uniform(0.08, 0.25) if dark else rng.uniform(0.3, 0.75),
        rng.uniform(0.15, 0.6),
    )
    accent = hls(rng.uniform(0, 360), rng.uniform(0.4, 0.65), rng.uniform(0.5, 0.95))
    return Ground(kind, (hexed(sky), hexed(land), hexed(accent)), rng.randrange(1 << 30))


def planes(picture: np.ndarray) -> Tensor:
    return (
        torch.from_numpy(np.ascontiguousarray(picture)).movedim(-1, 0)
        if picture.ndim == 3
        else torch.from_numpy(picture)
    )


def render(
    scene: Scene, style: Style | None, artwork: Artwork, seed: int, short_side: int | None = None
) -> Tensor:
    """The scene in the style (None: plainly), (3, H, W) in 0..1; half of the 1K size unless said."""
    unit = short_side / min(scene.width, scene.height) if short_side else 1.0
    scene = scene.at(short_side) if short_side else scene
    picture, cover = draw(scene, artwork.by(style.look.hand if style else PLAIN))
    x = planes(picture)
    return lay(x, planes(cover), style.look, unit, seed) if style else x


def reference_sheet(x: Tensor) -> Tensor:
    """The sheet that the model is shown of a reference, at half size: (3, H, W) to (3, 2 * DETAIL / 2, DETAIL
    / 2)."""
    side = DETAIL // 2
    whole = F.interpolate(x[None], (side, side), mode="area")[0]
    top, left = most_textured(x.mean(0).numpy(), side)
    return torch.cat([whole, x[:, top : top + side, left : left + side]], 1)


def make_shard(number: int, artwork: Artwork, vae: AutoencoderNano) -> dict[str, list[Any]]:
    rng = random.Random(number)
    shard: dict[str, list[Any]] = {"sketch": [], "styled": [], "sheet": [], "style": [], "words": []}
    for _ in range(SCENES):
        scene, words = sample_scene(rng, artwork)
        seeds = rng.sample(range(STYLES), LOOKS)
        looks = [render(scene, sample_style(seed), artwork, rng.randrange(1 << 30)) for seed in seeds]
        latents = vae.encode_half(torch.stack([render(scene, None, artwork, 0), *looks])).half().numpy()
        shard["sketch"].append(latents[0])
        shard["styled"].append(latents[1:])
        shard["sheet"].append(
            vae.encode_half(torch.stack([reference_sheet(x) for x in looks])).half().numpy()
        )
        shard["style"].append(seeds)
        shard["words"].append(words)
    return shard


def flattened(shard: dict[str, list[Any]]) -> dict[str, Any]:
    """Pictures differ in shape, so each goes flat, with the shapes beside them."""
    return {
        "sketch": np.concatenate([s.ravel() for s in shard["sketch"]]),
        "styled": np.concatenate([s.ravel() for s in shard["styled"]]),
        "sheet": np.stack(shard["sheet"]),
        "style": np.array(shard["style"]),
        "shapes": np.array([s.shape for s in shard["sketch"]]),
        "words": np.array(json.dumps(shard["words"])),
    }


def shard_arguments(parser: argparse.ArgumentParser) -> None:
    """Where shards go and which of them, as `write_shards` takes them; and the drawings that ship."""
    parser.add_argument("out", type=Path)
    parser.add_argument("--library", type=Path, default=LIBRARY)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--shards", type=int, default=40)


def minilm_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minilm", type=Path, help="what `easel.train.carry` packed, instead of the package")


def write_shards(args: argparse.Namespace, make: Callable[[int], dict[str, Any]]) -> None:
    """Write what `make` gives for each number without a file yet, on one core; a file there is whole."""
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for number in range(args.first, args.first + args.shards):
        path = args.out / f"{number:05d}.npz"
        if not path.exists():
            partial = path.with_suffix(".part")
            with torch.inference_mode(), partial.open("wb") as file:
                np.savez(file, **make(number))
            partial.rename(path)
            print("wrote", path.name, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artwork", type=Path)
    parser.add_argument("vae", type=Path)
    shard_arguments(parser)
    args = parser.parse_args()
    artwork, vae = Artwork(args.artwork, Library(args.library)), AutoencoderNano.from_pretrained(args.vae)
    write_shards(args, lambda number: flattened(make_shard(number, artwork, vae)))


if __name__ == "__main__":
    main()
