"""Palettes: the colours of a picture and how much there is of each; and carrying one over to another picture.

Colours are compared in Oklab (Ottosson 2020, "A perceptual color space for image processing"). What goes
where is settled by optimal transport with entropy and a target that need not be met in full (Cuturi 2013,
arXiv 1306.0895; Chizat et al. 2018, arXiv 1607.05816), so that a picture takes on the reference's colours
without having to hold as much of each.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

COLOURS = 16  # of a palette
SAMPLES = 6000  # pixels that a palette is found from
BLUR = 0.006  # entropy of the transport, a squared distance in Oklab
LOOSE = 0.05  # the squared distance from which meeting the target is not worth the way
REACH = 0.06  # distance in Oklab within which colours move alike
MIXED = 4  # pixels a side whose mixture is seen as one colour: dots of ink are what they make together
BARE = 0.08  # palettes that spread less count less: of one colour alone, nothing could be seen
DEEPER, STRONGER = 1.2, 0.45  # contrast and colourfulness that full intensity adds
PALE, PALER = 0.93, 0.35  # the lightness to which a picture goes without intensity, and how far
WEAKER = 0.7  # and what that takes of its colourfulness
CUBE = 33  # colours a side of the lookup table

TO_CONES = torch.tensor(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = torch.tensor(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


class Palette(NamedTuple):
    colours: Tensor  # (K, 3), in Oklab
    weights: Tensor  # (K,), summing to 1


def oklab(rgb: Tensor) -> Tensor:
    """sRGB in 0..1, (..., 3), to Oklab."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return (linear @ TO_CONES.T).clamp(min=0) ** (1 / 3) @ TO_LAB.T


def srgb(lab: Tensor) -> Tensor:
    """Oklab (..., 3) to sRGB, clipped to 0..1."""
    linear = (lab @ torch.linalg.inv(TO_LAB).T) ** 3 @ torch.linalg.inv(TO_CONES).T
    return torch.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055
    ).clamp(0, 1)


def palette_of(x: Tensor) -> Palette:
    """The colours of a picture (3, H, W) in 0..1, by k-means."""
    pixels = x.flatten(1).T
    pixels = oklab(pixels[:: max(1, len(pixels) // SAMPLES)])
    colours = pixels[:1]
    while len(colours) < COLOURS:  # each start as far from the others as can be
        far = torch.cdist(pixels, colours).amin(1)
        if far.max() < 1e-3:
            break
        colours = torch.cat([colours, pixels[far.argmax()][None]])
    for _ in range(8):
        near = F.one_hot(torch.cdist(pixels, colours).argmin(1), len(colours)).float()
        counts = near.sum(0)
        colours = torch.where(counts[:, None] > 0, near.T @ pixels / counts[:, None].clamp(min=1), colours)
    return Palette(colours[counts > 0], counts[counts > 0] / len(pixels))


def spread(palette: Palette) -> float:
    """The standard deviation of its colours, in Oklab."""
    mean = palette.weights @ palette.colours
    return (palette.weights @ (palette.colours - mean).square().sum(1)).sqrt().item()


def transported(own: Palette, wanted: Palette) -> Tensor:
    """Where each of a picture's own colours goes, (K, 3) in Oklab: the mean of what it is sent to."""
    cost = torch.cdist(own.colours, wanted.colours).double() ** 2
    kernel, one = torch.exp(-cost / BLUR), torch.ones(len(own.weights), dtype=torch.double)
    other = torch.ones(len(wanted.weights), dtype=torch.double)
    for _ in range(200):
        one = own.weights / (kernel @ other)
        other = (wanted.weights / (kernel.T @ one)) ** (LOOSE / (LOOSE + BLUR))
    plan = one[:, None] * kernel * other
    return (plan / plan.sum(1, keepdim=True)).float() @ wanted.colours


def sent(lab: Tensor, near: Tensor, own: Palette, wanted: Palette) -> Tensor:
    """Where colours (N, 3) go that lie by (N, K) near to a picture's own; none gets more colourful than the
    palette's most colourful."""
    lab = lab + near @ (transported(own, wanted) - own.colours)
    most = wanted.colours[:, 1:].norm(dim=1).max()
    limit = (most / lab[:, 1:].norm(dim=1, keepdim=True).clamp(min=1e-6)).clamp(max=1)
    return torch.cat([lab[:, :1], lab[:, 1:] * limit], 1)


def toned(x: Tensor, intensity: float) -> Tensor:
    """The picture (3, H, W) in stronger colours and deeper contrast, up to 1; down to -1 paler, flatter."""
    if not intensity:
        return x
    light, colour = oklab(x.movedim(0, -1)).split((1, 2), -1)
    if intensity > 0:
        apart = (light - light.mean()) * light * (1 - light)  # black and white stay where they are
        light, colour = light + DEEPER * intensity * apart, colour * (1 + STRONGER * intensity)
    else:
        light, colour = light - PALER * intensity * (PALE - light), colour * (1 + WEAKER * intensity)
    return srgb(torch.cat([light, colour], -1)).movedim(-1, 0)


def harmonised(x: Tensor, palettes: Sequence[tuple[Palette, float]]) -> Tensor:
    """The picture (3, H, W) with its colours moved towards palettes, each at its strength: away where it is
    below 0. Palettes are those of pictures seen as small as MIXED makes this one."""
    if not palettes:
        return x
    own = palette_of(F.avg_pool2d(x, MIXED))
    steps = torch.linspace(0, 1, CUBE)
    cube = torch.cartesian_prod(steps, steps, steps).flip(1)  # red changes fastest
    lab = oklab(cube)
    near = torch.softmax(-(torch.cdist(lab, own.colours) ** 2) / (2 * REACH**2), 1)
    moved = sum(
        strength * min(1, spread(p) / BARE) * (srgb(sent(lab, near, own, p)) - cube)
        for p, strength in palettes
    )
    table = (cube + moved).T.reshape(1, 3, CUBE, CUBE, CUBE)
    places = (2 * x.movedim(0, -1) - 1)[None, None]
    return F.grid_sample(table, places, padding_mode="border", align_corners=True)[0, :, 0].clamp(0, 1)
