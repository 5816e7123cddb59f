"""Layers of an autoencoder applied to a picture in bands of rows, which gives what they give of the whole.

Its norms see one place and its convolutions a few rows around it. So a band is given as many rows more as the
convolutions reach, of which those that come out wrong are dropped after each layer: nothing is blended.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn


def in_bands(layers: Sequence[nn.Module], x: Tensor, count: int) -> Tensor:
    """`x` (..., H, W) through `layers`, in at most `count` bands one after the other."""
    margins, grain = margins_of(layers), grain_of(layers)
    rows = x.shape[-2]
    step = -(-rows // (count * grain)) * grain
    tops = range(0, rows, step)
    return torch.cat([band(layers, margins, x, top, min(top + step, rows)) for top in tops], -2)


def band(layers: Sequence[nn.Module], margins: Sequence[int], x: Tensor, top: int, bottom: int) -> Tensor:
    """What `layers` make of the rows of `x` from `top` to `bottom`, where the picture goes on beyond them."""
    rows, first = x.shape[-2], 0
    for layer, margin in zip(layers, margins, strict=True):
        start, end = max(0, top - margin), min(rows, bottom + margin)
        given = x[..., start - first : end - first, :]
        x = layer(given)
        rate = Fraction(x.shape[-2], given.shape[-2])
        top, bottom, rows, first = (int(rate * row) for row in (top, bottom, rows, start))
    return x[..., top - first : bottom - first, :]


def margins_of(layers: Sequence[nn.Module]) -> list[int]:
    """The rows on either side of a band that each layer must be given, so that the last gives the band."""
    found = [0]
    for layer in reversed(layers):
        found.append(reached(layer, found[-1]))
    return found[:0:-1]


def reached(layer: nn.Module, margin: int) -> int:
    """The rows on either side that a layer must be given to give `margin` right ones."""
    part: Any
    for part in reversed(list(layer.modules())):  # the last to act is the first to ask
        if isinstance(part, nn.Upsample):
            margin = -(-margin // 2)
        elif hasattr(part, "stride"):
            margin = part.stride[0] * (margin + part.weight.shape[-2] // 2)
    return margin


def grain_of(layers: Sequence[nn.Module]) -> int:
    """How many rows come to one, so that a band must begin at a multiple of it."""
    parts: list[Any] = [part for layer in layers for part in layer.modules()]
    return math.prod(part.stride[0] for part in parts if hasattr(part, "stride"))
