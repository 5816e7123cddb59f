"""Layers of an autoencoder applied to a picture in bands of rows, which gives what they give of the whole.

Norms see one place and convolutions a few rows around it. So a band is given as many rows more as all
convolutions together reach, and those that have come out wrong are dropped after each layer: nothing is
blended, and there are no seams.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Margin(NamedTuple):
    """Rows beyond a band."""

    above: int
    below: int


def in_bands(layers: nn.Sequential, x: Tensor, count: int) -> Tensor:
    """`x` (..., H, W) through `layers`, in at most `count` bands one after the other."""
    margins, rows = margins_of(layers), x.shape[-2]
    grain = math.prod(rate_of(layer).denominator for layer in layers)  # the rows that become one
    step = math.ceil(rows / (count * grain)) * grain
    edges = [(top, min(top + step, rows)) for top in range(0, rows, step)]
    return torch.cat([band(layers, margins, x, *edge) for edge in edges], -2)


def band(layers: nn.Sequential, margins: Sequence[Margin], x: Tensor, top: int, bottom: int) -> Tensor:
    """What `layers` make of the rows of `x` from `top` to `bottom`."""
    rows, first = x.shape[-2], 0
    for layer, margin in zip(layers, margins, strict=True):
        start, end, rate = max(0, top - margin.above), min(rows, bottom + margin.below), rate_of(layer)
        x = layer(x[..., start - first : end - first, :])
        top, bottom, rows, first = (int(rate * row) for row in (top, bottom, rows, start))
    return x[..., top - first : bottom - first, :]


def margins_of(layers: nn.Sequential) -> list[Margin]:
    """What each layer must be given beyond a band, so that the last gives the band."""
    found = [Margin(0, 0)]
    for layer in reversed(layers):
        found.append(widened(found[-1], layer))
    return found[:0:-1]


def widened(margin: Margin, layer: nn.Module) -> Margin:
    """What a layer must be given to give this margin."""
    above, below = margin
    part: Any
    for part in reversed(list(layer.modules())):  # the last to act is the first to ask
        if isinstance(part, nn.Upsample):
            above, below = math.ceil(above / 2), math.ceil(below / 2)
        elif hasattr(part, "stride"):
            kernel, stride, padding = part.weight.shape[-2], part.stride[0], part.padding[0]
            above, below = stride * above + padding, stride * below + kernel - stride - padding
    return Margin(above, below)


def rate_of(layer: nn.Module) -> Fraction:
    """How many rows a layer makes of one."""
    rate = Fraction(1)
    part: Any
    for part in layer.modules():
        if isinstance(part, nn.Upsample):
            rate *= 2
        elif hasattr(part, "stride"):
            rate /= part.stride[0]
    return rate
