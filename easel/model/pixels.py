"""Pictures to the latents of Qwen-Image's autoencoder and back."""

from typing import Any

import torch
from torch import Tensor


def encode(vae: Any, x: Tensor) -> Tensor:
    """A picture (B, 3, H, W) in 0..1, sides multiples of 8, to latents (B, C, H/8, W/8) of about unit
    variance."""
    mean, std = statistics(vae)
    frames = (2 * x - 1)[:, :, None].to(vae.dtype)
    return (vae.encode(frames).latent_dist.mode()[:, :, 0].float() - mean) / std


def decode(vae: Any, z: Tensor) -> Tensor:
    """Latents (B, C, h, w) to the picture (B, 3, 8h, 8w) in 0..1."""
    mean, std = statistics(vae)
    frames = (z.float() * std + mean)[:, :, None].to(vae.dtype)
    return (vae.decode(frames).sample[:, :, 0].float() / 2 + 0.5).clamp(0, 1)


def statistics(vae: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of its latents, (C, 1, 1)."""
    mean, std = (
        torch.tensor(x, device=vae.device) for x in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean[:, None, None], std[:, None, None]
