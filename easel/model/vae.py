"""The nano model's autoencoder: one linear layer in, convolutions out.

The encoder sees the picture at half size and keeps, of every 16 × 16 patch, its first `latent_channels`
principal components: latents stay a smooth, linear image of the picture, so that mixing latents mixes
pictures. The decoder undoes the projection and learns what was lost: edges, dots and strokes at full size. It
never convolves above a quarter of the size; a pixel shuffle does the rest.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

PATCH = 16  # at half size, so 32 pixels of the picture


class Residual(nn.Module):
    """Two convolutions beside the straight way; no norm, so that a crop decodes as it does within its
    picture."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class AutoencoderNano(ModelMixin, ConfigMixin):
    """Pictures (B, 3, H, W) in 0..1, sides multiples of 32, to latents (B, C, H/32, W/32) of about unit
    variance and back."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 64,
        widths: tuple[int, ...] = (320, 192, 128, 64),
        blocks: tuple[int, ...] = (3, 2, 2, 2),
    ):
        super().__init__()
        size = 3 * PATCH * PATCH
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("basis", torch.zeros(size, latent_channels))  # orthonormal columns
        self.register_buffer("scale", torch.ones(latent_channels))
        self.enter = nn.Conv2d(latent_channels, widths[0], 3, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(*[Residual(w) for _ in range(n)]) for w, n in zip(widths, blocks, strict=True)
        )
        self.rises = nn.ModuleList(nn.Conv2d(a, 4 * b, 1) for a, b in pairwise(widths))
        self.leave = nn.Conv2d(widths[-1], 3 * 16, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        self.leave.bias = nn.Parameter(torch.zeros(3 * 16))

    def encode(self, x: Tensor) -> Tensor:
        return self.encode_half(F.avg_pool2d(x, 2))

    def encode_half(self, x: Tensor) -> Tensor:
        """The latents of a picture that is given at half its size."""
        patches = F.pixel_unshuffle(x, PATCH).movedim(1, -1)  # (B, h, w, 768)
        return (((patches - self.mean) @ self.basis) / self.scale).movedim(-1, 1)

    def unproject(self, z: Tensor) -> Tensor:
        """What the latents say by themselves: the picture at half size."""
        patches = (z.movedim(1, -1) * self.scale) @ self.basis.T + self.mean
        return F.pixel_shuffle(patches.movedim(-1, 1), PATCH)

    def decode(self, z: Tensor) -> Tensor:
        plain = F.interpolate(self.unproject(z.float()), scale_factor=2, mode="bilinear", align_corners=False)
        z = z.to(self.enter.weight.dtype).contiguous(memory_format=torch.channels_last)
        h = self.stages[0](self.enter(z))
        for rise, stage in zip(self.rises, self.stages[1:], strict=True):
            h = stage(F.pixel_shuffle(rise(h), 2))
        return plain + F.pixel_shuffle(self.leave(h), 4).float()
