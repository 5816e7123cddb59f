"""The nano model's autoencoder: one linear layer in, a decoder that hears the style out.

The encoder sees the picture at half size and keeps, of every 16 × 16 patch, its first `latent_channels`
principal components: latents stay a smooth, linear image of the picture, so that mixing latents mixes
pictures.
"""

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from easel.model.decoder import StyledDecoder, StyleReader

PATCH = 16  # at half size, so 32 pixels of the picture


class AutoencoderNano(ModelMixin, ConfigMixin):
    """Pictures (B, 3, H, W) in 0..1, sides multiples of 32, to latents (B, C, H/32, W/32) of about unit
    variance and back."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 96,
        style_channels: int = 128,
        widths: tuple[int, ...] = (48, 96, 160),
        blocks: tuple[int, ...] = (3, 2, 3),
    ):
        super().__init__()
        size = 3 * PATCH * PATCH
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("basis", torch.zeros(size, latent_channels))  # orthonormal columns
        self.register_buffer("scale", torch.ones(latent_channels))
        self.style = StyleReader(style_channels)
        self.decoder = StyledDecoder(style_channels, widths, blocks)

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

    def decode(self, z: Tensor, drawn: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """The picture (B, 3, H, W) of latents `z`, over what is `drawn` (B, 3, H, W), in the style of the
        code `style` (B, style_channels); `noise` comes from `decoder_noise`."""
        return self.decoder(self.unproject(z.float()), drawn, style, noise)
