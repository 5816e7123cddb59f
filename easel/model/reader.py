"""Reads the look of a reference: which hand drew it, the technique with its numbers, inks and colours.

It sees both views of the reference's sheet, through convolutions and through statistics that know no place,
and is trained on sheets whose looks are known (`easel.train.reader`).
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from easel.model.look import HANDS, INKS, MANNERS, TECHNIQUES, Look
from easel.model.operators import OPERATORS
from easel.model.texture import EVEN, STATISTICS, Standard, evenness

NUMBERS = [
    (t, name, *limits) for t, operator in OPERATORS.items() for name, limits in operator.ranges.items()
]
SURE = 0.55  # of a manner of drawing, to name its likeliest hand
HALF_TURN = (0, 180)  # the range of angles that come round to their start


class Guess(NamedTuple):
    """What is read of sheets (B, …): `hand` and `technique` as logits, the rest in 0..1 but for `turns`."""

    hand: Tensor  # (B, HANDS)
    technique: Tensor  # (B, TECHNIQUES)
    numbers: Tensor  # (B, NUMBERS), fractions of their ranges
    turns: Tensor  # (B, NUMBERS, 2), cosine and sine of those that are angles of a half turn, doubled
    colours: Tensor  # (B, INKS, 3)
    ramp: Tensor  # (B, 3, 3)
    amount: Tensor  # (B,)


class View(nn.Module):
    """Means and spreads of learnt features of a picture (B, 3, H, W), at every scale but the finest."""

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.SiLU())
            for a, b in pairwise((3, *widths))
        )

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.layers
        h, found = first(x - 0.5), []
        for layer in others:
            h = layer(h)
            found += [h.mean((2, 3)), (h.var((2, 3)) + 1e-4).sqrt()]
        return torch.cat(found, 1)


class LookReader(Standard, ModelMixin, ConfigMixin):
    """Reference sheets (B, 3, 2 S, S) in 0..1 to looks."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, widths: tuple[int, ...] = (24, 64, 96, 128), hidden: int = 512):
        super().__init__()
        self.whole, self.detail = View(widths), View(widths)
        self.sizes = [len(TECHNIQUES), len(NUMBERS), 2 * len(NUMBERS), 3 * len(INKS), 9, 1]
        self.enter = nn.Linear(4 * sum(widths[1:]) + 2 * STATISTICS, hidden)
        self.leave = nn.Linear(hidden, sum(self.sizes))
        self.drawn = nn.Sequential(
            nn.BatchNorm1d(2 * (STATISTICS + EVEN)),
            nn.Linear(2 * (STATISTICS + EVEN), 128),
            nn.SiLU(),
            nn.Dropout(0.3),
            nn.Linear(128, len(HANDS)),
        )

    def forward(self, sheets: Tensor, statistics: Tensor) -> Guess:
        """What sheets and their statistics, `of_sheets`, tell."""
        small, detail = sheets.chunk(2, 2)
        counted = self.standard(statistics)
        hand = self.drawn(torch.cat([counted, evenness(small), evenness(detail)], 1))
        h = torch.cat([self.whole(F.avg_pool2d(small, 2)), self.detail(detail), counted], 1)
        h = F.dropout(F.silu(self.enter(h)), 0.1, self.training)
        technique, numbers, turns, colours, ramp, amount = self.leave(h).float().split(self.sizes, 1)
        return Guess(
            hand.float(),
            technique,
            numbers.sigmoid(),
            turns.unflatten(1, (-1, 2)),
            colours.sigmoid().unflatten(1, (-1, 3)),
            ramp.sigmoid().unflatten(1, (-1, 3)),
            amount.sigmoid()[:, 0],
        )

    def read(self, sheet: Tensor, statistics: Tensor) -> Look:
        """The likeliest look of one sheet (1, 3, 2 S, S)."""
        return self.likeliest(self(sheet, statistics))

    def likeliest(self, guess: Guess) -> Look:
        """The look that a guess at one sheet comes to."""
        drawn = dict(zip(HANDS, guess.hand[0].softmax(0).tolist(), strict=True))
        manner = max(MANNERS, key=lambda hands: sum(drawn[hand] for hand in hands))
        sure = sum(drawn[hand] for hand in manner) > SURE
        technique = TECHNIQUES[int(guess.technique[0].argmax())]
        numbers = {}
        for (owner, name, low, high), part, turn in zip(
            NUMBERS, guess.numbers[0].tolist(), guess.turns[0].tolist(), strict=True
        ):
            if owner == technique:
                if (low, high) == HALF_TURN:
                    part = math.atan2(turn[1], turn[0]) / (2 * math.pi) % 1
                numbers[name] = low + part * (high - low)
        colours = dict(zip(INKS, guess.colours[0], strict=True))
        who = max(manner, key=drawn.__getitem__) if sure else ""
        return Look(who, technique, numbers, colours, guess.ramp[0], guess.amount[0].item())
