"""What textures and palettes are told apart by: spreads of values, and energies of filters on four scales.

After Portilla and Simoncelli 2000, "A parametric texture model based on joint statistics of complex wavelet
coefficients": two pictures that agree in such numbers look like the same stuff, wherever their marks lie.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALES = (1, 2, 4, 8)
LEVELS = (0.08, 0.248, 0.416, 0.584, 0.752, 0.92)
TONES = 7  # from black to white
STEPS = (0.001, 0.003, 0.006, 0.012, 0.025, 0.05, 0.1, 0.2, 0.4)  # between neighbours
COMMON = 8  # colours
OPPONENT = ((0.3, 0.59, 0.11), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5))  # lightness, two colours


def filters() -> Tensor:
    """First and second derivatives of a Gaussian in four directions on lightness, first ones in two on the
    opponent colours: (12, 3, 7, 7)."""
    y, x = torch.meshgrid(torch.arange(-3.0, 4), torch.arange(-3.0, 4), indexing="ij")
    bell = torch.exp(-(x**2 + y**2) / 2)
    out = []
    for order, channel, turn in [(o, 0, t) for o in (1, 2) for t in range(4)] + [
        (1, c, t) for c in (1, 2) for t in (0, 2)
    ]:
        along = x * math.cos(turn * math.pi / 4) + y * math.sin(turn * math.pi / 4)
        kernel = bell * (along if order == 1 else along**2 - 1)
        kernel = kernel - kernel.mean()
        out.append(torch.tensor(OPPONENT[channel])[:, None, None] * kernel / kernel.abs().sum())
    return torch.stack(out)


def above(x: Tensor) -> Tensor:
    """How far each colour of (B, 3, H, W) is above each level: (B, 18, H, W) in 0..1."""
    levels = x.new_tensor(LEVELS)[:, None, None, None]
    return torch.sigmoid((x[:, None] - levels) / 0.06).flatten(1, 2)


def pyramid(x: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Each scale, (B, 3, H, W) made so much smaller, and what the filters find in it."""
    bank = filters().to(x)
    for scale in SCALES:
        x = F.avg_pool2d(x, 2) if scale > 1 else x
        yield scale, x, F.conv2d(x, bank)


def local(x: Tensor, window: int = 64) -> list[Tensor]:
    """Statistics of (B, 3, H, W) in windows of so many pixels, half overlapping, by kind and scale."""
    found = []
    for scale, smaller, marks in pyramid(x):
        side = window // scale
        found.append(3 * (F.avg_pool2d(marks.square(), side, side // 2) + 4e-6).sqrt())
        if scale == 2:
            found.append(F.avg_pool2d(above(smaller), side, side // 2))
    return found


def tones(x: Tensor) -> Tensor:
    """How much of (B, 3, H, W) is as light as each of TONES, and its mean opponent colours: (B, 3 TONES)."""
    light, *colours = torch.einsum("oc,bchw->obhw", x.new_tensor(OPPONENT), x)
    places = torch.linspace(0, 1, TONES, device=x.device)[:, None, None]
    near = (1 - (TONES - 1) * (light[:, None] - places).abs()).relu()
    much = near.mean((2, 3))
    found = [(near * colour[:, None]).mean((2, 3)) / (much + 0.02) for colour in colours]
    return torch.cat([much, *found], 1)


def whole(x: Tensor) -> Tensor:
    """Statistics of all of (B, 3, H, W): (B, STATISTICS)."""
    found = [x.mean((2, 3)), above(x).mean((2, 3))]
    for _, _, marks in pyramid(x):
        size, spread = marks.abs().mean((2, 3)), (marks.square().mean((2, 3)) + 1e-6).sqrt()
        found += [spread.log(), (size + 1e-3) / (spread + 1e-3)]  # the second is small where marks are sparse
    return torch.cat([*found, tones(x)], 1)


def of_sheets(sheets: Tensor) -> Tensor:
    """Statistics of both views of reference sheets (B, 3, 2 S, S): (B, 2 STATISTICS)."""
    return torch.cat([whole(view) for view in sheets.chunk(2, 2)], 1)


def evenness(x: Tensor) -> Tensor:
    """How even (B, 3, H, W) is, from flat shapes to gradients: logarithms of how many neighbours differ by as
    much as each of STEPS, and of how much the COMMON commonest colours cover: (B, EVEN)."""
    right, below = ((x - x.roll(-1, axis)).abs().amax(1)[:, :-1, :-1] for axis in (3, 2))
    steps = shares(torch.bucketize(torch.maximum(right, below), x.new_tensor(STEPS)), len(STEPS) + 1)
    red, green, blue = (15 * x).round().long().unbind(1)
    common = shares(256 * red + 16 * green + blue, 16**3).topk(COMMON).values.cumsum(1)
    return (torch.cat([steps, common], 1) + 1e-4).log()


def shares(kinds: Tensor, count: int) -> Tensor:
    """How much of (B, H, W) is of each kind in 0..count - 1: (B, count)."""
    batch = torch.arange(len(kinds), device=kinds.device)[:, None, None]
    found = (kinds + count * batch).flatten().bincount(minlength=len(kinds) * count)
    return found.view(len(kinds), count) / kinds[0].numel()


class Standard(nn.Module):
    """What a network that reads statistics holds: how those of training pictures spread."""

    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2 * STATISTICS))
        self.register_buffer("spread", torch.ones(2 * STATISTICS))

    def set_scale(self, statistics: Tensor) -> None:
        """Take the spread of those of training sheets (B, 2 STATISTICS) for 1."""
        self.mean.copy_(statistics.mean(0))
        self.spread.copy_(statistics.std(0) + 0.02)

    def standard(self, statistics: Tensor) -> Tensor:
        """Statistics on the scale on which training pictures spread by 1."""
        return ((statistics - self.mean) / self.spread).clamp(-4, 4)


EVEN = len(STEPS) + 1 + COMMON
STATISTICS = 3 + 3 * len(LEVELS) + len(SCALES) * 2 * 12 + 3 * TONES
