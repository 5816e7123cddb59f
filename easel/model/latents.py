"""Latents to the transformer's tokens and back; noise from a seed; pictures to tensors."""

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor


def pack(latents: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) to tokens (B, N, C p p)."""
    return rearrange(latents, "b c (h p) (w q) -> b (h w) (c p q)", p=patch, q=patch)


def unpack(tokens: Tensor, height: int, patch: int) -> Tensor:
    """Tokens of a grid of `height` rows to latents (B, C, H, W)."""
    return rearrange(tokens, "b (h w) (c p q) -> b c (h p) (w q)", h=height, p=patch, q=patch)


def noise(seed: int, channels: int, height: int, width: int, patch: int) -> Tensor:
    """The noise of `seed` as tokens (1, N, C p p), drawn in the latents' shape (`height` and `width` in
    latents)."""
    generator = torch.Generator().manual_seed(seed)
    return pack(torch.randn(1, channels, height, width, generator=generator), patch)


def to_tensor(picture: Image.Image) -> Tensor:
    """RGB picture to (1, 3, H, W) in 0..1."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).movedim(-1, 0)[None].float() / 255


def to_picture(x: Tensor) -> Image.Image:
    """(1, 3, H, W) in 0..1 to an RGB picture."""
    return Image.fromarray((x[0].clamp(0, 1) * 255).round().byte().movedim(0, -1).contiguous().cpu().numpy())
