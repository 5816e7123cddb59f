"""A picture to be painted over: its shapes made plainer, its subject found, and painted out."""

import torch
import torch.nn.functional as F
from torch import Tensor

from easel.model.operators import blur, evened
from easel.model.palette import oklab, palette_of

SEEN = 96  # pixels a side, about, at which the subject is looked for
APART = 0.045  # the least distance in Oklab from all colours of the rim
EVIDENT = (0.01, 0.6)  # the share of the picture that a subject has
PATCH = 9  # radius of the plainest picture's patches, in 1/512 of its side


def plainer(x: Tensor, amount: float) -> Tensor:
    """The picture (3, H, W) in even patches, the larger the more its `amount`, 0..1."""
    unit = (x.shape[-1] * x.shape[-2]) ** 0.5 / 512
    radius = max(1, round(PATCH * amount * unit / 2))
    rim = 4 * radius  # evening joins opposite edges
    small = F.pad(F.avg_pool2d(x, 2)[None], (rim,) * 4, mode="replicate")[0]
    for _ in range(2):
        small = evened(small, radius)
    small = small[None, :, rim:-rim, rim:-rim]
    even = F.interpolate(small, x.shape[-2:], mode="bilinear", align_corners=False)[0]
    return torch.lerp(x, even, min(1.0, 4 * amount))


def subject(x: Tensor) -> Tensor | None:
    """Where in the picture (3, H, W) its subject is, (H, W) in 0..1; None where nothing stands out.

    It is what has other colours than the rim, in one piece; at the bottom it may reach the rim itself.
    """
    scale = SEEN / min(x.shape[-2:])
    small = F.interpolate(x[None], scale_factor=scale, mode="area")[0]
    rim = torch.cat([small[:, :3].flatten(1), small[..., :3].flatten(1), small[..., -3:].flatten(1)], 1)
    around = palette_of(rim[:, None])
    usual = around.colours[around.weights > 0.01]
    away = torch.cdist(oklab(small.flatten(1).T), usual).amin(1).reshape(small.shape[-2:])
    mask = (blur(away, 1) > max(APART, 0.15 * away.max().item())).float()
    found = _piece(F.max_pool2d(mask[None], 3, 1, 1)[0], int(blur(away, 3).argmax()))
    if not EVIDENT[0] < found.mean() < EVIDENT[1]:
        return None
    grown = F.max_pool2d(found[None, None], 5, 1, 2)
    return F.interpolate(grown, x.shape[-2:], mode="bilinear", align_corners=False)[0, 0]


def _piece(mask: Tensor, start: int) -> Tensor:
    """The part of the mask (H, W) that is joined to the pixel `start`."""
    piece = torch.zeros(mask.shape)
    piece.view(-1)[start] = 1
    while True:
        grown = F.max_pool2d(piece[None, None], 3, 1, 1)[0, 0] * mask
        if torch.equal(grown, piece):
            return piece
        piece = grown


def painted_out(x: Tensor, mask: Tensor) -> Tensor:
    """The picture (3, H, W) with what the mask (H, W) covers replaced by the colours around it."""
    return _filled(x[None], 1 - mask[None, None])[0]


def _filled(x: Tensor, known: Tensor) -> Tensor:
    """Colours where they are known, else those of the picture at half the width: what is level stays so."""
    height, width = x.shape[-2:]
    if max(height, width) < 4:
        return x
    pool = (1, 2) if width >= 4 else (2, 1)
    weight = F.avg_pool2d(known, pool)
    mean = F.avg_pool2d(x * known, pool) / weight.clamp(min=1e-4)
    coarse = _filled(mean, (2 * weight).clamp(max=1))
    return torch.lerp(F.interpolate(coarse, x.shape[-2:], mode="bilinear", align_corners=False), x, known)
