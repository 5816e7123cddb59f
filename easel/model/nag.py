"""Normalised attention guidance: what is to be avoided, in a network that paints without guidance.

In each block the picture's tokens look around twice, once among the prompt and once, in its place, among what
is to be avoided. What they find is moved away from the second, and kept from growing (NAG, Chen et al. 2025,
arXiv 2505.21179, eqs. 7 to 10). The numbers are those that others settled on for Krea 2; without its weights
none of them was tried here.

The sequence is [avoided | prompt | picture | references]; the avoided words hear themselves, the picture and
the references, and nothing but the picture's step away from them hears of them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

PHI = 4.0  # how far away from what is avoided
TAU = 2.5  # how much longer a token may get by that
ALPHA = 0.25  # how much of it is taken

Total = Callable[[Tensor], Tensor]


def alone(x: Tensor) -> Tensor:
    """The total where all heads are here."""
    return x


def guided(
    positive: Tensor, negative: Tensor, phi: float = PHI, tau: float = TAU, total: Total = alone
) -> Tensor:
    """What tokens found, `positive` (1, N, D), moved away from `negative`; where both are the same, or `phi`
    is 0, nothing moves, to the last bit. `total` adds what is found with heads that are elsewhere."""
    away = positive + phi * (positive - negative)
    before, after = (total(x.float().abs().sum(-1, keepdim=True)) for x in (positive, away))
    kept = (tau * before / after.clamp(min=1e-12)).clamp(max=1).to(positive)
    return torch.lerp(positive, away * kept, ALPHA)


def steered(
    out: Tensor,
    own: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    avoided: int,
    words: int,
    picture: int,
    attend: Callable[[Tensor, Tensor, Tensor], Tensor],
    total: Total = alone,
) -> Tensor:
    """What attention gives the whole sequence, (1, L, D), whose parts have so many tokens.

    `own` is what it gives to all but the avoided words without them, `out` the same with whatever else moves
    the picture; `attend` is the attention to the keys of all but the prompt's words.
    """
    start, end = words, words + picture
    queries = torch.cat([q[:, :avoided], q[:, avoided + start : avoided + end]], 1)
    keys, values = (torch.cat([x[:, :avoided], x[:, avoided + words :]], 1) for x in (k, v))
    found = attend(queries, keys, values)
    step = guided(own[:, start:end], found[:, avoided:], total=total) - own[:, start:end]
    return torch.cat([found[:, :avoided], out[:, :start], out[:, start:end] + step, out[:, end:]], 1)
