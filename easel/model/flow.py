"""Flow-matching arithmetic shared by sampler and trainer: t runs from 1 (noise) to 0 (picture), v = noise -
picture."""

import math

import torch
from torch import Tensor

# The linear shift of Krea 2's scheduler: (tokens, mu) at its two ends.
SHIFT = ((256, 0.5), (6400, 1.15))
DISTILLED_SHIFT = 1.15


def shift_of(tokens: int) -> float:
    """mu for a picture of so many tokens: larger pictures spend more steps on noise."""
    (low, low_mu), (high, high_mu) = SHIFT
    return low_mu + (high_mu - low_mu) * (tokens - low) / (high - low)


def timesteps(steps: int, mu: float) -> Tensor:
    """`steps` + 1 shifted times from 1 to 0."""
    return shifted(torch.linspace(1, 0, steps + 1, dtype=torch.float64), mu).float()


def shifted(t: Tensor, mu: float) -> Tensor:
    """Times 0..1 moved towards noise: the exponential shift of Esser et al. 2024 (arXiv 2403.03206), eq.
    23."""
    return math.exp(mu) / (math.exp(mu) + (1 / t - 1))


def drawn(count: int, mu: float, generator: torch.Generator) -> Tensor:
    """Times (count,) to learn at: logit-normal, then shifted (Esser et al. 2024, eq. 19)."""
    return shifted(torch.sigmoid(torch.randn(count, generator=generator)), mu)


def remaining(times: Tensor, start: float) -> Tensor:
    """The part of the way that is left from `start` on: 1 is all of it, 0 none."""
    first = times.new_tensor([start])
    return torch.cat([first, times[times < first]])


def noised(x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """`x` (B, N, C) on its straight way to `noise`, at times `t` (B,)."""
    return torch.lerp(x, noise, t[:, None, None])
