"""The nano model's decoder: latents to a full-size picture, in a style that it hears.

A token of 32 × 32 pixels is too coarse for dots, strokes and grain. So the decoder is told the style itself:
a code read from the reference's picture. It sees what the latents say, the sketch with marks laid on it, and
noise to make grain of; each of its blocks is modulated by the code (FiLM, Perez et al. 2017,
arXiv 1709.07871). A code of zeros is no style. Nothing is normalised over space, so that a crop decodes as it
does within its picture.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from easel.model.texture import STATISTICS, Standard

QUARTER = 4  # pixels a side that one place of the finest stage stands for
NOISE = 2  # channels of fine noise, and as many of coarse
COARSE = 4  # places a side that share one value of the coarse noise


class StyleReader(Standard):
    """Reads a style's code from statistics of pictures, which know no place."""

    def __init__(self, code: int):
        super().__init__()
        self.pictures = nn.Sequential(nn.Linear(2 * STATISTICS, 256), nn.SiLU(), nn.Linear(256, code))

    def forward(self, statistics: Tensor) -> Tensor:
        """The codes of what `of_sheets` found."""
        return self.pictures(self.standard(statistics))


class Residual(nn.Module):
    """Two convolutions beside the straight way, modulated by the style."""

    def __init__(self, channels: int, code: int):
        super().__init__()
        self.style = nn.Linear(code, 2 * channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.style.weight.mul_(0.3)
            self.style.bias.zero_()
            self.second.weight.mul_(0.3)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        scale, shift = self.style(code)[:, :, None, None].to(x.dtype).chunk(2, 1)
        h = x * (x.square().mean(1, keepdim=True) + 1e-4).rsqrt()
        return x + self.second(F.silu(self.first(F.silu(h * (1 + scale) + shift))))


class Stage(nn.ModuleList):
    """Blocks one after the other."""

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        for block in self:
            x = block(x, code)
        return x


class StyledDecoder(nn.Module):
    """A U-Net from a quarter of the size down and up again; pixel shuffles do the rest."""

    def __init__(self, code: int, widths: tuple[int, ...], blocks: tuple[int, ...]):
        super().__init__()
        seen = 3 * 4 + 3 * 16 + 2 * NOISE  # latents at half size, sketch at full size, noise
        self.enter = nn.Conv2d(seen, widths[0], 3, padding=1)
        self.falls = nn.ModuleList(nn.Conv2d(4 * a, b, 1) for a, b in pairwise(widths))
        self.rises = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairwise(widths))
        self.down = nn.ModuleList(Residual(w, code) for w in widths[:-1])
        self.up = nn.ModuleList(
            Stage(Residual(w, code) for _ in range(n)) for w, n in zip(widths, blocks, strict=True)
        )
        self.leave = nn.Conv2d(widths[0], 4 * 16, 3, padding=1)  # colours, and how far to leave the sketch
        for start in self.leave.parameters():
            nn.init.zeros_(start)

    def forward(self, plain: Tensor, drawn: Tensor, code: Tensor, noise: Tensor) -> Tensor:
        """The picture (B, 3, H, W) from `plain` (B, 3, H/2, W/2), `drawn` (B, 3, H, W) and `noise`."""
        smooth = F.interpolate(plain, scale_factor=2, mode="bilinear", align_corners=False)
        parts = F.pixel_unshuffle(plain, 2) - 0.5, F.pixel_unshuffle(drawn, QUARTER) - 0.5, noise
        h = torch.cat(parts, 1).to(self.enter.weight.dtype).contiguous(memory_format=torch.channels_last)
        h, kept = self.enter(h), []
        for block, fall in zip(self.down, self.falls, strict=True):
            h = block(h, code)
            kept.append(h)
            h = fall(F.pixel_unshuffle(h, 2))
        for level in reversed(range(len(self.up))):
            h = self.up[level](h, code)
            if level:
                h = kept[level - 1] + F.pixel_shuffle(self.rises[level - 1](h), 2)
        out = F.pixel_shuffle(self.leave(h), QUARTER).float()
        return drawn + torch.sigmoid(out[:, 3:]) * (smooth - drawn) + out[:, :3]


def decoder_noise(count: int, height: int, width: int, generator: torch.Generator | None = None) -> Tensor:
    """What the decoder makes grain of, for pictures of `height` × `width` pixels."""
    rows, columns = height // QUARTER, width // QUARTER
    fine = torch.randn(count, NOISE, rows, columns, generator=generator)
    coarse = torch.randn(count, NOISE, rows // COARSE, columns // COARSE, generator=generator)
    return torch.cat([fine, F.interpolate(coarse, (rows, columns), mode="bilinear", align_corners=False)], 1)
