"""Trains the nano transformer: paints the sketch of a scene in the style of references or words. Resumes from
its own checkpoint.

python -m easel.train.nano DATA OUT --minutes 60

A batch is STYLES_AT_ONCE styles, each shown through one reference sheet, times PICTURES crops of other scenes
in that style, so that the references' keys and values serve several samples. Strength is taught as data:
latents are linear in the picture, so the target at strength s is the sketch's latents moved by s towards the
styled ones, while ln s stands on the reference's logits.

The network foretells how the picture differs from its sketch, not the velocity: it starts by painting the
sketch, and no capacity goes into passing noise through.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import Krea2Transformer2DModel
from torch import Tensor

from easel.model.backend import compiled
from easel.model.flow import noised
from easel.model.latents import pack
from easel.model.text import TextEncoder
from easel.model.transformer import References, fuse_text, grid, predict, read_references
from easel.style.vocabulary import PALETTES, TECHNIQUES
from easel.train.data import minilm_argument
from easel.train.loop import Optimisers, device, train
from easel.train.styles import sample_style

NANO: dict[str, Any] = {
    "num_layers": 8,
    "attention_head_dim": 64,
    "num_attention_heads": 5,
    "num_key_value_heads": 5,
    "intermediate_size": 896,
    "timestep_embed_dim": 128,
    "text_hidden_dim": 384,
    "num_text_layers": 7,
    "text_num_attention_heads": 6,
    "text_num_key_value_heads": 6,
    "text_intermediate_size": 768,
    "num_layerwise_text_blocks": 1,
    "num_refiner_text_blocks": 1,
    "axes_dims_rope": (16, 24, 24),
}
PICTURES = 4  # crops that share a reference
CROP = 16  # tokens a side
REFRESHED = 60  # seconds between looks for new shards
TOKENS = 40  # of a caption
HANDS = {
    "fluent-3d": "glossy 3D icon",
    "fluent-high-contrast": "black line icon",
    "fluent-color": "vivid gradient icon",
    "fluent-flat": "flat icon",
}


class Scene(NamedTuple):
    sketch: Tensor  # (C, h, w)
    styled: Tensor  # (looks, C, h, w)
    sheets: Tensor  # (looks, C, 16, 8)
    styles: list[int]
    words: str


class Pictures:
    """All scenes of the shards in a folder; `refresh` takes in the ones that came since."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.read: set[Path] = set()
        self.scenes: list[Scene] = []
        self.by_style: dict[int, list[tuple[int, int]]] = {}
        self.refresh()

    def refresh(self) -> None:
        for path in sorted(set(self.folder.glob("*.npz")) - self.read):
            self.read.add(path)
            shard, at = dict(np.load(path)), 0
            words = json.loads(str(shard["words"]))
            for i, shape in enumerate(shard["shapes"].tolist()):
                size, styles = int(np.prod(shape)), shard["style"][i].tolist()
                looks = slice(at * len(styles), (at + size) * len(styles))
                sketch = torch.from_numpy(shard["sketch"][at : at + size]).view(*shape)
                styled = torch.from_numpy(shard["styled"][looks]).view(len(styles), *shape)
                at += size
                for look, style in enumerate(styles):
                    self.by_style.setdefault(style, []).append((len(self.scenes), look))
                self.scenes.append(
                    Scene(sketch, styled, torch.from_numpy(shard["sheet"][i]), styles, words[i])
                )
        self.usable = [style for style, places in self.by_style.items() if len(places) > 1]


class Batch(NamedTuple):
    target: Tensor  # (B, N, C)
    sketch: Tensor  # (B, N, C), zero where there is none
    positions: Tensor  # (N, 3)
    sheets: list[Tensor]  # (groups, C, 16, 8), a reference each
    strengths: Tensor  # (B, references), 0 where it is dropped
    words: list[str]

    def to(self, device: torch.device) -> "Batch":
        return Batch(
            self.target.to(device),
            self.sketch.to(device),
            self.positions.to(device),
            [sheet.to(device) for sheet in self.sheets],
            self.strengths.to(device),
            self.words,
        )


def style_words(style_number: int, rng: random.Random) -> list[str]:
    """How a user might ask for the style."""
    style = sample_style(style_number)
    words = []
    if style.look.technique != "plain":
        words.append(rng.choice(TECHNIQUES[style.look.technique]))
    if style.look.hand in HANDS and style.look.technique in ("plain", "outline", "flat"):
        words.append(HANDS[style.look.hand])
    if style.palette != "own" and rng.random() < 0.7:
        words.append(rng.choice(PALETTES[style.palette]))
    rng.shuffle(words)
    return words


def make_batch(pictures: Pictures, groups: int, rng: random.Random) -> Batch:
    blend = rng.random() < 0.12
    each = 1 if blend else PICTURES
    top, left = rng.randrange(0, 16), rng.randrange(0, 16)
    targets, sketches, strengths, words = [], [], [], []
    sheets: tuple[list[Tensor], list[Tensor]] = ([], [])
    for style in rng.sample(pictures.usable, groups * PICTURES // each):
        places = pictures.by_style[style]
        shown = rng.choice(places)
        sheets[0].append(pictures.scenes[shown[0]].sheets[shown[1]])
        for scene_number, look in rng.choices([p for p in places if p[0] != shown[0]] or places, k=each):
            scene = pictures.scenes[scene_number]
            change = scene.styled[look].float() - scene.sketch
            weights, phrases = [rng.uniform(0.1, 1) if rng.random() < 0.25 else 1.0], []
            if blend:
                other = (look + 1) % len(scene.styles)
                share = rng.uniform(0.25, 0.75)
                weights = [share, 1 - share]
                change = share * change + (1 - share) * (scene.styled[other].float() - scene.sketch)
                pair = [p for p in pictures.by_style[scene.styles[other]] if p[0] != scene_number]
                second = rng.choice(pair or [(scene_number, other)])
                sheets[1].append(pictures.scenes[second[0]].sheets[second[1]])
            elif (chance := rng.random()) < 0.1:
                weights, change = [0.0], 0 * change
            elif chance < 0.36:
                weights, phrases = [0.0], style_words(style, rng)
            else:
                change = weights[0] * change
            said = [scene.words, *phrases]
            if phrases and rng.random() < 0.4:
                said.reverse()
            words.append("" if rng.random() < 0.05 and not phrases else ", ".join(said))
            targets.append(cut(scene.sketch + change, top, left))
            sketches.append(cut(scene.sketch.float(), top, left) * (rng.random() > 0.08))
            strengths.append(weights)
    return Batch(
        target=pack(torch.stack(targets), 1),
        sketch=pack(torch.stack(sketches), 1),
        positions=grid(CROP, CROP, 0, top, left),
        sheets=[torch.stack(s).float() for s in sheets if s],
        strengths=torch.tensor(strengths),
        words=words,
    )


def cut(z: Tensor, top: int, left: int) -> Tensor:
    """A window of CROP tokens of (C, h, w), as near to `top`, `left` as the picture allows."""
    top, left = min(top, z.shape[-2] - CROP), min(left, z.shape[-1] - CROP)
    return z[:, top : top + CROP, left : left + CROP]


def context(
    transformer: Krea2Transformer2DModel, text: TextEncoder, batch: Batch
) -> tuple[Tensor, Tensor, References]:
    """What stays the same from step to step: the captions' features, which of them count, the references."""
    tapped, mask = text.tapped(batch.words)
    spare = TOKENS - tapped.shape[1]  # a fixed length, so that one compiled graph serves every batch
    tapped, mask = F.pad(tapped, (0, 0, 0, 0, 0, spare)), F.pad(mask, (0, spare))
    each = len(batch.target) // len(batch.sheets[0])
    alike = batch.strengths.new_ones(len(batch.sheets[0]), len(batch.sheets))
    read = read_references(transformer, batch.sheets, alike)
    bias = batch.strengths.log().repeat_interleave(batch.sheets[0][0, 0].numel(), 1)
    shared = [[z.repeat_interleave(each, 0) for z in group] for group in (read.keys, read.values)]
    return fuse_text(transformer, tapped, mask), mask, References(tuple(shared[0]), tuple(shared[1]), bias)


def foretold(
    transformer: Krea2Transformer2DModel, text: TextEncoder, batch: Batch, noise: Tensor, t: Tensor
) -> Tensor:
    """The pictures that the network foretells of the batch's targets, moved towards `noise` by `t` (B,)."""
    with torch.autocast(noise.device.type, torch.bfloat16):
        fused, mask, references = context(transformer, text, batch)
        seen = torch.cat([noised(batch.target, noise, t), batch.sketch], -1)
        rotary = transformer.rotary_emb(batch.positions)
        said = predict(transformer, seen, t, fused, rotary, references, mask)
    return batch.sketch + said[..., : noise.shape[-1]].float()


def build(channels: int, size: dict[str, int]) -> Krea2Transformer2DModel:
    """A fresh transformer whose blocks start as small corrections to what passes through."""
    transformer = Krea2Transformer2DModel(in_channels=2 * channels, **(NANO | size))
    shrink = (2 * len(transformer.transformer_blocks)) ** -0.5
    torch.nn.init.zeros_(transformer.time_mod_proj.weight)
    torch.nn.init.zeros_(transformer.time_mod_proj.bias)
    torch.nn.init.zeros_(transformer.final_layer.linear.weight)
    with torch.no_grad():
        for block in transformer.transformer_blocks:
            block.scale_shift_table[[2, 5]] = 1
            block.attn.to_out[0].weight.mul_(shrink)
            block.ff.down.weight.mul_(shrink)
    return transformer


def matrices(transformer: Krea2Transformer2DModel) -> list[torch.nn.Parameter]:
    """The weights that Muon steps: the blocks' matrices."""
    return [
        p for n, p in transformer.named_parameters() if "blocks" in n and p.ndim == 2 and "table" not in n
    ]


def fit(
    transformer: Krea2Transformer2DModel,
    losses: Callable[[random.Random], dict[str, Tensor]],
    out: Path,
    minutes: float,
) -> None:
    """Train with compiled blocks, and write the averaged network to the folder `transformer` of `out`."""
    transformer.backend = compiled(dynamic=False)
    optimisers = Optimisers(transformer, matrices(transformer), (3e-3, 1.5e-3))
    transformer.load_state_dict(train(transformer, optimisers, losses, out / "state.pt", minutes))
    transformer.save_pretrained(out / "transformer")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=60, help="of this run")
    parser.add_argument("--groups", type=int, default=8, help="styles in a batch")
    minilm_argument(parser)
    args = parser.parse_args()
    pictures, text = Pictures(args.data), TextEncoder(args.minilm)
    text.model.to(device())
    transformer = build(pictures.scenes[0].sketch.shape[0], {}).to(device())
    looked = time.time()

    def losses(rng: random.Random) -> dict[str, Tensor]:
        nonlocal looked
        if time.time() - looked > REFRESHED:
            pictures.refresh()
            looked = time.time()
        batch = make_batch(pictures, args.groups, rng).to(device())
        noise = torch.randn_like(batch.target)
        # Early times are the likelier ones: they decide the style.
        t = torch.sigmoid(1.1 + 1.3 * torch.randn(len(noise), device=noise.device))
        return {"error": F.mse_loss(foretold(transformer, text, batch, noise, t), batch.target)}

    fit(transformer, losses, args.out, args.minutes)


if __name__ == "__main__":
    main()
