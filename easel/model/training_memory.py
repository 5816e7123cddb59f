"""What learning beside a transformer takes of the device's memory, and how the transformer makes room for it.

All is computed: activations from the architecture (tests/test_krea_training_memory.py watches a step at the
true size), the rest from how many numbers are learnt.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from easel.catalog import Weights
from easel.errors import EngineError
from easel.model.fitting import away, on_device
from easel.model.gguf_bits import AT_ONCE, LinearGguf
from easel.model.part import Part

LOST = 1.1  # of activations: gaps between them and what kernels take for themselves, an estimate
PIECE = 12  # bytes for a weight of a GGUF file while it is widened
SMALLER = {"bfloat16": ", or set EASEL_PRECISION=fp8", "fp8": ", or set EASEL_PRECISION=nf4"}


def activations(transformer: Any, tokens: int, dtype: torch.dtype) -> int:
    """Bytes that a step of one sequence holds at most beside weights and what is learnt, computing in
    `dtype`, where every block is run again for its gradient and attention keeps no logits."""
    config, size = transformer.config, dtype.itemsize
    width = config.attention_head_dim * config.num_attention_heads
    narrow = config.attention_head_dim * config.num_key_value_heads
    wide = config.intermediate_size
    inputs = (config.num_layers + 2) * width * size  # of each block, of the last layer, and their gradient
    attention = 4 * (3 * width + narrow) + size * (6 * width + 2 * narrow)  # its norms are kept in float32
    behind = max(4 * size * wide, 4 * 5 * width)  # the feed-forward network; or, where that is narrow, a norm
    passing = max(tokens * 2 * size * wide, in_pieces(transformer))  # gradients, or a matrix on its way
    return tokens * (inputs + attention + behind) + widened(transformer, dtype) + passing


def widened(transformer: Any, dtype: torch.dtype) -> int:
    """Bytes of a block's matrices that are kept in fewer bits, as they are multiplied and kept for the
    gradient."""
    return max(
        sum(
            layer.out_features * layer.in_features * dtype.itemsize
            for layer in block.modules()
            if isinstance(layer, nn.Linear) and type(layer) is not nn.Linear
        )
        for block in transformer.transformer_blocks
    )


def in_pieces(transformer: Any) -> int:
    """Bytes that the matrices of a GGUF file take for a moment, one after the other, as they are widened."""
    return max(
        PIECE * min(layer.out_features * layer.in_features, AT_ONCE) if isinstance(layer, LinearGguf) else 0
        for layer in transformer.transformer_blocks.modules()
    )


def learnt(transformer: Any, rank: int, moments: float) -> float:
    """Bytes of the matrices that are learnt beside those of the blocks, of their gradients, and of what the
    optimiser keeps: `moments` bytes for each number."""
    sides = sum(
        layer.out_features + layer.in_features
        for layer in transformer.transformer_blocks.modules()
        if isinstance(layer, nn.Linear)
    )
    return rank * sides * (4 + 4 + moments)


def taken(part: Part, tokens: int, rank: int, moments: float) -> float:
    """Bytes that learning takes beside the weights of `part`."""
    return LOST * activations(part.network, tokens, part.dtype) + learnt(part.network, rank, moments)


def in_training(part: Part, streamed: int) -> float:
    """Bytes of the device's memory that a transformer takes that is learnt on: streamed blocks have two rooms
    for painting, and two for learning."""
    return on_device(part, streamed) + 2 * max(away(part, streamed), default=0)


def counts(part: Part, least: int, outside: float | None) -> Iterator[int]:
    """How many blocks may be streamed, from `least` on, as far as the machine's own memory goes; None is for
    no such memory beside the device's."""
    yield least
    for streamed in range(least + 1, len(part.block_bytes) + 1 if outside is not None else 0):
        if sum(away(part, streamed)) <= (outside or 0):
            yield streamed


def streamed_for(
    parts: Mapping[Weights, Part],
    weights: Weights,
    taken: float,
    free: float,
    outside: float | None,
    least: int,
    working: float,
) -> int:
    """How many blocks of a transformer are to be streamed while it is learnt on, which takes so many bytes:
    the fewest with which all transformers still paint beside; else it alone; else none.

    `free` are the device's bytes, and `outside` the machine's own, without the transformers that are loaded;
    `working` are those that a picture takes beside the weights.
    EngineError where there is too little for any of it, saying how much it takes.
    """
    part = parts[weights]
    others = [
        on_device(one, least if outside is None else len(one.block_bytes))
        for name, one in parts.items()
        if name != weights
    ]
    ways = {streamed: in_training(part, streamed) + taken for streamed in counts(part, least, outside)}
    for beside in (working + max(others, default=0), working, 0):
        for streamed, need in ways.items():
            if need + beside <= free:
                return streamed
    raise EngineError(
        f"A training takes {min(ways.values()) / 1e9:.1f} GB of memory here, and {free / 1e9:.1f} GB are "
        f"free: take a larger GPU{SMALLER.get(part.precision, '')}"
    )
