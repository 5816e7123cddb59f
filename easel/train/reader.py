"""Trains the reader of looks on sheets whose looks are known. Resumes.

python -m easel.train.reader SHEETS OUT --minutes 20
"""

import argparse
import math
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from easel.model.look import HANDS, INKS, TECHNIQUES, recolour
from easel.model.reader import HALF_TURN, NUMBERS, Guess, LookReader
from easel.train.loop import Optimisers, device, train
from easel.train.styles import sample_style

BATCH = 48
KEPT = 384  # sheets to measure by at most, an eighth of all; none of them is trained on
TURNS = torch.tensor([tuple(limits) == HALF_TURN for _, _, *limits in NUMBERS])
UNSURE = 0.1  # noise on statistics, for each that pictures spread by
CUBE = torch.cartesian_prod(*[torch.linspace(0, 1, 4)] * 3).T[:, None]  # (3, 1, 64): colours to recolour


class Truth(NamedTuple):
    """Looks as `Guess` writes them; `own` marks the numbers that belong to the technique."""

    hand: Tensor  # (B,)
    technique: Tensor  # (B,)
    numbers: Tensor
    turns: Tensor
    own: Tensor  # (B, NUMBERS)
    colours: Tensor
    ramp: Tensor
    amount: Tensor


def truth(styles: list[int]) -> Truth:
    """What is known of sheets in these styles."""
    looks = [sample_style(style).look for style in styles]
    own = torch.tensor([[owner == look.technique for owner, *_ in NUMBERS] for look in looks])
    numbers = torch.tensor(
        [
            [
                (look.numbers[name] - low) / (high - low) if owner == look.technique else 0
                for owner, name, low, high in NUMBERS
            ]
            for look in looks
        ]
    )
    return Truth(
        torch.tensor([HANDS.index(look.hand) for look in looks]),
        torch.tensor([TECHNIQUES.index(look.technique) for look in looks]),
        numbers,
        torch.stack([torch.cos(2 * math.pi * numbers), torch.sin(2 * math.pi * numbers)], -1),
        own,
        torch.stack([torch.stack([look.colours[ink] for ink in INKS]) for look in looks]),
        torch.stack([look.ramp for look in looks]),
        torch.tensor([look.amount for look in looks]),
    )


def recoloured(ramps: Tensor, amounts: Tensor) -> Tensor:
    """What palettes make of the colours of CUBE."""
    cube = CUBE.to(ramps)
    return torch.stack([recolour(cube, ramp, amount) for ramp, amount in zip(ramps, amounts, strict=True)])


def recolouring_error(guess: Guess, known: Truth) -> Tensor:
    """The mean difference between what the palettes make of CUBE."""
    return F.l1_loss(recoloured(guess.ramp, guess.amount), recoloured(known.ramp, known.amount))


def losses(guess: Guess, known: Truth) -> dict[str, Tensor]:
    turns = TURNS.to(known.own.device)
    straight, turning = known.own & ~turns, known.own & turns
    return {
        "hand": 0.3 * F.cross_entropy(guess.hand, known.hand),
        "technique": F.cross_entropy(guess.technique, known.technique),
        "numbers": 2 * (guess.numbers - known.numbers).abs()[straight].mean(),
        "turns": 0.5 * (guess.turns - known.turns).square()[turning].mean().nan_to_num(),
        "inks": 2 * (guess.colours - known.colours).abs().mean(),
        "palette": 10 * recolouring_error(guess, known),
    }


def read(folder: Path) -> tuple[Tensor, Tensor, Truth]:
    """All sheets, (N, 3, 2 S, S) in bytes, their statistics and their looks."""
    files = [np.load(path) for path in sorted(folder.glob("*.npz"))]
    sheets, statistics = (
        torch.cat([torch.from_numpy(file[kind]) for file in files]) for kind in ("sheet", "statistics")
    )
    return sheets, statistics, truth([style for file in files for style in file["style"].tolist()])


def jittered(sheets: Tensor, rng: random.Random) -> Tensor:
    """Sheets as they come to users, some a little softer, some a little lighter or darker."""
    x = sheets.float() / 255
    if rng.random() < 0.2:
        x = torch.lerp(x, F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1), rng.random())
    return x * rng.uniform(0.97, 1.03)


@torch.inference_mode()
def measure(reader: LookReader, sheets: Tensor, statistics: Tensor, known: Truth) -> dict[str, float]:
    """Accuracies of hand and technique, mean errors of numbers (of their ranges) and of colours."""
    reader.eval()
    parts = zip(sheets.split(16), statistics.split(16), strict=True)
    guesses = [reader(x.to(device()).float() / 255, counted.to(device())) for x, counted in parts]
    guess = Guess(*(torch.cat(parts).cpu() for parts in zip(*guesses, strict=True)))
    straight = known.own & ~TURNS
    return {
        "hand": (guess.hand.argmax(1) == known.hand).float().mean().item(),
        "technique": (guess.technique.argmax(1) == known.technique).float().mean().item(),
        "numbers": (guess.numbers - known.numbers).abs()[straight].mean().item(),
        "inks": (guess.colours - known.colours).abs().mean().item(),
        "palette": recolouring_error(guess, known).item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sheets", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    args = parser.parse_args()
    sheets, statistics, known = read(args.sheets)
    kept, reader = min(KEPT, len(sheets) // 8), LookReader().to(device())
    reader.set_scale(statistics)
    spread = reader.spread.to("cpu", copy=True)
    kernels = [p for p in reader.parameters() if p.ndim == 4 and p.shape[1] > 3]

    def step(rng: random.Random) -> dict[str, Tensor]:
        pick = torch.tensor(rng.sample(range(kept, len(sheets)), BATCH))
        shown = jittered(sheets[pick], rng).to(device(), memory_format=torch.channels_last)
        counted = statistics[pick] + UNSURE * spread * torch.randn(BATCH, len(spread))
        with torch.autocast(device().type, torch.bfloat16):
            guess = reader(shown, counted.to(device()))
        return losses(guess, Truth(*(part[pick].to(device()) for part in known)))

    optimisers = Optimisers(reader, kernels, (2e-3, 1e-3))
    average = train(reader, optimisers, step, args.out / "state.pt", args.minutes)
    reader.load_state_dict(average, strict=False)
    reader.save_pretrained(args.out)
    print(measure(reader, sheets[:kept], statistics[:kept], Truth(*(part[:kept] for part in known))))


if __name__ == "__main__":
    main()
