"""Trains the decoder of the nano autoencoder on full-size pictures; the encoder is the fixed projection.
Resumes.

python -m easel.train.decoder render ARTWORK PICTURES --count 800
python -m easel.train.decoder train PICTURES VAE OUT --minutes 30
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from easel.model.latents import to_picture
from easel.model.vae import AutoencoderNano
from easel.style.scene import Library
from easel.train.data import STYLES, Artwork, render, sample_scene
from easel.train.library import LIBRARY
from easel.train.styles import sample_style

CROP = 256  # pixels a side
RATE = 4e-4  # 1e-3 breaks out after 500 steps
NOISE = 0.15  # the most noise on the latents, since the transformer's are never quite right


def render_pictures(artwork: Artwork, out: Path, first: int, count: int) -> None:
    """Write full-size pictures, one in five of them plain."""
    out.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        path = out / f"{number:05d}.png"
        if path.exists():
            continue
        rng = random.Random(f"decoder {number}")
        scene, _ = sample_scene(rng, artwork)
        style = None if number % 5 == 0 else sample_style(rng.randrange(STYLES))
        x = render(scene, style, artwork, number, short_side=2 * min(scene.width, scene.height))
        to_picture(x[None]).save(path, compress_level=1)


def crops(paths: list[Path], count: int, rng: random.Random) -> Tensor:
    """Random windows (count, 3, CROP, CROP) in 0..1, four from a picture."""
    out = []
    for path in rng.sample(paths, max(1, count // 4)):
        picture = torch.from_numpy(np.asarray(Image.open(path))).movedim(-1, 0)
        for _ in range(4):
            top, left = (rng.randrange(side - CROP + 1) for side in picture.shape[1:])
            crop = picture[:, top : top + CROP, left : left + CROP]
            out.append(crop.flip(-1) if rng.random() < 0.5 else crop)
    return torch.stack(out).float() / 255


def gradients(x: Tensor) -> Tensor:
    return torch.cat([(x[..., 1:, :-1] - x[..., :-1, :-1]), (x[..., :-1, 1:] - x[..., :-1, :-1])], 1)


def loss_of(vae: AutoencoderNano, x: Tensor) -> tuple[Tensor, Tensor]:
    """What is minimised, and the mean square error beside it."""
    z = vae.encode(x)
    z = z + NOISE * torch.rand(len(z), 1, 1, 1) * torch.randn_like(z)
    with torch.autocast("cpu", torch.bfloat16):
        y = vae.decode(z)
    return F.l1_loss(y, x) + F.l1_loss(gradients(y), gradients(x)), F.mse_loss(y.detach(), x)


def train(pictures: Path, start: Path, out: Path, minutes: float, batch: int) -> None:
    vae = AutoencoderNano.from_pretrained(out if (out / "config.json").exists() else start)
    vae.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    rng, started, step, mean = random.Random(time.time()), time.time(), 0, None
    while (spent := (time.time() - started) / 60 / minutes) < 1:
        optimizer.param_groups[0]["lr"] = (
            1e-3 * min(1, (step + 1) / 40) * max(0.02, min(1, (1 - spent) / 0.5))
        )
        loss, error = loss_of(vae, crops(sorted(pictures.glob("*.png")), batch, rng))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        mean = error if mean is None else 0.97 * mean + 0.03 * error
        if step % 20 == 0:
            print(f"step {step} loss {loss.item():.4f} {-10 * mean.log10().item():.2f} dB", flush=True)
        if step % 200 == 0:
            vae.save_pretrained(out)
    vae.save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("render")
    one.add_argument("artwork", type=Path)
    one.add_argument("pictures", type=Path)
    one.add_argument("--library", type=Path, default=LIBRARY)
    one.add_argument("--first", type=int, default=0)
    one.add_argument("--count", type=int, default=800)
    two = verbs.add_parser("train")
    two.add_argument("pictures", type=Path)
    two.add_argument("vae", type=Path, help="the folder `easel.train.project` wrote")
    two.add_argument("out", type=Path)
    two.add_argument("--minutes", type=float, default=30)
    two.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    if args.verb == "render":
        torch.set_num_threads(1)
        with torch.inference_mode():
            render_pictures(
                Artwork(args.artwork, Library(args.library)), args.pictures, args.first, args.count
            )
    else:
        train(args.pictures, args.vae, args.out, args.minutes, args.batch)


if __name__ == "__main__":
    main()
