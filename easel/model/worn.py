"""Styles that a transformer wears while it paints: what they add is computed beside its matrices.

No weight is written to, so those of eight bits are changed as exactly. What all styles add to a matrix of the
blocks is one product of two thin ones, of one rank everywhere, so that blocks that were compiled once wear
any styles at any strengths.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from easel.model.backend import uncompiled
from easel.model.block import MATRICES, Added, Thin
from easel.model.lora import Change, Kronecker, Style, hook_of

RANKS = 16  # that a rank is whole runs of: rows in half precision are then as kernels like them


@contextmanager
def worn(transformer: Any, styles: Sequence[Style]) -> Iterator[None]:
    """Within the block the transformer acts as if it carried the styles. A LoKr is no product of thin
    matrices: where the blocks wear one, they are computed as they stand."""
    felt: dict[str, list[tuple[Change | Kronecker, float]]] = {}
    for _, changes, strength in styles:
        for name, change in changes.items():
            felt.setdefault(name, []).append((change, strength))
    inside = {name: some for name, some in felt.items() if name.startswith("transformer_blocks.")}
    are_thin = all(isinstance(change, Change) for some in inside.values() for change, _ in some)
    with ExitStack() as off:
        for name, some in felt.items():
            if name not in inside or not are_thin:
                off.callback(transformer.get_submodule(name).register_forward_hook(hook_of(some)).remove)
        if not are_thin:
            off.enter_context(uncompiled(transformer))
        elif inside:
            transformer.added = added(transformer, inside)
            off.callback(delattr, transformer, "added")
        yield


def added(transformer: Any, felt: dict[str, list[tuple[Any, float]]]) -> list[Added]:
    """What is added in each block; beside matrices that no style changes, nothing in the same form."""
    largest = max(sum(len(change.down) for change, _ in some) for some in felt.values())
    rank = math.ceil(largest / RANKS) * RANKS
    kind = next(change.down for some in felt.values() for change, _ in some)
    return [
        {
            name: thin(block.get_submodule(name), felt.get(f"transformer_blocks.{i}.{name}", ()), rank, kind)
            for name in MATRICES
        }
        for i, block in enumerate(transformer.transformer_blocks)
    ]


def thin(layer: Any, felt: Sequence[tuple[Change, float]], rank: int, kind: Tensor) -> Thin:
    """What a layer feels of several LoRAs as one, of this rank, on the device and in the precision of
    `kind`."""
    down, up = kind.new_zeros(rank, layer.in_features), kind.new_zeros(layer.out_features, rank)
    end = 0
    for change, strength in felt:
        begin, end = end, end + len(change.down)
        down[begin:end], up[:, begin:end] = change.down, strength * change.scale * change.up
    torch._dynamo.mark_dynamic(down, 0)  # or a graph is held to what else is of the same size
    torch._dynamo.mark_dynamic(up, 1)
    return Thin(down, up)
