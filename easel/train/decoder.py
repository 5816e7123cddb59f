"""Trains the decoder of the nano autoencoder, and the reader that tells it the style. Resumes.

python -m easel.train.decoder WINDOWS VAE OUT --minutes 60

The encoder is the fixed projection; latents are those that the transformer painted, and marks are laid in the
look that was read. Neither tells just where marks fall, so pixels count little, and beside them stand
measures that know no place: local statistics of texture, and a judge that learns to tell painted crops from
real ones.
"""

import argparse
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.parametrizations import spectral_norm

from easel.model.decoder import decoder_noise
from easel.model.look import HANDS, INKS, TECHNIQUES
from easel.model.texture import STATISTICS, local
from easel.model.vae import AutoencoderNano
from easel.train.loop import Optimisers, device, train
from easel.train.styles import sample_style
from easel.train.windows import CROP, EACH, Batch, make_batch, read

UNSURE = 0.3  # noise on the statistics of sheets, of which there are few
PAINTED = 0.1  # how far it is known where the marks of a picture lie


def distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The sum of the pairs' mean absolute differences."""
    return torch.stack([(a - b).abs().mean() for a, b in zip(found, wanted, strict=True)]).sum()


def about(style_number: int) -> tuple[Tensor, int, int]:
    """What a code should tell of its style: numbers, technique, hand (-1 where the technique covers it)."""
    style = sample_style(style_number)
    numbers = [style.look.ramp.flatten(), *(style.look.colours[k] for k in INKS)]
    shown = style.look.technique in ("plain", "outline", "blur", "grain", "flat", "pixel", "duotone")
    technique = TECHNIQUES.index(style.look.technique)
    return (
        torch.cat([*numbers, torch.tensor([style.look.amount])]),
        technique,
        HANDS.index(style.look.hand) if shown else -1,
    )


def strength(rng: random.Random) -> float:
    """How strongly a style is shown: mostly whole, sometimes less, sometimes not at all."""
    chance = rng.random()
    return 0.0 if chance < 0.14 else rng.uniform(0.1, 1) if chance < 0.35 else 1.0


class Judge(torch.nn.Module):
    """Tells painted crops from real ones of the same style (Miyato and Koyama 2018, "cGANs with Projection
    Discriminator", arXiv 1802.05637)."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 128)):
        super().__init__()
        self.layers = torch.nn.ModuleList(
            spectral_norm(torch.nn.Conv2d(a, b, 4, 2, 1)) for a, b in pairwise((3, *widths))
        )
        self.real = spectral_norm(torch.nn.Conv2d(widths[-1], 1, 1))
        self.style = spectral_norm(torch.nn.Linear(2 * STATISTICS, widths[-1]))

    def forward(self, x: Tensor, style: Tensor) -> tuple[Tensor, list[Tensor]]:
        """How real each place looks, (B, 1, h, w), and the means of features in a 4 × 4 grid of places."""
        h, found = 2 * x - 1, []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), 0.2)
            found.append(F.adaptive_avg_pool2d(h, 4))
        like = (h * self.style(style)[:, :, None, None]).sum(1, keepdim=True) / h.shape[1] ** 0.5
        return self.real(h) + like, found


class Learner(torch.nn.Module):
    """The autoencoder with what only its training needs: the judge, and a head that says what codes tell."""

    def __init__(self, vae: AutoencoderNano):
        super().__init__()
        self.vae = vae
        self.judge = Judge()
        self.tell = torch.nn.Linear(vae.config.style_channels, 19 + len(TECHNIQUES) + len(HANDS))

    def losses(self, batch: Batch, rng: random.Random) -> dict[str, Tensor]:
        """What is minimised, part by part."""
        codes, strengths, tell = self.codes(batch, rng)
        code, s = codes.repeat_interleave(EACH, 0), strengths.repeat_interleave(EACH)
        amount = s[:, None, None, None]
        target = torch.lerp(batch.plain, batch.styled, amount)
        drawn = torch.lerp(batch.plain, batch.laid, amount)
        with torch.no_grad():
            z = torch.lerp(self.vae.encode(batch.plain), batch.painted, amount)
            z += rng.uniform(0, 0.2) * torch.randn_like(z)
            told = torch.where(s == 0, 2.0, PAINTED)[:, None, None, None]
            wanted = local(target)
            noise = decoder_noise(len(z), CROP, CROP).to(z.device)
        with torch.autocast(z.device.type, torch.bfloat16):
            y = self.vae.decode(z, drawn, code, noise)
        found = local(y)
        shown, full = self.vae.style.standard(batch.sheets).repeat_interleave(EACH, 0), s == 1
        return {
            "tell": tell,
            "pixels": 2 * (told * (y - target).abs()).mean(),
            "colours": 2 * (F.avg_pool2d(y, 16) - F.avg_pool2d(target, 16)).abs().mean(),
            "texture": distance(found, wanted),
            **self.judged(y[full], target[full], shown[full]),
        }

    def codes(self, batch: Batch, rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
        """A code for each style of the batch, how strongly its crops show it, and what codes lose by telling
        too little of their styles."""
        reader = self.vae.style
        seen = reader(batch.sheets + UNSURE * reader.spread * torch.randn_like(batch.sheets))
        strengths = torch.tensor([strength(rng) for _ in batch.styles], device=seen.device)
        numbers, techniques, hands = zip(*(about(n) for n in batch.styles), strict=True)
        said = self.tell(seen).split([19, len(TECHNIQUES), len(HANDS)], 1)
        wanted = torch.stack(numbers), torch.tensor(techniques), torch.tensor(hands)
        number, technique, hand = (truth.to(seen.device) for truth in wanted)
        by_hand = F.cross_entropy(said[2], hand, ignore_index=-1, reduction="sum") / len(hands)
        tell = 0.3 * F.l1_loss(said[0], number) + 0.03 * F.cross_entropy(said[1], technique) + 0.02 * by_hand
        return strengths[:, None] * seen, strengths, tell

    def judged(self, painted: Tensor, real: Tensor, style: Tensor) -> dict[str, Tensor]:
        """What the judge loses, what the painter loses to it, and how their features differ."""
        with torch.autocast(real.device.type, torch.bfloat16):
            on_real, real_features = self.judge(real, style)
            on_painted, _ = self.judge(painted.detach(), style)
            self.judge.requires_grad_(False)
            passed, features = self.judge(painted, style)
            self.judge.requires_grad_(True)
        return {
            "judge": F.relu(1 - on_real.float()).mean() + F.relu(1 + on_painted.float()).mean(),
            "fooled": -0.02 * passed.float().mean(),
            "features": 0.1 * distance([f.detach() for f in real_features], features),
        }


def begin(vae: AutoencoderNano, projection: AutoencoderNano, statistics: Tensor) -> None:
    """Set what is not learnt: the encoder, and the scale of statistics."""
    for name in ("mean", "basis", "scale"):
        getattr(vae, name).copy_(getattr(projection, name))
    vae.style.set_scale(statistics)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("windows", type=Path)
    parser.add_argument("vae", type=Path, help="the folder `easel.train.project` wrote")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--groups", type=int, default=16, help="styles in a batch")
    args = parser.parse_args()
    learner = Learner(AutoencoderNano())
    shards = read(args.windows)
    sheets = torch.cat([shard.sheets for shard in shards])
    begin(learner.vae, AutoencoderNano.from_pretrained(args.vae), sheets)
    learner.to(device())
    painter = torch.nn.ModuleList([learner.vae, learner.tell])
    kernels = [p for n, p in painter.named_parameters() if p.ndim == 4 and "leave" not in n]
    optimisers = Optimisers(painter, kernels, (2e-3, 7e-4))
    optimisers.add(torch.optim.Adam(learner.judge.parameters(), lr=4e-4, betas=(0.0, 0.95)))

    def losses(rng: random.Random) -> dict[str, Tensor]:
        return learner.losses(make_batch(shards, args.groups, rng).to(device()), rng)

    average = train(learner, optimisers, losses, args.out / "state.pt", args.minutes)
    learner.load_state_dict(average, strict=False)
    learner.vae.save_pretrained(args.out)


if __name__ == "__main__":
    main()
