"""Pictures to the latents of Qwen-Image's autoencoder and back.

It was made for films: its convolutions see two frames before each. Before a single picture stand zeros, so
all but the last frame of a kernel can be left out: a third of the arithmetic and of the weights remains.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import (
    QwenImageCausalConv3d,
    QwenImageResample,
    QwenImageRMS_norm,
    QwenImageUpsample,
)
from torch import Tensor, nn

from easel.model.bands import in_bands

BAND = 300_000  # pixels of the picture in a band, at most
EPSILON = 1e-24  # of a square: what is divided by is never 0


class Still(nn.Module):
    """A convolution of films, for one frame (B, C, 1, H, W)."""

    def __init__(self, film: QwenImageCausalConv3d) -> None:
        super().__init__()
        weight = film.weight.detach()[:, :, -1].contiguous(memory_format=torch.channels_last)
        self.weight, self.bias = (nn.Parameter(z, requires_grad=False) for z in (weight, film.bias.detach()))
        self.stride, self.padding = film.stride[1:], (film._padding[2], film._padding[0])

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x[:, :, 0], self.weight, self.bias, self.stride, self.padding)[:, :, None]


class StillNorm(nn.Module):
    """Each place's channels made to have a mean square of 1, in one pass."""

    def __init__(self, film: QwenImageRMS_norm) -> None:
        super().__init__()
        self.weight = nn.Parameter(film.gamma.detach().flatten(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.movedim(1, -1), self.weight.shape, self.weight, EPSILON).movedim(-1, 1)


class Pixels(nn.Module):
    """The autoencoder, for pictures alone; `vae` is used up.

    What has more than a quarter of the picture's rows is computed in bands, which takes a third of the memory
    and 2 to 6 % more arithmetic.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        for parent in list(vae.modules()):
            for name, layer in parent.named_children():
                if isinstance(layer, QwenImageCausalConv3d):
                    setattr(parent, name, Still(layer))
                elif isinstance(layer, QwenImageRMS_norm):
                    setattr(parent, name, StillNorm(layer))
                elif isinstance(layer, QwenImageUpsample):  # of neighbours, for which halves are exact enough
                    setattr(parent, name, nn.Upsample(scale_factor=2, mode="nearest-exact"))
        down, up = encoder_of(vae), decoder_of(vae)
        self.shrink, self.encode_whole = parted(down, resamplings(down)[1] + 1)
        self.decode_whole, self.enlarge = parted(up, resamplings(up)[-2])
        mean, std = (torch.tensor(x) for x in (vae.config.latents_mean, vae.config.latents_std))
        self.mean = nn.Buffer(mean[:, None, None].to(vae.device))
        self.std = nn.Buffer(std[:, None, None].to(vae.device))

    @property
    def dtype(self) -> torch.dtype:
        return next(self.shrink.parameters()).dtype

    def encode(self, x: Tensor) -> Tensor:
        """A picture (B, 3, H, W) in 0..1, sides multiples of 8, to latents (B, C, H/8, W/8) of about unit
        variance."""
        frames = (2 * x - 1).to(self.mean.device, self.dtype)[:, :, None]
        small = in_bands(self.shrink, frames, bands_of(*x.shape[-2:]))
        middle, _ = self.encode_whole(small).chunk(2, 1)
        return (middle[:, :, 0].float() - self.mean) / self.std

    def decode(self, z: Tensor) -> Tensor:
        """Latents (B, C, h, w) to the picture (B, 3, 8h, 8w) in 0..1."""
        frames = (z.float() * self.std + self.mean).to(self.dtype)[:, :, None]
        small = self.decode_whole(frames)
        large = in_bands(self.enlarge, small, bands_of(8 * z.shape[-2], 8 * z.shape[-1]))
        return (large[:, :, 0].float() / 2 + 0.5).clamp(0, 1)


def encoder_of(vae: Any) -> list[nn.Module]:
    """The encoder's layers in their order."""
    own = vae.encoder
    end = own.mid_block, own.norm_out, own.nonlinearity, own.conv_out, vae.quant_conv
    return [own.conv_in, *own.down_blocks, *end]


def decoder_of(vae: Any) -> list[nn.Module]:
    """The decoder's layers in their order."""
    own = vae.decoder
    up = [layer for block in own.up_blocks for layer in (*block.resnets, *(block.upsamplers or ()))]
    end = own.norm_out, own.nonlinearity, own.conv_out
    return [vae.post_quant_conv, own.conv_in, own.mid_block, *up, *end]


def resamplings(layers: Sequence[nn.Module]) -> list[int]:
    """Which layers make the picture half or twice as large."""
    return [i for i, layer in enumerate(layers) if isinstance(layer, QwenImageResample)]


def parted(layers: Sequence[nn.Module], at: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The layers before the one at this place, and from it on."""
    return nn.Sequential(*layers[:at]), nn.Sequential(*layers[at:])


def bands_of(height: int, width: int) -> int:
    """How many bands a picture of so many pixels is computed in."""
    return math.ceil(height * width / BAND)
