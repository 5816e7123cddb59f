"""Finds the projection of the nano autoencoder: the principal components of patches of training pictures.

python -m easel.train.project ARTWORK OUT
"""

import argparse
import random
from pathlib import Path

import torch
import torch.nn.functional as F

from easel.model.vae import PATCH, AutoencoderNano
from easel.style.scene import Library
from easel.train.data import STYLES, Artwork, render, sample_scene
from easel.train.library import LIBRARY
from easel.train.styles import sample_style

WHITENING = 0.6  # 0 keeps each component's variance as in pixels, 1 makes them all equal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artwork", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--library", type=Path, default=LIBRARY)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--channels", type=int, default=64)
    args = parser.parse_args()
    artwork, rng = Artwork(args.artwork, Library(args.library)), random.Random(1)
    cut = []
    for i in range(args.pictures):
        style = None if i % 4 == 0 else sample_style(rng.randrange(STYLES))
        x = render(sample_scene(rng, artwork)[0], style, artwork, i)
        cut.append(F.pixel_unshuffle(x[None], PATCH).flatten(2)[0].T)
    patches = torch.cat(cut).double()
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    values, vectors = values.flip(0), vectors.flip(1)
    for channels in (48, 64, 96, 128, 192):
        lost = values[channels:].sum() / len(mean)
        print(f"{channels} channels lose {lost:.5f} mean square, {-10 * torch.log10(lost):.1f} dB")
    vae = AutoencoderNano(latent_channels=args.channels)
    spread = values[: args.channels].sqrt()
    scale = spread**WHITENING
    scale = scale * ((spread / scale) ** 2).mean().sqrt()
    vae.mean.copy_(mean)
    vae.basis.copy_(vectors[:, : args.channels])
    vae.scale.copy_(scale)
    print(
        "latents' spread:",
        [f"{v:.2f}" for v in (spread / scale)[[0, 1, 2, 3, 8, 16, 32, args.channels - 1]].tolist()],
    )
    vae.save_pretrained(args.out)


if __name__ == "__main__":
    main()
