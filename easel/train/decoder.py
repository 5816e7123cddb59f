"""Trains the decoder of the nano autoencoder, and the reader that tells it the style. Resumes.

python -m easel.train.decoder WINDOWS VAE OUT --minutes 60

The encoder is the fixed projection; latents are those that the transformer painted. They do not tell where
marks fall, so pixels count little, and beside them stand measures that know no place: local statistics of
texture, and a judge that learns to tell painted crops from real ones.
"""

import argparse
import random
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.parametrizations import spectral_norm

from easel.model.decoder import decoder_noise
from easel.model.text import TextEncoder
from easel.model.texture import STATISTICS, local
from easel.model.vae import AutoencoderNano
from easel.train.styles import HANDS, TECHNIQUES, sample_style
from easel.train.windows import CROP, EACH, Batch, make_batch, read

UNSURE = 0.3  # noise on the statistics of sheets, of which there are few
PAINTED = 0.3  # how far painted latents tell where the marks of a picture lie


def distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The sum of the pairs' mean absolute differences."""
    return torch.stack([(a - b).abs().mean() for a, b in zip(found, wanted, strict=True)]).sum()


def about(style_number: int) -> tuple[Tensor, int, int]:
    """What a code should tell of its style: numbers, technique, hand (-1 where the technique covers it)."""
    style = sample_style(style_number)
    numbers = [style.ramp.flatten(), *(style.colours[k] for k in ("ink", "paper", "spot"))]
    shown = style.technique in ("plain", "outline", "blur", "grain", "flat", "pixel", "duotone")
    technique = TECHNIQUES.index(style.technique)
    return (
        torch.cat([*numbers, torch.tensor([style.amount])]),
        technique,
        HANDS.index(style.hand) if shown else -1,
    )


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
        codes, strengths, extra = self.codes(batch, rng)
        bank = self.vae.style.bank
        code, s = codes.repeat_interleave(EACH, 0), strengths.repeat_interleave(EACH)
        target = torch.lerp(batch.plain, batch.styled, s[:, None, None, None])
        with torch.no_grad():
            z = torch.lerp(self.vae.encode(batch.plain), batch.painted, s[:, None, None, None])
            z += rng.uniform(0, 0.2) * torch.randn_like(z)
            told = torch.where(s == 0, 2.0, PAINTED)[:, None, None, None]
            wanted = local(target, bank)
        sketch = batch.plain if rng.random() > 0.05 else None
        with torch.autocast("cpu", torch.bfloat16):
            y = self.vae.decode(z, sketch, code, decoder_noise(len(z), CROP, CROP))
        found = local(y, bank)
        shown, full = self.vae.style.standard(batch.sheets).repeat_interleave(EACH, 0), s == 1
        return extra | {
            "pixels": 2 * (told * (y - target).abs()).mean(),
            "colours": 2 * (F.avg_pool2d(y, 16) - F.avg_pool2d(target, 16)).abs().mean(),
            "texture": distance(found, wanted),
            **self.judged(y[full], target[full], shown[full]),
        }

    def codes(self, batch: Batch, rng: random.Random) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """A code for each style of the batch, how strongly its crops show it, and what codes learn by
        themselves."""
        reader = self.vae.style
        sheets = batch.sheets + UNSURE * reader.spread * torch.randn_like(batch.sheets)
        seen, asked, unasked = (
            reader.code(sheets),
            reader.hear(batch.asked),
            reader.hear(batch.captions),
        )
        codes, strengths = [], []
        for of_picture, of_words, of_plain_words in zip(seen, asked, unasked, strict=True):
            chance, strength = rng.random(), rng.uniform(0.1, 1) if rng.random() < 0.25 else 1.0
            if chance < 0.72:
                codes.append(strength * of_picture)
            elif chance < 0.86:
                strength = 1.0
                codes.append(of_words)
            else:
                strength = 0.0
                codes.append(of_plain_words if chance < 0.93 else 0 * of_picture)
            strengths.append(strength)
        numbers, techniques, hands = zip(*(about(n) for n in batch.styles), strict=True)
        said = self.tell(seen).split([19, len(TECHNIQUES), len(HANDS)], 1)
        tell = (
            0.3 * F.l1_loss(said[0], torch.stack(numbers))
            + 0.03 * F.cross_entropy(said[1], torch.tensor(techniques))
            + 0.02
            * F.cross_entropy(said[2], torch.tensor(hands), ignore_index=-1, reduction="sum")
            / len(hands)
        )
        extra = {"tell": tell, "words": 0.1 * F.mse_loss(asked, seen.detach())}
        return torch.stack(codes), torch.tensor(strengths), extra

    def judged(self, painted: Tensor, real: Tensor, style: Tensor) -> dict[str, Tensor]:
        """What the judge loses, what the painter loses to it, and how their features differ."""
        with torch.autocast("cpu", torch.bfloat16):
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


class Optimisers:
    """Muon on the painter's kernels, AdamW on the rest of it, Adam on the judge."""

    def __init__(self, learner: Learner):
        self.painter = {n: p for n, p in learner.named_parameters() if not n.startswith("judge")}
        self.kernels = [p for n, p in self.painter.items() if p.ndim == 4 and "leave" not in n]
        self.matrices = [torch.nn.Parameter(p.data.view(len(p), -1)) for p in self.kernels]  # the same memory
        rest = [p for n, p in self.painter.items() if p.ndim != 4 or "leave" in n]
        self.all = [
            torch.optim.Muon(self.matrices, lr=2e-3, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=7e-4, betas=(0.9, 0.98), weight_decay=0.0),
            torch.optim.Adam(learner.judge.parameters(), lr=4e-4, betas=(0.0, 0.95)),
        ]
        self.rates = [optimizer.param_groups[0]["lr"] for optimizer in self.all]

    def step(self, scale: float) -> None:
        """A step at the learning rates times `scale`."""
        torch.nn.utils.clip_grad_norm_(self.painter.values(), 1.0)
        for matrix, kernel in zip(self.matrices, self.kernels, strict=True):
            matrix.grad = None if kernel.grad is None else kernel.grad.view(len(kernel), -1)
        for optimizer, rate in zip(self.all, self.rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * scale
            optimizer.step()


def train(folder: Path, start: Path, out: Path, minutes: float, groups: int) -> None:
    learner, saved, step = Learner(AutoencoderNano()), out / "state.pt", 0
    shards = read(folder, TextEncoder(), learner.vae.style)
    begin(learner.vae, AutoencoderNano.from_pretrained(start), torch.cat([shard.sheets for shard in shards]))
    optimisers = Optimisers(learner)
    average = {name: p.detach().clone() for name, p in learner.vae.named_parameters()}
    if saved.exists():
        state = torch.load(saved)
        learner.load_state_dict(state["learner"])
        average, step = state["average"], state["step"]
        for optimizer, old in zip(optimisers.all, state["optimizers"], strict=True):
            optimizer.load_state_dict(old)

    def save() -> None:
        out.mkdir(parents=True, exist_ok=True)
        states = [o.state_dict() for o in optimisers.all]
        model = learner.state_dict()
        torch.save({"learner": model, "average": average, "step": step, "optimizers": states}, saved)

    rng, started, first = random.Random(step), time.time(), step
    means: dict[str, float] = {}
    torch.manual_seed(step)
    while (spent := (time.time() - started) / 60 / minutes) < 1:
        losses = learner.losses(make_batch(shards, groups, rng), rng)
        torch.stack(list(losses.values())).sum().backward()
        optimisers.step(min(1, (step - first + 1) / 50) * max(0.02, min(1, (1 - spent) / 0.3)))
        learner.zero_grad()
        step += 1
        keep = min(0.998, step / (step + 20))
        with torch.no_grad():
            for name, p in learner.vae.named_parameters():
                average[name].lerp_(p, 1 - keep)
        for name, value in losses.items():
            means[name] = 0.97 * means.get(name, value.item()) + 0.03 * value.item()
        if step % 20 == 0:
            rate = (step - first) * groups * EACH / (time.time() - started)
            said = " ".join(f"{name} {value:.4f}" for name, value in means.items())
            print(f"step {step} {said} {rate:.1f} crops/s", flush=True)
        if step % 200 == 0:
            save()
    save()
    learner.vae.load_state_dict(average, strict=False)
    learner.vae.save_pretrained(out)


def begin(vae: AutoencoderNano, projection: AutoencoderNano, statistics: Tensor) -> None:
    """Set what is not learnt: the encoder, and the scale of statistics."""
    for name in ("mean", "basis", "scale"):
        getattr(vae, name).copy_(getattr(projection, name))
    vae.style.mean.copy_(statistics.mean(0))
    vae.style.spread.copy_(statistics.std(0) + 0.02)


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
    train(args.windows, args.vae, args.out, args.minutes, args.groups)


if __name__ == "__main__":
    main()
